"""When what comes in bursts is dealt with: soon after one has begun, and not too often."""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from streams.engine.app import BatchApp
from streams.engine.stage import Stage
from streams.steady import steady

LOOK_S: Final = 0.1
"""Seconds between two looks at the clock."""

BURST_S: Final = 0.1
"""Seconds after which all of a burst has come."""

_QUIET: Final = 2


class Bursts:
    """
    Tells when to deal with what waits; times are those of a clock that only goes forward.

    A timer that knows nothing of bursts may come just before each of them, which then waits for a whole period. Here a
    period begins with a burst, and all of it is there when it is dealt with.
    """

    def __init__(self, every_s: float, burst_s: float = BURST_S) -> None:
        """Nothing waits; it is dealt with every `every_s` seconds at most, `burst_s` after it has begun to come."""
        self._every_s = every_s
        self._burst_s = min(burst_s, every_s)
        self._since: float | None = None
        self._begun = self._looked = float("-inf")

    @property
    def waits(self) -> bool:
        """Whether anything came that was not dealt with."""
        return self._since is not None

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
            return now >= self._looked + _QUIET * self._every_s
        return now >= max(self._since + self._burst_s, self._begun + self._every_s)


class BurstStage(Stage):
    """A stage that is flushed as bursts come: beside its timer, which complains of what takes longer than a period."""

    def __init__(self, app: BatchApp, topics: Sequence[str], *, flush_s: float) -> None:
        """Declare it; it is flushed every `flush_s` seconds at most."""
        self._flush: asyncio.Task[bool] | None = None
        super().__init__(app, topics, flush_s=min(LOOK_S, flush_s))

    @abstractmethod
    def is_due(self, now: float) -> bool:
        """Return whether to flush at `now` (`steady` seconds)."""

    async def tick(self) -> None:
        """Begin a flush if it is time."""
        if self._flush is not None and self._flush.done():
            ended, self._flush = self._flush, None
            ended.result()  # raises what ended it
        if self._flush is None and not self.is_flushing and self.is_due(steady()):
            self._flush = asyncio.create_task(self.flush_live())
