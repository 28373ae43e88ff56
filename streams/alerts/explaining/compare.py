"""
Two samples that do not overlap: is the later one different, as a standard normal z.

| KPI | test | source |
|---|---|---|
| ratio | two proportions, pooled variance; where hits outnumber trials, as count | NIST §7.3.3 |
| mean | Welch; t becomes z by Hill's expansion | Hill 1970, Communications of the ACM 13, algorithm 395 |
| nps | difference of two scores with their own variances | scores of 1, 0, -1 |
| count | two Poisson rates given their sum: binomial | Przyborowski & Wilenski 1940 |
| quantile | both shares at or below the joint quantile, as two proportions | Mood's test, for any quantile |

A share (of sums) is tested as a mean whose answers have the spread of its interval. A sum keeps no squares and distinct
values no order, so they have no spread and cannot be tested.
"""

from __future__ import annotations

from math import log1p, sqrt
from typing import NamedTuple

from streams.alerts.facts import Facts, moments
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.significance import ztest_nps, ztest_shares
from streams.kpis.arithmetic.sketch import rank_of


class Comparison(NamedTuple):
    """How different two samples are."""

    z: float | None
    """Negative when the later value is lower; None when they cannot be compared."""
    why: str = ""
    """Why not."""


def compare(
    facts: Facts,
    earlier: Acc | None,
    later: Acc | None,
    *,
    minutes: tuple[int, int] = (1, 1),
    min_expected: float = 5.0,
) -> Comparison:
    """
    Compare a later sample with an earlier one.

    Args:
        facts: What kind of numbers they are.
        earlier: The reference.
        later: What is judged.
        minutes: How long both were collected; counts are compared by their rates.
        min_expected: Successes and failures that both sides must be expected to have; of means and NPS, half the
            answers.
    """
    if earlier is None or later is None:
        return Comparison(None, "nothing to compare" if earlier is None else "nothing came")
    match facts.aggregator:
        case "ratio":
            assert type(earlier) is list
            assert type(later) is list
            return _ratios(facts, earlier, later, min_expected)
        case "mean" | "share":
            return _means(facts, earlier, later, 2 * min_expected)
        case "nps":
            assert type(earlier) is list
            assert type(later) is list
            return _scores(earlier, later, 2 * min_expected)
        case "count":
            return _rates((count_of(earlier), minutes[0]), (count_of(later), minutes[1]), min_expected)
        case "quantile":
            assert type(earlier) is dict
            assert type(later) is dict
            return _quantiles(facts.q, earlier, later, min_expected)
        case _:
            return Comparison(None, "it keeps no spread to test with")


def student_as_normal(t: float, degrees: float) -> float:
    """Return the z that is as improbable as Student's t; within 0.1 % from five degrees of freedom up to z = 6."""
    a = degrees - 0.5
    z = sqrt(a * log1p(t * t / degrees))
    s = z * z
    correction = (((-0.4 * s - 3.3) * s - 24) * s - 85.5) / (0.8 * s * s + 100 + 48 * a * a) + s + 3
    z += correction * z / (48 * a * a)
    return z if t > 0 else -z


def _ratios(facts: Facts, earlier: list[int], later: list[int], min_expected: float) -> Comparison:
    n, hits = earlier
    later_n, later_hits = later
    if not n or not later_n:
        return Comparison(None, "no trials")
    if facts.is_rate:
        return _rates((hits, n), (later_hits, later_n), min_expected)
    pooled = (hits + later_hits) / (n + later_n)
    least = min(n, later_n) * min(pooled, 1 - pooled)
    if least < min_expected:
        return Comparison(None, f"only {least:.1f} successes or failures expected, {min_expected:g} needed")
    return Comparison(ztest_shares(hits, n, later_hits, later_n))


def _rates(earlier: tuple[int, int], later: tuple[int, int], min_expected: float) -> Comparison:
    """Compare events per exposure: given how many there are in all, those on the later side are binomial."""
    total = earlier[0] + later[0]
    part = later[1] / (earlier[1] + later[1])
    least = total * min(part, 1 - part)
    if least < min_expected:
        return Comparison(None, f"only {least:.1f} events expected, {min_expected:g} needed")
    return Comparison((later[0] - total * part) / sqrt(total * part * (1 - part)))


def _means(facts: Facts, earlier: Acc, later: Acc, min_n: float) -> Comparison:
    one, two = moments(facts, earlier), moments(facts, later)
    least = min(one.n if one else 0, two.n if two else 0)
    if one is None or two is None or least < max(2.0, min_n):
        return Comparison(None, f"only {least} answers, {max(2.0, min_n):g} needed")
    a, b = one.variance / one.n, two.variance / two.n
    if a + b > 0:
        degrees = (a + b) ** 2 / (a * a / (one.n - 1) + b * b / (two.n - 1))
        return Comparison(student_as_normal((two.mean - one.mean) / sqrt(a + b), degrees))
    return Comparison(_between(one.n, one.mean, two.n, two.mean))


def _between(n: int, mean: float, later_n: int, later: float) -> float:
    """
    Return z where all answers of a side are alike: what spread there is, is between the sides.

    The pooled variance is then that of two values only, and z the root of the number of answers on either side.
    """
    if later == mean:
        return 0.0
    return sqrt(n + later_n) * (1 if later > mean else -1)


def _scores(earlier: list[int], later: list[int], min_n: float) -> Comparison:
    least = min(earlier[0], later[0])
    if least < max(1.0, min_n):
        return Comparison(None, f"only {least} answers, {max(1.0, min_n):g} needed")
    z = ztest_nps(earlier, later)
    if z is None:
        means = ((side[1] - side[2]) / side[0] for side in (earlier, later))
        z = _between(earlier[0], next(means), later[0], next(means))
    return Comparison(z)


def _quantiles(q: float, earlier: dict[int, int], later: dict[int, int], min_expected: float) -> Comparison:
    edge = joint_edge(q, earlier, later)
    n, later_n = sum(earlier.values()), sum(later.values())
    if edge is None or not n or not later_n:
        return Comparison(None, "no values")
    least = min(n, later_n) * min(q, 1 - q)
    if least < min_expected:
        return Comparison(None, f"only {least:.1f} values expected beyond the quantile, {min_expected:g} needed")
    z = ztest_shares(at_or_below(earlier, edge), n, at_or_below(later, edge), later_n)
    return Comparison(0.0 if z is None else -z)


def joint_edge(q: float, *samples: dict[int, int]) -> int | None:
    """Return the bin of the quantile of all samples together; None when there are no values."""
    together: dict[int, int] = {}
    for sample in samples:
        for index, count in sample.items():
            together[index] = together.get(index, 0) + count
    rank = rank_of(q, sum(together.values()))
    for index in sorted(together):
        rank -= together[index]
        if rank <= 0:
            return index
    return None


def at_or_below(bins: dict[int, int], edge: int) -> int:
    """Return how many values are in a bin or below it."""
    return sum(count for index, count in bins.items() if index <= edge)
