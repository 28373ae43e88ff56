"""
Relate: what relations read of accepted events in; derived events out, to a source topic of their own.

The order of a step is the guarantee: what it takes, derived events, customers, marker, acknowledge. See
streams/relations/partition.py.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from streams import metrics
from streams.agents import records
from streams.agents.progress import DerivedProgress
from streams.agents.sources import source_name
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Done, Emit, Save, Saved, Stage, Steps
from streams.events.scalars import CHANNELS
from streams.relations.catalogue import Relations
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import decode_range
from streams.relations.results import DerivedEvent, event_of
from streams.settings import Settings

log = logging.getLogger(__name__)

BATCHES_AT_ONCE = 20
"""So many batches are taken a step with at once, without waiting for the timer."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Shard:
    """One partition."""

    partition: int
    state: RelationsPartition
    waiting: list[RecordBatch] = field(default_factory=list)
    flushed: int = 0
    """How many of them were there when a step was begun last."""


class Relate(Stage):
    """The relate stage of one worker."""

    name = "relate"
    stall_limit_s = None  # what is ahead of the watermark waits for it, however long

    def __init__(
        self,
        app: BatchApp,
        settings: Settings,
        topics: Topics,
        relations: Relations,
        progress: DerivedProgress | None = None,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._relations = relations
        self._progress = progress or DerivedProgress()
        self._shards: dict[int, _Shard] = {}
        for relation in relations:
            metrics.RELATION_RESULTS.labels(relation)  # so that the first one is an increase
        super().__init__(app, [topics.facts], flush_s=settings.ingest_flush_s)

    async def restore(self, assignment: Assignment, saved: Saved) -> None:
        """Restore the customers of every owned partition."""
        for gauge in (
            metrics.RELATION_CUSTOMERS,
            metrics.RELATION_BYTES,
            metrics.RELATION_HELD,
            metrics.RELATION_UNTIL,
        ):
            gauge.clear()  # partitions may be another worker's now
        self._progress.forget()
        self._shards = {}
        for partition in assignment.owned:
            state = RelationsPartition(
                self._relations,
                idle_s=self._settings.idle_s,
                grace_s=self._settings.idle_s,
                expected=[source_name(channel, partition) for channel in CHANNELS],
                longest_s=self._settings.retention_s / 2,
            )
            state.restore(saved[partition].items())
            self._shards[partition] = _Shard(partition, state)
        log.info("relate: partitions %s taken over", sorted(self._shards))

    async def take(self, batch: RecordBatch) -> None:
        """Take in the facts of a batch; take steps at once when many wait."""
        shard = self._shards[batch.partition]
        for value, offset in zip(batch.values, batch.offsets, strict=True):
            if value is None:
                raise ValueError(f"{batch.topic}/{batch.partition}@{offset}: a range of facts cannot be empty")
            shard.state.take(decode_range(value), records.position(self._settings.epoch, offset))
        shard.waiting.append(batch)
        self._report_lag(shard)
        if len(shard.waiting) - shard.flushed >= BATCHES_AT_ONCE:
            await self.flush_live()
        batch.release()

    async def steps(self) -> Steps:
        """Take the steps of each partition that are due."""
        for shard in list(self._shards.values()):
            async for step in self._steps_of(shard):
                yield step

    async def _steps_of(self, shard: _Shard) -> Steps:
        state, partition = shard.state, shard.partition
        shard.flushed = len(shard.waiting)
        while state.begin(time.time()) is not None:
            yield Save([(partition, *state.step_record())])
            for advance in state.advances():
                if advance.results:
                    yield Emit(list(self._derived(partition, advance.results)), state.confirm)
                yield Save([(partition, *state.save(advance))])
            yield Save([(partition, *state.end())])
            yield Save([(partition, key, value) for key, value in state.compaction()])
            yield Save([(partition, key, value) for key, value in state.superseded()])
            self._progress.promise(partition, state.emitted, state.until / 1000)
        self._progress.promise(partition, state.emitted, state.until / 1000)
        base = records.position(self._settings.epoch, 0)
        complete = state.complete - base
        done = [batch for batch in shard.waiting if batch.last_offset <= complete]
        shard.waiting = [batch for batch in shard.waiting if batch.last_offset > complete]
        shard.flushed -= len(done)
        yield Done(done)

    def _derived(self, partition: int, results: Sequence[DerivedEvent]) -> Iterator[Outgoing]:
        for result in results:
            value = _encode(event_of(self._relations[result.relation], result))
            yield Outgoing(self._topics.derived, partition, result.subject.encode(), value)

    def observe(self) -> None:
        """Set the metrics of all owned partitions."""
        for partition, shard in self._shards.items():
            label, state = str(partition), shard.state
            metrics.RELATION_CUSTOMERS.labels(label).set(state.customers.count)
            metrics.RELATION_BYTES.labels(label).set(state.customers.bytes)
            metrics.RELATION_HELD.labels(label).set(state.held)
            metrics.RELATION_UNTIL.labels(label).set(state.until / 1000)
            counts = state.take_counts()
            for relation, number in counts.results.items():
                metrics.RELATION_RESULTS.labels(relation).inc(number)
            for outcome in ("late", "ignored", "forgotten"):
                for relation, number in getattr(counts, outcome).items():
                    metrics.RELATION_EVENTS.labels(relation, outcome).inc(number)
            self._report_lag(shard)

    def _report_lag(self, shard: _Shard) -> None:
        """What waits for the watermark is no lag: nobody is behind with it."""
        unread = sum(len(batch) for batch in shard.waiting[shard.flushed :])
        self.lane.report_lag(self._topics.facts, shard.partition, unread)
