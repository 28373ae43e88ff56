"""
What is shown of an accumulator: value, n, and the interval in which the truth lies with 95 % confidence.

Values come from whole numbers by one division of doubles, hence Python and ClickHouse agree to the last digit. With no
answers there is no value: None, never 0. Where no honest interval exists, its ends are None too. How each aggregator
is measured, its class says (`aggregators`); here is the arithmetic of intervals that they share. How often these
hold the truth is in `docs/INTERVALS.md`, made by `bench.coverage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, exp, floor, log, sqrt
from typing import Final, NamedTuple, TypeAlias

from streams.kpis.arithmetic.distributions import binomial_cdf, normal_tail, student_quantile

Z95: Final = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

PERCENT_UNITS: Final = frozenset({"percent", "%"})
SHARE_UNITS: Final = PERCENT_UNITS | {"fraction"}
"""Units in which a part cannot be less than nothing or more than the whole."""

PER_100: Final = "per_100"
"""The unit of a rate: events of one kind per 100 of another. It is no share, and has no upper end."""

HUNDRED_UNITS: Final = PERCENT_UNITS | {PER_100}
"""Units in which one hit per trial is 100."""

Range: TypeAlias = tuple[float | None, float | None]
"""Least and greatest value a single answer can have; None where there is no end."""

FEWEST: Final = 5
"""Answers below which a mean without both ends, or a ratio of two sums, has no interval."""

WIDEST: Final = 10.0
"""An interval that reaches beyond so many times the value says nothing: the answers are too few for one."""

_RANGES: Final[dict[str, Range]] = {
    **dict.fromkeys(PERCENT_UNITS, (0.0, 100.0)),
    "fraction": (0.0, 1.0),
    "points": (-100.0, 100.0),
    **dict.fromkeys(("seconds", "milliseconds", "hours", "days", "currency", "count", PER_100), (0.0, None)),
}

_EXACT_RANKS = 2_000  # beyond, the normal approximation is at most one rank wider


class Measure(NamedTuple):
    """A KPI value with its sample size and interval, in the KPI's unit."""

    value: float | None
    """None when nothing was answered or tried."""
    n: int
    lo: float | None
    """None when no interval exists: a plain count or sum, or too few answers."""
    hi: float | None


NOTHING: Final = Measure(None, 0, None, None)
"""What is measured where nothing was answered or tried."""


def range_of(unit: str) -> Range:
    """Return the range of single answers that a unit implies; a score's is its definition's own."""
    return _RANGES.get(unit, (None, None))


def wilson(hits: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as shares: never outside 0 to 1, sound at 0 and at n hits."""
    share = hits / n
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (centre - half if hits else 0.0), (centre + half if hits < n else 1.0)


def rate_interval(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """
    Return the interval of a rate of events of one kind per event of another, both counts Poisson and independent.

    Given how many there are of both, the hits are binomial with p = rate / (1 + rate): Wilson's ends of p as rates
    (conditional score interval; Przyborowski & Wilenski 1940 for the conditioning). Sound at 0 and with no upper end.
    """
    lo, hi = wilson(hits, hits + n, z)
    return lo / (1 - lo), hi / (1 - hi)


def nps_interval(
    promoters: int, detractors: int, n: int, z: float = Z95, *, adjust: bool = True
) -> tuple[float, float]:
    """
    Return the interval of an NPS in points: Wald, by default adjusted as Rocks (2016) found best for small samples.

    The adjustment adds 3/4 promoter, 3/4 detractor and 3 answers, so the centre is not the plain NPS.
    """
    extra = 0.75 if adjust else 0.0
    total = n + 4 * extra
    happy, unhappy = (promoters + extra) / total, (detractors + extra) / total
    centre = happy - unhappy
    half = z * sqrt(max(0.0, happy + unhappy - centre * centre) / total)
    return 100 * max(-1.0, centre - half), 100 * min(1.0, centre + half)


@lru_cache(maxsize=1 << 14)
def rank_bounds(n: int, q: float, z: float = Z95) -> tuple[int | None, int | None]:
    """
    Return the ranks (from 1) between which the quantile lies, whatever the distribution of the values.

    The number of values at or below the true quantile is binomial(n, q). None where n is too small for a bound: the
    95th percentile of twenty values has no upper one.
    """
    tail = normal_tail(z)
    middle, spread = n * q, z * sqrt(n * q * (1 - q))
    lower, upper = max(0, floor(middle - spread)), min(n, ceil(middle + spread)) + 1
    if n <= _EXACT_RANKS:
        while lower and binomial_cdf(lower - 1, n, q) > tail:
            lower -= 1
        while lower < n and binomial_cdf(lower, n, q) <= tail:
            lower += 1
        while upper <= n and 1 - binomial_cdf(upper - 1, n, q) > tail:
            upper += 1
        while upper > 1 and 1 - binomial_cdf(upper - 2, n, q) <= tail:
            upper -= 1
    return lower or None, upper if upper <= n else None


@lru_cache(maxsize=1 << 14)
def student_factor(degrees: int, z: float = Z95) -> float:
    """Return by how many standard errors a mean's interval reaches: Student's t where the normal has `z`."""
    return student_quantile(normal_tail(z), degrees)


def mean_interval(acc: Sequence[int], scale: int, within: Range, z: float = Z95) -> tuple[float | None, float | None]:
    """
    Return the interval of a mean, kept as number, sum and sum of squares, inside the range of single answers.

    Between two ends the answers are taken together with one more at each of them, as Agresti and Coull do for shares,
    and have Student's interval. So a few answers that are all alike do not pass for certainty. Without an upper end the
    interval is that of the logarithm, see `above_zero`; without any, and where the sums belie the range, Student's.
    """
    n, total, squares = acc
    value = float(total) / (n * scale)
    if n < 2:
        return None, None
    low, high = within
    if low is not None and high is not None:
        least, most = round(low * scale), round(high * scale)
        if (least + most) * total - squares - n * least * most >= 0:
            more, sums = n + 2, total + least + most
            middle = float(sums) / (more * scale)
            half = _half(more, sums, squares + least * least + most * most, z) / scale
            return max(low, min(value, middle - half)), min(high, max(value, middle + half))
    if n < FEWEST:
        return None, None
    half = _half(n, total, squares, z) / scale
    # What is never below zero has no greater sum of squares than the square of its sum.
    if low == 0 and total >= 0 and squares <= total * total:
        return above_zero(value, half)
    return value - half, value + half


def _half(n: int, total: int, squares: int, z: float) -> float:
    """Return half of Student's interval of a mean, in steps."""
    # In whole numbers: the textbook difference of two large sums would lose all digits in doubles.
    return student_factor(n - 1, z) * sqrt((n * squares - total * total) / (n * (n - 1)) / n)


def above_zero(value: float, half: float) -> tuple[float | None, float | None]:
    """
    Return the interval of what is never below zero, given half of Student's: that of its logarithm (delta method).

    Skewed answers leave the upper end too low, the more the wider the interval is: it is pushed up by as much again as
    the relative error says. One that still says nothing is none. Of nothing but zeros the upper end is unknown.
    """
    if value <= 0:
        return 0.0, None
    reach = half / value
    above = reach * (1 + reach / Z95)
    if above > log(WIDEST):
        return None, None
    return value * exp(-reach), value * exp(above)
