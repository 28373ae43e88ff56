"""
From an accumulator to what is shown: value, n, and the interval in which the truth lies with 95 % confidence.

Values come from whole numbers by one division of doubles, hence Python and ClickHouse agree to the last digit. With no
answers there is no value: None, never 0. Where no honest interval exists, its ends are None too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, exp, floor, sqrt
from typing import Final, NamedTuple

from streams.kpis import distinct
from streams.kpis.accumulators import BINNED, SCALE, Acc
from streams.kpis.distributions import binomial_cdf, normal_tail, student_quantile
from streams.kpis.sketch import PROBABILITY_STEPS, probability_steps, rank_of, value_at

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


def measure(
    aggregator: str, acc: Acc, scale: int = SCALE, *, unit: str = "", q: float = 0.5, z: float = Z95
) -> Measure:
    """
    Compute a KPI from its accumulator.

    Args:
        aggregator: one of `accumulators.AGGREGATORS`.
        acc: the accumulator of that aggregator.
        scale: steps per unit of measured values (sum, mean, quantile).
        unit: "percent" makes ratios and shares percentages; NPS is always in points from -100 to 100.
        q: probability of the quantile.
        z: normal quantile of the interval.

    Raises KeyError for an unknown aggregator and TypeError when the accumulator is of another kind.
    """
    if type(acc) is dict:
        if aggregator not in BINNED:
            raise TypeError(f"{aggregator}: expected fields, got bins")
        return _distinct(acc, z) if aggregator == "distinct" else _quantile(acc, scale, q, z)
    assert type(acc) is list
    if aggregator in BINNED:
        raise TypeError(f"{aggregator}: expected bins, got fields")
    if not acc[0]:
        return Measure(None, 0, None, None)
    factor = 100 if unit in PERCENT_UNITS else 1
    if aggregator == "ratio":
        return _ratio(acc[1], acc[0], factor, z)
    if aggregator == "share":
        return _share(acc, factor, z, of_one=unit in SHARE_UNITS)
    return _FLAT[aggregator](acc, scale, z)


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


def _count(acc: list[int], _scale: int, _z: float) -> Measure:
    """Return a count: everything was counted, nothing was sampled, so there is no interval."""
    return Measure(float(acc[0]), acc[0], None, None)


def _sum(acc: list[int], scale: int, _z: float) -> Measure:
    """Return a total in the KPI's unit; as a count it has no interval."""
    return Measure(float(acc[1]) / scale, acc[0], None, None)


def _ratio(hits: int, n: int, factor: int, z: float) -> Measure:
    """
    Return hits per trial with the Wilson interval.

    Hits and trials may be different events, as orders per session, and hits can exceed trials. Then it is no share of
    trials but a ratio of two independent Poisson counts: log-normal interval, variance of the log 1/hits + 1/trials
    (Rothman, Greenland & Lash, Modern Epidemiology, 3rd ed., ch. 14, rate ratio).
    """
    value = float(factor * hits) / n
    if hits <= n:
        lo, hi = wilson(hits, n, z)
        return Measure(value, n, factor * lo, factor * hi)
    width = exp(z * sqrt(1 / hits + 1 / n))
    return Measure(value, n, value / width, value * width)


def _mean(acc: list[int], scale: int, z: float) -> Measure:
    """Return the mean with Student's interval; one answer has no spread and hence no interval."""
    n, total, squares = acc
    value = float(total) / (n * scale)
    if n < 2:
        return Measure(value, n, None, None)
    # In whole numbers: the textbook difference of two large sums would lose all digits in doubles.
    variance = (n * squares - total * total) / (n * (n - 1)) / (scale * scale)
    half = student_factor(n - 1, z) * sqrt(variance / n)
    return Measure(value, n, value - half, value + half)


def _share(acc: list[int], factor: int, z: float, *, of_one: bool) -> Measure:
    """
    Return the sum of parts by the sum of wholes, as occupancy is busy time by staffed time.

    The interval is that of the delta method for a ratio of sums (Cochran, Sampling Techniques, 3rd ed., ch. 2.11):
    variance Σ(part − value · whole)² / (Σ whole)² · n / (n − 1), which also is that of two sums of random length. Where
    every part is nothing or the whole it sees no spread; then it is Wilson's of as many answers as the wholes are worth
    when their sizes differ, (Σ whole)² / Σ whole² (Kish, Survey Sampling, 1965, ch. 8.2).
    """
    n, whole, part, wholes, products, parts = acc
    if whole <= 0:
        return Measure(None, n, None, None)
    value = float(factor * part) / whole
    if n < 2:
        return Measure(value, n, None, None)
    # In whole numbers: the difference of large sums would lose all digits in doubles.
    spread = parts * whole * whole - 2 * part * whole * products + part * part * wholes
    if not spread:
        if not of_one:
            return Measure(value, n, None, None)
        worth = float(whole * whole) / wholes
        slack = z * z / (worth + z * z)
        return Measure(
            value, n, 0.0 if not part else factor * (1 - slack), factor * slack if not part else float(factor)
        )
    error = sqrt(float(spread) / float(whole**4) * n / (n - 1))
    half = factor * student_factor(n - 1, z) * error
    if of_one:
        return Measure(value, n, max(0.0, value - half), min(float(factor), value + half))
    return Measure(value, n, value - half, value + half)


def _nps(acc: list[int], _scale: int, z: float) -> Measure:
    """Return the plain NPS with the adjusted interval, of which it is not quite the centre."""
    n, promoters, detractors = acc
    return Measure(float(100 * (promoters - detractors)) / n, n, *nps_interval(promoters, detractors, n, z))


def _quantile(bins: dict[int, int], scale: int, q: float, z: float) -> Measure:
    """Return the quantile with the sketched values at the ranks that bound it."""
    n = sum(bins.values())
    if not n:
        return Measure(None, 0, None, None)
    lower, upper = rank_bounds(n, probability_steps(q) / PROBABILITY_STEPS, z)
    return Measure(
        value_at(bins, rank_of(q, n), scale),
        n,
        None if lower is None else value_at(bins, lower, scale),
        None if upper is None else value_at(bins, upper, scale),
    )


def _distinct(bins: dict[int, int], z: float) -> Measure:
    """
    Return how many different values there were; n is the number of events that brought them.

    There are no fewer than coupons and no more than events, so that the interval of few values is exact.
    """
    n = sum(bins.values())
    if not n:
        return Measure(None, 0, None, None)
    found, error = distinct.estimate(bins)
    value = float(min(found, n))
    return Measure(value, n, max(float(len(bins)), value - z * error), min(float(n), value + z * error))


@lru_cache(maxsize=1 << 14)
def student_factor(degrees: int, z: float = Z95) -> float:
    """Return by how many standard errors a mean's interval reaches: Student's t where the normal has `z`."""
    return student_quantile(normal_tail(z), degrees)


_FLAT: Final[dict[str, Callable[[list[int], int, float], Measure]]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "nps": _nps,
}
