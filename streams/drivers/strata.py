"""A difference between two sides, pooled and within strata: where the mix differs, the pooled one misleads."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from streams.kpis.arithmetic.distributions import normal_quantile

FEWEST_OF_A_SIDE: Final = 10
"""Answers of a side, over all strata that have both, below which sides are not compared."""
_Z: Final = normal_quantile(0.025)
K = TypeVar("K", bound=Hashable)
"""What a stratum is known by: the value itself, since two values can read alike."""


class Side(NamedTuple):
    """One side within a stratum: answers, their mean, and the variance of a single answer."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of_share(cls, hits: int, n: int) -> Side:
        """
        Return the side of so many hits among n answers, in percent.

        A side that is all alike is not certain: for its variance the share is taken as (hits + ½) / (n + 1).

        Raises:
            ValueError: There cannot be so many hits.
        """
        if not 0 <= hits <= n:
            raise ValueError(f"{hits} hits among {n} answers: expected 0 to {n}")
        if n == 0:
            return cls(0, 0.0, 0.0)
        share = hits / n if 0 < hits < n else (hits + 0.5) / (n + 1)
        return cls(n, 100 * hits / n, 10_000 * share * (1 - share))

    @classmethod
    def of_values(cls, values: ArrayLike) -> Side:
        """Return the side of some answers. Raises ValueError: one of them is no number."""
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError(f"answer {np.flatnonzero(~np.isfinite(numbers))[0]} of a side is no number")
        n = len(numbers)
        return cls(n, float(numbers.mean()) if n else 0.0, float(numbers.var(ddof=1)) if n > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class StratifiedDifference(Generic[K]):
    """
    The first side less the second.

    Attributes:
        pooled: Without strata; None: a side is empty.
        pooled_ends: Its 95 % interval.
        by_stratum: Within each stratum that has both sides.
        value: Within strata, by the weights of Mantel and Haenszel; None: too few answers to compare.
        se: Its standard error.
        ends: Its 95 % interval.
        left_out: Strata that have one side only, or none, and their answers.
        verdict: What that means.
    """

    pooled: float | None
    pooled_ends: tuple[float, float] | None
    by_stratum: Mapping[K, float]
    value: float | None
    se: float | None
    ends: tuple[float, float] | None
    left_out: Mapping[K, int]
    verdict: str


def stratified(strata: Mapping[K, tuple[Side, Side]]) -> StratifiedDifference[K]:
    """
    Compare two sides within strata: Σ w·d / Σ w, w = n₁·n₂ / (n₁ + n₂).

    The weights are of Mantel and Haenszel (J. Natl. Cancer Inst. 1959). The interval is of the normal distribution,
    the strata being independent. Strata with one side only say nothing of the difference and are left out.
    """
    both = {name: sides for name, sides in strata.items() if sides[0].n and sides[1].n}
    left_out = {name: first.n + second.n for name, (first, second) in strata.items() if name not in both}
    pooled, pooled_ends = _pooled(strata)
    by_stratum = {name: first.mean - second.mean for name, (first, second) in both.items()}
    fewest = min(sum(sides[place].n for sides in both.values()) for place in (0, 1))
    if fewest < FEWEST_OF_A_SIDE:
        few = f"too few to compare: {fewest} answers of a side in strata that have both, at least {FEWEST_OF_A_SIDE}"
        return StratifiedDifference(pooled, pooled_ends, by_stratum, None, None, None, left_out, few)
    weights = {name: first.n * second.n / (first.n + second.n) for name, (first, second) in both.items()}
    whole = sum(weights.values())
    value = sum(weights[name] * by_stratum[name] for name in both) / whole
    variance = sum(
        (weights[name] / whole) ** 2 * (first.variance / first.n + second.variance / second.n)
        for name, (first, second) in both.items()
    )
    se = sqrt(variance)
    ends = (value - _Z * se, value + _Z * se)
    verdict = _verdict(value, se, pooled, pooled_ends)
    return StratifiedDifference(pooled, pooled_ends, by_stratum, value, se, ends, left_out, verdict)


def _pooled(strata: Mapping[K, tuple[Side, Side]]) -> tuple[float | None, tuple[float, float] | None]:
    first, second = (_together([sides[place] for sides in strata.values()]) for place in (0, 1))
    if not first.n or not second.n:
        return None, None
    difference = first.mean - second.mean
    half = _Z * sqrt(first.variance / first.n + second.variance / second.n)
    return difference, (difference - half, difference + half)


def _together(sides: list[Side]) -> Side:
    """Return sides as one: what differs between them adds to the variance of an answer."""
    n = sum(one.n for one in sides)
    if not n:
        return Side(0, 0.0, 0.0)
    mean = sum(one.n * one.mean for one in sides) / n
    return Side(n, mean, sum(one.n * (one.variance + (one.mean - mean) ** 2) for one in sides) / n)


def _verdict(value: float, se: float, pooled: float | None, pooled_ends: tuple[float, float] | None) -> str:
    if se == 0:
        return "not known: all answers of a side and stratum are alike"
    known = "confirmed within strata" if abs(value) > _Z * se else "not confirmed within strata"
    if pooled is None or pooled_ends is None or pooled_ends[0] <= value <= pooled_ends[1]:
        return known
    if pooled * value < 0:
        return f"{known}; the pooled difference is of the mix of strata and has the wrong sign"
    return f"{known}; the pooled difference is of the mix of strata for the most part"
