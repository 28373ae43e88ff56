"""Timelines at play: events at times through the relations, without Kafka, and what came of them."""

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from streams.events.families.identity import IdentityLinked, IdentityMerged
from streams.events.types import Envelope
from streams.relations import customer
from streams.relations.catalogue import Relations
from streams.relations.facts import Fact, customer_of, milliseconds, subject_of
from streams.relations.results import DerivedEvent

FUTURE_MS: Final = 600_000
"""An event that is further ahead of the clock when it is read is refused, as at ingest."""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Arrival:
    """An event, and when it is read, in milliseconds; `fixed`: it is read then, however much else is disordered."""

    event: Envelope
    at: int
    fixed: bool = False


@dataclass(frozen=True)
class Stop:
    """From and until when nothing is read, and nothing is said; in milliseconds."""

    since: int
    until: int


@dataclass(frozen=True)
class Knowledge:
    """What was known at a moment."""

    results: Sequence[DerivedEvent]
    open: Mapping[str, Sequence[int]]
    """When what is open was opened, by relation."""
    stages: Mapping[tuple[str, str], int]
    """How many are in a stage, by relation and stage."""


@dataclass
class Played:
    """
    What came of a timeline.

    Attributes:
        results: Each with the clock at which it was given out, in milliseconds.
        known: What was known at the moments asked for.
        refused: Ids of events that were too far ahead of the clock.
        left: Bytes of state that were left when nothing could happen any more.
        most: The most bytes of state of one customer.
    """

    results: list[tuple[int, DerivedEvent]] = field(default_factory=list)
    known: dict[int, Knowledge] = field(default_factory=dict)
    late: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    left: int = 0
    most: int = 0

    def standing(self) -> dict[str, DerivedEvent]:
        """Return what holds in the end, by matter."""
        return standing(result for _, result in self.results)


def standing(results: Iterable[DerivedEvent]) -> dict[str, DerivedEvent]:
    """Return what holds after these results, by matter, whatever their order."""
    last: dict[str, DerivedEvent] = {}
    for result in results:
        former = last.get(result.span)
        if former is None or former.version < result.version:
            last[result.span] = result
    return {span: result for span, result in last.items() if not result.withdrawn}


def disordered(arrivals: Sequence[Arrival], lateness_ms: int, seed: int) -> list[Arrival]:
    """Return the same events read in another order, each less than the lateness after it happened."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    return [
        one if one.fixed else replace(one, at=milliseconds(one.event.time) + chance.randrange(lateness_ms))
        for one in arrivals
    ]


def duplicated(arrivals: Sequence[Arrival], seed: int) -> list[Arrival]:
    """Return the events, and a third of them again up to an hour later."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    again = [one for one in arrivals if chance.random() < 1 / 3]
    return [*arrivals, *(replace(one, at=one.at + chance.randrange(_HOUR_MS)) for one in again)]


