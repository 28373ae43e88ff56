"""
The normal value of a series, learnt from a window of its recent past without letting a slow decline teach it.

The window is looked at once an hour. What it shows is followed at a seventh of its own pace: of a window of 24 hours
the normal value is the mean over a week, of one of seven days that over seven weeks. While a detector is in an
excursion it does not ask, so trouble that lasts never becomes normal by lasting.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import msgspec

from streams.alerts.facts import Moments

LEARNING_INTERVAL_MIN: Final = 60
"""Time between two looks."""

LEARNING_WINDOWS: Final = 7
"""Windows over which the normal value is the mean."""


class Normal(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is known of single answers while all is well, in the unit they are given in."""

    mean: float
    variance: float
    n: float
    """Answers that the mean stands on, counting those of windows that do not overlap."""
    weight: float
    """Answers seen in all lessons so far, as far as they still count."""
    minute: int
    """The minute of the last one."""
    windows: float = 1.0
    """Windows that do not overlap, which the mean stands on."""

    @property
    def error(self) -> float:
        """Return the standard error of the mean."""
        return sqrt(self.variance / self.n)

    def is_due(self, minute: int) -> bool:
        """Return whether it is time for the next lesson."""
        return minute - self.minute >= LEARNING_INTERVAL_MIN


def learn(known: Normal | None, minute: int, seen: Moments, window_minutes: int) -> Normal:
    """Return the normal value after another look at its window."""
    if known is None:
        return Normal(seen.mean, seen.variance, float(seen.n), float(seen.n), minute)
    # Lessons count by their answers: the first ones, from a window that is hardly filled, would spoil the mean.
    weight = min(known.weight + seen.n, seen.n * max(1.0, LEARNING_WINDOWS * window_minutes / LEARNING_INTERVAL_MIN))
    part = seen.n / weight
    windows = max(1.0, LEARNING_INTERVAL_MIN / (part * window_minutes))
    return Normal(
        known.mean + part * (seen.mean - known.mean),
        known.variance + part * (seen.variance - known.variance),
        seen.n * windows,
        weight,
        minute,
        windows,
    )
