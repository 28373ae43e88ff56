"""Ends a worker that has died without saying so.

A Faust worker can lose its recovery, its commits, an agent or a thread and stay in the consumer group,
keep its partitions, and do nothing. Whoever supervises processes can restart only one that has ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.engine.app import BatchApp

log = logging.getLogger(__name__)

#: Exit code of a process the watchdog ended: sysexits' "internal software error".
EXIT_CODE = 70

#: Logger and text of the errors that Faust's recovery swallows, each of them a lost table entry.
RECOVERY_LOGGER = "faust.tables.recovery"
SWALLOWED = "Error in recovery"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds each condition may last before the process ends.

    Attributes:
        rebalance_s: Partitions moving, or tables recovering.
        commit_s: Acknowledged records that nobody commits.
        loop_s: An event loop, the worker's or the consumer thread's, that does not answer.
        stop_s: A shutdown, or a crash, that does not come to its end.
        check_every_s: Pause between two looks.
    """

    rebalance_s: float = 180.0
    commit_s: float = 60.0
    loop_s: float = 60.0
    stop_s: float = 60.0
    check_every_s: float = 1.0


class Watchdog:
    """A daemon thread that looks at the worker from outside of its event loops."""

    def __init__(self, app: BatchApp, limits: Limits, end: Callable[[str], None] | None = None) -> None:
        self._app = app
        self._limits = limits
        self._end = end or end_process
        self._since: dict[str, float] = {}
        self._beats: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._swallowed = _SwallowedErrors()

    def start(self) -> None:
        """Begin to watch; Faust's event loop is running."""
        logging.getLogger(RECOVERY_LOGGER).addHandler(self._swallowed)
        self._thread.start()

    def _run(self) -> None:
        while True:
            sleep(self._limits.check_every_s)
            try:
                reason = next(self.complaints(), None)
            except Exception:
                # A watchdog that cannot look is no watchdog.
                log.critical("the watchdog failed", exc_info=True)
                reason = "the watchdog itself failed"
            if reason is not None:
                self._end(reason)
                return

    def complaints(self) -> Iterator[str]:
        """Look once; what is wrong by now."""
        app, limits = self._app, self._limits
        stopping = app.should_stop or app.failure is not None
        if self._lasted("stop", stopping) > limits.stop_s:
            yield f"the worker has been stopping for more than {limits.stop_s:.0f} s"
        if stopping:
            return
        if self._swallowed.first is not None:
            yield f"a changelog record could not be applied: {self._swallowed.first}"
        if self._lasted("rebalance", app.rebalancing) > limits.rebalance_s:
            yield f"partitions have been moving, or tables recovering, for more than {limits.rebalance_s:.0f} s"
        for name, loop in self._loops().items():
            if self._silent_s(name, loop) > limits.loop_s:
                yield f"the event loop of the {name} has not answered for more than {limits.loop_s:.0f} s"
        if not app.rebalancing:
            yield from self._stalls()
        yield from self._dead_agents()

    def _stalls(self) -> Iterator[str]:
        ledger = self._app.batch_consumer.ledger
        if ledger.oldest_uncommitted_s() > self._limits.commit_s:
            yield f"acknowledged records have not been committed for more than {self._limits.commit_s:.0f} s"
        for lane in self._app.lanes:
            limit = lane.stall_limit_s
            if limit is not None and ledger.oldest_unacked_s(lane.topics, lane.held) > limit:
                yield f"the agent of {', '.join(lane.topics)} has not finished a batch for more than {limit:.0f} s"

    def _dead_agents(self) -> Iterator[str]:
        for name, agent in list(self._app.agents.items()):
            for actor in list(agent._actors):  # noqa: SLF001
                task = actor.actor_task
                if task is not None and task.done():
                    yield f"the agent {name} has ended"

    def _loops(self) -> dict[str, Any]:
        thread = self._app.batch_consumer.thread
        return {"worker": self._app.loop, "consumer thread": thread.thread_loop}

    def _lasted(self, name: str, holds: bool) -> float:
        if not holds:
            self._since.pop(name, None)
            return 0.0
        return monotonic() - self._since.setdefault(name, monotonic())

    def _silent_s(self, name: str, loop: asyncio.AbstractEventLoop) -> float:
        """Seconds since `loop` last ran something we asked it to."""
        now = monotonic()

        def beat() -> None:
            self._beats[name] = monotonic()

        last = self._beats.setdefault(name, now)
        try:
            loop.call_soon_threadsafe(beat)
        except RuntimeError:
            return float("inf")  # the loop is closed, and nobody is stopping
        return now - last


class _SwallowedErrors(logging.Handler):
    """Keeps the first error that Faust's recovery only logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.first is None and record.getMessage().startswith(SWALLOWED):
            self.first = record.getMessage()


def end_process(reason: str) -> None:
    """Say why, show what every thread is doing, and end the process at once."""
    log.critical("Worker ended by its watchdog: %s", reason)
    for thread_id, frame in sys._current_frames().items():  # noqa: SLF001
        trace = "".join(traceback.format_stack(frame, limit=8))
        sys.stderr.write(f"thread {thread_id}\n{trace}")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
