"""
EWMA: a smoothed value leaves the band around normal (Roberts 1959; NIST/SEMATECH e-Handbook §6.3.2.4).

    E_t = λ·x_t + (1 - λ)·E_(t-1)            limits: μ ± L·s·√V_t
    V_t = λ²/n_t + (1 - λ)²·V_(t-1)

x_t is the mean of the n_t answers of a closed block. With n = 1, V grows from 0 to λ/(2 - λ), the textbook's limits
with their early, narrower ones; with blocks of different size it stays exact. Blocks are the rule's windows laid end to
end from the beginning of the day, UTC; one with too few answers for a normal approximation is joined with the next.
"""

from __future__ import annotations

from math import sqrt
from typing import Annotated, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, Window, Z, measured
from streams.alerts.detectors.learning import Normal, learn
from streams.alerts.facts import (
    Facts,
    Kept,
    Moments,
    SeriesReading,
    badness,
    before,
    kept,
    length_of,
    moments,
    show,
    side_word,
    sums_of,
)
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import Acc, copy_acc, merge_acc

LEAST_EXPECTED: Final = 5.0
"""Hits and misses that a block of a ratio must be expected to have; of means and NPS, half the answers."""


class EwmaState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered of a series."""

    smoothed: float | None = None
    """None before the first block."""
    spread: float = 0.0
    """V: variance of the smoothed value, in variances of one answer."""
    waiting: Kept = []
    """Sum of the blocks that were too small."""
    normal: Normal | None = None


class Smoothed(NamedTuple):
    """A smoothed value, and its variance in variances of one answer."""

    value: float
    spread: float


def smooth(weight: float, value: float, n: float, smoothed: float, spread: float) -> Smoothed:
    """Return the smoothed value after a block of n answers with this mean."""
    rest = 1 - weight
    return Smoothed(weight * value + rest * smoothed, weight * weight / n + rest * rest * spread)


def limits(normal: float, deviation: float, spread: float, limit: float) -> tuple[float, float]:
    """Return the band around normal: `limit` standard errors of the smoothed value."""
    half = limit * deviation * sqrt(spread)
    return normal - half, normal + half


class Ewma(Detector, frozen=True, kw_only=True):
    """
    A smoothed value leaves the band around normal: for drifts smaller than one window shows.

    Each closed block of the rule's `window` that has answers is one observation; blocks do not overlap.
    """

    method: ClassVar = "ewma"
    memory: ClassVar = EwmaState
    by_minutes: ClassVar = True
    aggregators: ClassVar = ("ratio", "mean", "nps")
    sided: ClassVar = False

    lambda_: Annotated[float, Meta(gt=0, le=1, description="Weight of the newest block; 0.2 to 0.3 is usual.")] = (
        msgspec.field(default=0.2, name="lambda")
    )
    limit: Annotated[Z, Meta(description="Half-width of the band in standard errors of the smoothed value (L).")] = 3.0
    baseline: Annotated[Window, Meta(description="Window from which level and spread are learnt.")]

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: EwmaState | None
    ) -> tuple[Verdict, EwmaState]:
        """Judge a series; between the ends of blocks the last verdict stands."""
        state = memory or EwmaState()
        length = length_of(window)
        seen = reading.window(window)
        if (reading.minute + 1) % length == 0:
            state = _block(self, facts, window, reading, state, seen)
        value, n, lo, hi = measured(facts, seen or None)
        normal = state.normal
        if normal is None or state.smoothed is None:
            why = "no normal value is known yet" if normal is None else "no block with enough answers yet"
            return Verdict(None, None, value, n, lo, hi, reason=why), state
        deviation = distance(state, normal)
        bad = badness(facts, deviation)
        reason = (
            f"smoothed {show(state.smoothed, facts.unit)} is {abs(deviation):.2f} standard errors"
            f" {side_word(deviation)} than the normal {show(normal.mean, facts.unit)}, limit {self.limit:g}"
        )
        return Verdict(
            breach=bad > self.limit,
            recovered=bad <= self.limit / 2,
            value=value,
            n=n,
            lo=lo,
            hi=hi,
            baseline=normal.mean,
            baseline_n=round(normal.n),
            statistic=deviation,
            reason=reason,
            threshold=self.limit,
        ), state

    def without_evidence(self, memory: EwmaState | None) -> EwmaState | None:
        """Return a memory of the normal value alone."""
        return None if memory is None else EwmaState(normal=memory.normal)


def distance(state: EwmaState, normal: Normal) -> float:
    """Return how many standard errors the smoothed value is from normal, which is not exactly known itself."""
    assert state.smoothed is not None
    variance = normal.variance * (state.spread + 1 / normal.n)
    return (state.smoothed - normal.mean) / sqrt(variance) if variance > 0 else 0.0


def _block(
    params: Ewma, facts: Facts, window: str, reading: SeriesReading, state: EwmaState, seen: Acc | None
) -> EwmaState:
    """Take in the block that ends with this minute."""
    normal = state.normal
    calm = normal is None or state.smoothed is None or badness(facts, distance(state, normal)) < params.limit / 2
    if calm and (normal is None or normal.is_due(reading.minute)):
        learnt = moments(facts, before(reading, params.baseline, window))
        if learnt is not None and _enough(facts, learnt, learnt.n):
            normal = learn(normal, reading.minute, learnt, length_of(params.baseline) - length_of(window))
    waiting = _joined(sums_of(state.waiting), seen)
    block = moments(facts, waiting or None)
    if normal is None or block is None or not _enough(facts, Moments(block.n, normal.mean, normal.variance), block.n):
        # Before anything is known of normal there is nothing to wait for.
        return EwmaState(state.smoothed, state.spread, kept(waiting) if normal is not None else [], normal)
    start = normal.mean if state.smoothed is None else state.smoothed
    after = smooth(params.lambda_, block.mean, block.n, start, state.spread)
    return EwmaState(after.value, after.spread, [], normal)


def _enough(facts: Facts, earlier: Moments, n: int) -> bool:
    """Return whether so many answers have a mean that is nearly normal."""
    if facts.aggregator != "ratio":
        return n >= 2 * LEAST_EXPECTED
    share = earlier.mean / facts.factor
    return n * (share if facts.is_rate else min(share, 1 - share)) >= LEAST_EXPECTED


def _joined(waiting: list[int], seen: Acc | None) -> list[int]:
    if seen is None or type(seen) is dict:
        return waiting
    assert type(seen) is list
    if not waiting:
        return list(seen)
    joined = copy_acc(waiting)
    merge_acc(joined, seen)
    assert type(joined) is list
    return joined
