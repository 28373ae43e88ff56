"""
Relate: what relations read of accepted events in; derived events out, to a source topic of their own.

The order of a step is the guarantee: what it takes, derived events, customers, marker, acknowledge. See
streams/relations/partition.py.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import msgspec

from streams import metrics
from streams.agents import records
from streams.agents.bursts import Bursts, BurstStage
from streams.agents.progress import DerivedProgress
from streams.agents.sources import source_name
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Done, Emit, Save, Saved, Steps
from streams.engine.state import Entry
from streams.events.scalars import CHANNELS
from streams.producers.wire import partition_of
from streams.relations.catalogue import Relations
from streams.relations.customers import MOST_BYTES
from streams.relations.journal import Record
from streams.relations.partition import MOST_TAKEN, Advance, RelationsPartition
from streams.relations.ranges import encode_range
from streams.relations.results import event_of
from streams.settings import Settings
from streams.steady import steady

log = logging.getLogger(__name__)

BATCHES_AT_ONCE = 20
"""So many batches are taken a step with at once, without waiting for the timer."""

HISTORY_FLUSH_S = 2.0
"""Time between two steps while history is read: in large ones a customer is unpacked and saved for several events."""

ADVANCES_AT_ONCE = 40
"""Advances whose derived events are sent, and whose customers are saved, in one go."""

REWRITTEN_AT_ONCE = 16
"""Buckets that are saved in one go while customers are taken over: some MiB, if there are many customers."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Shard:
    """One partition."""

    partition: int
    state: RelationsPartition
    waiting: list[RecordBatch] = field(default_factory=list)
    flushed: int = 0
    """How many of them were there when a step was begun last."""

    def entries(self, changes: Iterable[Record]) -> Iterator[Entry]:
        """Yield records as entries of its changelog."""
        return ((self.partition, key, value) for key, value in changes)


_Lot: TypeAlias = Sequence[tuple[_Shard, Advance]]
"""What is sent, and then saved, in one go."""


async def _lots(begun: Iterable[_Shard]) -> AsyncIterator[_Lot]:
    """Yield what the steps of some partitions come to, in lots; between two advances others have their turn."""
    lot: list[tuple[_Shard, Advance]] = []
    for shard in begun:
        for advance in shard.state.advances():
            lot.append((shard, advance))
            if len(lot) == ADVANCES_AT_ONCE:
                yield lot
                lot = []
            await asyncio.sleep(0)
    if lot:
        yield lot


def _confirm(lot: _Lot, offsets: Sequence[int]) -> None:
    start = 0
    for shard, advance in lot:
        end = start + len(advance.results)
        if end > start:
            shard.state.confirm(offsets[start:end])
        start = end


