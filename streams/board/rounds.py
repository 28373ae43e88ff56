"""Asking the store in rounds, for all viewers together, while somebody looks."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from streams.board.store import BoardStore
from streams.storage.connection import PermanentStorageError, UnreachableError

log = logging.getLogger(__name__)

LINGER_S: Final = 30.0
"""A view that nobody looks at is kept up for so long: readers come back, and pages reload."""
Step = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """How the store answers."""

    away_since: float | None = None
    """When ClickHouse was first found away, unix s; None while it answers."""
    refusal: str = ""
    """What ClickHouse says when it refuses; empty when it does not."""

    @property
    def down(self) -> bool:
        """Whether nothing can be asked."""
        return self.away_since is not None or bool(self.refusal)


K = TypeVar("K", bound=StoreState)


class Rounds(ABC, Generic[K]):
    """
    Keeps `known` up to date while it is wanted.

    Attributes:
        known: All that is known at one moment; replaced as a whole, never changed.
        version: Grows with everything new.
    """

    def __init__(self, store: BoardStore, known: K, every_s: float, clock: Callable[[], float]) -> None:
        self.store = store
        self.known = known
        self.version = 0
        self._every_s = every_s
        self._clock = clock
        self._due: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._stopped = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="board-store")

    @abstractmethod
    def _wanted(self) -> bool:
        """Return whether somebody looks, and forget who does not any more."""

    @abstractmethod
    def _steps(self) -> Sequence[Step]:
        """Return what a round asks, in order; what comes of each is shown before the next."""

    def _asks_store(self, step: Step) -> bool:  # noqa: ARG002 - for those below
        """Return whether a step is of no use while the store is away."""
        return True

    async def next_version(self, seen: int) -> int:
        """Wait for a version other than `seen`; returns it, or `seen` when there are no rounds any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.version != seen or self._stopped)
        return self.version

    async def next_round(self) -> None:
        """Wait for the end of a step or a round, whether there is something new or not."""
        async with self._changed:
            await self._changed.wait()

    async def run(self) -> None:
        """Ask in rounds until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            started, wanted = self._clock(), self._wanted()
            for step in self._steps() if wanted else ():
                before = self.known
                await loop.run_in_executor(self._thread, self._safely, step)
                if self.known is not before:
                    await self._tell()
                if self._asks_store(step) and self.known.down:
                    break
            async with self._changed:
                self._changed.notify_all()
            self._wake.clear()
            pause = max(self._every_s - (self._clock() - started), 0.05) if wanted else None
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """Let go of the store, and of everybody who waits."""
        self._stopped = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        async with self._changed:
            self._changed.notify_all()
        self.store.close()

    async def _tell(self) -> None:
        async with self._changed:
            self.version += 1
            self._changed.notify_all()

    def _safely(self, step: Step) -> None:
        """Do a step; a store that is away or refuses becomes part of what is known, and the values stay."""
        try:
            step()
        except UnreachableError as error:
            if self.known.away_since is None:
                log.warning("ANSWERS => AWAY: ClickHouse at %s: %s", self.store.address.url, error)
                self.known = replace(self.known, away_since=time.time())
        except PermanentStorageError as error:
            if self.known.refusal != str(error):
                log.warning("ClickHouse at %s refuses: %s", self.store.address.url, error)
                self.known = replace(self.known, refusal=str(error))

    def _is_due(self, job: str, every_s: float) -> bool:
        now = self._clock()
        if self._due.get(job, 0.0) > now:
            return False
        self._due[job] = now + every_s
        return True
