"""
How often a merge partition publishes, and how many closed minutes of a stall it makes up for one by one.

What moves every second would cost more to publish than all the rest costs to compute, and history has no readers who
wait for each minute of it.
"""

from __future__ import annotations

from typing import Final

HISTORY_S: Final = 300.0
"""Event time this far behind the clock is history."""

_CATCHING_UP = 5  # times as long between two publications, of which but the last is already history
_VALUES_PER_S = 4_000
_STEPS = 5  # further back only the last
_STEP_ROWS = 10_000  # above so many it is only the last as well: each minute has all series anew


class Pace:
    """When minutes that are still open are published next."""

    def __init__(self, open_every_s: float) -> None:
        """Publish at once, and then not more often than every `open_every_s`."""
        self._open_every_s = open_every_s
        self._opened_at: float | None = None
        self._pause_s = open_every_s

    def is_due(self, now: float, *, catching_up: bool, watermark: float | None) -> bool:
        """
        Tell whether it is time at `now`, with the watermark that was reached (both Unix s).

        Under load a source is `catching_up` for moments, which nobody shall wait for.
        """
        if self._opened_at is None:
            return True
        behind = catching_up and (watermark is None or now - watermark > HISTORY_S)
        return now >= self._opened_at + max(self._pause_s, self._open_every_s * _CATCHING_UP if behind else 0.0)

    def opened(self, now: float, rows: int) -> None:
        """Take note that so many rolling values were published at `now`: with very many the next wait is longer."""
        self._opened_at = now
        self._pause_s = max(self._open_every_s, rows / _VALUES_PER_S)


def steps_to(closed: int | None, target: int, *, rows: int, catching_up: bool) -> range:
    """Return the minutes to close one after the other, up to `target`; each brings about so many rows."""
    if closed is None or catching_up:
        return range(target, target + 1) if closed is None or target > closed else range(0)
    at_once = _STEPS if rows * _STEPS <= _STEP_ROWS else 1
    return range(max(closed + 1, target - at_once + 1), target + 1)
