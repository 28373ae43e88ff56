"""When the merge agent flushes by its timer, and what comes first in a flush."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from streams.agents import merge
from streams.agents.merge import Merge, Shard
from streams.engine.names import Topics
from streams.kpis.catalogue import Catalogue
from streams.kpis.outputs import MinuteRow, Outputs, ValueRow
from streams.kpis.publish import Publisher


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


def test_history_is_flushed_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "HISTORY_FLUSH_S", 2_000.0)  # longer than a test may be held up
    ticking = Ticking(True, True)
    assert ticking.tick(float("inf")) == 1
    assert ticking.tick(1_000) == 1
    assert ticking.tick(2_000) == 2


def test_nobody_waits_because_another_partition_reads_history() -> None:
    assert Ticking(True, False).tick(0.1) == 1


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    assert Ticking(True).tick(-3600) == 1


@pytest.mark.parametrize(
    ("history", "order"),
    [
        (False, [(0, "minutes"), (1, "minutes"), (0, "values"), (1, "values")]),
        # Nobody waits for it, and so no more than one partition's rows are held at once.
        (True, [(0, "minutes"), (0, "values"), (1, "minutes"), (1, "values")]),
    ],
)
def test_minutes_of_all_partitions_are_published_before_any_window_but_for_history(
    history: bool, order: list[tuple[int, str]]
) -> None:
    sent: list[tuple[int, str]] = []

    async def write(_generation: int, _entries: object) -> None: ...

    async def produce(_generation: int, outgoing: list) -> None:
        for one in outgoing:
            record = json.loads(one.value)
            sent.extend((one.partition, kind) for kind in ("minutes", "values") if record[kind])

    outputs = Outputs([MinuteRow("csat", 7, 0, [2, 1], 5)], [ValueRow("csat", "5m", 480, [2, 1], "open", 10)])
    state = SimpleNamespace(
        dirty_records=list,
        drain_outputs=lambda _now: outputs,
        marker=lambda: (b"m", b"1"),
        replaying=False,
        watermarks=SimpleNamespace(reads_history=lambda _now: history),
    )
    agent = object.__new__(Merge)
    agent._judges = None
    agent._flushing = asyncio.Lock()
    agent._topics = Topics("cx")
    agent._publisher = Publisher(Catalogue.load())
    agent._app = SimpleNamespace(produce=produce)  # type: ignore[assignment]
    agent._table = SimpleNamespace(write_many=write)  # type: ignore[assignment]
    agent.lane = SimpleNamespace(assignment=SimpleNamespace(generation=1), ack=lambda *_: None)  # type: ignore[assignment]
    agent._shards = {number: Shard(number, state) for number in (0, 1)}  # type: ignore[arg-type]
    agent._observe = lambda: None  # type: ignore[method-assign]
    asyncio.run(agent.flush())
    assert sent == order


def test_much_that_was_added_up_is_flushed_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "decode_partial", lambda _value: SimpleNamespace(first=1, last=0))
    state = SimpleNamespace(collected=0, apply=lambda _partial, _position: True)
    shard = Shard(0, state)  # type: ignore[arg-type]
    agent = object.__new__(Merge)
    agent._judges = None
    agent._settings = SimpleNamespace(epoch=0)  # type: ignore[assignment]
    agent._flushing = asyncio.Lock()
    agent._shards = {0: shard}
    flushed: list[int] = []

    async def tick() -> None:
        flushed.append(len(shard.waiting))
        shard.waiting.clear()

    async def batches(_stream: object) -> AsyncIterator[SimpleNamespace]:
        for collected in (merge.COLLECTED, merge.COLLECTED + 1):
            state.collected = collected
            yield SimpleNamespace(topic="t", partition=0, values=[b""], offsets=[1], release=lambda: None)

    agent._tick = tick  # type: ignore[method-assign]
    agent.lane = SimpleNamespace(batches=batches)  # type: ignore[assignment]
    asyncio.run(agent._run(None))
    assert flushed == [2], "with all batches that came until then"
