"""Looking back at work: when something happens, what had happened before."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from streams.relations.definition import NOTHING_KEPT
from streams.relations.facts import Fact, origin_of
from streams.relations.kinds import LookbackRelation
from streams.relations.machine import Statement, name_of
from streams.relations.memory import Memory, read_packed

_encode: Final = msgspec.msgpack.Encoder().encode


class LookbackMachine:
    """What one relation remembers of one customer."""

    def __init__(self, relation: LookbackRelation, packed: bytes = b"") -> None:
        self._relation = relation
        self._memory = Memory(relation.memory, read_packed(packed) if packed else None, folds=bool(relation.by))

    @property
    def forgotten(self) -> int:
        """How much had no room."""
        return self._memory.forgotten

    def pack(self) -> bytes:
        """Return the state; empty if there is none."""
        memory = self._memory.pack()
        return _encode(memory) if memory else b""

    def join(self, other: bytes) -> None:
        """Remember as well what another key of the same customer has."""
        self._memory.join(read_packed(other))

    def open(self) -> Iterator[int]:
        """Yield nothing: it waits for nothing."""
        return iter(())

    def names(self) -> frozenset[str]:
        """Return nothing: what was said is never reopened."""
        return frozenset()

    def standing(self) -> dict[str, Statement]:
        """Return nothing: what was said is never reopened."""
        return {}

    def wakes_at(self) -> int | None:
        """Return the moment from which something can be forgotten."""
        return self._memory.wakes_at()

    def advance(self, until: int) -> Iterable[Statement]:
        """Forget what nothing can look back at any more."""
        self._memory.forget(until)
        return ()

    def apply(self, fact: Fact) -> Iterable[Statement]:
        """Take the next event: say what had been before it, and remember it."""
        relation = self._relation
        said: tuple[Statement, ...] = ()
        key, plan = relation.key_of(fact.values) if relation.by else (), relation.plans.get(fact.type)
        if key is None or plan is None:
            return said
        if plan.at and plan.at(fact, NOTHING_KEPT):
            found = self._memory.taken(key, fact)
            data: dict[str, Any] = relation.key_data(key)
            data.update({name: value for name, value in found.items() if value is not None})
            said = (Statement(name_of(relation.id, fact), fact.time, origin_of(fact), data),)
        if plan.before:
            self._memory.add(fact, key, plan.before)
        return said
