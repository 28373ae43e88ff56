"""
The relations of one partition: facts of its sources in, steps of its customers and derived events out.

Pure: ranges of facts and the time come in, records and derived events go out. Who runs it may die between any two of:

1. `take` each range of facts, in order;
2. `begin(now)` a step, and write `step_record()`, and wait: from now on it is fixed what the step takes;
3. for each of its `advances`: send the derived events, and wait, then write its part, and wait;
4. send the `letters` to other partitions, and wait: ranges of facts, which they know by their numbers;
5. `end` it: write the marker and the buckets of `compaction`, and wait; then `superseded` may be deleted;
6. acknowledge ranges up to `complete`, of which nothing is needed any more.

A new owner calls `restore` with the records and takes ranges again from the first that was not acknowledged. A step
that was begun takes the same facts up to the same watermark, but not those of customers who have been saved as it
leaves them: what was derived of these was sent.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil
from typing import Final, NamedTuple

from streams.kpis.rolling.watermarks import Watermarks
from streams.relations import identity
from streams.relations.catalogue import Relations
from streams.relations.customers import Customers, chunks
from streams.relations.facts import Fact
from streams.relations.journal import (
    CustomerPart,
    Record,
    RelationStep,
    StepMarker,
    marker_record,
    part_record,
    read_back,
    step_record,
)
from streams.relations.ranges import FactRange, letters_of, said_by_relate
from streams.relations.results import DerivedEvent

MOST_HELD: Final = 200_000
"""Facts ahead of the watermark that are kept waiting; of more, all are put into their customers' states."""
MOST_TAKEN: Final = 10_000
"""Facts that a step takes, but for those of its last moment and late ones."""
MOST_OF_ONE: Final = 2_000
"""The same, of one customer, who is advanced without a pause: a worker that pauses for long is none any more."""
AT_ONCE: Final = 100
"""Customers that are advanced in one go."""
_MOVING: Final = frozenset({identity.CLAIM, identity.STATE})
_COSTS: Final = 10
"""So many customers one costs as much as for whom such a fact came, or so many others."""
MOST_MOVED: Final = 100_000
"""Keys of one partition that have moved to another one; of more, what they did stays their own."""


@dataclass
class RelationCounts:
    """What has happened, by relation, and what became of keys."""

    results: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)


@dataclass
class Advance:
    """Some customers as a step leaves them, and what is derived of them, which is to be sent first."""

    part: CustomerPart
    number: int
    results: list[DerivedEvent]


class _Waiting(NamedTuple):
    """A fact that no step has taken; they are in order of time, and then of their coming."""

    time: int
    number: int
    position: int
    subject: str
    fact: Fact


