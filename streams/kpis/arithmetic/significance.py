"""Is a difference between two samples real."""

from __future__ import annotations

from math import sqrt


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


def _nps_variance(n: int, promoters: int, detractors: int) -> float:
    """Return the variance of one answer, scored 1, 0 or -1."""
    mean = (promoters - detractors) / n
    return (promoters + detractors) / n - mean * mean
