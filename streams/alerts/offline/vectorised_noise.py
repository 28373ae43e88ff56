"""The noise of many series at once: `detectors.noise`, array by array."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.alerts.detectors.noise import (
    BLOCKS,
    FALL,
    FURTHEST,
    HOUR_DAYS,
    HOUR_PRIOR,
    LEVEL_HOURS,
    MEMORY_MINUTES,
    MOST_LEVEL,
    OFFSET_UNITS,
    PRIOR_BLOCKS,
    PRIOR_LEVEL,
    PRIOR_SHAPE,
    WARINESS,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_HOUR: Final = 60
_LOGS: Final = np.log(BLOCKS)


class Noises:
    """What is known of each series; arrays are of blocks (rows) or hours, by series (columns)."""

    def __init__(self, size: int) -> None:
        self._sums, self._answers = (np.zeros((len(BLOCKS), size)) for _ in range(2))
        # Squares, pairs, answers and number of blocks, by length.
        self._known, self._open = (np.zeros((4, len(BLOCKS), size)) for _ in range(2))
        self._variances, self._measured = np.zeros((len(BLOCKS), size)), np.zeros(size, bool)
        self._left_out = np.full(size, -1)
        self._offsets, self._days = np.zeros((24, size)), np.zeros((24, size), np.int64)
        self._level = np.zeros(size)
        self._tracked = np.zeros(size, bool)

    def offset(self, minute: int, variance: Floats) -> Floats:
        """Return what the hour of a minute does to the level."""
        seen = (self._days > 0).sum(0)
        centre = self._offsets.sum(0) / np.maximum(seen, 1)
        found = (self._offsets[minute // _HOUR % 24] - centre) * np.sqrt(variance) / OFFSET_UNITS
        return np.where(seen > 0, found, 0.0)

    def levels(self, variance: Floats) -> Floats:
        """Return the level variances of blocks of each length."""
        if self._measured.all():
            return self._variances
        return np.where(self._measured, self._variances, self._estimated(np.zeros_like(self._known), variance))

    def _estimated(self, known: Floats, variance: Floats) -> Floats:
        found = np.empty_like(self._sums)
        expected = PRIOR_LEVEL * variance
        for at in range(len(BLOCKS)):
            if at:
                expected = expected * (PRIOR_SHAPE[at] / PRIOR_SHAPE[at - 1])
            squares, pairs, answers, blocks = known[:, at]
            own = np.where(pairs > 0, (squares - variance * answers) / np.where(pairs > 0, pairs, 1.0), 0.0)
            expected = np.maximum(0.0, (own * blocks + PRIOR_BLOCKS * expected) / (blocks + PRIOR_BLOCKS))
            found[at] = np.minimum(WARINESS * expected, MOST_LEVEL[at] * variance)
        return found

    def observe(
        self, minute: int, total: Floats, n: Ints, mean: Floats, variance: Floats, error: Floats, ready: Bools,
        teaches: Bools, rests: Bools,
    ) -> None:  # fmt: skip
        """Take note of one more minute of the series that are ready."""
        level = np.where(self._tracked, self._level, mean)
        off = total - n * (level + self.offset(minute, variance))
        self._left_out = np.where(ready & ~teaches, minute, self._left_out)
        self._open = np.where(ready & ~teaches, 0.0, self._open)
        self._sums[0] += np.where(ready, off, 0.0)
        self._answers[0] += np.where(ready, n, 0)
        if (minute + 1) % BLOCKS[0]:
            return
        levels = self.levels(variance)
        for at, length in enumerate(BLOCKS):
            if (minute + 1) % length:
                break
            beyond, held = np.where(ready, self._sums[at], 0.0), np.where(ready, self._answers[at], 0.0)
            self._sums[at], self._answers[at] = (np.where(ready, 0.0, one[at]) for one in (self._sums, self._answers))
            if at + 1 < len(BLOCKS):
                self._sums[at + 1] += beyond
                self._answers[at + 1] += held
            taught = ready & (self._left_out <= minute - length) & (held > 0)
            least = held * held * error
            most = FURTHEST * (held * variance + held * held * levels[at] + least)
            more = np.stack([np.minimum(beyond * beyond, most) - least, held * held, held, np.ones_like(held)])
            self._open[:, at] += np.where(taught, more, 0.0)
            taught &= variance > 0
            if length == _HOUR and taught.any():
                mean_off = beyond / np.maximum(held, 1)
                self._teach(minute, mean_off, variance, variance / np.maximum(held, 1) + levels[at], taught)
                self._tracked |= taught & (self._days.sum(0) > LEVEL_HOURS / 2)
                self._level = np.where(taught, level + mean_off / LEVEL_HOURS, self._level)

        done = ready & rests
        if not done.any():
            return
        kept = np.exp(-np.array(BLOCKS)[:, None] * self._open[3] / MEMORY_MINUTES)
        self._known = np.where(done, kept * self._known + self._open, self._known)
        self._open = np.where(done, 0.0, self._open)
        self._variances = np.where(done, self._estimated(self._known, variance), self._variances)
        self._measured |= done

    def _teach(self, minute: int, off: Floats, variance: Floats, spread: Floats, taught: Bools) -> None:
        hour = minute // _HOUR % 24
        safe = np.where(taught, variance, 1.0)
        days = np.minimum(self._days[hour] + 1, HOUR_DAYS)
        unit = OFFSET_UNITS / np.sqrt(safe)
        x = (self.offset(minute, safe) + off) * unit
        moved = np.rint(self._offsets[hour] + (x - self._offsets[hour]) / (days + spread / (HOUR_PRIOR * safe)))
        self._offsets[hour] = np.where(taught, moved, self._offsets[hour])
        self._days[hour] = np.where(taught, days, self._days[hour])


def variance_over(levels: Floats, minutes: Ints | Floats) -> Floats:
    """Return the level variance of so many minutes of each series."""
    length = np.maximum(minutes, 1)
    logs, high = np.log(length), np.log(np.maximum(levels, 1e-12))
    found = levels[0] * BLOCKS[0] / length
    for at in range(1, len(BLOCKS)):
        part = (logs - _LOGS[at - 1]) / (_LOGS[at] - _LOGS[at - 1])
        found = np.where(length > BLOCKS[at - 1], np.exp(high[at - 1] + part * (high[at] - high[at - 1])), found)
    result: Floats = np.where(length >= BLOCKS[-1], levels[-1] * (BLOCKS[-1] / length) ** FALL, found)
    return result


def dispersion(levels: Floats, variance: Floats, n: Ints, minutes: Ints) -> Floats:
    """Return how many times as much as by chance the sums of runs vary."""
    safe = np.where(variance > 0, variance, 1.0)
    return np.where((variance > 0) & (n > 0), 1.0 + n * variance_over(levels, minutes) / safe, 1.0)
