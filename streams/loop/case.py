"""
A case: what its events come to, in whatever order they came.

Pure: events in, a state out. Events count in the order of their own times, each once by source and id; what is no move
from where the case stands by then, such as a contact after the closing, changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from streams.relations.clocks import WorkingClock, after, elapsed
from streams.relations.facts import Fact

ClockName: TypeAlias = Literal["contact", "close"]
State: TypeAlias = Literal["open", "waiting", "closed"]

PREFIX: Final = "cx.case."
SOURCE: Final = "/cx/cases"
"""The source of the events that are made of rules and clocks."""
CLOCKS: Final[tuple[ClockName, ...]] = ("contact", "close")
MOVES: Final = (
    "opened", "reopened", "prioritised", "assigned", "contacted", "held", "resumed", "resolved", "closed",
    "warned", "escalated", "cleared",
)  # fmt: skip
"""What happens to cases; of one moment, in this order."""
NOTICES: Final = frozenset({"warned", "escalated", "cleared"})
"""What is said of a case, and changes nothing of what people have to do."""
_RANK: Final = {PREFIX + name: rank for rank, name in enumerate(MOVES)}
_NORMAL: Final = "normal"


@dataclass
class Cycle:
    """
    A case from its opening, or a reopening, until it is closed; times in milliseconds since 1970.

    Attributes:
        contact_due, close_due: By when; None: no time is set. `close_due` moves on with every wait for the customer.
        held: Working time, by the clock of the case, that it waited for the customer.
        waits: Since when it waited each time, and how long of working time.
        said: Notices by clock: what was said, and when.
    """

    began: int
    contact_due: int | None = None
    close_due: int | None = None
    contacted: int | None = None
    contacted_by: str = ""
    closed: int | None = None
    outcome: str = ""
    held: int = 0
    waits: list[tuple[int, int]] = field(default_factory=list)
    said: dict[tuple[str, ClockName], int] = field(default_factory=dict)

    def due(self, clock: ClockName) -> int | None:
        """Return by when something has to have happened."""
        return self.contact_due if clock == "contact" else self.close_due

    def done(self, clock: ClockName) -> int | None:
        """Return when it happened; a case that is closed without a contact needs none any more."""
        return self.closed if clock == "close" or self.contacted is None else self.contacted

    def met(self, clock: ClockName) -> bool | None:
        """Return whether it happened in time; None: no time is set, it is still awaited, or nobody was contacted."""
        due, done = self.due(clock), self.contacted if clock == "contact" else self.closed
        return None if due is None or done is None else done <= due

    def was_kept(self, clock: ClockName) -> bool:
        """Return whether an escalation was said of what turned out to have happened in time, and was not taken back."""
        due, done = self.due(clock), self.done(clock)
        in_time = due is not None and done is not None and done <= due
        return in_time and ("escalated", clock) in self.said and ("cleared", clock) not in self.said


@dataclass
class Case:
    """
    A case as it stands.

    Attributes:
        cause: Why it was opened.
        opening: The event that opened it.
        cycles: One for the opening and one for each reopening.
        owners: Whose it was, one after the other.
        holding: Since when it waits for the customer.
        version: How many events of it were taken in, but for notices.
    """

    id: str
    cause: str
    opening: Fact
    cycles: list[Cycle]
    priority: str = _NORMAL
    owners: list[str] = field(default_factory=list)
    holding: int | None = None
    resolved: int | None = None
    version: int = 0

    @property
    def now(self) -> Cycle:
        """The newest cycle."""
        return self.cycles[-1]

    @property
    def state(self) -> State:
        """Where it stands."""
        return "closed" if self.now.closed is not None else "waiting" if self.holding is not None else "open"

    @property
    def opened(self) -> int:
        """When it was opened."""
        return self.cycles[0].began

    @property
    def owner(self) -> str:
        """Who works on it; empty: nobody."""
        return self.owners[-1] if self.owners else ""

    def awaits(self, clock: ClockName) -> bool:
        """Return whether a clock runs."""
        held = clock == "close" and self.holding is not None
        return not held and self.now.due(clock) is not None and self.now.done(clock) is None

    def is_missed(self, clock: ClockName) -> bool:
        """Return whether an escalation stands that was not taken back."""
        said = self.now.said
        return ("escalated", clock) in said and ("cleared", clock) not in said


def in_order(events: Iterable[Fact]) -> list[Fact]:
    """Return events as they count: each once, by time, kind, source and id."""
    once = {(event.source, event.id): event for event in events}
    if len(once) < 2:
        return [*once.values()]
    return sorted(once.values(), key=lambda event: (event.time, _RANK[event.type], event.source, event.id))


def fold(events: Iterable[Fact], clock_of: Callable[[str], WorkingClock | None] = lambda _cause: None) -> Case | None:
    """
    Return what the events of one case come to; None: nobody has opened it yet.

    Args:
        events: In any order, and repeated as may be.
        clock_of: Gives the working time by which waiting for the customer is taken out of the time to close.
    """
    ordered = in_order(events)
    opening = next((event for event in ordered if event.type == PREFIX + "opened"), None)
    if opening is None:
        return None
    values = opening.values
    case = Case(str(values["case_id"]), str(values.get("reason", "")), opening, [_cycle(opening)])
    case.priority = str(values.get("priority", _NORMAL))
    if "owner" in values:
        case.owners.append(str(values["owner"]))
    clock = clock_of(case.cause)
    notices = []
    for event in ordered:
        move = _MOVES_OF.get(event.type)
        if move is None:
            notices.append(event)
            continue
        case.version += 1
        if event is not opening:
            move(case, event, clock)
    # They name their cycle, which may begin later than what they tell of.
    for event in notices:
        _note(case, event)
    return case


def _cycle(event: Fact) -> Cycle:
    return Cycle(event.time, time_in(event.values, "contact_due"), time_in(event.values, "due"))


def time_in(values: Mapping[str, object], name: str) -> int | None:
    """Return a time among the values of an event, in milliseconds."""
    found = values.get(name)
    return found if isinstance(found, int) else None


def _opened(case: Case, event: Fact, clock: WorkingClock | None) -> None:
    """Leave a case that is opened twice as it is."""


def _reopened(case: Case, event: Fact, clock: WorkingClock | None) -> None:  # noqa: ARG001
    if case.state == "closed":
        case.cycles.append(_cycle(event))
        case.resolved = None


def _prioritised(case: Case, event: Fact, clock: WorkingClock | None) -> None:
    if case.state == "closed":
        return
    case.priority = str(event.values["priority"])
    now = case.now
    contact, close = time_in(event.values, "contact_due"), time_in(event.values, "due")
    now.contact_due = now.contact_due if contact is None else contact
    if close is not None:
        now.close_due = close
        for since, waited in now.waits:
            _wait(now, since, waited, clock)


def _assigned(case: Case, event: Fact, clock: WorkingClock | None) -> None:  # noqa: ARG001
    if case.state != "closed":
        case.owners.append(str(event.values["owner"]))


def _contacted(case: Case, event: Fact, clock: WorkingClock | None) -> None:  # noqa: ARG001
    if case.state != "closed" and case.now.contacted is None and event.time >= case.now.began:
        case.now.contacted = event.time
        case.now.contacted_by = str(event.values.get("agentid") or case.owner)


def _held(case: Case, event: Fact, clock: WorkingClock | None) -> None:  # noqa: ARG001
    if case.state == "open":
        case.holding = event.time


def _resumed(case: Case, event: Fact, clock: WorkingClock | None) -> None:
    if case.holding is None:
        return
    since, waited = case.holding, elapsed(clock, case.holding, event.time)
    case.holding = None
    case.now.held += waited
    case.now.waits.append((since, waited))
    _wait(case.now, since, waited, clock)


def _wait(cycle: Cycle, since: int, waited: int, clock: WorkingClock | None) -> None:
    """Put off the closing by a wait for the customer; a clock that has ended is not set going again."""
    if cycle.close_due is not None and since <= cycle.close_due:
        cycle.close_due = after(clock, cycle.close_due, waited)


def _resolved(case: Case, event: Fact, clock: WorkingClock | None) -> None:  # noqa: ARG001
    if case.state != "closed":
        case.resolved = event.time


def _closed(case: Case, event: Fact, clock: WorkingClock | None) -> None:
    if case.state != "closed":
        _resumed(case, event, clock)
        case.now.closed = event.time
        case.now.outcome = str(event.values.get("outcome", ""))


def _note(case: Case, event: Fact) -> None:
    cycle = event.values.get("cycle", 0)
    for clock in CLOCKS:
        if clock == event.values["clock"] and isinstance(cycle, int) and cycle < len(case.cycles):
            case.cycles[cycle].said.setdefault((event.type.removeprefix(PREFIX), clock), event.time)


_MOVES_OF: Final[Mapping[str, Callable[[Case, Fact, WorkingClock | None], None]]] = {
    PREFIX + name: move
    for name, move in {
        "opened": _opened, "reopened": _reopened, "prioritised": _prioritised, "assigned": _assigned,
        "contacted": _contacted, "held": _held, "resumed": _resumed, "resolved": _resolved, "closed": _closed,
    }.items()
}  # fmt: skip
