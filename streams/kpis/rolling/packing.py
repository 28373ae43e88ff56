"""
Packed totals: accumulators of many series in a few bytes each.

Totals are laid out by column, each column by byte (all lowest bytes, then all second ones, ...), because like beside
like compresses best and the high bytes of counts are all zero. Sorted numbers are kept as steps from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import cramjam
import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.kpis.arithmetic.accumulators import Acc, add_all
from streams.kpis.folding.partials import narrow

Totals: TypeAlias = dict[int, Acc]
"""Accumulators by series number."""

Name: TypeAlias = tuple[int, int, int]
"""Minute, shard and part of a page."""

_Ints: TypeAlias = NDArray[np.int64]

_LEVEL = 1
_WORD = np.dtype("<i8")
_SAFE = 1 << 62
_BIN_KEYS = 1 << 32  # more than there are bins, with one below zero
_BINS_AT_ONCE = 256


class Packed(msgspec.Struct, array_like=True):
    """What a packed record holds."""

    fence: int = -1
    """Offset of the last partial contained."""
    flat: list[tuple[int, bytes]] = []
    """Number of columns and their bytes per width of accumulator: series, then the fields."""
    bins: tuple[bytes, bytes] | None = None
    """Columns series and number of bins; columns bin index and count."""
    wide: dict[int, list[int | str]] = {}
    """Flat accumulators with a field beyond 64 bits, which is text here."""
    absorbed: list[Name] = []
    """Of a total since the beginning: the pages it has taken in last."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Packed)


def pack(totals: Totals, fence: int = -1, absorbed: Sequence[Name] = ()) -> bytes:
    """Return totals as bytes."""
    packed = Packed(fence=fence, absorbed=list(absorbed))
    try:
        _lay_out(totals, packed)
    except OverflowError:
        narrowed = {number: [narrow(v) for v in acc] for number, acc in totals.items() if isinstance(acc, list)}
        wide = {number: fields for number, fields in narrowed.items() if any(type(field) is str for field in fields)}
        packed = Packed(fence=fence, wide=wide, absorbed=list(absorbed))
        _lay_out({number: acc for number, acc in totals.items() if number not in wide}, packed)
    return bytes(cramjam.zstd.compress(_ENCODER.encode(packed), _LEVEL))


def decode(record: bytes) -> Packed:
    """Return what `pack` was given, still in columns."""
    return _DECODER.decode(bytes(cramjam.zstd.decompress(record)))


def unpack(record: bytes) -> Totals:
    """Return the totals that `pack` was given."""
    packed = decode(record)
    totals: Totals = {}
    for columns, raw in packed.flat:
        numbers, *fields = _from_bytes(raw, columns)
        totals.update(zip(numbers.cumsum().tolist(), np.stack(fields, axis=1).tolist(), strict=True))
    totals.update(_binned(packed))
    for number, wide in packed.wide.items():
        totals[number] = [int(value) for value in wide]
    return totals


def add_up(records: Iterable[bytes], series: int) -> Totals:
    """
    Return the sum of packed records in which all series numbers are below `series`.

    The same as merging what `unpack` gives, many times faster: a restart adds up millions of accumulators.
    """
    totals: Totals = {}
    sums: dict[int, _Ints] = {}
    seen: dict[int, NDArray[np.bool_]] = {}
    largest: dict[int, int] = {}
    binned: list[tuple[_Ints, _Ints]] = []

    def add_width(width: int) -> None:
        present = np.flatnonzero(seen[width])
        add_all(totals, zip(present.tolist(), sums[width][present].tolist(), strict=True))
        sums[width][:], largest[width] = 0, 0

    for record in records:
        packed = decode(record)
        for columns, raw in packed.flat:
            numbers, *rows = _from_bytes(raw, columns)
            numbers, fields, width = numbers.cumsum(), np.stack(rows, axis=1), columns - 1
            if width not in sums:
                sums[width], largest[width] = np.zeros((series, width), dtype=_WORD), 0
                seen[width] = np.zeros(series, dtype=np.bool_)
            bound = max(int(fields.max()), -int(fields.min()))
            if largest[width] + bound >= _SAFE:
                add_width(width)  # one record on top of nothing always fits
            largest[width] += bound
            sums[width][numbers] += fields
            seen[width][numbers] = True
        if packed.bins is not None:
            binned.append(_bin_keys(packed.bins))
            if len(binned) >= _BINS_AT_ONCE:
                binned = [_sum_bins(binned)]
        add_all(totals, ((number, [int(value) for value in wide]) for number, wide in packed.wide.items()))
    for width in sums:
        add_width(width)
    if binned:
        for key, count in zip(*(column.tolist() for column in _sum_bins(binned)), strict=True):
            number, index = divmod(key, _BIN_KEYS)
            totals.setdefault(number, {})[index - 1] = count
    return totals


