"""
Customers who wait, packed some at a time: names and words are the same in most of them, so together they are small.

A page holds the customers of a range of hashes. It is unpacked when one of them is asked for.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias
from zlib import crc32

import cramjam
import msgspec

Kept: TypeAlias = tuple[bytes, int | None]
"""A customer's state, empty if there is none, and the next moment at which it needs a step."""

_LEVEL: Final = 1
_BYTES: Final = 24_576
"""Of unpacked states on a page, if there are several: more of them are smaller together, and slower to unpack."""


class CustomerPage(msgspec.Struct, array_like=True):
    """
    Customers whose hashes are `first` or higher, and lower than the next page's first.

    Attributes:
        wakes: No customer on it needs a step before this moment; None: none ever does.
    """

    first: int
    count: int
    wakes: int | None
    packed: msgspec.Raw

    def customers(self) -> dict[str, Kept]:
        """Return those on it."""
        return _read(bytes(cramjam.zstd.decompress(_read_bytes(self.packed))))


_encode: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(dict[str, Kept]).decode
_read_bytes: Final = msgspec.msgpack.Decoder(bytes).decode


def hash_of(subject: str) -> int:
    """Return the hash by which customers are put in order."""
    return crc32(subject.encode())


def pages_of(customers: Iterable[tuple[str, Kept]], first: int = 0) -> Iterator[CustomerPage]:
    """Yield pages of some customers, which begin with a hash; those without a state are left out."""
    ordered = sorted((hash_of(subject), subject, kept) for subject, kept in customers if kept[0])
    lot: dict[str, Kept] = {}
    size, last = 0, first
    for number, subject, kept in ordered:
        if lot and size + len(kept[0]) > _BYTES and number > last:
            yield _page(first, lot)
            first, lot, size = number, {}, 0
        lot[subject] = kept
        size, last = size + len(kept[0]), number
    if lot:
        yield _page(first, lot)


def _page(first: int, lot: dict[str, Kept]) -> CustomerPage:
    wakes = min((at for _, at in lot.values() if at is not None), default=None)
    packed = bytes(cramjam.zstd.compress(_encode(lot), _LEVEL))
    return CustomerPage(first, len(lot), wakes, msgspec.Raw(_encode(packed)))
