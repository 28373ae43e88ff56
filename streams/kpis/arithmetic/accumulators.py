"""
Accumulators: what is kept of many events so that a KPI can be computed, merged and taken apart again.

All are whole numbers, so addition is exact, commutative and associative, the order of arrival never shows in a result,
and subtracting what was added leaves what was there before. Measured values become whole numbers by `quantise`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Final, TypeAlias

Acc: TypeAlias = list[int] | dict[int, int]
"""
Flat: `[n, ...]`, meaning by `Aggregator.fields`. Bins: `{bin index: count}`, no count is zero.
"""

_UNROLLED = 3

SCALE: Final = 1000
"""Default number of steps per unit of a measured value."""


def quantise(value: float, scale: int = SCALE) -> int:
    """Return a measured value as whole steps of 1/scale, halves upwards; SQL: `toInt64(floor(x * scale + 0.5))`."""
    return floor(value * scale + 0.5)


def merge_acc(into: Acc, other: Acc) -> None:
    """
    Add `other` to `into`.

    Raises TypeError when one is flat and the other has bins, ValueError when flat ones differ in width.
    """
    if type(into) is list and type(other) is list:
        if len(into) != len(other):
            raise ValueError(f"cannot merge {len(other)} fields into {len(into)}")
        for field, value in enumerate(other):
            into[field] += value
    elif type(into) is dict and type(other) is dict:
        for index, count in other.items():
            total = into.get(index, 0) + count
            if total:
                into[index] = total
            else:
                into.pop(index, None)
    else:
        raise TypeError(f"cannot merge {type(other).__name__} into {type(into).__name__}")


def add_all(sums: dict[int, Acc], contributions: Iterable[tuple[int, Acc]]) -> None:
    """
    Add accumulators to those of the same number; one that is new is copied.

    Merges as `merge_acc`, with which it shares its errors; written out by width because this is where time goes.
    """
    for number, acc in contributions:
        known = sums.get(number)
        if known is None:
            sums[number] = acc.copy()
        elif type(known) is list and type(acc) is list and len(known) == (width := len(acc)) <= _UNROLLED:
            known[0] += acc[0]
            if width > 1:
                known[1] += acc[1]
                if width > 2:
                    known[2] += acc[2]
        else:
            merge_acc(known, acc)


def subtract_acc(into: Acc, other: Acc) -> None:
    """
    Take `other`, merged earlier, out of `into`.

    Raises TypeError and ValueError as `merge_acc`, and ValueError when a bin would hold less than nothing.
    """
    if type(into) is list and type(other) is list:
        if len(into) != len(other):
            raise ValueError(f"cannot subtract {len(other)} fields from {len(into)}")
        for field, value in enumerate(other):
            into[field] -= value
    elif type(into) is dict and type(other) is dict:
        for index, count in other.items():
            left = into.get(index, 0) - count
            if left > 0:
                into[index] = left
            elif left == 0:
                into.pop(index, None)
            else:
                raise ValueError(f"bin {index} would hold {left}")
    else:
        raise TypeError(f"cannot subtract {type(other).__name__} from {type(into).__name__}")


def lasting_part(acc: Acc) -> Acc:
    """Return what does not leave windows of an accumulator that lasts: all but n."""
    return [0, *acc[1:]] if type(acc) is list else acc


def leaving_part(acc: Acc) -> Acc:
    """Return what leaves windows of an accumulator that lasts: n alone."""
    return [acc[0], *[0] * (len(acc) - 1)] if type(acc) is list else cleared(acc)


def negated(acc: Acc) -> Acc:
    """Return what, merged, takes an accumulator back; unlike `subtract_acc` it may come before what it takes back."""
    return [-field for field in acc] if type(acc) is list else {i: -n for i, n in acc.items()}  # type: ignore[union-attr]


def copy_acc(acc: Acc) -> Acc:
    """Return an accumulator of its own with the same content."""
    return acc.copy()


def cleared(acc: Acc) -> Acc:
    """Return the identity of the same shape."""
    return [0] * len(acc) if type(acc) is list else {}


def is_empty(acc: Acc) -> bool:
    """Return whether nothing was counted; a ratio may have hits before its first trial and is then not empty."""
    return not any(acc) if type(acc) is list else not acc


def count_of(acc: Acc) -> int:
    """Return n, the number of answers or trials."""
    return acc[0] if type(acc) is list else sum(acc.values())  # type: ignore[union-attr]
