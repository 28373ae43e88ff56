"""
Is a difference real, and how many answers does it take to see one.

All sizes are rounded up to whole answers.
"""

from __future__ import annotations

from math import ceil, sqrt

from streams.kpis.arithmetic.distributions import normal_quantile
from streams.kpis.arithmetic.intervals import Z95


def ztest_shares(hits: int, n: int, later_hits: int, later_n: int) -> float | None:
    """
    Return the z statistic of two shares with pooled variance, negative when the later one is lower.

    None when there is nothing to compare: no trials, or all or none hit on both sides.
    """
    if not n or not later_n:
        return None
    pooled = (hits + later_hits) / (n + later_n)
    variance = pooled * (1 - pooled) * (1 / n + 1 / later_n)
    return (later_hits / later_n - hits / n) / sqrt(variance) if variance > 0 else None


def ztest_nps(before: list[int], later: list[int]) -> float | None:
    """
    Return the z statistic of two NPS accumulators `[n, promoters, detractors]`, negative when the later one is lower.

    None when a side has no answers or neither has any spread.
    """
    if not before[0] or not later[0]:
        return None
    variance = _nps_variance(*before) / before[0] + _nps_variance(*later) / later[0]
    difference = (later[1] - later[2]) / later[0] - (before[1] - before[2]) / before[0]
    return difference / sqrt(variance) if variance > 0 else None


def answers_for_share(margin: float, share: float = 0.5, z: float = Z95) -> int:
    """Return how many answers give a share the given margin of error (both as shares)."""
    return ceil(z * z * share * (1 - share) / margin**2)


def answers_for_nps(margin: float, variance: float = 1.0, z: float = Z95) -> int:
    """Return how many answers give an NPS the given margin (points) with the adjusted interval; 1 is the worst case."""
    return ceil(z * z * variance / (margin / 100) ** 2 - 3)


def answers_for_drop(share: float, dropped: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Return how many answers each of two groups needs for a one-sided test at `alpha` to see a drop."""
    mean = (share + dropped) / 2
    null = normal_quantile(alpha) * sqrt(2 * mean * (1 - mean))
    alternative = normal_quantile(1 - power) * sqrt(share * (1 - share) + dropped * (1 - dropped))
    return ceil(((null + alternative) / (share - dropped)) ** 2)


def _nps_variance(n: int, promoters: int, detractors: int) -> float:
    """Return the variance of one answer, scored 1, 0 or -1."""
    mean = (promoters - detractors) / n
    return (promoters + detractors) / n - mean * mean
