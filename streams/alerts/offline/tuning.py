"""
Thresholds for a wanted rate of false alarms, found by trying them on series like those of the past.

Ratios are simulated, many series at once (`fleet`). Two ways to draw a time in which nothing happens: `blocks` puts
hours of the past together anew, each from the same hour of another day, so that bursts, quiet nights and the spread
from hour to hour stay; `steady` keeps only the volumes, and draws hits by chance at the series' own mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from streams.alerts.detectors import Detector
from streams.alerts.detectors.cusum import Cusum, level_of, threshold_for
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.machine import Policy
from streams.alerts.offline.backtest import rate_interval
from streams.alerts.offline.vectorised import Ints, RulePlan, SeriesBatch, firings
from streams.kpis.arithmetic.accumulators import Acc

Null: TypeAlias = Literal["blocks", "steady"]
Method: TypeAlias = Literal["cusum", "ztest", "floor"]

DAY: Final = 1440
HOUR: Final = 60
WATCHED_MINUTES: Final = 2 * DAY
"""How long a drop is given to be seen."""

_STEPS: Final = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_Z: Final = (2.6, 3.0, 3.3, 3.7, 4.1, 4.6, 5.2)


class TuningError(ValueError):
    """There is nothing to find a threshold from."""


class Past(NamedTuple):
    """What whole hours held, by hour (row), minute of it and series."""

    n: Ints
    hits: Ints
    hour: Ints
    """Hour of the day of each row, UTC."""

    @classmethod
    def of(cls, minutes: Iterable[tuple[int, Mapping[str, Acc]]], keys: Sequence[str], since: int, until: int) -> Past:
        """
        Lay minutes of ratios out; those of hours that are not whole are left out.

        Raises:
            TuningError: There is less than a day.
        """
        first, end = -(-since // HOUR), (until + 1) // HOUR
        if end - first < 24:
            raise TuningError(
                f"{max(0, end - first)} whole hours of history; a day at least is needed, a week is better"
            )
        place = {key: at for at, key in enumerate(keys)}
        held = np.zeros((2, end - first, HOUR, len(keys)), np.int64)
        for minute, sums in minutes:
            row = minute // HOUR - first
            if not 0 <= row < end - first:
                continue
            for key, acc in sums.items():
                if key in place and type(acc) is list:
                    held[:, row, minute % HOUR, place[key]] = acc
        return cls(held[0], held[1], np.arange(first, end) % 24)

    def without(self, spans: Iterable[tuple[int, int]], since: int) -> Past:
        """Leave out the hours that touch spans of minutes (first, last); `since` is the first minute asked for."""
        rows = np.arange(len(self.hour)) + -(-since // HOUR)
        kept = np.ones(len(rows), bool)
        for first, last in spans:
            kept &= (rows < first // HOUR) | (rows > last // HOUR)
        return Past(self.n[kept], self.hits[kept], self.hour[kept])


class Tried(NamedTuple):
    """What a threshold would bring."""

    threshold: float
    false: int
    days: float
    per_day: float
    lo: float
    hi: float
    minutes: float | None
    """Minutes until half of the series with the drop have fired; None if they never do."""
    answers: float | None
    missed: float
    """Part of the series in which the drop is not seen in two days."""


def drawn(past: Past, generator: np.random.Generator, series: int, days: int, null: Null) -> tuple[Ints, Ints]:
    """
    Draw minutes (rows) of series (columns) in which nothing happens; columns take turns among the series of the past.

    Raises:
        TuningError: An hour of the day is missing in the past.
    """
    rows = [np.flatnonzero(past.hour == hour) for hour in range(24)]
    if any(not len(found) for found in rows):
        raise TuningError("some hour of the day was never seen; give a longer time, or fewer incidents to leave out")
    source = np.arange(series) % past.n.shape[2]
    picked = np.stack([generator.choice(rows[hour % 24], series) for hour in range(24 * days)])
    n = past.n[picked[:, :, None], np.arange(HOUR), source[None, :, None]].transpose(0, 2, 1).reshape(-1, series)
    if null == "blocks":
        hits = past.hits[picked[:, :, None], np.arange(HOUR), source[None, :, None]]
        return n, hits.transpose(0, 2, 1).reshape(-1, series)
    share = past.hits.sum((0, 1)) / np.maximum(past.n.sum((0, 1)), 1)
    return n, generator.binomial(n, np.minimum(share, 1.0)[source])


def worsened(
    generator: np.random.Generator, facts: Facts, n: Ints, hits: Ints, drop: float, since: int
) -> tuple[Ints, Ints]:
    """Let the value be worse by `drop`, in the KPI's unit, from a minute on: good answers turn bad by chance."""
    lost = drop / facts.factor
    after = hits.copy()
    share = hits.sum(0) / np.maximum(n.sum(0), 1)
    if facts.direction == "up":
        p = np.clip(lost / np.maximum(share, 1e-9), 0.0, 1.0)
        after[since:] -= generator.binomial(hits[since:], p)
    else:
        p = np.clip(lost / np.maximum(1 - share, 1e-9), 0.0, 1.0)
        after[since:] += generator.binomial(np.maximum(n[since:] - hits[since:], 0), p)
    return n, after