def stopped(arrivals: Sequence[Arrival], seed: int) -> list[Stop]:
    """Return stops of up to two hours around some readings, but none that would make in time what is to be late."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    times = chance.sample([one.at for one in arrivals], k=min(3, len(arrivals)))
    stops = [Stop(at - chance.randrange(_HOUR_MS), at + chance.randrange(_HOUR_MS)) for at in times]
    late = [one.at for one in arrivals if one.fixed]
    return [stop for stop in stops if not any(stop.since <= at <= stop.until for at in late)]


def play(
    relations: Relations,
    arrivals: Iterable[Arrival],
    lateness_ms: int,
    *,
    stops: Sequence[Stop] = (),
    asked: Iterable[int] = (),
) -> Played:
    """
    Play events through the relations until nothing can happen any more.

    The clock goes from one reading, deadline or question to the next; the watermark is the clock less the lateness.
    Between any two steps there are packed states only, so every step is a restart.

    Args:
        relations: The definitions.
        arrivals: The events, each with the clock at which it is read.
        lateness_ms: How late events may come and be in time.
        stops: When nothing is read: what came by then is read at the end of it, in one step.
        asked: Moments for which to return what is known then.
    """
    queue = sorted(arrivals, key=lambda one: (one.at, one.event.time, one.event.id))
    player = _Player(relations, (queue[0].at if queue else 0) - lateness_ms - 1)
    clocks = [*(one.at for one in queue), *asked]
    heapq.heapify(clocks)
    asked, now, place = set(asked), 0, 0
    while clocks:
        clock = heapq.heappop(clocks)
        stop = next((stop for stop in stops if stop.since <= clock < stop.until), None)
        clock = stop.until if stop else clock
        if clock <= now and now:
            continue
        if stop is None:
            # The watermark has gone on with the clock.
            player.step((), clock - 1, clock - 1 - lateness_ms)
        now, batch = clock, []
        while place < len(queue) and queue[place].at <= now:
            batch.append(queue[place].event)
            place += 1
        player.step(batch, now, now - lateness_ms)
        if now in asked:
            player.played.known[now] = player.known()
        if (wakes := player.wakes_at()) is not None:
            heapq.heappush(clocks, wakes + lateness_ms)
    player.played.left = sum(map(len, player.states.values()))
    return player.played


class _Player:
    """What a stage does around the pure steps, for one partition."""

    def __init__(self, relations: Relations, watermark: int) -> None:
        self._relations = relations
        self._watermark = watermark
        self.played = Played()
        self.states: dict[str, bytes] = {}
        self._wakes: dict[str, int] = {}
        self._persons: dict[str, str] = {}
        self._links: list[tuple[int, str, str]] = []
        self._clock = 0

    def step(self, events: Iterable[Envelope], clock: int, until: int) -> None:
        self._clock = clock
        facts: dict[str, list[Fact]] = {}
        for event in events:
            if milliseconds(event.time) > clock + FUTURE_MS:
                self.played.refused.append(event.id)
                continue
            person = self._person(customer_of(event.subject, synthetic=event.synthetic))
            self._note_link(event)
            if fact := self._relations.reader.fact(event):
                facts.setdefault(person, []).append(fact)
        # What comes before a link is said of two customers, what comes after it of one, wherever steps end.
        while self._links and self._links[0][0] <= until:
            at, alias, subject = heapq.heappop(self._links)
            self._advance(facts, max(self._watermark, at - 1))
            facts = {}
            self._join(alias, subject)
        self._advance(facts, until)

    def known(self) -> Knowledge:
        """Tell what is known now."""
        waiting: dict[str, list[int]] = {}
        stages: Counter[tuple[str, str]] = Counter()
        for state in self.states.values():
            for relation, opened in customer.open_matters(self._relations, state):
                waiting.setdefault(relation, []).append(opened)
            stages.update(customer.stages_of(self._relations, state))
        return Knowledge([result for _, result in self.played.results], waiting, stages)

    def wakes_at(self) -> int | None:
        """Return the next moment at which somebody needs a step."""
        return min([*self._wakes.values(), *(link[0] for link in self._links[:1])], default=None)

    def _person(self, subject: str) -> str:
        while subject in self._persons:
            subject = self._persons[subject]
        return subject

    def _note_link(self, event: Envelope) -> None:
        link: tuple[str, str] | None = None
        if event.synthetic:
            return
        if isinstance(event.data, IdentityLinked):
            link = event.data.alias, event.subject
        elif isinstance(event.data, IdentityMerged):
            link = event.subject, event.data.merged_into
        if link:
            heapq.heappush(self._links, (milliseconds(event.time), *link))

    def _advance(self, facts: Mapping[str, Sequence[Fact]], until: int) -> None:
        awake = {subject for subject, at in self._wakes.items() if at <= until}
        for subject in sorted(awake | facts.keys()):
            state, new = self.states.get(subject, b""), facts.get(subject, ())
            step = customer.advance(self._relations, subject_of(subject), state, new, self._watermark, until)
            self._take(subject, step)
        self._watermark = max(self._watermark, until)

    def _join(self, alias: str, subject: str) -> None:
        other, person = self._person(alias), self._person(subject)
        if other == person:
            return
        self._persons[other] = person
        theirs = self.states.pop(other, b"")
        self._wakes.pop(other, None)
        step = customer.join(self._relations, person, self.states.get(person, b""), [theirs], self._watermark)
        self._take(person, step)

    def _take(self, subject: str, step: customer.CustomerStep) -> None:
        self.states[subject] = step.state
        self.played.most = max(self.played.most, len(step.state))
        self.played.results += [(self._clock, result) for result in step.results]
        self.played.late.update(step.late)
        self.played.ignored.update(step.ignored)
        self.played.forgotten.update(step.forgotten)
        if step.wakes_at is None:
            self._wakes.pop(subject, None)
        else:
            self._wakes[subject] = step.wakes_at


def value_of(result: DerivedEvent, name: str) -> Any:
    """Return what a result says under a name, wherever it stands; None if it says nothing."""
    if name in {"relation", "at", "subject", "revision", "withdrawn", "span"}:
        return getattr(result, name)
    return result.data.get(name, result.origin.get(name))
