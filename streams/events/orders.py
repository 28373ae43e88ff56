"""What an operator orders of a source partition that has stopped: up to where its records are let through."""

from typing import Final

import msgspec


class SourceOrder(msgspec.Struct, frozen=True, gc=False):
    """
    Let the records of a source through from offset `first` on, where it stopped, up to `until`, which is not included.

    What is bad of them becomes dead letters, all others are counted. A range that begins in there is not held against
    its source, so an order stands whatever the ranges are cut to, after a restart and in another worker; given twice,
    it is the same as given once. `epoch` is that of the topics: offsets of another one mean other records.
    """

    source: str
    first: int
    until: int
    epoch: int

    def __post_init__(self) -> None:
        """Raise ValueError for an order that lets nothing through."""
        if not 0 <= self.first < self.until:
            raise ValueError(f"an order from offset {self.first} to {self.until} lets nothing through")

    def covers(self, offset: int) -> bool:
        """Return whether a range that begins at `offset` is let through."""
        return self.first <= offset < self.until


_KEY: Final = b"order|"

encode = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SourceOrder).decode


def decode(value: bytes) -> SourceOrder:
    """
    Read an order.

    Raises:
        ValueError: It is none.
    """
    try:
        return _decode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def key_of(order: SourceOrder) -> bytes:
    """Return the key under which the newest order of a source is kept in the changelog of its partition."""
    return _KEY + order.source.encode()


def is_order(key: bytes) -> bool:
    """Return whether a changelog entry is an order, by its key."""
    return key.startswith(_KEY)