def thresholds(params: Detector, facts: Facts, past: Past, per_day: float) -> list[float]:
    """Return thresholds to try: of a CUSUM around what theory gives, else usual values of z."""
    if not isinstance(params, Cusum):
        return list(_Z)
    assert params.delta is not None
    share = float(past.hits.sum() / max(past.n.sum(), 1))
    level = level_of(Cusum(p0=facts.factor * share, delta=params.delta), facts, None)
    if isinstance(level, str):
        raise TuningError(level)
    middle = threshold_for(level, facts, per_day)
    return [round(max(1.0, middle + 0.8 * step), 1) for step in _STEPS]


def with_threshold(params: Detector, threshold: float) -> Detector:
    """Return the parameters of a method with another threshold."""
    match params:
        case Cusum():
            return Cusum(baseline=params.baseline, delta=params.delta, h=threshold, min_failures=params.min_failures)
        case ZTest():
            return ZTest(baseline=params.baseline, z=threshold)
        case Floor():
            return Floor(target=params.target, z=threshold)
        case _:
            raise TypeError(f"{type(params).__name__} has no threshold to tune")


def tune(
    params: Detector,
    facts: Facts,
    window: str,
    past: Past,
    tried: Sequence[float],
    *,
    drop: float,
    min_n: int = 1,
    min_denominator: int = 20,
    policy: Policy = Policy(),  # noqa: B008 - it is frozen
    null: Null = "blocks",
    series: int = 200,
    days: int = 10,
    seed: int = 1,
) -> Iterator[Tried]:
    """
    Try thresholds, one after the other, all on the same series.

    Raises:
        TuningError: The past is too thin.
    """
    if not past.n.any():
        raise TuningError("no answers in this time")
    warm = max(length_of(getattr(params, "baseline", None) or window), DAY)
    warm_days = -(-warm // DAY)
    calm = SeriesBatch.of(*drawn(past, np.random.default_rng([seed, 1]), series, days + warm_days, null))
    generator = np.random.default_rng([seed, 2])
    n, hits = drawn(past, generator, min(series, 100), warm_days + WATCHED_MINUTES // DAY, null)
    since = warm_days * DAY
    bad = SeriesBatch.of(*worsened(generator, facts, n, hits, drop, since))
    thin = 0 if isinstance(params, Floor) else min_denominator
    for threshold in tried:
        plan = RulePlan(with_threshold(params, threshold), facts, window, policy, min_n, thin)
        false = sum(minute >= since for fired in firings(plan, calm) for minute in fired)
        seen = [next((minute for minute in fired if minute >= since), None) for fired in firings(plan, bad)]
        waits = np.array([np.inf if at is None else at + 1 - since for at in seen])
        counts = np.array(
            [np.inf if at is None else bad.n[at + 1, column] - bad.n[since, column] for column, at in enumerate(seen)]
        )
        total = float(series * days)
        yield Tried(
            threshold,
            false,
            total,
            false / total,
            *rate_interval(false, total),
            _median(waits),
            _median(counts),
            float(np.isinf(waits).mean()),
        )


def proposed(tried: Iterable[Tried], per_day: float) -> Tried | None:
    """Return the lowest threshold that keeps to the wanted rate; None if none does."""
    return min((one for one in tried if one.per_day <= per_day), key=lambda one: one.threshold, default=None)


def _median(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    middle = float(np.quantile(values, 0.5, method="lower"))
    return None if np.isinf(middle) else middle
