"""
What others do about a fall of a share, on the same series as ours: statistics by series, larger is worse, one every five
minutes. Thresholds are found for the same budget of false episodes.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.alerts.offline.vectorised import SeriesBatch

STEP: Final = 5
DAY: Final = 1440
CALM: Final = 60
"""Minutes below the threshold that end an episode."""
LEAST: Final = 10
"""Answers that a share needs."""

Floats = npt.NDArray[np.float64]


def shares(batch: SeriesBatch, length: int, lag: int = 0) -> tuple[Floats, Floats]:
    """Return share (percent) and answers of the windows that end every five minutes, `lag` minutes before."""
    ends = np.arange(STEP, batch.minutes + 1, STEP) - lag
    last, first = np.maximum(ends, 0), np.maximum(ends - length, 0)
    n = (batch.n[last] - batch.n[first]).astype(float)
    hits = batch.hits[last] - batch.hits[first]
    return np.where(n >= LEAST, 100 * hits / np.maximum(n, 1), np.nan), n


def static(batch: SeriesBatch) -> Floats:
    """A fixed threshold on the last hour, the same for all series."""
    return 100 - shares(batch, 60)[0]


def z_of_hours(batch: SeriesBatch) -> Floats:
    """The last hour against the day before it, as if answers were independent."""
    (now, n), (was, n_was) = shares(batch, 60), shares(batch, DAY - 60, 60)
    both = (n * now + n_was * was) / np.maximum(n + n_was, 1)
    deviation = np.sqrt(both * (100 - both) * (1 / np.maximum(n, 1) + 1 / np.maximum(n_was, 1)))
    return (was - now) / np.maximum(deviation, 1e-9)


def seasonal_mad(batch: SeriesBatch) -> Floats:
    """The last hour against the median of this hour in the last 14 days, in median absolute deviations."""
    now, _ = shares(batch, 60)
    past = np.stack([shares(batch, 60, day * DAY)[0] for day in range(1, 15)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # hours that no day has seen
        median = np.nanmedian(past, axis=0)
        mad = 1.4826 * np.nanmedian(np.abs(past - median), axis=0)
    known = np.isfinite(past).sum(0) >= 7
    return np.where(known, (median - now) / np.maximum(mad, 0.5), np.nan)


def bands(batch: SeriesBatch) -> Floats:
    """The last hour against mean and standard deviation of the values of a day, as bands in Prometheus have them."""
    now, _ = shares(batch, 60)
    day = DAY // STEP
    filled = np.nan_to_num(now, nan=85.0)
    total, squares = (np.vstack([np.zeros((1, now.shape[1])), one.cumsum(0)]) for one in (filled, filled * filled))
    last = np.arange(1, len(now) + 1)
    first = np.maximum(last - day, 0)
    count = (last - first)[:, None]
    mean = (total[last] - total[first]) / count
    spread = np.sqrt(np.maximum((squares[last] - squares[first]) / count - mean * mean, 0.01))
    return (mean - now) / spread


def page_hinkley(batch: SeriesBatch) -> Floats:
    """Page and Hinkley's sum over shares of quarters of an hour, half of ten points allowed for."""
    now, _ = shares(batch, 15)
    found = np.zeros_like(now)
    mean, count, total = (np.zeros(now.shape[1]) for _ in range(3))
    every = 15 // STEP
    for at in range(len(now)):
        if at % every == every - 1:
            x = now[at]
            seen = np.isfinite(x)
            count += seen
            mean += np.where(seen, (x - mean) / np.maximum(np.minimum(count, 14 * DAY / 15), 1), 0.0)
            total = np.where(seen, np.maximum(0.0, total + mean - x - 5.0), total)
        found[at] = total
    return found


PEERS: Final[dict[str, Callable[[SeriesBatch], Floats]]] = {
    "static threshold, 1 h": static,
    "z of the hour against the day": z_of_hours,
    "seasonal MAD, 14 days": seasonal_mad,
    "Prometheus bands, 24 h": bands,
    "Page-Hinkley, 15 min": page_hinkley,
}


def episodes(statistic: Floats, threshold: float, since: int) -> list[list[int]]:
    """Return the minutes from `since` on in which each series begins to be above a threshold."""
    above = np.nan_to_num(statistic, nan=-np.inf) > threshold
    found = []
    for column in above.T:
        began, last = [], -CALM
        for at in np.flatnonzero(column):
            minute = (int(at) + 1) * STEP - 1
            if minute - last > CALM and minute >= since:
                began.append(minute)
            last = minute
        found.append(began)
    return found


def threshold_within(statistic: Floats, per_day: float, since: int) -> float:
    """Return the lowest threshold that keeps to a rate of false episodes."""
    days = (len(statistic) * STEP - since) / DAY * statistic.shape[1]
    seen = statistic[since // STEP :]
    low, high = float(np.nanquantile(seen, 0.5)), float(np.nanmax(seen)) + 1e-9
    for _ in range(18):
        middle = (low + high) / 2
        if sum(map(len, episodes(statistic, middle, since))) / days > per_day:
            low = middle
        else:
            high = middle
    return high


def adwin(batch: SeriesBatch, delta: float) -> list[list[int]]:
    """River's ADWIN over shares of quarters of an hour: the minutes in which it saw a change for the worse."""
    try:
        from river.drift import ADWIN
    except ImportError:
        sys.exit("river is not installed: pip install river, or leave --adwin out")
    now, _ = shares(batch, 15)
    found = []
    for column in now[2::3].T:
        detector, began = ADWIN(delta=delta, clock=1), []
        for at, x in enumerate(column):
            if not np.isfinite(x):
                continue
            was = detector.estimation
            detector.update(float(x))
            if detector.drift_detected and detector.estimation < was:
                began.append(15 * (at + 1) - 1)
        found.append(began)
    return found
