"""Faust's consumer with whole batches, honest commits, and a rebalance that finishes its work first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.engine.batch import RecordBatch
from streams.engine.drain import BatchConsumerThread
from streams.engine.ledger import Ledger
from streams.engine.producer import LeasedProducer


class BatchConsumer(driver.Consumer):
    """Delivers one message per partition and fetch; a message's offset is the last one of its batch."""

    #: Batches per partition, and bytes of them, an agent may hold before the partition is fetched no more: little ones
    #: it may gather.
    max_unreleased = 2
    max_unreleased_bytes = 16 * 1024

    app: Any
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self._held_back: set[TP] = set()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def thread(self) -> BatchConsumerThread:
        """The thread that talks to the broker."""
        return self._thread

    # Fetching

    def _fetchable(self) -> set[TP]:
        """Partitions to fetch now: a copy, since the live set changes while the thread is fetching.

        Recovery resumes the sources before it seeks them, and what is delivered in between is processed
        twice or lost: so nothing is fetched from batch topics until the rebalance is over.
        """
        batch_topics, rebalancing = self.app.batch_topics, self.app.rebalancing
        active = self._get_active_partitions()
        self._held_back = {
            tp
            for tp in active
            if tp.topic in batch_topics
            and (rebalancing or self.ledger.is_full(tp, self.max_unreleased, self.max_unreleased_bytes))
        }
        return set(active - self._held_back)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        """Fetch once and yield a message per batch, or per record of other topics."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        # The wait above may span a whole rebalance, and the fetch below may too: a batch belongs to
        # the assignment that asked for it, and is dropped when another one has begun meanwhile.
        generation, member_generation = self.app.generation, self.app.consumer_generation_id
        fetched: Any = await self._thread.getmany(self._fetchable(), timeout)
        changelogs = self.app.tables.changelog_topics
        for tp, found in fetched.items():
            if isinstance(found, RecordBatch):
                batch = self.ledger.accept(found) if self._delivers(tp, generation, member_generation) else None
                if batch is not None:
                    batch.generation = generation
                    yield tp, self._batch_message(batch, member_generation)
                continue
            records = found
            if tp.topic in changelogs and found and self._delivers(tp, generation, member_generation):
                self.app.fenced_table_of(tp.topic).absorb(tp.partition, found)
                # Recovery handles one record at a time, a hundred times slower than the table takes them in: it only
                # has to hear how far it is.
                records = found[-1:]
            for record in records:
                if not self._delivers(tp, generation, member_generation):
                    break
                yield tp, self._to_message(tp, record)

    def _delivers(self, tp: TP, generation: int, member_generation: int) -> bool:
        return (
            self.flow_active
            and not self.should_stop
            and generation == self.app.generation
            and member_generation == self.app.consumer_generation_id
            and (tp in self._active_partitions or tp in self._buffered_partitions)
        )

    def _batch_message(self, batch: RecordBatch, member_generation: int) -> ConsumerMessage:
        batch.on_release(self._released)
        self.app.monitor.track_tp_end_offset(batch.tp, self.highwater(batch.tp))
        return ConsumerMessage(
            batch.topic,
            batch.partition,
            batch.last_offset,
            batch.max_timestamp_ms / 1000.0,
            0,
            [],
            None,
            batch,  # type: ignore[arg-type]
            None,
            0,
            batch.nbytes,
            batch.tp,
            generation_id=member_generation,
        )

    def _released(self, tp: TP) -> None:
        if tp in self._held_back:
            self._thread.interrupt()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume partitions, at once: a fetch that waits for others is cut short."""
        super().resume_partitions(tps)
        self._thread.interrupt()

    # Acknowledging and committing

    def ack_batch(self, batch: RecordBatch) -> bool:
        """Mark `batch` as done; False, and without effect, when its assignment is gone."""
        return batch.generation == self.app.generation and self.ledger.ack(batch)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        batch_topics = self.app.batch_topics
        for tp in super()._filter_tps_with_pending_acks(topics):
            if tp.topic not in batch_topics:
                yield tp
        for tp in self.ledger.partitions_to_commit():
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        """Next offset to commit. Stock Faust skips one unacknowledged message at the head."""
        if tp.topic in self.app.batch_topics:
            return self.ledger.committable(tp)
        offset: int | None = super()._new_offset(tp)
        return offset

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        # Where changelogs end goes along, though nobody reads on from there: the next start sees if an end is gone.
        ends = {tp: end for table in self.app.fenced_tables for tp, end in table.ends().items()}
        known = {tp: end for tp, end in ends.items() if self._should_commit(tp, end)}
        done: bool = await super()._commit_offsets({**offsets, **known}, start_new_transaction)
        if done:
            for tp, offset in offsets.items():
                self.ledger.committed(tp, offset)
        return done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        # From batch to batch the message offset jumps by the batch's length: that is no gap.
        if tp.topic not in self.app.batch_topics:
            await super()._add_gap(tp, offset_from, offset_to)

    async def commit_acknowledged(self) -> None:
        """Commit all that is acknowledged now, after any commit that is under way."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    # Rebalance and stop

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what agents hold, commit it, and only then give the partitions away.

        Stock Faust forgets the acknowledged offsets first and commits afterwards: nothing. When the membership is
        over already, nothing is finished: the partitions may be somebody else's by now.
        """
        if revoked and not self.should_stop and self.app.holds_lease:
            await self.app.finish_generation()
        await self.app.end_generation()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start with an empty ledger, and with no table entries of partitions that are elsewhere."""
        self.ledger.clear()
        self.app.begin_recovery(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def wait_empty(self) -> None:
        """Finish what agents hold, within bounds, and commit. Stock Faust waits without a bound.

        What is not finished stays uncommitted and is read again by the next owner.
        """
        if self.app.live_generation is not None:
            if self.app.holds_lease:
                await self.app.finish_generation()
            await self.app.end_generation()
        await self.commit_and_end_transactions()


class BatchTransport(driver.Transport):
    """aiokafka transport with the batch consumer, and a producer that sends nothing without a lease."""

    Consumer = BatchConsumer
    Producer = LeasedProducer
