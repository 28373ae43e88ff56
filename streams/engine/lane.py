"""What an agent sees: batches of the live assignment, one at a time, acknowledged when it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faust
from faust.types import TP

from streams import metrics
from streams.engine.batch import RecordBatch
from streams.engine.outgoing import StaleGenerationError

if TYPE_CHECKING:
    from streams.engine.app import BatchApp


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions a worker owns, from one rebalance to the next.

    Attributes:
        generation: Counts the assignments of this process.
        partitions: Owned partitions by topic, for the topics of one lane, in ascending order.
    """

    generation: int
    partitions: Mapping[str, tuple[int, ...]]

    @property
    def tps(self) -> list[TP]:
        """All owned partitions with their topics."""
        return [TP(topic, partition) for topic, owned in self.partitions.items() for partition in owned]

    @property
    def owned(self) -> tuple[int, ...]:
        """Numbers of the owned partitions, over all topics of the lane."""
        return tuple(sorted({partition for owned in self.partitions.values() for partition in owned}))


OnAssigned = Callable[[Assignment], Awaitable[None]]
OnFinish = Callable[[], Awaitable[None]]


class Lane:
    """The batches of some topics, for exactly one agent.

    Order of events in each generation: the `on_assigned` callback runs to its end, when all tables of the
    owned partitions are recovered and whether or not a record ever arrives; then batches come; then, when
    partitions move or the worker stops, the `on_finish` callback runs; after it nothing can be written.

    Attributes:
        topic: What the agent is declared on.
        topics: Names of the topics.
        stall_limit_s: See `BatchApp.lane`.
        assignment: The live assignment, `None` while partitions move or `on_assigned` is running.
        held: Partitions the agent has stopped on purpose, see `hold`.
    """

    def __init__(
        self, app: BatchApp, topic: faust.TopicT, topics: tuple[str, ...], *, stall_limit_s: float | None
    ) -> None:
        self.topic = topic
        self.topics = topics
        self.stall_limit_s = stall_limit_s
        self.assignment: Assignment | None = None
        self.held: frozenset[TP] = frozenset()
        self._done_ms: dict[TP, int] = {}
        self._waits_since: dict[TP, float] = {}
        self._app = app
        self._assigned: OnAssigned | None = None
        self._finish: OnFinish | None = None
        self._beginning = asyncio.Lock()
        self._changed = asyncio.Event()

    def on_assigned(self, callback: OnAssigned) -> OnAssigned:
        """Register what loads the agent's state; it must replace all that is left of earlier ones."""
        self._assigned = callback
        return callback

    def on_finish(self, callback: OnFinish) -> OnFinish:
        """Register the flush that runs before partitions are given away and before the worker stops."""
        self._finish = callback
        return callback

    async def batches(self, stream: Any) -> AsyncIterator[RecordBatch]:
        """Batches of the live assignment. None is acknowledged unless the agent does it."""
        # Faust acknowledges when an agent raises, and whatever it iterates over: never here.
        stream.enable_acks = False
        async for event in stream.events():
            batch: RecordBatch = event.value
            if await self._is_live(batch):
                yield batch
            else:
                batch.release()

    async def _is_live(self, batch: RecordBatch) -> bool:
        while self._app.live_generation == batch.generation:
            if self.assignment is not None and self.assignment.generation == batch.generation:
                return True
            await self._changed.wait()
        return False

    def ack(self, *batches: RecordBatch) -> int:
        """Mark batches as done, so that their offsets may be committed; their values are freed.

        Returns:
            How many counted: a batch whose assignment is over does not.
        """
        for batch in batches:
            batch.release()
            self._done_ms[batch.tp] = batch.max_timestamp_ms
            self._waits_since.pop(batch.tp, None)
        return sum(self._app.batch_consumer.ack_batch(batch) for batch in batches)

    def hold(self, tp: TP) -> None:
        """Declare that `tp` is stopped on purpose until it is assigned anew: the watchdog lets it wait."""
        self.held |= {tp}

    def resume(self, tp: TP) -> None:
        """Take back `hold`: the watchdog expects batches of `tp` to be finished again."""
        self.held -= {tp}

    def lag(self, topic: str, partition: int) -> int | None:
        """Records between the last one given to the agent and the end of the partition.

        `None` when the end is not known yet, or the partition is not owned.
        """
        tp = TP(topic, partition)
        consumer = self._app.batch_consumer
        end, position = consumer.thread.known_end(tp), consumer.ledger.position(tp)
        if position is None:
            # The fetcher may have read further, and what it read may not have been delivered yet, or be dropped.
            position = consumer.thread.started_at.get(tp)
        if self.assignment is None or end is None or position is None:
            return None
        return max(0, end - position)

    def report_lag(self, topic: str, partition: int, waiting: int = 0) -> None:
        """Set the metrics of how far a partition is behind; `waiting` records were given out and are not finished."""
        lag = self.lag(topic, partition)
        if lag is None:
            return
        metrics.LAG.labels(topic, str(partition)).set(lag + waiting)
        tp, now = TP(topic, partition), time.time()
        if not lag + waiting:
            self._waits_since.pop(tp, None)
            metrics.LAG_SECONDS.labels(topic, str(partition)).set(0)
            return
        # Where nothing was finished yet, or a sender's clock is fast, the wait itself tells how late it is.
        since = min(self._waits_since.setdefault(tp, now), self._done_ms.get(tp, now * 1000) / 1000)
        metrics.LAG_SECONDS.labels(topic, str(partition)).set(max(0.0, now - since))

    def caught_up(self, topic: str, partition: int) -> bool:
        """Whether the agent was given every record of the partition, and has freed them all."""
        held = self._app.batch_consumer.ledger.unreleased(TP(topic, partition))
        return held == 0 and self.lag(topic, partition) == 0

    async def begin(self, assignment: Assignment) -> None:
        """Load the agent's state for `assignment`, then let its batches through, unless it is over by then."""
        async with self._beginning:
            if self._app.live_generation != assignment.generation:
                return
            if self._assigned is not None:
                try:
                    await self._assigned(assignment)
                except StaleGenerationError as exc:
                    self._app.log.info("%s: partitions moved on while they were taken over: %s", self.topics[0], exc)
                    return
            if self._app.live_generation == assignment.generation:
                self.assignment = assignment
            self._wake()

    async def finish(self) -> None:
        """Run the agent's flush, if it has begun on this assignment."""
        if self._finish is not None and self.assignment is not None:
            await self._finish()

    def end(self) -> None:
        """The assignment is over: whoever comes next tells of its partitions."""
        if self.assignment is not None:
            for tp in self.assignment.tps:
                for gauge in (metrics.LAG, metrics.LAG_SECONDS):
                    gauge.remove(tp.topic, str(tp.partition))
        self.assignment = None
        self._done_ms, self._waits_since = {}, {}
        self.held = frozenset()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
