"""When what comes in bursts is dealt with: soon after one has begun, and not too often."""

from typing import Final

LOOK_S: Final = 0.1
"""Seconds between two looks at the clock."""

_BURST_S: Final = 0.1


class Bursts:
    """
    Tells when to deal with what waits; times are those of a clock that only goes forward.

    A timer that knows nothing of bursts may come just before each of them, which then waits for a whole period. Here a
    period begins with a burst, and all of it is there when it is dealt with.
    """

    def __init__(self, every_s: float) -> None:
        """Nothing waits; it is dealt with every `every_s` seconds at most."""
        self._every_s = every_s
        self._since: float | None = None
        self._begun = self._looked = float("-inf")

    def came(self, now: float) -> None:
        """Take note that something waits."""
        if self._since is None:
            self._since = now

    def begun(self, now: float) -> None:
        """Take note that all that waits is being dealt with, if anything does."""
        if self._since is not None:
            self._begun, self._since = now, None
        self._looked = now

    def is_due(self, now: float) -> bool:
        """Return whether it is time; also where nothing waits, now and then."""
        if self._since is None:
            return now >= self._looked + self._every_s
        return now >= max(self._since + min(_BURST_S, self._every_s), self._begun + self._every_s)
