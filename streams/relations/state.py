"""How what is kept of one customer is packed. Most of it is not needed by most steps, and is unpacked where it is."""

from bisect import bisect_left, bisect_right
from typing import Final

import msgspec

from streams.relations.definition import Relation
from streams.relations.facts import Fact
from streams.relations.results import Given


class RelationState(msgspec.Struct, array_like=True):
    """
    What is kept of one relation.

    Attributes:
        version: Of the definition that it was made by.
        base: Its state as of `CustomerState.final`; None: the same as `head`.
        given: What was said last of each matter that may still change, packed.
    """

    version: str
    head: bytes = b""
    base: bytes | None = None
    wakes: int | None = None
    given: dict[str, msgspec.Raw] = {}


class CustomerState(msgspec.Struct, array_like=True):
    """
    What is kept of one customer.

    Attributes:
        final: Up to here nothing changes any more; what comes for it is ignored.
        newest: The newest moment of which something was given out.
        times: Of the facts.
        facts: Events behind `final`, packed, in order of time, source and id; those ahead of the watermark too.
        claimed: When the customer was last said to have another key, in milliseconds; 0: never, or long ago.
        joined: How many keys have been joined.
    """

    final: int
    newest: int = 0
    times: list[int] = []
    facts: list[msgspec.Raw] = []
    kept: dict[str, RelationState] = {}
    claimed: int = 0
    joined: int = 0

    def past(self, until: int) -> int:
        """Return how many of its facts are of a moment or before it."""
        return bisect_right(self.times, until)

    def unpacked(self, start: int = 0, stop: int | None = None) -> list[Fact]:
        """Return its facts, or some of them."""
        return [read_fact(one) for one in self.facts[start:stop]]

    def add(self, fact: Fact) -> msgspec.Raw | None:
        """Put a fact in its place; return it as it is kept, None if it was not new."""
        place, times = bisect_left(self.times, fact.time), self.times
        while place < len(times) and times[place] == fact.time:
            other = read_fact(self.facts[place])
            if (other.source, other.id) == (fact.source, fact.id):
                return None
            if (other.source, other.id) > (fact.source, fact.id):
                break
            place += 1
        packed = msgspec.Raw(_encode(fact))
        times.insert(place, fact.time)
        self.facts.insert(place, packed)
        return packed

    def of(self, relation: Relation) -> RelationState:
        """Return what is kept of a relation; of another version of its definition nothing is."""
        found = self.kept.get(relation.id)
        if found is None or found.version != relation.version:
            found = self.kept[relation.id] = RelationState(relation.version)
        return found

    def packed(self) -> bytes:
        """Return what `read_state` reads; of who has one key the same as before there were links."""
        if self.claimed or self.joined:
            return _encode(self)
        return _encode((self.final, self.newest, self.times, self.facts, self.kept))


class _Former(msgspec.Struct, array_like=True):
    """As it was written before facts were packed one by one."""

    final: int
    facts: list[Fact] = []
    kept: dict[str, RelationState] = {}


_encode: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(CustomerState).decode
_read_former: Final = msgspec.msgpack.Decoder(_Former).decode
read_fact: Final = msgspec.msgpack.Decoder(Fact).decode
read_given: Final = msgspec.msgpack.Decoder(Given).decode


def packed_given(given: Given) -> msgspec.Raw:
    """Return what `read_given` reads."""
    return msgspec.Raw(_encode(given))


def read_state(state: bytes, final: int = 0) -> CustomerState:
    """Return what is kept of a customer; of one of whom nothing is, all after `final` may change."""
    if not state:
        return CustomerState(final)
    try:
        return _read(state)
    except msgspec.ValidationError:
        former = _read_former(state)
        said = [read_given(one).statement.at for kept in former.kept.values() for one in kept.given.values()]
        read = CustomerState(former.final, max(said, default=0), kept=former.kept)
        for fact in former.facts:
            read.add(fact)
        return read
