"""What relations read of one frozen range of a source, and how it travels."""

from typing import Final

import cramjam
import msgspec

from streams.relations.facts import Fact

_LEVEL: Final = 1


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


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FactRange).decode


def encode_range(one: FactRange) -> bytes:
    """Return the record of a range."""
    return bytes(cramjam.zstd.compress(_encode(one), _LEVEL))


def decode_range(record: bytes) -> FactRange:
    """Return the range of a record; raises what `encode_range` has not written."""
    return _decode(bytes(cramjam.zstd.decompress(record)))
