"""
Thresholds for a wanted rate of false alarms, found by trying them on series like those of the past (`past`).

How often a threshold cries wolf is known no better than there is history: simulating more of the same days makes the
figures smoother, not surer. Intervals are those of the days that were there, and of how much they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from streams.alerts.detectors import Detector
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.cusum_levels import level_of, threshold_for
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.machine import Policy
from streams.alerts.offline.backtest import rate_interval
from streams.alerts.offline.past import DAY, WEEKS_FROM, Drawn, Null, Past, TuningError, drawn, worsened
from streams.alerts.offline.vectorised import RulePlan, SeriesBatch, firings

Method: TypeAlias = Literal["cusum", "ztest", "floor"]

WATCHED_MINUTES: Final = 2 * DAY
"""How long a drop is given to be seen."""

_COMMON_Z: Final = 3.7
_FACTOR: Final = 1.4
_LEAST: Final = 1.0
_MOST_H: Final = 200.0
_MOST_Z: Final = 38.0
_TRIES: Final = 14
_CLOSE: Final = 0.03


class Tried(NamedTuple):
    """What a threshold would bring."""

    threshold: float
    false: int
    days: float
    """Days simulated, of all series."""
    per_day: float
    lo: float
    hi: float
    """95 % interval, as far as the history tells."""
    minutes: float | None
    """Minutes until half of the series with the drop have fired; None if they never do."""
    answers: float | None
    missed: float
    """Part of the series in which the drop is not seen in two days."""


class Trials:
    """Series in which nothing happens, and some with a drop, on which thresholds are tried."""

    def __init__(
        self,
        params: Detector,
        facts: Facts,
        window: str,
        past: Past,
        *,
        drop: float,
        min_n: int = 1,
        min_denominator: int = 20,
        policy: Policy = Policy(),  # noqa: B008 - it is frozen
        null: Null = "blocks",
        series: int = 200,
        days: int = 10,
        seed: int = 1,
    ) -> None:
        """
        Draw them.

        Raises:
            TuningError: The past is empty.
        """
        if not past.n.any():
            raise TuningError("no answers in this time")
        warm_days = -(-max(length_of(getattr(params, "baseline", None) or window), DAY) // DAY)
        self.since = warm_days * DAY
        self._plan = RulePlan(params, facts, window, policy, min_n, 0 if isinstance(params, Floor) else min_denominator)
        self._calm = drawn(past, facts, np.random.default_rng([seed, 1]), series, days + warm_days, null)
        generator = np.random.default_rng([seed, 2])
        bad = drawn(past, facts, generator, min(series, 100), warm_days + WATCHED_MINUTES // DAY, null)
        hits = worsened(generator, facts, bad.n, bad.hits, drop, self.since)
        self._calm_batch, self._bad = SeriesBatch.of(self._calm.n, self._calm.hits), SeriesBatch.of(bad.n, hits)
        self._real_days = float(past.series_days) if null == "blocks" else float(series * days)

    def at(self, threshold: float) -> Tried:
        """Try a threshold."""
        plan = self._plan._replace(params=with_threshold(self._plan.params, threshold))
        began = [[minute for minute in fired if minute >= self.since] for fired in firings(plan, self._calm_batch)]
        false = sum(map(len, began))
        total = float(self._calm.n.size // DAY - self._calm.n.shape[1] * self.since // DAY)
        seen = [next((minute for minute in fired if minute >= self.since), None) for fired in firings(plan, self._bad)]
        waits = np.array([np.inf if at is None else at + 1 - self.since for at in seen])
        counts = np.array(
            [
                np.inf if at is None else self._bad.n[at + 1, column] - self._bad.n[self.since, column]
                for column, at in enumerate(seen)
            ]
        )
        lo, hi = interval_of(self._calm, began, self.since, self._real_days)
        missed = float(np.isinf(waits).mean())
        return Tried(threshold, false, total, false / total, lo, hi, _median(waits), _median(counts), missed)


def interval_of(calm: Drawn, began: Sequence[Sequence[int]], since: int, real_days: float) -> tuple[float, float]:
    """
    Return a 95 % interval of the rate of alarms per day and series, by how much the blocks of the past differ.

    Args:
        calm: What was simulated.
        began: The minutes in which alarms began, of each series.
        since: The first minute that counts.
        real_days: Days of history behind it: nothing is known better than by as many.
    """
    origin = calm.origin[since // DAY :]
    counts = np.zeros(origin.shape)
    for column, minutes in enumerate(began):
        for minute in minutes:
            counts[minute // DAY - since // DAY, column] += 1
    _, block = np.unique(origin, return_inverse=True)
    by_block, days = np.bincount(block.ravel(), counts.ravel()), np.bincount(block.ravel())
    rate, blocks = by_block.sum() / days.sum(), len(days)
    known = min(real_days, float(days.sum()))
    variance = float(((by_block - rate * days) ** 2).sum()) / days.sum() ** 2 * blocks / max(1, blocks - 1)
    if variance > 0:
        known = min(known, rate / variance)
    return rate_interval(rate * known, known)


def first_threshold(params: Detector, facts: Facts, past: Past, per_day: float) -> float:
    """Return where to begin: of a CUSUM what theory gives for independent answers, else a usual z."""
    if not isinstance(params, Cusum):
        return _COMMON_Z
    assert params.delta is not None
    share = float(past.hits.sum() / max(past.n.sum(), 1))
    level = level_of(Cusum(p0=facts.factor * share, delta=params.delta), facts, None)
    if isinstance(level, str):
        raise TuningError(level)
    return round(max(_LEAST, threshold_for(level, facts, per_day)), 1)


def search(at: Callable[[float], Tried], first: float, per_day: float, most: float = _MOST_Z) -> Iterator[Tried]:
    """Try thresholds, up or down from the first, until two enclose the wanted rate, and then between these."""
    threshold, often, kept = first, None, None
    for _ in range(_TRIES):
        found = at(threshold)
        yield found
        if found.per_day > per_day:
            often = threshold
        else:
            kept = threshold
        if kept is None:
            threshold = min(most, threshold * _FACTOR)
        elif often is None:
            threshold = max(_LEAST, threshold / _FACTOR)
        elif kept - often <= max(0.1, _CLOSE * kept):
            return
        else:
            threshold = (often + kept) / 2
        threshold = round(threshold, 1)
        if threshold in {often, kept}:
            return


def most_of(params: Detector) -> float:
    """Return the highest threshold of a method."""
    return _MOST_H if isinstance(params, Cusum) else _MOST_Z


def with_threshold(params: Detector, threshold: float) -> Detector:
    """Return the parameters of a method with another threshold."""
    match params:
        case Cusum():
            return Cusum(
                baseline=params.baseline, delta=params.delta, h=threshold, min_failures=params.min_failures,
                margin=params.margin,
            )  # fmt: skip
        case ZTest():
            return ZTest(baseline=params.baseline, z=threshold)
        case Floor():
            return Floor(target=params.target, z=threshold)
        case _:
            raise TypeError(f"{type(params).__name__} has no threshold to tune")


def proposed(tried: Iterable[Tried], per_day: float) -> Tried | None:
    """Return the lowest threshold that keeps to the wanted rate, as do all above it; None if none does."""
    found = None
    for one in sorted(tried, key=lambda one: -one.threshold):
        if one.per_day > per_day:
            return found
        found = one
    return found


def bounds_of_proposal(tried: Sequence[Tried], per_day: float) -> tuple[float | None, float | None]:
    """Return the highest threshold that is surely too low, and the lowest that is surely high enough; None: none is."""
    low = max((one.threshold for one in tried if one.lo > per_day), default=None)
    high = min((one.threshold for one in tried if one.hi <= per_day), default=None)
    return low, high


def too_short(past: Past, per_day: float) -> list[str]:
    """Say what of the history is too little for the wanted rate."""
    found = []
    days = len(past.day)
    least = rate_interval(0, max(1, past.series_days))[1]
    if least > per_day:
        found.append(
            f"{past.series_days} days of all series cannot show fewer than {least:.2g} false alarms a day (95 %);"
            f" {per_day:g} a day need {rate_interval(0, 1)[1] / per_day:.0f}"
        )
    if days < WEEKS_FROM:
        found.append(f"{days} days are less than two weeks: how weeks differ, and days of rest, is not in them")
    return found


def _median(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    middle = float(np.quantile(values, 0.5, method="lower"))
    return None if np.isinf(middle) else middle
