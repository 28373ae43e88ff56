"""
Accumulators: the whole numbers from which a KPI is computed, kept instead of the events themselves.

Two of them are added by `merge_acc`; `subtract_acc` undoes that. Addition of whole numbers is exact, so a result does
not depend on the order in which events arrive. Measured values become whole numbers by `quantise`.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Final, TypeAlias

Acc: TypeAlias = list[int] | dict[int, int]
"""
Either flat, a list `[n, ...]` whose fields `Aggregator.fields` names, or bins, `{bin index: count}` without zeros.
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
    Merge each accumulator into the one that `sums` has for the same series number; the first of a number is copied.

    Same result and errors as `merge_acc`; short lists are added field by field because most time is spent here.
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

    Raises TypeError and ValueError as `merge_acc`, and ValueError when the count of a bin would be negative.
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
    """Return the part of a lasting accumulator (`Aggregator.lasting`) that stays in a window for ever: all but n."""
    return [0, *acc[1:]] if type(acc) is list else acc


def leaving_part(acc: Acc) -> Acc:
    """Return the part of a lasting accumulator that leaves a window with its minute: n alone."""
    return [acc[0], *[0] * (len(acc) - 1)] if type(acc) is list else cleared(acc)


def negated(acc: Acc) -> Acc:
    """Return what cancels an accumulator when merged; unlike with `subtract_acc`, it may be merged before it."""
    return [-field for field in acc] if type(acc) is list else {i: -n for i, n in acc.items()}  # type: ignore[union-attr]


def copy_acc(acc: Acc) -> Acc:
    """Return an independent copy."""
    return acc.copy()


def cleared(acc: Acc) -> Acc:
    """Return an accumulator of the same shape in which nothing was counted."""
    return [0] * len(acc) if type(acc) is list else {}


def is_empty(acc: Acc) -> bool:
    """Return whether nothing was counted; a ratio may have hits before its first trial and is then not empty."""
    return not any(acc) if type(acc) is list else not acc


def count_of(acc: Acc) -> int:
    """Return n, the number of answers or trials."""
    return acc[0] if type(acc) is list else sum(acc.values())  # type: ignore[union-attr]
