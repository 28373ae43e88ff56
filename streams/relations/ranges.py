"""What relations read of one frozen range of a source, and how it travels."""

from collections.abc import Iterable
from typing import Final

import cramjam
import msgspec

from streams.relations.facts import Fact

_LEVEL: Final = 1
_RELATE: Final = "relate/"
_MOST_BYTES: Final = 256 * 1024
"""Of facts that a partition sends to another one in a range, if there are several."""


class FactRange(msgspec.Struct, array_like=True, frozen=True):
    """
    The facts of the records `first` to `last` of a source; with first > last only news of its watermark.

    The same range always has the same facts, however often it comes.

    Attributes:
        source: Channel and partition.
        first, last: Positions of the records.
        watermark: Unix seconds before which no event is expected any more; None before the first event.
        caught_up: False while the source reads records that have waited.
        facts: Whose, and what; in the order in which they were read.
    """

    source: str
    first: int
    last: int
    watermark: float | None
    caught_up: bool
    facts: list[tuple[str, Fact]] = []

    @property
    def active(self) -> bool:
        """Whether it is of records, and not news alone."""
        return self.first <= self.last


def said_by_relate(one: FactRange) -> bool:
    """Return whether a partition has sent it to another one: it says nothing of watermarks."""
    return one.source.startswith(_RELATE)


def letters_of(letters: Iterable[tuple[int, str, Fact]], name: str, first: int) -> list[tuple[int, FactRange]]:
    """
    Return facts that a partition has for others as ranges, and to which partition each goes.

    Args:
        letters: To which partition, to whom, and what; partition after partition.
        name: Of the partition that sends them.
        first: Number of the first range.
    """
    lots: list[tuple[int, list[tuple[str, Fact]]]] = []
    size = 0
    for home, key, fact in letters:
        weighs = len(key) + len(_encode(fact))
        if not lots or lots[-1][0] != home or size + weighs > _MOST_BYTES:
            lots.append((home, []))
            size = 0
        lots[-1][1].append((key, fact))
        size += weighs
    source = _RELATE + name
    return [
        (home, FactRange(source, number, number, None, caught_up=True, facts=facts))
        for number, (home, facts) in enumerate(lots, first)
    ]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FactRange).decode


def encode_range(one: FactRange) -> bytes:
    """Return the record of a range."""
    return bytes(cramjam.zstd.compress(_encode(one), _LEVEL))


def decode_range(record: bytes) -> FactRange:
    """Return the range of a record; raises what `encode_range` has not written."""
    return _decode(bytes(cramjam.zstd.decompress(record)))