def _lay_out(totals: Totals, packed: Packed) -> None:
    """Put totals into columns; raises OverflowError for a field beyond 64 bits."""
    by_width: dict[int, list[int]] = {}
    binned: list[int] = []
    for number in sorted(totals):
        acc = totals[number]
        if type(acc) is list:
            by_width.setdefault(len(acc), []).append(number)
        else:
            binned.append(number)
    for width, numbers in by_width.items():
        fields = _array(chain.from_iterable(totals[number] for number in numbers)).reshape(len(numbers), width)
        packed.flat.append((width + 1, _to_bytes([_steps(_array(numbers)), *fields.T])))
    if binned:
        accs: list[dict[int, int]] = [totals[number] for number in binned]  # type: ignore[misc]
        sizes = _array(map(len, accs))
        indexes, counts = _array(chain.from_iterable(accs)), _array(chain.from_iterable(map(dict.values, accs)))
        order = np.lexsort((indexes, np.repeat(np.arange(len(accs)), sizes)))
        packed.bins = (
            _to_bytes([_steps(_array(binned)), sizes]),
            _to_bytes([_steps(indexes[order]), counts[order]]),
        )


def _binned(packed: Packed) -> Totals:
    """Return the totals that are kept in bins."""
    if packed.bins is None:
        return {}
    numbers, sizes = _from_bytes(packed.bins[0], 2)
    indexes, counts = _from_bytes(packed.bins[1], 2)
    pairs = zip(indexes.cumsum().tolist(), counts.tolist(), strict=True)
    return {
        number: dict(next(pairs) for _ in range(size))
        for number, size in zip(numbers.cumsum().tolist(), sizes.tolist(), strict=True)
    }


def _bin_keys(bins: tuple[bytes, bytes]) -> tuple[_Ints, _Ints]:
    """Return one number for each bin of each series, and the counts."""
    numbers, sizes = _from_bytes(bins[0], 2)
    indexes, counts = _from_bytes(bins[1], 2)
    return np.repeat(numbers.cumsum(), sizes) * _BIN_KEYS + indexes.cumsum() + 1, counts


def _sum_bins(binned: Sequence[tuple[_Ints, _Ints]]) -> tuple[_Ints, _Ints]:
    """Return each bin of each series once, with its whole count."""
    keys, counts = (np.concatenate(columns) for columns in zip(*binned, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(counts, starts)


def _array(values: Iterable[int]) -> _Ints:
    return np.fromiter(values, dtype=_WORD)


def _steps(values: _Ints) -> _Ints:
    steps = values.copy()  # by hand: what numpy has for it costs ten times as much where there are few
    steps[1:] -= values[:-1]
    return steps


def _to_bytes(columns: Sequence[_Ints]) -> bytes:
    table = np.empty((len(columns), len(columns[0])), dtype=_WORD)
    for row, column in zip(table, columns, strict=True):
        row[:] = column
    return table.view(np.uint8).reshape(*table.shape, 8).transpose(0, 2, 1).tobytes()


def _from_bytes(raw: bytes, columns: int) -> NDArray[Any]:
    rows = len(raw) // (8 * columns)  # perhaps none: a page may hold nothing but empty bins
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(columns, 8, rows)
    return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(_WORD).reshape(columns, rows)
