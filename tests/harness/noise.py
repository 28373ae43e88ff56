"""
Series of a ratio as companies have them: levels differ by hour, wander for hours and drift for weeks, several customers
share one cause, volumes follow the day, burst, and fall on holidays. Independent of how detectors see noise.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.alerts.facts import Facts
from streams.alerts.offline.vectorised import SeriesBatch

DAY: Final = 1440
CAUSE_MINUTES: Final = 10
PERCENT: Final = Facts("ratio", "up", "percent")

Floats = npt.NDArray[np.float64]


class Noise(NamedTuple):
    """How a series varies while nothing happens; levels in points (percent)."""

    hour: float = 0.0
    """Amplitude of what the hour of the day does to the level."""
    wander: float = 0.0
    """Standard deviation of a level that wanders."""
    wander_minutes: float = 180.0
    """Over how long it wanders."""
    shared: float = 0.0
    """Part of the answers that share a cause with others of the same ten minutes."""
    rho: float = 0.25
    """Correlation of answers that share a cause."""
    together: int = 8
    """Answers of one cause, about."""
    drift: float = 0.0
    """Standard deviation, a week, of a level that drifts and comes back over weeks."""
    day: float = 0.0
    """How much the volume follows the day: 0 not at all, 1 down to nothing."""
    bursts: float = 0.0
    """Bursts of volume a day: four times as much for some 20 minutes."""
    holidays: float = 0.0
    """Part of the days of which half comes, and a level that differs by half of `hour`."""
    week: float = 0.0
    """How far the level of two days of the week is from that of the others: above in half of the series."""

    def times(self, part: float) -> Noise:
        """Return part of the noise of levels, with the same volumes."""
        return self._replace(
            hour=part * self.hour, wander=part * self.wander, shared=part * self.shared, drift=part * self.drift,
            week=part * self.week,
        )  # fmt: skip


NONE: Final = Noise()
FULL: Final = Noise(3.0, 2.6, 180.0, 0.25, 0.25, 8, 1.0, 0.5, 2.0, 0.07)
HALF: Final = FULL.times(0.5)
WEEK: Final = FULL._replace(week=6.0)


class Drop(NamedTuple):
    """A level that is worse by `points` from a minute on; each series has its own minute."""

    points: float
    minute: npt.NDArray[np.int64]


def levels(generator: np.random.Generator, noise: Noise, series: int, minutes: int, good: float) -> Floats:
    """Draw the level of every minute (rows) of every series (columns), in percent."""
    at = np.arange(minutes)
    level = np.full((minutes, series), good)
    if noise.hour:
        phase, half = generator.uniform(0, 2 * np.pi, (2, series))
        turn = 2 * np.pi * at[:, None] / DAY
        level += noise.hour * (0.8 * np.sin(turn + phase) + 0.2 * np.sin(2 * turn + half))
    if noise.wander:
        level += noise.wander * _wandering(generator, minutes, series, noise.wander_minutes, every=5)
    if noise.drift:
        level += noise.drift * _wandering(generator, minutes, series, 7.0 * DAY, every=60)
    if noise.week:
        first, side = generator.integers(0, 7, series), generator.choice([-1.0, 1.0], series)
        level += np.where((at[:, None] // DAY - first) % 7 < 2, noise.week * side, 0.0)
    return level


def volumes(generator: np.random.Generator, noise: Noise, series: int, minutes: int, rate: float) -> Floats:
    """Draw the expected answers of every minute."""
    at = np.arange(minutes)[:, None]
    volume = np.full((minutes, series), float(rate))
    if noise.day:
        volume *= 1 - noise.day * np.cos(2 * np.pi * (at - 3 * 60) / DAY)
    if noise.bursts:
        for column in range(series):
            for start in generator.integers(0, minutes, generator.poisson(noise.bursts * minutes / DAY)):
                volume[start : start + int(generator.exponential(20)) + 1, column] *= 4
    return volume


def drawn(
    generator: np.random.Generator,
    noise: Noise,
    *,
    series: int,
    minutes: int,
    rate: float = 1.0,
    good: float = 85.0,
    facts: Facts = PERCENT,
    drop: Drop | None = None,
) -> SeriesBatch:
    """Draw series; `good` is the share of answers that are as they should be, in percent."""
    # What is rare varies less: as an answer does.
    noise = noise.times(min(1.0, (good * (100 - good) / (85.0 * 15.0)) ** 0.5))
    level = levels(generator, noise, series, minutes, good)
    volume = volumes(generator, noise, series, minutes, rate)
    if noise.holidays:
        held = np.repeat(generator.random((-(-minutes // DAY), series)) < noise.holidays, DAY, axis=0)[:minutes]
        volume[held] *= 0.5
        level[held] -= noise.hour / 2
    if drop is not None:
        level -= drop.points * (np.arange(minutes)[:, None] >= drop.minute)
    share = np.clip(level / 100, 0.002, 0.998)
    n = generator.poisson(volume)
    common = generator.binomial(n, noise.shared) if noise.shared else np.zeros_like(n)
    hits = generator.binomial(n - common, share)
    if noise.shared:
        causes = max(1, round(rate * noise.shared * CAUSE_MINUTES / noise.together))
        for cause in range(causes, 0, -1):
            one = generator.binomial(common, 1 / cause)
            hits += generator.binomial(one, _of_one_cause(generator, share, noise.rho))
            common -= one
    return SeriesBatch.of(n, hits if facts.direction == "up" else n - hits)


def _of_one_cause(generator: np.random.Generator, share: Floats, rho: float) -> Floats:
    """Draw the level of those who share a cause: beta around theirs, the same for ten minutes."""
    rest = 1 / rho - 1
    mean = share[::CAUSE_MINUTES]
    drawn_ = generator.beta(mean * rest, (1 - mean) * rest)
    return np.clip(np.repeat(drawn_, CAUSE_MINUTES, axis=0)[: len(share)], 0.0, 1.0)


def _wandering(generator: np.random.Generator, minutes: int, series: int, over: float, *, every: int) -> Floats:
    """Draw a process of deviation one that forgets itself over so many minutes, one value every few of them."""
    steps = -(-minutes // every)
    keep = float(np.exp(-every / over))
    noise = generator.standard_normal((steps, series)) * np.sqrt(1 - keep * keep)
    noise[0] = generator.standard_normal(series)
    for step in range(1, steps):
        noise[step] += keep * noise[step - 1]
    return np.repeat(noise, every, axis=0)[:minutes]
