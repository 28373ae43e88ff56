"""Shares, means and ratios over customers, each with its number of customers and its 95 % interval."""

from collections.abc import Collection, Sequence
from math import fsum
from typing import Final

from streams.kpis.arithmetic.intervals import NOTHING, Z95, Measure, mean_interval, student_factor, wilson

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
    Return Σ part / Σ whole in percent of pairs (part, whole), one per customer, each part at most its whole.

    The interval is Wilson's of as many customers as the ratio is worth: as its variance by the delta method says
    (Cochran, Sampling Techniques, 3rd ed., 1977, ch. 2.11), but of no more than unequal wholes leave (Kish, Survey
    Sampling, 1965, ch. 11.7), since a few large ones hide how uncertain rare parts are.
    """
    n, whole = len(pairs), fsum(one[1] for one in pairs)
    if whole <= 0:
        return Measure(None, n, None, None)
    share = min(1.0, fsum(one[0] for one in pairs) / whole)
    worth = whole * whole / fsum(amount * amount for _, amount in pairs)
    spread = fsum((part - share * amount) ** 2 for part, amount in pairs)
    if n > 1 and spread > 0:
        worth = max(1.0, min(worth, share * (1 - share) * whole * whole * (n - 1) / (n * spread)))
    lo, hi = wilson(share * worth, worth, student_factor(max(1, round(worth) - 1)))
    return Measure(100 * share, n, 100 * lo, 100 * hi)
