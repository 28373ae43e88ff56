"""What opens cases, whose they are, by when something has to happen, and who comes first: as the rules say it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.kpis.language.expressions import Expression
from streams.loop.case import PREFIX, ClockName
from streams.relations.clocks import WorkingClock, after
from streams.relations.definition import NOTHING_KEPT, Kept, Matcher, compiled
from streams.relations.facts import ORIGIN, Fact, Reader, Value
from streams.value.valuations import CUSTOMER_FIELDS, VALUED, VALUED_FIELDS

NORMAL: Final = "normal"
SAID: Final = ("severity", "tier", "churn_risk", "value", "priority")
"""What a cause may say of a case, as a value or as an expression over the fact that opens it."""
LONGEST_WORD: Final = 128
_LIMITS: Final = {"severity": (-1e15, 1e15), "churn_risk": (0.0, 1.0), "value": (0.0, 1e13)}
_OF_CASES: Final[Mapping[str, tuple[str, ...]]] = {
    "opened": (
        "reason", "priority", "due", "value", "contact_due", "owner", "severity", "tier", "churn_risk",
        "touchpoint", "segment", "channel", "synthetic",
    ),
    "reopened": ("reason", "contact_due", "due", "if_version"),
    "prioritised": ("priority", "if_version"),
    "assigned": ("owner", "if_version"),
    "contacted": ("reached", "subchannel", "if_version"),
    "held": ("if_version",),
    "resumed": ("if_version",),
    "resolved": ("action",),
    "closed": ("outcome", "if_version"),
    "warned": ("clock", "due", "cycle"),
    "escalated": ("clock", "due", "cycle"),
    "cleared": ("clock", "cycle"),
}  # fmt: skip
"""What is read of the events of cases."""


@dataclass(frozen=True)
class Times:
    """How long there is for a contact and for the closing, in milliseconds; None: no time is set."""

    contact: int | None = None
    close: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """
    A cause of cases.

    Attributes:
        says: What it says of a case, by name; see `SAID`.
        times: By priority.
        clock: Working time by which they count; None: all hours count, weekends too.
        warns_ms: How long before a clock ends the owner is warned; 0: not at all.
        reopens_ms: How long after a closing the same cause takes the case up again, instead of opening another.
        yields_to: Causes of which an open case of the same customer takes the fact in, instead of a case of its own.
    """

    id: str
    name: Mapping[str, str]
    opens: Matcher
    says: Mapping[str, Expression]
    times: Mapping[str, Times]
    clock: WorkingClock | None = None
    warns_ms: int = 0
    reopens_ms: int = 0
    yields_to: frozenset[str] = frozenset()
    asks_customer: bool = field(init=False, compare=False)
    """Whether it asks what the customer is worth."""
    _compiled: Mapping[str, Callable[[Fact, Kept], Any]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        fields = self.opens.where.fields.union(*(one.fields for one in self.says.values()))
        object.__setattr__(self, "asks_customer", not fields.isdisjoint(CUSTOMER_FIELDS))
        object.__setattr__(self, "_compiled", {name: compiled(one) for name, one in self.says.items()})

    def meets(self, fact: Fact) -> bool:
        """Return whether a fact is one for which a case is opened."""
        return self.opens.meets(fact) and fact.values.get("withdrawn") is not True

    def said_of(self, fact: Fact) -> dict[str, Any]:
        """Return what the cause says of the case that a fact opens; what the fact lacks is left out."""
        found = {name: read(fact, NOTHING_KEPT) for name, read in self._compiled.items()}
        return {name: value for name, value in found.items() if value is not None and can_be(name, value)}

    def dues(self, start: int, priority: str) -> dict[ClockName, int]:
        """Return by when something has to happen, counted from `start`; of an unknown priority, as of a normal one."""
        times = self.times.get(priority, self.times[NORMAL])
        given: Iterator[tuple[ClockName, int | None]] = iter((("contact", times.contact), ("close", times.close)))
        return {name: after(self.clock, start, length) for name, length in given if length is not None}

    def due_values(self, start: int, priority: str) -> dict[str, Value]:
        """Return the same as events of cases say it."""
        return {("due" if clock == "close" else "contact_due"): at for clock, at in self.dues(start, priority).items()}


def can_be(name: str, value: float | str) -> bool:
    """Return whether events take such a value: what a fact says otherwise is left out, not the case."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_WORD
    low, high = _LIMITS[name]
    return low <= value <= high


@dataclass(frozen=True)
class Duty:
    """
    One line of who answers for cases: the first that fits counts.

    Attributes:
        touchpoints, causes: Those that it is for; empty: all.
        shift: It is for cases that are opened while this clock runs; None: at any time.
    """

    owner: str
    touchpoints: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    shift: WorkingClock | None = None

    def fits(self, cause: str, touchpoint: object, at: int) -> bool:
        """Return whether it is for a case."""
        return (
            (not self.touchpoints or touchpoint in self.touchpoints)
            and (not self.causes or cause in self.causes)
            and (self.shift is None or self.shift.elapsed(at, at + 1) > 0)
        )


@dataclass(frozen=True)
class UrgencyPart:
    """
    One part of the priority of a case: its weight times a number, or times the points of a text.

    Attributes:
        of: What of the case; see `streams.loop.urgency`.
        points: Numbers by text.
        most: The number counts as this at most.
    """

    name: str
    of: str
    weight: float
    points: Mapping[str, float] = field(default_factory=dict)
    most: float | None = None


@dataclass(frozen=True)
class CaseRules:
    """
    All rules for cases.

    Attributes:
        causes: By id.
        duties: In the order in which they are asked.
        parts: Of the priority.
        clocks: Working time by name.
    """

    causes: Mapping[str, Cause]
    duties: tuple[Duty, ...] = ()
    parts: tuple[UrgencyPart, ...] = ()
    clocks: Mapping[str, WorkingClock] = field(default_factory=dict)

    def owner_of(self, cause: str, touchpoint: object, at: int) -> str:
        """Return who answers for a case; empty: nobody."""
        return next((duty.owner for duty in self.duties if duty.fits(cause, touchpoint, at)), "")

    def clock_of(self, cause: str) -> WorkingClock | None:
        """Return the working time of a cause; None: all hours count."""
        found = self.causes.get(cause)
        return found.clock if found else None

    def only(self, names: list[str]) -> "CaseRules":
        """
        Return the rules with the named causes alone.

        Raises:
            KeyError: There is none of such a name.
        """
        return CaseRules({name: self.causes[name] for name in names}, self.duties, self.parts, self.clocks)

    def reader(self) -> Reader:
        """Return what makes facts of events: those that may open cases, and what happens to cases."""
        wanted: dict[str, set[str]] = {PREFIX + name: {"case_id", "agentid", *of} for name, of in _OF_CASES.items()}
        for cause in self.causes.values():
            for event in cause.opens.events:
                fields = wanted.setdefault(event, {"withdrawn"})
                fields.update((*ORIGIN, "labels"))
                fields.update(cause.opens.where.fields)
                fields.update(*(one.fields for one in cause.says.values()))
                fields.difference_update(CUSTOMER_FIELDS)
        wanted.setdefault(VALUED, {"withdrawn"}).update(VALUED_FIELDS)
        return Reader(wanted)