class Relate(BurstStage):
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
        self._flushed_at = 0.0
        self._bursts = Bursts(settings.ingest_flush_s)
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
                name=str(partition),
                home=lambda key: partition_of(key.encode(), self._settings.partitions),
                first=records.position(self._settings.epoch, 0),
                most_bytes=MOST_BYTES // len(assignment.owned),
            )
            shard, lot = _Shard(partition, state), list[Record]()
            for changes in state.restoring(saved[partition].items(), rewrites=True):
                lot += changes
                if len(lot) >= REWRITTEN_AT_ONCE:
                    await self.perform(assignment.generation, Save([*shard.entries(lot)]))
                    lot = []
                await asyncio.sleep(0)
            for changes in (lot, state.superseded()):
                if changes:
                    await self.perform(assignment.generation, Save([*shard.entries(changes)]))
            self._shards[partition] = shard
        log.info("relate: partitions %s taken over", sorted(self._shards))

    async def take(self, batch: RecordBatch) -> None:
        """Take in the facts of a batch; take steps at once when many wait, unless they are history."""
        shard = self._shards[batch.partition]
        for one, position in records.fact_ranges(batch, self._settings.epoch):
            shard.state.take(one, position)
        shard.waiting.append(batch)
        self._bursts.came(steady())
        self._report_lag(shard)
        if len(shard.waiting) - shard.flushed >= BATCHES_AT_ONCE and not self._gathers():
            await self.flush_live()
        batch.release()

    def is_due(self, now: float) -> bool:
        """Return whether to flush: soon after sources have sent what they read, less often while history is read."""
        return self._bursts.is_due(now) and not self._gathers()

    def _gathers(self) -> bool:
        """Whether more is read before the next step: nobody waits for what happened long ago."""
        now, shards = time.time(), self._shards.values()
        return (
            self._flushed_at <= now < self._flushed_at + HISTORY_FLUSH_S
            and all(shard.state.watermarks.reads_history(now) for shard in shards)
            and all(shard.state.held < MOST_TAKEN for shard in shards)
        )

    async def steps(self) -> Steps:
        """Take the steps that are due, those of all partitions together: each wait is one for all of them."""
        shards = list(self._shards.values())
        self._flushed_at = time.time()
        self._bursts.begun(steady())
        for shard in shards:
            shard.flushed = len(shard.waiting)
        while begun := [shard for shard in shards if shard.state.begin(time.time()) is not None]:
            # What the last step's buckets contain is needed no more now that they are written.
            yield Save(
                [entry for one in begun for entry in one.entries([*one.state.superseded(), one.state.step_record()])]
            )
            async for lot in _lots(begun):
                sent = [advance for _, advance in lot if advance.results]
                if sent:
                    yield Emit(self._derived(lot), partial(_confirm, lot))
                yield Save([entry for shard, advance in lot for entry in shard.entries([shard.state.save(advance)])])
            if letters := [letter for shard in begun for letter in self._letters(shard)]:
                yield Emit(letters)
            yield Save([entry for one in begun for entry in one.entries([one.state.end(), *one.state.compaction()])])
            for shard in begun:
                self._progress.promise(shard.partition, shard.state.emitted, shard.state.until / 1000)
        yield Save([entry for one in shards for entry in one.entries(one.state.superseded())])
        for shard in shards:
            self._progress.promise(shard.partition, shard.state.emitted, shard.state.until / 1000)
            yield Done(self._complete(shard))

    def _complete(self, shard: _Shard) -> list[RecordBatch]:
        """Return the batches of which nothing is needed any more, and let go of them."""
        complete = shard.state.complete - records.position(self._settings.epoch, 0)
        done = [batch for batch in shard.waiting if batch.last_offset <= complete]
        shard.waiting = [batch for batch in shard.waiting if batch.last_offset > complete]
        shard.flushed -= len(done)
        return done

    def _derived(self, lot: _Lot) -> Iterator[Outgoing]:
        for shard, advance in lot:
            for result in advance.results:
                value = _encode(event_of(self._relations[result.relation], result))
                yield Outgoing(self._topics.derived, shard.partition, result.subject.encode(), value)

    def _letters(self, shard: _Shard) -> Iterator[Outgoing]:
        for home, letters in shard.state.letters():
            yield Outgoing(self._topics.facts, home, None, encode_range(letters))

    def observe(self) -> None:
        """Set the metrics of all owned partitions."""
        for partition, shard in self._shards.items():
            label, state = str(partition), shard.state
            metrics.RELATION_CUSTOMERS.labels(label).set(state.customers.count)
            metrics.RELATION_BYTES.labels(label).set(state.customers.size)
            metrics.RELATION_HELD.labels(label).set(state.held)
            metrics.RELATION_UNTIL.labels(label).set(state.until / 1000)
            counts = state.take_counts()
            for relation, number in counts.results.items():
                metrics.RELATION_RESULTS.labels(relation).inc(number)
            for what, number in counts.keys.items():
                metrics.RELATION_KEYS.labels(what).inc(number)
            for outcome in ("late", "ignored", "forgotten"):
                for relation, number in getattr(counts, outcome).items():
                    metrics.RELATION_EVENTS.labels(relation, outcome).inc(number)
            self._report_lag(shard)

    def _report_lag(self, shard: _Shard) -> None:
        """What waits for the watermark is no lag: nobody is behind with it."""
        unread = sum(len(batch) for batch in shard.waiting[shard.flushed :])
        self.lane.report_lag(self._topics.facts, shard.partition, unread)
