"""
Side tasks: what a worker does beside its main line (learning, enriching, notifying, metrics, clocks).

Each of them may fail without ending the worker: it is counted, logged and tried again. What ends a worker is the main
line alone, from the events to the totals and the store.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from streams import metrics

log = logging.getLogger(__name__)


class Aside:
    """One side task: counts its failures, tells each kind with a traceback once, and paces what is tried again."""

    def __init__(self, task: str, *, first_pause_s: float = 1.0, longest_pause_s: float = 60.0) -> None:
        """
        Prepare.

        Args:
            task: Its name in the log and in `cx_side_task_failures`.
            first_pause_s: Pause after a first failure; doubles up to `longest_pause_s`.
            longest_pause_s: The longest pause; what went well for longer begins with the first one again.
        """
        self._task = task
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failures = 0
        self._failed_at = 0.0
        self._logged: set[tuple[str, str]] = set()
        metrics.SIDE_TASK_FAILURES.labels(task)  # 0 from the start: a first failure is an increase then

    def failed(self, error: Exception) -> float:
        """Take note of a failure; return the seconds to wait before the next attempt."""
        metrics.SIDE_TASK_FAILURES.labels(self._task).inc()
        now = time.monotonic()
        if now - self._failed_at > 2 * self._longest_pause_s:
            self._failures = 0
        self._failed_at = now
        pause_s = min(self._first_pause_s * 2.0 ** min(self._failures, 30), self._longest_pause_s)
        self._failures += 1
        frames = traceback.extract_tb(error.__traceback__)
        kind = type(error).__name__, f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        log.warning(
            "%s failed, the worker goes on: %s: %s",
            self._task,
            kind[0],
            error,
            exc_info=kind not in self._logged and error,
        )
        self._logged.add(kind)
        return pause_s

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Do once what may fail; nothing is raised."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
            self.failed(error)

    async def keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something until it ends by itself, again after each failure; only cancelling ends it early."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
                pause_s = self.failed(error)
            await asyncio.sleep(pause_s)


METRICS: Final = Aside("metrics")
"""For whoever sets gauges beside its main line."""