class RelationsPartition:
    """
    Facts that wait, and the customers, of one partition.

    Attributes:
        customers: Their states.
        watermarks: Of the sources that send facts.
        counts: What has happened since they were taken.
        emitted: Offset of the last derived event that was sent; -1: none was.
    """

    def __init__(
        self,
        relations: Relations,
        *,
        idle_s: float = 10.0,
        grace_s: float = 10.0,
        expected: Iterable[str] = (),
        longest_s: float = 43_200.0,
        name: str = "",
        home: Callable[[str], int] = lambda _key: 0,
        first: int = 0,
        most_bytes: int | None = None,
    ) -> None:
        """
        Start with nothing.

        Args:
            relations: What is derived.
            idle_s: As of `Watermarks`.
            grace_s: As of `Watermarks`.
            expected: As of `Watermarks`.
            longest_s: Event time of one step at most. What is derived in a step is sent customer by customer: of longer
                ones, as when history is read, much would be too late to be counted.
            name: By which other partitions know what this one sends them.
            home: Returns the partition of a key.
            first: Number of the first range that is sent to other partitions.
            most_bytes: As of `Customers`.
        """
        self._name = name
        self._home = home
        self._sent = first - 1
        self._letters: list[tuple[str, Fact]] = []
        """What the step that is begun has to say to other partitions, of the customers that are written."""
        self._moved = 0
        self._longest_ms = int(longest_s * 1000)
        self._relations = relations
        self.customers = Customers(most_bytes)
        self.watermarks = Watermarks(idle_s=idle_s, grace_s=grace_s, expected=expected)
        self.counts = RelationCounts()
        self.emitted = -1
        self._done = RelationStep()
        self._begun: RelationStep | None = None
        self._ahead: set[str] = set()
        self._waiting: list[_Waiting] = []
        """A heap, so that a step looks at those alone that it may take."""
        self._taken: list[_Waiting] = []
        """What the step that is begun takes."""
        self._came = 0
        self._positions: Counter[int] = Counter()
        """How many facts of a range wait or are taken, in the order of the ranges."""
        self._fence = -1
        self._applied: dict[str, int] = {}
        self._again: dict[str, int] = {}

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Do all of `restoring` at once."""
        for _ in self.restoring(records):
            pass

    def restoring(self, records: Iterable[tuple[bytes, bytes]], *, rewrites: bool = False) -> Iterator[list[Record]]:
        """
        Take over the records of a changelog; only on a new state. Of many customers it takes long: others may have
        their turn now and then. The records are not asked for any more then.

        Args:
            records: Of a changelog.
            rewrites: Whether records are yielded that are to be written in place of those, before `superseded`.

        Raises:
            ValueError: A record is none of ours.
        """
        saved = read_back(records)
        self._ahead = yield from self.customers.restore(saved, rewrites=rewrites)
        self._done = saved.marker.step
        self._begun = saved.step if saved.step.number > self._done.number else None
        undone = [part.read() for part in saved.parts if part.step > self._done.number]
        self.emitted = max([saved.marker.emitted, *(part.emitted for part in undone)])
        newest = self._begun or self._done
        self._applied = dict(newest.applied)
        self._sent = max(self._sent, saved.marker.sent)
        self._letters = [letter for part in undone for letter in part.letters]
        self._moved = saved.marker.moved + sum(part.moved for part in undone)
        self.watermarks.restore(newest.watermark, dict(newest.reports))

    def take(self, one: FactRange, position: int) -> bool:
        """Take in a range of facts; tell whether it was new."""
        self._fence = max(self._fence, position)
        newest = self._begun or self._done
        # Ranges that a step knows of are read again while some of their facts wait; a copy of one may lie behind it.
        known = self._again if position <= newest.fence else self._applied
        if one.active:
            if one.last <= known.get(one.source, -1):
                return False
            known[one.source] = one.last
            for subject, fact in one.facts:
                if not self._done.has(position, fact.time, early=fact.type != identity.STATE):
                    self._came += 1
                    self._positions[position] += 1
                    heappush(self._waiting, _Waiting(fact.time, self._came, position, subject, fact))
        if position > newest.fence and not said_by_relate(one):
            self.watermarks.report(one.source, one.watermark, one.caught_up, active=one.active)
        return True

    @property
    def held(self) -> int:
        """How many facts wait for their step."""
        return len(self._waiting) + len(self._taken)

    @property
    def complete(self) -> int:
        """Position of the last range of which nothing is needed any more."""
        # What waits may be behind what was read so far.
        return min(self._fence + 1, self._done.fence + 1, next(iter(self._positions), self._fence + 1)) - 1

    @property
    def until(self) -> int:
        """Up to when everything is derived, in milliseconds: of the last step that is done."""
        return self._done.until

    def begin(self, now: float) -> RelationStep | None:
        """
        Begin a step as of `now` (Unix s), or the one that was begun before a crash.

        None: nothing is due, or what it takes is not read again yet.
        """
        if self._begun is not None:
            if self._fence < self._begun.fence:
                return None
            self._gather(self._begun)
            return self._begun
        if self._fence < self._done.fence:
            return None  # the last step may have left facts behind its end that the watermark has passed
        watermark = self.watermarks.advance(now)
        if watermark is None:
            return None
        done, spills = self._done, len(self._waiting) > MOST_HELD
        # What happens at the watermark itself may still come.
        until = max(done.until, ceil(watermark * 1000) - 1)
        wakes = self.customers.wakes_at()
        moments = [*(one.time for one in self._waiting[:1]), *([] if wakes is None else [wakes])]
        first = min(moments, default=None)
        due = spills or (first is not None and first <= until)
        if first is not None and first <= until:
            until = self._limited(done.until, min(until, first + self._longest_ms))
        if not due and until <= done.until:
            return None
        self._begun = RelationStep(
            number=done.number + 1,
            fence=max(self._fence, done.fence),
            since=done.until,
            until=until,
            whole=self._fence if spills else done.whole,
            applied=dict(self._applied),
            reports=dict(self.watermarks.sources),
            watermark=watermark,
        )
        if due:
            self._gather(self._begun)
            return self._begun
        # Nothing happens in it, so nothing has to be written: whoever begins it again may begin a longer one.
        self._done, self._begun = self._begun, None
        return None

    def step_record(self) -> Record:
        """Return the record of the step that is begun."""
        return step_record(self._step())

    def advances(self) -> Iterator[Advance]:
        """Advance the customers who take part in the step, some at a time."""
        step = self._step()
        facts: dict[str, list[Fact]] = {}
        weights: dict[str, int] = {}
        for one in self._taken:
            facts.setdefault(one.subject, []).append(one.fact)
            if one.fact.type in _MOVING:
                weights[one.subject] = weights.get(one.subject, 0) + _COSTS
        for subject, found in facts.items():
            if len(found) >= _COSTS:
                weights[subject] = weights.get(subject, 0) + len(found) // _COSTS
        touched = (self.customers.due(step.until) | facts.keys()) - self._ahead
        first = len(self._ahead)  # numbers of parts that were written before are not used again
        for number, subjects in enumerate(chunks(touched, AT_ONCE, weights), first):
            yield self._advance(step, number, subjects, facts)

    def _advance(
        self, step: RelationStep, number: int, subjects: Sequence[str], facts: Mapping[str, Sequence[Fact]]
    ) -> Advance:
        advance = Advance(CustomerPart(step.number, []), number, [])
        for subject in subjects:
            state, new = self.customers.get(subject), facts.get(subject, ())
            room = self._moved + advance.part.moved < MOST_MOVED
            found = identity.take(self._relations, subject, state, new, step.since, step.until, room=room)
            advance.part.customers.append((subject, (found.state, found.wakes_at)))
            if isinstance(found, identity.IdentityStep):
                advance.part.letters.extend(found.letters)
                advance.part.moved += found.moved - identity.is_forwarding(state)
                self.counts.keys.update(found.keys)
            advance.results += found.results
            for counts, more in (
                (self.counts.late, found.late),
                (self.counts.ignored, found.ignored),
                (self.counts.forgotten, found.forgotten),
            ):
                if more:
                    counts.update(more)
        self.counts.results.update(one.relation for one in advance.results)
        return advance

    def confirm(self, offsets: Sequence[int]) -> None:
        """Take note of where derived events were sent to."""
        self.emitted = max(self.emitted, *offsets)

    def save(self, advance: Advance) -> tuple[bytes, bytes]:
        """Take over the customers of an advance whose derived events were sent; return the record of them."""
        part = advance.part
        part.emitted = self.emitted
        self._letters += part.letters
        self._moved += part.moved
        for subject, kept in part.customers:
            self.customers.put(subject, kept, part.step)
        key, value = part_record(advance.number, part)
        self.customers.saved(key, part.step, len(value))
        return key, value

    def letters(self) -> list[tuple[int, FactRange]]:
        """Return what the step says to other partitions, and to which: the same whenever it is asked."""
        letters = sorted(((self._home(key), key, fact) for key, fact in self._letters), key=_order)
        return letters_of(letters, self._name, self._sent + 1)

    def end(self) -> Record:
        """End the step; return the record that says so."""
        step = self._step()
        for one in self._taken:
            self._positions[one.position] -= 1
            if not self._positions[one.position]:
                del self._positions[one.position]
        self._taken.clear()
        self._sent += len(self.letters())
        self._letters.clear()
        self._done, self._begun, self._ahead = step, None, set()
        return marker_record(StepMarker(step, self.emitted, self._sent, self._moved))

    def compaction(self) -> list[Record]:
        """Return the buckets that are due to be written, now that the step is done."""
        return list(self.customers.bucket_records(self._done.number))

    def superseded(self) -> list[Record]:
        """Return what deletes what the written buckets contain."""
        return self.customers.superseded(self._done.number)

    def take_counts(self) -> RelationCounts:
        """Return what has happened since the last call."""
        counts, self.counts = self.counts, RelationCounts()
        return counts

    def _limited(self, since: int, until: int) -> int:
        """Return the end of a step, or an earlier one up to which fewer facts wait; they are taken."""
        taken: dict[str, int] = {}
        while self._waiting and self._waiting[0].time <= until:
            one = heappop(self._waiting)
            self._taken.append(one)
            taken[one.subject] = of_one = taken.get(one.subject, 0) + 1
            if len(self._taken) == MOST_TAKEN or of_one == MOST_OF_ONE:
                until = min(until, one.time)
        return max(since, until)

    def _gather(self, step: RelationStep) -> None:
        """Take what waits for a step."""
        rest: list[_Waiting] = []
        while self._waiting and (step.whole > self._done.whole or self._waiting[0].time <= step.until):
            one = heappop(self._waiting)
            taken = step.has(one.position, one.time, early=one.fact.type != identity.STATE)
            (self._taken if taken else rest).append(one)
        for one in rest:
            heappush(self._waiting, one)

    def _step(self) -> RelationStep:
        if self._begun is None:
            raise RuntimeError("no step is begun")
        return self._begun


def _order(letter: tuple[int, str, Fact]) -> tuple[int, str, int, str, str, str]:
    home, key, fact = letter
    return home, key, fact.time, fact.source, fact.id, fact.type
