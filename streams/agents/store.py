"""
Store: blocks and published KPIs into ClickHouse, many ranges in one insert.

ClickHouse being away stops only this agent: what it holds stays unacknowledged, and is read again if need be.
"""

import asyncio
import logging
from typing import Any

from streams import metrics
from streams.agents import records
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.settings import Settings
from streams.storage.writer import Writer

log = logging.getLogger(__name__)


class Store:
    """The store agent of one worker."""

    def __init__(self, app: BatchApp, settings: Settings, topics: Topics, writer: Writer) -> None:
        self._topics = topics
        self._writer = writer
        self._waiting: list[RecordBatch] = []
        self._generation = -1
        self._healthy = True
        self._flushing = asyncio.Lock()
        self.lane = app.lane(topics.blocks, topics.kpis, stall_limit_s=None)
        self.lane.on_assigned(self._take_over)
        self.lane.on_finish(self._finish)
        app.agent(self.lane.topic, name="store")(self._run)
        app.timer(settings.store_flush_s)(self.flush)

    async def _take_over(self, assignment: Assignment) -> None:
        """Forget what an earlier assignment held; what ClickHouse holds of it is asked before the first insert."""
        self._waiting = []
        self._generation = assignment.generation
        self._writer.forget()

    async def _run(self, stream: Any) -> None:
        async for batch in self.lane.batches(stream):
            # Not released before it is stored: back-pressure bounds what is held while ClickHouse is away.
            self._waiting.append(batch)

    async def _finish(self) -> None:
        if self._healthy:
            await self.flush()

    async def flush(self) -> None:
        """Store everything that waits, in the order it came, and acknowledge it."""
        async with self._flushing:
            assignment = self.lane.assignment
            waiting, self._waiting = self._waiting, []
            if assignment is None or not waiting:
                self._observe()
                return
            blocks = [
                records.decode_block(value)
                for batch in waiting
                if batch.topic == self._topics.blocks
                for value in batch.values
                if value is not None
            ]
            published = [
                records.decode_kpis(value)
                for batch in waiting
                if batch.topic == self._topics.kpis
                for value in batch.values
                if value is not None
            ]

            def give_up() -> bool:
                self._healthy = False  # called after a failed attempt only
                metrics.STORE_RETRIES.inc()
                return self.lane.assignment is not assignment

            with metrics.STAGE_SECONDS.labels("store", "insert").time():
                stored = await asyncio.to_thread(self._store, blocks, published, give_up)
            if stored:
                self._healthy = True
                self.lane.ack(*waiting)
            self._observe()

    def _store(self, blocks: list[records.Block], published: list[records.KpiRecord], give_up: Any) -> bool:
        raise NotImplementedError

    def _observe(self) -> None:
        assignment = self.lane.assignment
        if assignment is None:
            return
        for tp in assignment.tps:
            lag = self.lane.lag(tp.topic, tp.partition)
            if lag is not None:
                held = sum(len(batch) for batch in self._waiting if batch.tp == tp)
                metrics.LAG.labels(tp.topic, str(tp.partition)).set(lag + held)
