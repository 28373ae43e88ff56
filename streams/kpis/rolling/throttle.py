"""
How often a merge partition publishes, and how many closed minutes of a stall it makes up for one by one.

What moves every second would cost more to publish than all the rest costs to compute, and history has no readers who
wait for each minute of it.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from streams.kpis.rolling.outputs import Outputs

_HISTORY = 5  # times as long between two publications of history, of which but the last is already over
_MINUTES_PER_S = 2_000
_SHORT_PER_S = 2_500
_LONG_PER_S = 700
_LONG = 5  # times as long between two publications of long windows: a second is seen in five minutes, not in a day
_EARLY = 0.1  # part of the time between two by which one may come early: flushes do not come to the tenth of a second
_STEPS = 5  # further back only the last
_STEP_ROWS = 10_000  # above so many it is only the last as well: each minute has all series anew


class Due(NamedTuple):
    """What of open minutes is published now: themselves, and the short and the long windows that end with them."""

    minutes: bool
    short: bool
    long: bool


class PublishingThrottle:
    """
    When minutes that are still open are published, and the rolling windows that end with them.

    Short windows every `every_s`, minutes, of which there are fewer, twice as often, and long windows a fifth as often,
    until that would be too many rows. Then minutes come first, and short windows more often than long ones.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._minutes = _Turn(every_s / 2, _MINUTES_PER_S)
        self._short = _Turn(every_s, _SHORT_PER_S)
        self._long = _Turn(every_s * _LONG, _LONG_PER_S)

    def due(self, now: float, *, history: bool, at_rest: bool = False) -> Due:
        """
        Tell what it is time for at `now` (Unix s).

        Nobody waits for what is `history`. Where nothing comes any more, `at_rest`, long windows need not wait.
        """
        if not self._minutes.has_come(now, self._every_s * _HISTORY if history else 0.0):
            return Due(minutes=False, short=False, long=False)
        return Due(minutes=True, short=self._short.has_come(now), long=at_rest or self._long.has_come(now))

    def published(self, now: float, due: Due, outputs: Outputs, closed: int | None, short: Container[str]) -> None:
        """
        Take note of what was published at `now` (Unix s), with minutes up to `closed` and windows that are `short`.

        What was closed makes open windows wait as well, but not open minutes: of history there may be any number.
        """
        if due.minutes:
            self._minutes.taken(now, sum(1 for row in outputs.minutes if closed is None or row.minute > closed))
        in_short = sum(1 for row in outputs.values if row.window in short)
        in_long = len(outputs.values) - in_short
        if due.short or in_short:
            self._short.taken(now, in_short)
        if due.long or in_long:
            self._long.taken(now, in_long)


class _Turn:
    """When something comes again: at once, and then the later the more rows it made."""

    def __init__(self, every_s: float, rows_per_s: float) -> None:
        self._every_s = every_s
        self._rows_per_s = rows_per_s
        self._next: float | None = None
        self._at = 0.0

    def has_come(self, now: float, least_s: float = 0.0) -> bool:
        # A clock that was ahead, and is set back, must not keep anybody waiting until that time comes again.
        return self._next is None or now < self._at or now >= max(self._next, self._at + least_s)

    def taken(self, now: float, rows: int) -> None:
        self._at = now
        self._next = now + max(self._every_s * (1 - _EARLY), rows / self._rows_per_s)


def steps_to(closed: int | None, target: int, *, rows: int, catching_up: bool) -> range:
    """Return the minutes to close one after the other, up to `target`; each brings about so many rows."""
    if closed is None or catching_up:
        return range(target, target + 1) if closed is None or target > closed else range(0)
    at_once = _STEPS if rows * _STEPS <= _STEP_ROWS else 1
    return range(max(closed + 1, target - at_once + 1), target + 1)
