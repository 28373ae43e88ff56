"""Stages at work: where a customer is, and how they move."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from streams.relations.definition import folded_key
from streams.relations.facts import Fact, Value, Values, origin_of
from streams.relations.kinds import MOVED, StagesRelation
from streams.relations.machine import MOST_OPEN, Statement, name_of
from streams.relations.plans import taken_in
from streams.relations.takes import TAKING, seconds


class Journey(msgspec.Struct, array_like=True):
    """
    One journey; times in milliseconds, stages by their place.

    Attributes:
        since: When its stage was entered.
        last: When something happened last.
        reached: When each stage was entered first.
    """

    id: str
    key: tuple[Value, ...]
    origin: Values
    opened: int
    stage: int
    since: int
    last: int
    reached: dict[int, int]
    kept: list[Any]


_decode: Final = msgspec.msgpack.Decoder(list[Journey]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class StagesMachine:
    """The journeys of one relation and one customer."""

    def __init__(self, relation: StagesRelation, packed: bytes = b"") -> None:
        self._relation = relation
        self._names = [*relation.stages]
        self._waits = relation.expires.after_ms
        self._journeys = _decode(packed) if packed else []
        for journey in self._journeys if relation.by else ():
            journey.key = folded_key(journey.key)
        self.forgotten = 0

    def pack(self) -> bytes:
        """Return the state; empty if there is none."""
        return _encode(self._journeys) if self._journeys else b""

    def join(self, other: bytes) -> None:
        """Take over the journeys of another key; of two that are one, that goes on which moved last."""
        merged = {journey.key: journey for journey in self._journeys}
        for journey in _decode(other):
            mine = merged.get(journey.key)
            if mine is None or mine.since < journey.since:
                merged[journey.key] = journey
        self._journeys = [*merged.values()]

    def open(self) -> Iterator[int]:
        """Yield when each journey that goes on began."""
        return (journey.opened for journey in self._journeys)

    def names(self) -> frozenset[str]:
        """Return the names of all journeys that go on."""
        return frozenset(journey.id for journey in self._journeys)

    def occupancy(self) -> Iterator[str]:
        """Yield the stage that each journey is in."""
        return (self._names[journey.stage] for journey in self._journeys)

    def standing(self) -> dict[str, Statement]:
        """Return nothing: what has ended is over."""
        return {}

    def wakes_at(self) -> int | None:
        """Return when the next journey ends because nothing happens."""
        return min([journey.last for journey in self._journeys]) + self._waits if self._journeys else None

    def advance(self, until: int) -> Iterable[Statement]:
        """End the journeys in which nothing happened for too long, up to a moment."""
        said: list[Statement] = []
        while (wakes := self.wakes_at()) is not None and wakes <= until:
            journey = min(self._journeys, key=lambda one: one.last)
            self._journeys.remove(journey)
            relation = self._relation
            completed = relation.completes and self._names.index(relation.completes) in journey.reached
            outcome = "completed" if completed else relation.expires.outcome
            # The waiting time is no part of the stay.
            data = self._data(journey, outcome, journey.last)
            said.append(Statement(journey.id, wakes, journey.origin, data))
        return said

    def apply(self, fact: Fact) -> Iterable[Statement]:
        """Take the next event: it may begin a journey, or move one."""
        relation = self._relation
        key, plan = relation.key_of(fact.values) if relation.by else (), relation.plans.get(fact.type)
        if key is None or plan is None:
            return ()
        journey = next((one for one in self._journeys if one.key == key), None)
        stage = relation.stage_of(fact) if plan.stages else None
        if journey is None and stage is not None:
            journey = self._begin(fact, key, stage)
        if journey is None:
            return ()
        if plan.inside:
            taken_in(journey.kept, plan.inside, fact)
        if stage is None:
            return ()
        journey.last = fact.time
        return (self._move(journey, fact, stage),) if stage != journey.stage else ()

    def _begin(self, fact: Fact, key: tuple[Value, ...], stage: int) -> Journey:
        at, kept = fact.time, [None] * len(self._relation.keeps)
        journey = Journey(name_of(self._relation.id, fact), key, origin_of(fact), at, stage, at, at, {stage: at}, kept)
        self._journeys.append(journey)
        if len(self._journeys) > MOST_OPEN:
            self._journeys.pop(0)
            self.forgotten += 1
        return journey

    def _move(self, journey: Journey, fact: Fact, stage: int) -> Statement:
        former = journey.stage
        data = self._data(journey, MOVED, fact.time)
        between = range(min(former, stage) + 1, max(former, stage))
        data |= {
            "to_stage": self._names[stage],
            "skipped": sum(1 for at in between if at not in journey.reached) if stage > former else 0,
            "backward": stage < former,
            "first": stage not in journey.reached,
        }
        journey.stage, journey.since = stage, fact.time
        journey.reached.setdefault(stage, fact.time)
        data["highest"] = self._names[max(journey.reached)]
        return Statement(name_of(self._relation.id, fact), fact.time, origin_of(fact), data)

    def _data(self, journey: Journey, outcome: str, until: int) -> dict[str, Any]:
        relation = self._relation
        kept = {
            take.name: TAKING[take.take].result(journey.kept[place], until) for place, take in enumerate(relation.keeps)
        }
        return {
            "outcome": outcome,
            "from_stage": self._names[journey.stage],
            "stayed_s": seconds(until - journey.since),
            "skipped": 0,
            "backward": False,
            "first": False,
            "opened": journey.opened,
            "highest": self._names[max(journey.reached)],
            **relation.key_data(journey.key),
            **{name: value for name, value in kept.items() if value is not None},
        }
