"""Spans at work: from an opening until a closing, a split, silence or a deadline."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from streams.relations import clocks
from streams.relations.definition import folded_key
from streams.relations.facts import Fact, Value, Values, origin_of
from streams.relations.kinds import SpanRelation
from streams.relations.machine import MOST_OPEN, Statement, name_of
from streams.relations.memory import Memory
from streams.relations.takes import TAKING, seconds


class SpanState(msgspec.Struct, array_like=True):
    """
    One span of one customer; times in milliseconds.

    Attributes:
        started: When its clock started.
        due: Its deadline, by which it ends by itself.
        kept: What is kept, by the place of the take in the definition.
        ended: When it ended; 0: it is open.
        rested: How long it was held for closed before it came back.
    """

    id: str
    key: tuple[Value, ...]
    origin: Values
    opened: int
    started: int
    last: int
    due: int | None
    kept: list[Any]
    ended: int = 0
    outcome: str = ""
    rested: int = 0


class _State(msgspec.Struct, array_like=True):
    matters: list[SpanState] = []
    memory: list[Any] = []


_decode: Final = msgspec.msgpack.Decoder(_State).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class SpanMachine:
    """The spans of one relation and one customer: those that are open, and those that may come back."""

    def __init__(self, relation: SpanRelation, packed: bytes = b"") -> None:
        state = _decode(packed) if packed else _State()
        self._relation = relation
        self._matters = state.matters
        for matter in self._matters if relation.by else ():
            matter.key = folded_key(matter.key)
        self._memory = Memory([take for take in relation.keeps if take.before_ms], state.memory)
        self._forgotten = 0

    @property
    def forgotten(self) -> int:
        """How much had no room, or stayed open for longer than it may."""
        return self._forgotten + self._memory.forgotten

    def pack(self) -> bytes:
        """Return the state; empty if there is none."""
        memory = self._memory.pack()
        return _encode(_State(self._matters, memory)) if self._matters or memory else b""

    def join(self, other: bytes) -> None:
        """Take over the spans of another key of the same customer, in the order of their openings."""
        state = _decode(other)
        self._matters = sorted([*self._matters, *state.matters], key=lambda matter: (matter.opened, matter.id))
        self._memory.join(state.memory)

    def open(self) -> Iterator[int]:
        """Yield when each of the open ones was opened."""
        return (matter.opened for matter in self._matters if not matter.ended)

    def names(self) -> frozenset[str]:
        """Return the names of all spans that are open or may come back."""
        return frozenset(matter.id for matter in self._matters)

    def standing(self) -> dict[str, Statement]:
        """Return what was said of spans that have ended and may still come back."""
        return {matter.id: self._say(matter) for matter in self._matters if matter.ended}

    def wakes_at(self) -> int | None:
        """Return the next deadline, or the moment from which something is forgotten."""
        wakes = [*map(self._wakes, self._matters), self._memory.wakes_at()]
        return min((at for at in wakes if at is not None), default=None)

    def advance(self, until: int) -> Iterator[Statement]:
        """Let all deadlines up to a moment pass, that one included, and forget what is too old."""
        while (matter := min(self._matters, key=self._wakes, default=None)) and (now := self._wakes(matter)) <= until:
            expires = self._relation.expires
            if matter.ended or matter.due is None or expires is None:
                self._forgotten += not matter.ended
                self._matters.remove(matter)
            else:
                yield self._end(matter, expires.outcome, now)
        self._memory.forget(until)

    def apply(self, fact: Fact) -> Iterator[Statement]:
        """Take the next event: it may end spans, bring them back, and open one."""
        relation = self._relation
        key = relation.key_of(fact.values)
        if key is None:
            return
        mine = [matter for matter in self._matters if matter.key == key]
        waiting = [matter for matter in mine if not matter.ended]
        for matter in waiting:
            yield from self._continue(matter, fact)
        if mine and not waiting:
            yield from self._return(max(reversed(mine), key=lambda matter: matter.ended), fact)
        if self._opens(fact) and (relation.each or all(matter.ended for matter in mine)):
            self._open(fact, key)
        self._memory.add(fact, key)

    def _wakes(self, matter: SpanState) -> int:
        if matter.ended:
            return matter.ended + self._relation.remembers_ms + 1
        if matter.due is not None and self._relation.expires:
            return matter.due
        return matter.opened + self._relation.forgets_ms

    def _opens(self, fact: Fact) -> bool:
        """Whether an event opens a span: one that is to end at a time must say at which."""
        expires = self._relation.expires
        return self._relation.opens.meets(fact) and not (expires and expires.at and expires.at not in fact.values)

    def _open(self, fact: Fact, key: tuple[Value, ...]) -> None:
        relation = self._relation
        before = {**self._memory.taken(key, fact), **self._memory.kept(key, fact)}
        kept = [before.get(take.name) for take in relation.keeps]
        matter = SpanState(
            name_of(relation.id, fact), key, origin_of(fact), fact.time, fact.time, fact.time, self._due(fact), kept
        )
        self._take(matter, fact)
        self._matters.append(matter)
        if len(self._matters) > MOST_OPEN:
            self._matters.pop(0)
            self._forgotten += 1

    def _due(self, fact: Fact) -> int | None:
        deadline = self._relation.deadline
        if deadline is None:
            return None
        if deadline.after_ms:
            return clocks.after(self._relation.clock, fact.time, deadline.after_ms)
        at = fact.values.get(deadline.at)
        if at is None:
            return None
        # What is promised for a moment that is over ends at once.
        return max(int(at), fact.time) if self._relation.expires else int(at)

    def _continue(self, matter: SpanState, fact: Fact) -> Iterator[Statement]:
        relation, deadline = self._relation, self._relation.deadline
        kept = self._kept(matter, fact.time)
        for outcome, splits in relation.splits.items():
            if splits.meets(fact, kept):
                yield self._end(matter, outcome, fact.time)
                return
        self._take(matter, fact)
        if relation.touches and relation.touches.meets(fact, kept):
            matter.last = fact.time
            if relation.by_silence:
                matter.due = self._due(fact)
        if relation.restarts and relation.restarts.meets(fact, kept):
            matter.started = fact.time
            if deadline and deadline.after_ms and not relation.by_silence:
                matter.due = self._due(fact)
        if deadline and deadline.moves and deadline.moves.meets(fact, kept):
            matter.due = self._due(fact) or matter.due
        if outcome := self._closing(matter, fact):
            matter.last = fact.time
            yield self._end(matter, outcome, fact.time)

    def _closing(self, matter: SpanState, fact: Fact) -> str:
        """Return the outcome by which an event, already taken, closes a span; empty: by none."""
        kept = self._kept(matter, fact.time)
        return next((outcome for outcome, closes in self._relation.closes.items() if closes.meets(fact, kept)), "")

    def _return(self, matter: SpanState, fact: Fact) -> Iterator[Statement]:
        """Bring back what has ended: a closing that comes after expiry, or an event that takes a closing back."""
        relation, expires = self._relation, self._relation.expires
        if expires and matter.outcome == expires.outcome and fact.time <= matter.ended + expires.reopens_ms:
            taken = msgspec.structs.replace(matter, kept=list(matter.kept))
            self._take(taken, fact)
            if outcome := self._closing(taken, fact):
                matter.kept, matter.last = taken.kept, fact.time
                yield self._end(matter, outcome, fact.time)
        elif relation.reopens and relation.reopens.meets(fact) and fact.time <= matter.ended + relation.reopens_ms:
            matter.rested += clocks.elapsed(relation.clock, matter.ended, fact.time)
            matter.ended, matter.outcome, matter.last = 0, "", fact.time
            if expires and matter.due is not None:
                # Coming back is activity, and a deadline that passed meanwhile ends it then, not before it came back.
                matter.due = self._due(fact) if relation.by_silence else max(matter.due, fact.time)
            self._take(matter, fact)
            yield Statement(matter.id, fact.time, {}, None)

    def _end(self, matter: SpanState, outcome: str, now: int) -> Statement:
        matter.ended, matter.outcome = now, outcome
        said = self._say(matter)
        if not self._relation.remembers_ms:
            self._matters.remove(matter)
        return said

    def _take(self, matter: SpanState, fact: Fact) -> None:
        for place, take in enumerate(self._relation.keeps):
            if (take.goes_on or not take.before_ms) and take.meets(fact):
                taking = TAKING[take.take]
                matter.kept[place] = taking.add(matter.kept[place], fact.time, take.value_of(fact))

    def _kept(self, matter: SpanState, now: int) -> Values:
        return {
            take.name: TAKING[take.take].result(matter.kept[place], now)
            if take.goes_on or not take.before_ms
            else matter.kept[place]
            for place, take in enumerate(self._relation.keeps)
        }

    def _say(self, matter: SpanState) -> Statement:
        relation, ended = self._relation, matter.ended
        closed = matter.outcome in relation.closes
        # The waiting time is no part of what ended by silence, nor is what began the next one.
        until = ended if closed or relation.touches is None else matter.last
        duration = clocks.elapsed(relation.clock, matter.started, until)
        data: dict[str, Any] = {
            "outcome": matter.outcome,
            "opened": matter.opened,
            "duration_s": seconds(duration),
        }
        if relation.touches:
            data["last"] = matter.last
        if relation.restarts:
            data["started"] = matter.started
        if relation.clock:
            data["elapsed_s"] = seconds(max(0, until - matter.started))
        if relation.reopens:
            data["worked_s"] = seconds(duration - matter.rested)
        if matter.due is not None:
            data["due"] = matter.due
            data["left_s"] = seconds(matter.due - ended)
        data.update(relation.key_data(matter.key))
        data.update({name: value for name, value in self._kept(matter, ended).items() if value is not None})
        return Statement(matter.id, ended, matter.origin, data)
