"""
The cases of one partition: facts and what people do come in, decisions about cases and notices of clocks go out.

Pure: ranges of facts and the time come in, records and changes go out. Who runs it may die between any two of:

1. `take` each range of facts, in order;
2. `begin` a step, write its `records`, and wait: from now on it is fixed what was decided;
3. send the `news`, and wait;
4. `end` it: write the record that says so, and wait;
5. acknowledge ranges up to `complete`.

A new owner calls `restore` with the records, and takes ranges again from the first that was not acknowledged. What was
decided and not known to be sent is sent again, under the same ids; what is taken again is known already.

What opens, joins and reopens cases is decided in the order in which facts come, once; the state of a case follows from
its events alone, in whatever order they came. Clocks end when the watermark of the sources has passed them, so that
everything that happened until then was read.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, Final, Literal, NamedTuple

from streams.events.scalars import DERIVED
from streams.kpis.rolling.watermarks import Watermarks
from streams.loop.case import CLOCKS, NOTICES, PREFIX, SOURCE, Case
from streams.loop.definition import CaseRules, Cause
from streams.loop.files import (
    MOST_CASES,
    MOST_EVENTS,
    MOST_FACTS,
    CaseChange,
    CaseFile,
    CustomerFile,
    DeskFence,
    Record,
    cause_of,
    customer_record,
    fence_record,
    read_back,
    sent_record,
    worth_records,
    worth_tombstones,
)
from streams.loop.following import comes_back, next_look, notices_of, takes_in
from streams.loop.opening import opening_of, said_of, stamped
from streams.loop.rows import CaseRow, row_of
from streams.loop.writes import judge
from streams.relations.facts import Fact, Value, with_fields
from streams.relations.ranges import FactRange
from streams.value.valuations import NAMES, VALUED, Valuations, valuation_of

_ORIGIN: Final = ("channel", "touchpoint", "segment", "region")
"""What later events of a case have of its opening."""


class CaseNews(NamedTuple):
    """A change, with the case as it stands at the end of the step."""

    change: CaseChange
    row: CaseRow


class CaseDesk:
    """
    The cases of one partition.

    Attributes:
        watermarks: Of the sources that send facts.
        worths: What customers are worth, as was said last.
        position: Up to where facts count as read after a kill.
        counts: What has happened since it was asked last: cases opened, joined, reopened, suppressed and forgotten, by
            cause; actions refused and unknown; notices by clock.
        standing: The cases that are not closed, by customer and id, and whether one of their clocks was missed.
    """

    def __init__(
        self,
        rules: CaseRules,
        *,
        partition: int = 0,
        base: int = 0,
        idle_s: float = 10.0,
        grace_s: float = 10.0,
        expected: Iterable[str] = (),
    ) -> None:
        """
        Start with nothing.

        Args:
            rules: What opens cases.
            partition: Whose cases these are.
            base: Revisions of cases begin above it.
            idle_s: As of `Watermarks`.
            grace_s: As of `Watermarks`.
            expected: As of `Watermarks`.
        """
        self._rules, self._partition, self._base = rules, partition, base
        self.watermarks = Watermarks(idle_s=idle_s, grace_s=grace_s, expected=expected)
        self.worths = Valuations()
        self.counts: Counter[tuple[str, str]] = Counter()
        self._by_type: dict[str, list[Cause]] = {}
        for cause in rules.causes.values():
            for name in cause.opens.events:
                self._by_type.setdefault(name, []).append(cause)
        self._customers: dict[str, CustomerFile] = {}
        self.standing: dict[tuple[str, str], Literal["open", "missed"]] = {}
        self._wakes: list[tuple[int, str, str]] = []
        self._changes: dict[str, list[CaseChange]] = {}
        """By customer, what has happened and is not part of a step yet."""
        self._gone: set[str] = set()
        self._begun: list[tuple[str, list[CaseChange]]] = []
        self._news: list[CaseNews] = []
        self._step = 0
        self._taken: dict[str, int] = {}
        """By source, the last record of its ranges that were taken in."""
        self.position = self._complete = -1

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """
        Take over the records of a changelog; only on a new desk.

        Raises:
            ValueError: A record is none of ours.
        """
        saved, rules = read_back(records), self._rules
        self._customers, self.position = saved.customers, saved.fence.position
        self._complete, self._taken = self.position, saved.fence.taken
        self.watermarks.restore(saved.fence.watermark, saved.fence.reports)
        self.worths.restore(saved.worths.items(), saved.fence.step, saved.fence.floor)
        self._step = max([saved.fence.step, saved.sent, *(one.step for one in saved.customers.values())])
        for subject, customer in saved.customers.items():
            if customer.step > saved.sent:
                self._changes[subject] = list(customer.changes)
            for case_id, file in customer.cases.items():
                self._wake(subject, case_id, file, file.case(rules.clock_of))

    # What comes

    def take(self, one: FactRange, position: int) -> bool:
        """
        Take in a range of facts from `position` in the log; tell whether it was new.

        One that was taken in before changes nothing, and neither does its copy at another position: whoever sends
        ranges sends some of them again after a kill.
        """
        if not one.source.startswith(f"{DERIVED}/"):
            self.watermarks.report(one.source, one.watermark, one.caught_up, active=one.active)
        self._complete = max(self._complete, position)
        known = one.last <= self._taken.get(one.source, -1)
        if one.active and not known:
            self._taken[one.source] = one.last
        if known or position <= self.position:
            return False
        for subject, fact in one.facts:
            if fact.type.startswith(PREFIX):
                self._event(subject, fact)
            elif fact.values.get("synthetic") is not True:
                if fact.type == VALUED:
                    self._valued(subject, fact)
                for cause in self._by_type.get(fact.type, ()):
                    seen = self._of_customer(subject, fact) if cause.asks_customer else fact
                    if cause.meets(seen):
                        self._fact(subject, cause, seen)
        return True

    def _valued(self, subject: str, fact: Fact) -> None:
        """Take in what a customer is worth from now on: their cases that are not closed show it."""
        one = valuation_of(fact.time, f"{fact.source} {fact.id}", fact.values)
        if not self.worths.take(subject, one) or subject not in self._customers:
            return
        for case_id, file in self._customers[subject].cases.items():
            if (subject, case_id) in self.standing and file.revalue(one):
                self._changed(subject, file, CaseChange(case_id, None, ours=False))

    def _of_customer(self, subject: str, fact: Fact) -> Fact:
        """Return a fact with what its customer was worth when it happened."""
        worth = self.worths.as_of(subject, fact.time)
        return with_fields(fact, worth.fields()) if worth else fact

    def _event(self, subject: str, event: Fact) -> None:
        """Take in what has happened to a case."""
        case_id = str(event.values["case_id"])
        customer = self._customers.get(subject)
        file = customer.cases.get(case_id) if customer else None
        if file is None:
            if "if_version" in event.values:
                self.counts["unknown", ""] += 1
                return
            file = CaseFile("")
        elif file.knows(event):
            return
        customer = self._customers.setdefault(subject, CustomerFile())
        if len(file.events) >= MOST_EVENTS or len(customer.cases.keys() | {case_id}) > MOST_CASES:
            self.counts["forgotten", file.cause] += 1
            return
        customer.cases[case_id] = file
        asks = "if_version" in event.values or event.type == f"{PREFIX}prioritised"
        case = file.case(self._rules.clock_of) if asks else None
        answer = judge(case, file.events, event)
        if not answer.ok:
            file.refuse(event, answer)
            self.counts["refused", file.cause] += 1
            self._changed(subject, file, CaseChange(case_id, event, ours=False, taken=False))
            return
        file.cause = file.cause or cause_of(event)
        if event.type == f"{PREFIX}opened":
            self._worth_of(subject, file, said_of(self._rules, event))
        file.events.append(stamped(self._rules, event, case, file.cause))
        self._changed(subject, file, CaseChange(case_id, file.events[-1], ours=False))
        self._follow(subject, case_id, file)

    def _fact(self, subject: str, cause: Cause, fact: Fact) -> None:
        """Open a case for a fact, or put it to the case that there is."""
        customer = self._customers.get(subject) or CustomerFile()
        mine = [(name, file) for name, file in customer.cases.items() if file.cause in {cause.id, *cause.yields_to}]
        if any(file.has_fact(fact) for _, file in mine):
            return
        cases = [(name, file, case) for name, file in mine if (case := file.case(self._rules.clock_of)) is not None]
        same = max((one for one in cases if one[1].cause == cause.id), key=lambda one: one[2].opened, default=None)
        if same is not None and takes_in(same[2], fact, cause):
            self._join(subject, same[0], same[1], fact, "joined")
            return
        other = next((one for one in cases if one[1].cause != cause.id and one[2].state != "closed"), None)
        if other is not None:
            self._join(subject, other[0], other[1], fact, "suppressed", cause.id)
            return
        self._open(subject, cause, fact)

    def _join(self, subject: str, case_id: str, file: CaseFile, fact: Fact, how: str, cause: str = "") -> None:
        self.counts[how, cause or file.cause] += 1
        if len(file.facts) < MOST_FACTS:
            file.facts.append((fact.time, fact.source, fact.id))
        self._changed(subject, file, CaseChange(case_id, None, ours=False))
        self._follow(subject, case_id, file)

    def _open(self, subject: str, cause: Cause, fact: Fact) -> None:
        said = cause.said_of(fact)
        file = CaseFile(cause.id, facts=[(fact.time, fact.source, fact.id)])
        self._worth_of(subject, file, said)
        worth = self.worths.as_of(subject, fact.time)
        case_id, values = opening_of(self._rules, cause, subject, fact, said, worth)
        self._customers.setdefault(subject, CustomerFile()).cases[case_id] = file
        self.counts["opened", cause.id] += 1
        self._decide(subject, case_id, file, "opened", fact.time, values)
        self._follow(subject, case_id, file)

    def _worth_of(self, subject: str, file: CaseFile, said: Mapping[str, Value]) -> None:
        """Note what of the worth of the customer a case was opened without."""
        file.unsaid = [name for name in NAMES if name not in said]
        file.revalue(self.worths.newest(subject))

    # What follows

    def _follow(self, subject: str, case_id: str, file: CaseFile) -> None:
        """Decide what follows of the case as it stands, and when to look at it again."""
        case = file.case(self._rules.clock_of)
        cause = self._rules.causes.get(file.cause)
        while case is not None and cause is not None and (since := comes_back(case, file, cause)) is not None:
            self.counts["reopened", file.cause] += 1
            self._decide(subject, case_id, file, "reopened", since, cause.due_values(since, case.priority), since)
            case = file.case(self._rules.clock_of)
        for number, cycle in enumerate(case.cycles if case else ()):
            for clock in CLOCKS:
                if cycle.was_kept(clock):
                    at = cycle.done(clock) or 0
                    self._decide(
                        subject, case_id, file, "cleared", at, {"clock": clock, "cycle": number}, number, clock
                    )
                    cycle.said["cleared", clock] = at
        self._wake(subject, case_id, file, case)

    def _decide(  # noqa: D417 - what makes the name of an event is explained together
        self, subject: str, case_id: str, file: CaseFile, what: str, at: int, values: Mapping[str, Any], *of: object
    ) -> None:
        """
        Add an event of ours to a case.

        Args:
            of: What tells it from others of its kind, of one case.
        """
        about = {"case_id": case_id, **values}
        case = file.case(self._rules.clock_of)
        if case is not None:
            origin = case.opening.values
            about = {name: origin[name] for name in _ORIGIN if name in origin} | about
        if what in NOTICES:
            if case is not None and case.owner:
                about["owner"] = case.owner
            self.counts[what, str(values["clock"])] += 1
        event = Fact(at, SOURCE, "/".join(map(str, (case_id, what, *of))), PREFIX + what, about)
        file.events.append(event)
        self._changed(subject, file, CaseChange(case_id, event, ours=True))

    def _changed(self, subject: str, file: CaseFile, change: CaseChange) -> None:
        file.changes += 1
        self._changes.setdefault(subject, []).append(change)

    def _wake(self, subject: str, case_id: str, file: CaseFile, case: Case | None) -> None:
        if case is None or case.state == "closed":
            self.standing.pop((subject, case_id), None)
        else:
            self.standing[subject, case_id] = "missed" if any(map(case.is_missed, CLOCKS)) else "open"
        at = file.wakes = next_look(case, file, self._rules.causes.get(file.cause))
        if at is not None:
            heapq.heappush(self._wakes, (at, subject, case_id))

    def _look(self, until: int) -> None:
        """Say what is due of clocks, and forget what is over."""
        while self._wakes and self._wakes[0][0] <= until:
            at, subject, case_id = heapq.heappop(self._wakes)
            customer = self._customers.get(subject)
            file = customer.cases.get(case_id) if customer else None
            if customer is None or file is None or file.wakes != at:
                continue
            case = file.case(self._rules.clock_of)
            cause = self._rules.causes.get(file.cause)
            due = [one for one in notices_of(case, cause) if one.at <= until] if case else []
            for one in due:
                values = {"clock": one.clock, "cycle": one.cycle, "due": one.due}
                self._decide(subject, case_id, file, one.what, one.at, values, one.cycle, one.clock)
            if due:
                self._follow(subject, case_id, file)
            elif self._is_over(file, case, until):
                del customer.cases[case_id]
                self.counts["forgotten", file.cause] += case is None
                self._gone.add(subject)
            else:
                self._wake(subject, case_id, file, case)

    def _is_over(self, file: CaseFile, case: Case | None, until: int) -> bool:
        at = next_look(case, file, self._rules.causes.get(file.cause))
        return at is not None and at <= until and (case is None or case.state == "closed")

    # Steps

    def begin(self, now: float) -> bool:
        """Begin a step as of `now` (Unix s); False: nothing has changed."""
        watermark = self.watermarks.advance(now)
        if watermark is not None:
            # What happens at the watermark itself may still come.
            self._look(ceil(watermark * 1000) - 1)
            self.worths.expire(ceil(watermark * 1000))
        if not self._changes and not self._gone and not self.worths.changed:
            return False
        self._step += 1
        self._begun = sorted(self._changes.items())
        self._changes = {}
        # As it stands now: what comes while the step is under way belongs to the next one.
        self._news = [CaseNews(change, row) for change, row in self._rows()]
        return True

    def _rows(self) -> Iterator[tuple[CaseChange, CaseRow]]:
        for subject, changes in self._begun:
            rows: dict[str, CaseRow | None] = {}
            for change in changes:
                if change.case_id not in rows:
                    file = self._customers[subject].cases.get(change.case_id)
                    case = file.case(self._rules.clock_of) if file else None
                    rows[change.case_id] = (
                        row_of(subject, file, case, self._partition, self._base) if file and case else None
                    )
                if (row := rows[change.case_id]) is not None:
                    yield change, row

    def records(self) -> list[Record]:
        """Return what has to be saved of the step that is begun."""
        found = []
        for subject, changes in self._begun:
            customer = self._customers[subject]
            customer.step, customer.changes = self._step, changes
            found.append(customer_record(subject, customer))
        for subject in sorted(self._gone - {subject for subject, _ in self._begun}):
            customer = self._customers[subject]
            customer.step, customer.changes = self._step, []
            found.append(customer_record(subject, customer))
            if not customer.cases:
                del self._customers[subject]
        self._gone = set()
        found += worth_records(self.worths, self._step)
        return [*found, self.fence(), *worth_tombstones(self.worths)]

    def fence(self) -> Record:
        """Return the record of how far facts were read: what brought no change is not taken in again either."""
        self.position = self._complete
        watermarks = self.watermarks
        return fence_record(
            DeskFence(self._step, self.position, watermarks.value, watermarks.sources, self.worths.floor, self._taken)
        )

    @property
    def news(self) -> Sequence[CaseNews]:
        """What the step that is begun has to tell."""
        return self._news

    def end(self) -> Record:
        """End the step, of which everything is sent; return the record that says so."""
        self._gone |= {subject for subject, _ in self._begun if not self._customers[subject].cases}
        self._begun, self._news = [], []
        return sent_record(self._step)

    @property
    def complete(self) -> int:
        """Position of the last range that need not be taken again."""
        return self._complete

    def take_counts(self) -> Counter[tuple[str, str]]:
        """Return what has happened since the last call."""
        counts, self.counts = self.counts, Counter()
        return counts

    def files(self) -> Iterator[tuple[str, str, CaseFile]]:
        """Yield customer, id and content of every case that is remembered."""
        for subject, customer in self._customers.items():
            for case_id, file in customer.cases.items():
                yield subject, case_id, file
