"""Shares, means and ratios over customers, each with its number of customers and its 95 % interval."""

from collections.abc import Collection, Sequence
from math import fsum, sqrt
from typing import Final

from streams.kpis.arithmetic.intervals import FEWEST, NOTHING, Z95, Measure, mean_interval, student_factor, wilson

_SCALE: Final = 1_000_000
"""Amounts are squared in whole millionths, in which nothing is lost."""


def percent(hits: int, n: int, z: float = Z95) -> Measure:
    """Return a share of customers in percent, with Wilson's interval; nothing where there are none."""
    if not n:
        return NOTHING
    lo, hi = wilson(hits, n, z)
    return Measure(100 * hits / n, n, 100 * lo, 100 * hi)


def mean(amounts: Collection[float], z: float = Z95) -> Measure:
    """Return the mean of amounts, one per customer and none below 0; no interval for fewer than five customers."""
    n = len(amounts)
    if not n:
        return NOTHING
    whole = [round(amount * _SCALE) for amount in amounts]
    lo, hi = mean_interval((n, sum(whole), sum(one * one for one in whole)), _SCALE, (0.0, None), z)
    return Measure(fsum(amounts) / n, n, lo, hi)


def ratio_percent(pairs: Sequence[tuple[float, float]]) -> Measure:
    """
    Return Σ part / Σ whole in percent of pairs (part, whole), one per customer.

    The interval is by the delta method, customers being the independent units (Cochran, Sampling Techniques, 3rd ed.,
    1977, ch. 2.11). None: fewer than five customers, or all alike.
    """
    n, whole = len(pairs), fsum(one[1] for one in pairs)
    if whole <= 0:
        return Measure(None, n, None, None)
    share = fsum(one[0] for one in pairs) / whole
    spread = fsum((part - share * amount) ** 2 for part, amount in pairs)
    if n < FEWEST or spread <= 0:
        return Measure(100 * share, n, None, None)
    half = student_factor(n - 1) * sqrt(n / (n - 1) * spread) / whole
    return Measure(100 * share, n, 100 * max(0.0, share - half), 100 * min(1.0, share + half))
