"""When the merge agent flushes by its timer."""

import asyncio
import time
from types import SimpleNamespace

from streams.agents.merge import HISTORY_FLUSH_S, Merge


class Ticking:
    """An agent that only counts its flushes; `history` tells of each partition whether it reads what has waited."""

    def __init__(self, *history: bool) -> None:
        self.flushes = 0
        self.agent = object.__new__(Merge)
        self.agent._flushed_at = float("-inf")
        self.agent._shards = {n: self._shard(one) for n, one in enumerate(history)}  # type: ignore[misc]
        self.agent.flush = self._flush  # type: ignore[method-assign]

    @staticmethod
    def _shard(history: bool) -> SimpleNamespace:
        return SimpleNamespace(
            state=SimpleNamespace(behind=0, watermarks=SimpleNamespace(reads_history=lambda _now: history))
        )

    async def _flush(self) -> None:
        self.flushes += 1
        self.agent._flushed_at = time.time()

    def tick(self, flushed_s_ago: float) -> int:
        """Tick once; return how many flushes there were by now."""
        self.agent._flushed_at = time.time() - flushed_s_ago
        asyncio.run(self.agent._tick_unless_history())
        return self.flushes


def test_history_is_flushed_less_often() -> None:
    ticking = Ticking(True, True)
    assert ticking.tick(float("inf")) == 1
    assert ticking.tick(HISTORY_FLUSH_S / 2) == 1
    assert ticking.tick(HISTORY_FLUSH_S) == 2


def test_nobody_waits_because_another_partition_reads_history() -> None:
    assert Ticking(True, False).tick(0.1) == 1


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    assert Ticking(True).tick(-3600) == 1
