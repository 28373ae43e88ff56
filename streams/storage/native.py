"""
Columns in ClickHouse's Native format, laid out by hand.

The payloads of a block are bytes already; joining them with their lengths is several times cheaper than handing rows
to a general encoder. Every function gives the bytes of one column; `native_block` puts columns together.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

_MISSING: Final = 0.0


class Column(NamedTuple):
    """One column: its name, its ClickHouse type, and the bytes of its values, in one piece or many."""

    name: str
    type: str
    data: bytes | list[bytes]


class _Lengths(dict[int, bytes]):
    """Lengths as LEB128 bytes, made when first seen."""

    def __missing__(self, number: int) -> bytes:
        made = self[number] = _varint(number)
        return made


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_LENGTHS: Final = _Lengths()


def native_block(rows: int, columns: Sequence[Column]) -> bytes:
    """Put the columns of so many rows together as one block."""
    parts = [_varint(len(columns)), _varint(rows)]
    for column in columns:
        parts += (string(column.name.encode()), string(column.type.encode()))
        parts += [column.data] if isinstance(column.data, bytes) else column.data
    return b"".join(parts)


def string(value: bytes) -> bytes:
    """Return one String value."""
    return _LENGTHS[len(value)] + value


def string_parts(values: Sequence[bytes]) -> list[bytes]:
    """Return a String column in pieces, so that large values are copied only once, into their block."""
    parts = [b""] * (2 * len(values))
    parts[::2] = map(_LENGTHS.__getitem__, map(len, values))
    parts[1::2] = values
    return parts


def strings(values: Sequence[bytes]) -> bytes:
    """Return a String column."""
    return b"".join(string_parts(values))


def split_strings(data: bytes, at: int, rows: int) -> list[bytes]:
    """Return the values of a String column of so many rows that begins at `at`."""
    values = []
    for _ in range(rows):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        values.append(data[at : at + length])
        at += length
    return values


def texts(values: Iterable[str]) -> bytes:
    """Return a String column of texts; what UTF-8 cannot carry becomes a question mark."""
    return strings([value.encode(errors="replace") for value in values])


def numbers(values: Iterable[int | float], dtype: str) -> bytes:
    """
    Return a column of fixed-width numbers; `dtype` as in numpy, little-endian, e.g. `<u8`.

    Raises OverflowError when a number does not fit.
    """
    return np.fromiter(values, dtype=dtype).tobytes()


def repeated(value: bytes, rows: int) -> bytes:
    """Return a column that holds the same encoded value in every row."""
    return value * rows


def wide_numbers(values: Sequence[int]) -> bytes:
    """
    Return an Int128 column.

    Raises OverflowError when a number does not fit.
    """
    try:
        low = np.fromiter(values, dtype="<i8", count=len(values))
    except OverflowError:
        return b"".join(value.to_bytes(16, "little", signed=True) for value in values)
    return np.stack((low, low >> 63), axis=1).tobytes()


def optional_floats(values: Sequence[float | None]) -> bytes:
    """Return a Nullable(Float64) column."""
    missing = bytes(value is None for value in values)
    return missing + numbers((_MISSING if value is None else value for value in values), "<f8")


def ends(sizes: Iterable[int]) -> bytes:
    """Return the offsets that head an Array or Map column, from the number of elements of each row."""
    return np.fromiter(sizes, dtype="<u8").cumsum(dtype="<u8").tobytes()
