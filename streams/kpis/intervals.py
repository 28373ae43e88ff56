"""
What is shown of an accumulator: value, n, and the interval in which the truth lies with 95 % confidence.

Values come from whole numbers by one division of doubles, hence Python and ClickHouse agree to the last digit. With no
answers there is no value: None, never 0. Where no honest interval exists, its ends are None too. How each aggregator
is measured, its class says (`aggregators`); here is the arithmetic of intervals that they share.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, sqrt
from typing import Final, NamedTuple

from streams.kpis.distributions import binomial_cdf, normal_tail, student_quantile

Z95: Final = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

PERCENT_UNITS: Final = frozenset({"percent", "%"})
SHARE_UNITS: Final = PERCENT_UNITS | {"fraction"}
"""Units in which a part cannot be less than nothing or more than the whole."""

_EXACT_RANKS = 2_000  # beyond, the normal approximation is at most one rank wider


class Measure(NamedTuple):
    """A KPI value with its sample size and interval, in the KPI's unit."""

    value: float | None
    """None when nothing was answered or tried."""
    n: int
    lo: float | None
    """None when no interval exists: one answer, a plain count or sum, too few values for the quantile."""
    hi: float | None


NOTHING: Final = Measure(None, 0, None, None)
"""What is measured where nothing was answered or tried."""


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, as shares: never outside 0 to 1, sound at 0 and at n hits."""
    share = hits / n
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return (centre - half if hits else 0.0), (centre + half if hits < n else 1.0)


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
