"""How sure a change is: what causes are compared by."""

from __future__ import annotations

from math import copysign, log, sqrt
from typing import NamedTuple

from streams.alerts.explaining.compare import compare
from streams.alerts.facts import Facts
from streams.kpis.arithmetic.accumulators import Acc, count_of


class BeforeAfter(NamedTuple):
    """A series before and after."""

    earlier: Acc | None
    later: Acc | None


def likelihood_z(facts: Facts, change: BeforeAfter, minutes: tuple[int, int]) -> float | None:
    """
    Return how sure a change is: the root of the likelihood ratio of a change to none, with its sign.

    Of shares and counts it is exact where few bad answers have become many, which a z test takes for surer the more
    answers it is diluted in. Of all else it is the z value. A sum keeps no spread, but mostly follows the number of its
    events.

    Args:
        facts: What kind of numbers they are.
        change: Before and after.
        minutes: How long both were collected.
    """
    if change.earlier is None or change.later is None:
        return None
    match facts.aggregator:
        case "ratio":
            compared = _of_rates if facts.is_rate else _of_shares
            return compared(_pair(change.earlier), _pair(change.later))
        case "count" | "sum":
            return _of_rates((count_of(change.earlier), minutes[0]), (count_of(change.later), minutes[1]))
        case _:
            return compare(facts, change.earlier, change.later, minutes=minutes).z


def _pair(acc: Acc) -> tuple[int, int]:
    assert type(acc) is list
    return acc[1], acc[0]


def _of_shares(earlier: tuple[int, int], later: tuple[int, int]) -> float:
    """Return the surety that two shares differ, hits and trials given."""
    (k, n), (m, t) = earlier, later
    both = _log_likelihood(k + m, n + t)
    ratio = 2 * (_log_likelihood(k, n) + _log_likelihood(m, t) - both)
    return copysign(sqrt(max(0.0, ratio)), m * n - k * t)


def _of_rates(earlier: tuple[int, int], later: tuple[int, int]) -> float:
    """Return the surety that two Poisson rates differ, events and exposures given."""
    (k, span), (m, other) = earlier, later
    total = k + m
    if not total or not span or not other:  # hits that others' trials brought say nothing of how often
        return 0.0
    ratio = 2 * (_x_log(k, k * (span + other), total * span) + _x_log(m, m * (span + other), total * other))
    return copysign(sqrt(max(0.0, ratio)), m * span - k * other)


def _log_likelihood(hits: int, n: int) -> float:
    return _x_log(hits, hits, n) + _x_log(n - hits, n - hits, n)


def _x_log(x: int, over: int, under: int) -> float:
    return x * log(over / under) if x > 0 and under > 0 else 0.0
