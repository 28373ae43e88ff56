"""
Whether a value has changed against an earlier one, judged by the intervals of both.

Every KPI comes with an interval made for its kind (Wilson, Student, adjusted Wald, ranks). The interval of a difference
follows from both by the method of variance estimates recovery: Zou & Donner, Statistics in Medicine 27 (2008) 1693;
for shares it is Newcombe's method 10, Statistics in Medicine 17 (1998) 873. It needs no normality and is never wider
than a value can be.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot
from typing import Final, Literal, TypeAlias

from streams.board.readings import KpiInfo, PublishedReading
from streams.kpis.arithmetic.intervals import Z95

BaselineKind: TypeAlias = Literal["week", "day", "24h"]
"""What a value is held against: the same window a week or a day earlier, or the 24 hours before the window."""

Standing: TypeAlias = Literal["meets", "misses", "unsure", ""]
"""How a value stands to its target; empty: it has none."""

MARK_LEVEL: Final = 3.290526731491896
"""
Two-sided normal quantile of 99.9 %: a wall shows some seventy numbers and is looked at all day, so at 95 % three or
four of them would be marked at any time with nothing wrong.
"""


@dataclass(frozen=True, slots=True)
class EarlierValue:
    """An earlier value, and which."""

    kind: BaselineKind
    reading: PublishedReading


@dataclass(frozen=True, slots=True)
class ValueChange:
    """The difference to a baseline in the KPI's unit."""

    kind: BaselineKind
    difference: float
    baseline: float
    baseline_n: int
    lo: float | None
    """95 % interval of the difference; None when one of the two has none, as counts do not."""
    hi: float | None
    significant: bool
    better: bool | None
    """Whether the direction of the change is the KPI's better one; None when it has none or nothing changed."""


def difference_interval(now: PublishedReading, before: PublishedReading, z: float = Z95) -> tuple[float, float] | None:
    """
    Return the interval of `now − before` at the level of `z`; None when an end is unknown.

    Beyond 95 % the distances from value to ends are stretched in proportion to z, which is what normal theory does.
    """
    if now.value is None or before.value is None:
        return None
    if now.lo is None or now.hi is None or before.lo is None or before.hi is None:
        return None
    # The value of an adjusted interval (NPS) may lie on its edge: distances are never negative.
    down = hypot(max(0.0, now.value - now.lo), max(0.0, before.hi - before.value))
    up = hypot(max(0.0, now.hi - now.value), max(0.0, before.value - before.lo))
    difference, stretch = now.value - before.value, z / Z95
    return difference - stretch * down, difference + stretch * up


def change(info: KpiInfo, now: PublishedReading | None, baselines: Iterable[EarlierValue]) -> ValueChange | None:
    """Return the change against the first baseline with enough answers; None when there is none to compare with."""
    if now is None or now.value is None or now.n < info.min_n_show:
        return None
    for baseline in baselines:
        before = baseline.reading
        if before.value is None or before.n < info.min_n_colour:
            continue
        # Amounts of windows of different lengths are not comparable.
        if info.counts and baseline.kind == "24h":
            continue
        difference = now.value - before.value
        plain, strict = difference_interval(now, before), difference_interval(now, before, MARK_LEVEL)
        enough = now.n >= info.min_n_colour
        return ValueChange(
            baseline.kind,
            difference,
            before.value,
            before.n,
            plain[0] if plain else None,
            plain[1] if plain else None,
            bool(enough and strict and not strict[0] <= 0 <= strict[1]),
            _better(info, difference),
        )
    return None


def apart(now: PublishedReading, whole: PublishedReading) -> Literal[-1, 0, 1]:
    """Return whether the interval of a part lies above (1) or below (-1) the value of the whole, or holds it (0)."""
    if whole.value is None or now.lo is None or now.hi is None:
        return 0
    return 1 if now.lo > whole.value else -1 if now.hi < whole.value else 0


def standing(info: KpiInfo, now: PublishedReading, target: float | None) -> Standing:
    """Tell how a value stands to a target: met or missed only if the whole interval says so."""
    if target is None or info.direction == "none" or now.value is None:
        return ""
    low = now.value if now.lo is None else now.lo
    high = now.value if now.hi is None else now.hi
    if low >= target if info.direction == "up" else high <= target:
        return "meets"
    return "misses" if (high < target if info.direction == "up" else low > target) else "unsure"


def _better(info: KpiInfo, difference: float) -> bool | None:
    if info.direction == "none" or not difference:
        return None
    return (difference > 0) == (info.direction == "up")
