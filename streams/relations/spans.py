"""Spans at work: from an opening until a closing, a split, silence or a deadline."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from streams.relations import clocks
from streams.relations.definition import NOTHING_KEPT, folded_key
from streams.relations.facts import Fact, Value, Values, origin_of
from streams.relations.kinds import SpanRelation
from streams.relations.machine import MOST_OPEN, Statement, name_of
from streams.relations.memory import Memory, Packed
from streams.relations.plans import SpanPlan, Test, taken_in
from streams.relations.takes import seconds


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
    memory: Packed = []


_decode: Final = msgspec.msgpack.Decoder(_State).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_UNKNOWN: Final = -1
_NEVER: Final = 1 << 62


class SpanMachine:
    """The spans of one relation and one customer: those that are open, and those that may come back."""

    def __init__(self, relation: SpanRelation, packed: bytes = b"") -> None:
        state = _decode(packed) if packed else _State()
        self._relation = relation
        self._matters = state.matters
        for matter in self._matters if relation.by else ():
            matter.key = folded_key(matter.key)
        self._memory = Memory(relation.memory, state.memory, folds=bool(relation.by)) if relation.before else None
        self._forgotten = 0
        self._wakes = _UNKNOWN
        """When the next span ends by itself or is forgotten."""

    @property
    def forgotten(self) -> int:
        """How much had no room, or stayed open for longer than it may."""
        return self._forgotten + (self._memory.forgotten if self._memory else 0)

    def pack(self) -> bytes:
        """Return the state; empty if there is none."""
        memory = self._memory.pack() if self._memory else []
        return _encode(_State(self._matters, memory)) if self._matters or memory else b""

    def join(self, other: bytes) -> None:
        """Take over the spans of another key of the same customer, in the order of their openings."""
        state = _decode(other)
        self._matters = sorted([*self._matters, *state.matters], key=lambda matter: (matter.opened, matter.id))
        if self._memory:
            self._memory.join(state.memory)
        self._wakes = _UNKNOWN

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
        memory = self._memory.wakes_at() if self._memory else None
        wakes = self._next_wake()
        return memory if wakes == _NEVER else wakes if memory is None else min(wakes, memory)

    def advance(self, until: int) -> Iterable[Statement]:
        """Let all deadlines up to a moment pass, that one included, and forget what is too old."""
        said: list[Statement] = []
        while (now := self._next_wake()) <= until:
            matter = min(self._matters, key=self._wake_of)
            expires = self._relation.expires
            if matter.ended or matter.due is None or expires is None:
                self._forgotten += not matter.ended
                self._matters.remove(matter)
                self._wakes = _UNKNOWN
            else:
                said.append(self._end(matter, expires.outcome, now))
        if self._memory:
            self._memory.forget(until)
        return said

    def apply(self, fact: Fact) -> Iterable[Statement]:
        """Take the next event: it may end spans, bring them back, and open one."""
        relation = self._relation
        key, plan = relation.key_of(fact.values) if relation.by else (), relation.plans.get(fact.type)
        if key is None or plan is None:
            return ()
        said: list[Statement] = []
        mine = [matter for matter in self._matters if matter.key == key] if relation.by else [*self._matters]
        waiting = [matter for matter in mine if not matter.ended]
        if waiting and plan.goes_on:
            for matter in waiting:
                said += self._continue(matter, fact, plan)
            self._wakes = _UNKNOWN
        if mine and not waiting and plan.comes_back:
            said += self._return(max(reversed(mine), key=lambda matter: matter.ended), fact, plan)
            self._wakes = _UNKNOWN
        if plan.opens and (relation.each or all(matter.ended for matter in mine)) and self._opens(fact, plan.opens):
            self._open(fact, key, plan)
        if plan.before and self._memory:
            self._memory.add(fact, key, plan.before)
        return said

    def _next_wake(self) -> int:
        if self._wakes == _UNKNOWN:
            self._wakes = min(map(self._wake_of, self._matters), default=_NEVER)
        return self._wakes

    def _wake_of(self, matter: SpanState) -> int:
        if matter.ended:
            return matter.ended + self._relation.remembers_ms + 1
        if matter.due is not None and self._relation.expires:
            return matter.due
        return matter.opened + self._relation.forgets_ms

    def _opens(self, fact: Fact, opens: Test) -> bool:
        """Whether an event opens a span: one that is to end at a time must say at which."""
        expires = self._relation.expires
        return opens(fact, NOTHING_KEPT) and not (expires and expires.at and expires.at not in fact.values)

    def _open(self, fact: Fact, key: tuple[Value, ...], plan: SpanPlan) -> None:
        relation = self._relation
        kept: list[Any] = [None] * len(relation.keeps)
        if self._memory:
            before = {**self._memory.taken(key, fact), **self._memory.kept(key, fact)}
            kept = [before.get(take.name) for take in relation.keeps]
        matter = SpanState(
            name_of(relation.id, fact), key, origin_of(fact), fact.time, fact.time, fact.time, self._due(fact), kept
        )
        taken_in(matter.kept, plan.inside, fact)
        self._matters.append(matter)
        self._wakes = _UNKNOWN
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

    def _continue(self, matter: SpanState, fact: Fact, plan: SpanPlan) -> Iterator[Statement]:
        relation, deadline = self._relation, self._relation.deadline
        kept = self._kept(matter, fact.time) if plan.asks_kept else NOTHING_KEPT
        for outcome, splits in plan.splits:
            if splits(fact, kept):
                yield self._end(matter, outcome, fact.time)
                return
        taken_in(matter.kept, plan.inside, fact)
        if plan.touches and plan.touches(fact, kept):
            matter.last = fact.time
            if relation.by_silence:
                matter.due = self._due(fact)
        if plan.restarts and plan.restarts(fact, kept):
            matter.started = fact.time
            if deadline and deadline.after_ms and not relation.by_silence:
                matter.due = self._due(fact)
        if plan.moves and plan.moves(fact, kept):
            matter.due = self._due(fact) or matter.due
        if plan.closes and (outcome := self._closing(matter, fact, plan)):
            matter.last = fact.time
            yield self._end(matter, outcome, fact.time)

    def _closing(self, matter: SpanState, fact: Fact, plan: SpanPlan) -> str:
        """Return the outcome by which an event, already taken, closes a span; empty: by none."""
        kept = self._kept(matter, fact.time) if plan.asks_kept else NOTHING_KEPT
        return next((outcome for outcome, closes in plan.closes if closes(fact, kept)), "")

    def _return(self, matter: SpanState, fact: Fact, plan: SpanPlan) -> Iterator[Statement]:
        """Bring back what has ended: a closing that comes after expiry, or an event that takes a closing back."""
        relation, expires = self._relation, self._relation.expires
        if expires and matter.outcome == expires.outcome and fact.time <= matter.ended + expires.reopens_ms:
            taken = msgspec.structs.replace(matter, kept=list(matter.kept))
            taken_in(taken.kept, plan.inside, fact)
            if outcome := self._closing(taken, fact, plan):
                matter.kept, matter.last = taken.kept, fact.time
                yield self._end(matter, outcome, fact.time)
        elif plan.reopens and plan.reopens(fact, NOTHING_KEPT) and fact.time <= matter.ended + relation.reopens_ms:
            matter.rested += clocks.elapsed(relation.clock, matter.ended, fact.time)
            matter.ended, matter.outcome, matter.last = 0, "", fact.time
            if expires and matter.due is not None:
                # Coming back is activity, and a deadline that passed meanwhile ends it then, not before it came back.
                matter.due = self._due(fact) if relation.by_silence else max(matter.due, fact.time)
            taken_in(matter.kept, plan.inside, fact)
            yield Statement(matter.id, fact.time, {}, None)

    def _end(self, matter: SpanState, outcome: str, now: int) -> Statement:
        matter.ended, matter.outcome = now, outcome
        self._wakes = _UNKNOWN
        said = self._say(matter)
        if not self._relation.remembers_ms:
            self._matters.remove(matter)
        return said

    def _kept(self, matter: SpanState, now: int) -> Values:
        return {
            name: kept if result is None else result(kept, now)
            for (name, result), kept in zip(self._relation.results, matter.kept, strict=True)
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
