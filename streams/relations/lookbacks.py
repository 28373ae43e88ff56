"""Looking back at work: when something happens, what had happened before."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from streams.relations.facts import Fact, origin_of
from streams.relations.kinds import LookbackRelation
from streams.relations.machine import Statement, name_of
from streams.relations.memory import Memory

_decode: Final = msgspec.msgpack.Decoder(list[Any]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class LookbackMachine:
    """What one relation remembers of one customer."""

    def __init__(self, relation: LookbackRelation, packed: bytes = b"") -> None:
        self._relation = relation
        self._memory = Memory(relation.keeps, _decode(packed) if packed else ())

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
        self._memory.join(_decode(other))

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

    def advance(self, until: int) -> Iterator[Statement]:
        """Forget what nothing can look back at any more."""
        self._memory.forget(until)
        return iter(())

    def apply(self, fact: Fact) -> Iterator[Statement]:
        """Take the next event: say what had been before it, and remember it."""
        relation = self._relation
        key = relation.key_of(fact.values)
        if key is None:
            return
        if relation.at.meets(fact):
            found = self._memory.taken(key, fact)
            data: dict[str, Any] = relation.key_data(key)
            data.update({name: value for name, value in found.items() if value is not None})
            yield Statement(name_of(relation.id, fact), fact.time, origin_of(fact), data)
        self._memory.add(fact, key)
