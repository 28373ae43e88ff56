"""The consumer thread: reads whole fetches without an object per record, and asks the broker honestly.

Everything here runs in Faust's consumer thread and touches private parts of aiokafka; the contract test
names each of them and pins the versions it was proven on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from time import monotonic
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.batch import LOG_APPEND_TIME, RecordBatch
from streams.engine.sole import SoleMembership

#: Milliseconds a fetch may wait at the broker. aiokafka has one fetch in flight per broker, and a partition
#: released by its agent meanwhile joins only the next one: this bounds that delay.
FETCH_WAIT_MS = 250

#: Milliseconds and bytes of the fetch that is sent only to learn the end offsets.
PROBE_WAIT_MS = 10
PROBE_BYTES = 1

Fetched = dict[TP, RecordBatch | list[Any]]


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a batch-wise fetch."""

    consumer: Any

    def __post_init__(self) -> None:
        """Create the state that only this thread touches."""
        super().__post_init__()
        self._holed: set[TP] = set()
        self._bare: dict[TP, tuple[int, int]] = {}
        """Offsets up to which was read last, and from which on none of them is a record."""
        self._interrupted = False
        self._waiter: asyncio.Future[None] | None = None
        self.started_at: dict[TP, int] = {}
        self.committed: dict[TP, int | None] = {}
        self.beginnings: dict[TP, int] = {}
        """Of everything assigned, changelogs too, as found when it was taken over."""
        self.sought_for = 0
        """Generation of the application that sources were sought for last."""
        self.begun: dict[TP, int] = {}
        """Of all changelogs, when the first partitions were taken over: the start check had just found them right."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
        # What a producer took back did not happen.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        self._watch_membership(consumer)
        return consumer

    def _watch_membership(self, consumer: Any) -> None:
        """Tell the lease what the coordinator answers, and the application what it is called there."""
        lease = self.consumer.app.lease
        send = consumer._client.send  # noqa: SLF001
        if self.consumer.app.is_sole:
            send = SoleMembership(send).send

        async def watched(node_id: int, request: Any, **options: Any) -> Any:
            # Named by class, since the library keeps one class for all versions of a request.
            kind = type(request).__name__
            if kind == "LeaveGroupRequest":
                lease.lose()
            sent = lease.now()
            response = await send(node_id, request, **options)
            if kind == "JoinGroupRequest" and response.member_id:
                self.consumer.app.on_member(response.member_id)
            elif kind in ("HeartbeatRequest", "SyncGroupRequest"):
                lease.answered(sent, response.error_code, consumer._coordinator.generation)  # noqa: SLF001
            elif kind == "OffsetCommitRequest":
                codes = [code for _topic, partitions in response.topics for _partition, code in partitions]
                lease.answered(sent, max(codes, default=0), consumer._coordinator.generation)  # noqa: SLF001
            return response

        consumer._client.send = watched  # noqa: SLF001

    def interrupt(self) -> None:
        """Make a fetch that is waiting return at once. Callable from any thread."""
        # A stopped thread has no fetch to interrupt.
        with contextlib.suppress(RuntimeError):
            self.thread_loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        self._interrupted = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _fetch_records(  # type: ignore[override]
        self,
        consumer: Any,
        active_partitions: Collection[TP] | None,
        timeout: float | None = None,  # noqa: ASYNC109
        max_records: int | None = None,
    ) -> Fetched:
        """Records of `active_partitions`: a `RecordBatch` for batch topics, a list for the others.

        Unlike aiokafka's own method an empty collection means no partition; `None` means all of them.

        Raises:
            ConsumerStoppedError: The consumer is closed.
        """
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher  # noqa: SLF001
        if consumer._closed or fetcher._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        subscriptions = fetcher._subscriptions  # noqa: SLF001
        deadline = monotonic() + (timeout or 0)
        with subscriptions.fetch_context():
            while True:
                if subscriptions.reassignment_in_progress:
                    await subscriptions.wait_for_assignment()
                fetched = self._drain_fetched(fetcher, active_partitions, max_records)
                left = deadline - monotonic()
                if fetched or left <= 0 or self._interrupted:
                    self._interrupted = False
                    return fetched
                self._waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
                done, _ = await asyncio.wait([self._waiter], timeout=left)
                waiter, self._waiter = self._waiter, None
                if not done:
                    waiter.cancel()
                    return {}
                if fetcher._closed:  # noqa: SLF001
                    return {}
                waiter.result()  # a coordination error reaches us through the waiter

    def _drain_fetched(self, fetcher: Any, active: Collection[TP] | None, max_records: int | None) -> Fetched:
        fetched: Fetched = {}
        batch_topics = self.consumer.app.batch_topics
        for aiokafka_tp, result in list(fetcher._records.items()):  # noqa: SLF001
            tp = ensure_TP(aiokafka_tp)
            if active is not None and tp not in active:
                if not fetcher._subscriptions.is_assigned(aiokafka_tp):  # noqa: SLF001
                    del fetcher._records[aiokafka_tp]  # noqa: SLF001
                continue
            if type(result) is not FetchResult:
                if fetched:
                    return fetched  # the error is raised by the next call
                self._forget(fetcher, aiokafka_tp)
                result.check_raise()
                continue
            records = self._drain_one(tp, result) if tp.topic in batch_topics else result.getall(max_records)
            if not result.has_more():
                self._forget(fetcher, aiokafka_tp)
            if records:
                fetched[tp] = records
        return fetched

    @staticmethod
    def _forget(fetcher: Any, aiokafka_tp: TopicPartition) -> None:
        del fetcher._records[aiokafka_tp]  # noqa: SLF001
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001

    def _drain_one(self, tp: TP, result: Any) -> RecordBatch | None:
        if not result.check_assignment(tp) or not result.has_more():
            return None
        partition_records = result._partition_records  # noqa: SLF001
        since = start = partition_records.next_fetch_offset
        if tp in self._bare and self._bare[tp][1] == start:
            since = self._bare[tp][0]
        batch, hole_ahead = drain(
            tp, partition_records, limit=self.consumer.app.max_batch_records, with_offsets=tp in self._holed
        )
        result._update_position()  # noqa: SLF001
        if batch is not None:
            batch.since = since
        self._bare[tp] = since if batch is None else batch.last_offset + 1, partition_records.next_fetch_offset
        if hole_ahead:
            self._holed.add(tp)
        if hole_ahead or not partition_records._records.has_next():  # noqa: SLF001
            result._partition_records = None  # noqa: SLF001
        return batch

    async def _highwaters(self, partitions: list[TP]) -> Mapping[TP, int]:
        """End offsets: the larger one of ListOffsets and of what a fetch reports.

        The embedded broker answers ListOffsets with the base offset of the last record batch, so a table
        recovered up to that offset would lack the last write. On Apache Kafka both answers agree.
        """
        ends = dict(await super()._highwaters(partitions))
        probed = await probe_end_offsets(self._ensure_consumer(), ends)
        return {tp: max(end or 0, probed.get(tp, 0)) for tp, end in ends.items()}

    async def seek_to_committed(self) -> Mapping[TP, int | None]:  # type: ignore[override]
        """Seek every source partition to its committed offset, or to its beginning when there is none.

        Stock Faust leaves a partition without a commit wherever the fetcher has run to, which loses
        what was fetched and dropped in the meantime.
        """
        self.sought_for = self.consumer.app.generation
        committed: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return committed

    async def _seek_to_committed(self) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        changelogs, partitions = self.consumer.app.tables.changelog_topics, self.consumer.app.conf.topic_partitions
        assigned = list(consumer.assignment())
        logs = [] if self.begun else [TopicPartition(*tp) for tp in product(changelogs, range(partitions))]
        # One question, and not two in turn: each waits at the broker behind a fetch that is waiting for records.
        offsets, beginnings = await asyncio.gather(
            consumer._coordinator.fetch_committed_offsets(assigned),  # noqa: SLF001
            consumer.beginning_offsets([*{*assigned, *logs}]),
        )
        self.begun = self.begun or {ensure_TP(tp): beginnings[tp] for tp in logs}
        sources = [tp for tp in assigned if tp.topic not in changelogs]
        committed: dict[TP, int | None] = {}
        for tp in assigned:
            found = offsets.get(tp)
            committed[ensure_TP(tp)] = found.offset if found is not None and found.offset >= 0 else None
        for tp in sources:
            offset = committed[ensure_TP(tp)]
            consumer._fetcher.seek_to(tp, beginnings[tp] if offset is None else offset)  # noqa: SLF001
        # Where reading starts is known for certain before anything is fetched, and only then.
        self._bare = {}
        self.started_at = {ensure_TP(tp): max(committed[ensure_TP(tp)] or 0, beginnings[tp]) for tp in sources}
        self.committed, self.beginnings = committed, {ensure_TP(tp): beginnings[tp] for tp in assigned}
        return {ensure_TP(tp): committed[ensure_TP(tp)] for tp in sources}

    def known_end(self, tp: TP) -> int | None:
        """Offset behind the last record of `tp` that counts, as the last fetch response said; `None` if unknown.

        Behind it there may be marks of transactions, records that were taken back, and such whose transaction is open.
        """
        consumer = self._consumer
        subscription = None if consumer is None else consumer._subscription.subscription  # noqa: SLF001
        assignment = None if subscription is None else subscription.assignment
        aiokafka_tp = TopicPartition(tp.topic, tp.partition)
        if assignment is None or aiokafka_tp not in assignment.tps:
            return None
        state = assignment.state_value(aiokafka_tp)
        if state is None or not state.has_valid_position or state.highwater is None:
            return None
        # The embedded broker knows of no transactions, and of no offset up to which none is open.
        end = int(state.highwater if state.lso is None or state.lso < 0 else state.lso)
        bare = self._bare.get(tp)
        return end if bare is None or bare[1] < end else min(end, bare[0])


def drain(tp: TP, partition_records: Any, *, limit: int, with_offsets: bool) -> tuple[RecordBatch | None, bool]:
    """Take records out of aiokafka's `PartitionRecords`, at least one Kafka record batch of them.

    Stops after `limit` records, at the edge of a Kafka record batch. Record objects are not kept, since
    thousands of live objects cost the garbage collector as much as the reading itself. Their offsets are
    read only `with_offsets`; else they follow from the record batch's edges.

    Returns:
        The batch, or `None`, and whether a record batch with missing offsets stopped the reading: it was
        not consumed, `next_fetch_offset` points at it, and it needs `with_offsets`.

    Raises:
        CorruptRecordException: A checksum does not match.
    """
    # Never begun, it holds what it belongs to: a whole fetch would wait for the garbage collector, which seldom comes.
    partition_records._records_iterator = None  # noqa: SLF001
    records = partition_records._records  # noqa: SLF001
    nbytes = records.size_in_bytes()
    values: list[bytes | None] = []
    offsets = _Offsets()
    newest_ms, by_broker = 0, True
    hole_ahead = False
    while len(values) < limit and records.has_next():
        kafka_batch = records.next_batch()
        if partition_records._check_crcs and not kafka_batch.validate_crc():  # noqa: SLF001
            raise CorruptRecordException(f"{tp}: checksum of the record batch does not match")
        start, end = partition_records.next_fetch_offset, kafka_batch.next_offset
        if _counts(partition_records, kafka_batch):
            base = max(start, kafka_batch.base_offset)
            if with_offsets:
                pairs = [(record.offset, record.value) for record in kafka_batch if record.offset >= start]
                offsets.add_each([offset for offset, _ in pairs])
                values += [value for _, value in pairs]
            else:
                if base == kafka_batch.base_offset:
                    taken = [record.value for record in kafka_batch]
                else:
                    taken = [record.value for record in kafka_batch if record.offset >= base]
                if len(taken) != end - base:
                    hole_ahead = True
                    break
                offsets.add_run(base, end)
                values += taken
            newest_ms = max(newest_ms, kafka_batch.max_timestamp)
            by_broker &= kafka_batch.timestamp_type == LOG_APPEND_TIME
        partition_records.next_fetch_offset = end
    if not values:
        return None, hole_ahead
    appended = newest_ms / 1000 if by_broker else None
    batch = RecordBatch(
        tp.topic, tp.partition, values, offsets.joined(), max_timestamp_ms=newest_ms, nbytes=nbytes, appended=appended
    )
    return batch, hole_ahead


def _counts(partition_records: Any, kafka_batch: Any) -> bool:
    """Return whether a Kafka record batch holds records, which their producer has not taken back."""
    if partition_records._isolation_level == READ_COMMITTED and kafka_batch.producer_id is not None:  # noqa: SLF001
        partition_records._consume_aborted_up_to(kafka_batch.base_offset)  # noqa: SLF001
        aborted = partition_records._aborted_producers  # noqa: SLF001
        if kafka_batch.is_control_batch and partition_records._contains_abort_marker(kafka_batch):  # noqa: SLF001
            aborted.discard(kafka_batch.producer_id)
        if kafka_batch.is_transactional and kafka_batch.producer_id in aborted:
            return False
    return not kafka_batch.is_control_batch


class _Offsets:
    """Offsets of consecutive runs; one `range` as long as nothing is missing between them."""

    def __init__(self) -> None:
        self._run = range(0)
        self._list: list[int] | None = None

    def add_run(self, start: int, end: int) -> None:
        if self._list is not None:
            self._list.extend(range(start, end))
        elif not self._run:
            self._run = range(start, end)
        elif self._run.stop == start:
            self._run = range(self._run.start, end)
        else:
            self._list = [*self._run, *range(start, end)]

    def add_each(self, offsets: Iterable[int]) -> None:
        if self._list is None:
            self._list = list(self._run)
        self._list.extend(offsets)

    def joined(self) -> Sequence[int]:
        return self._run if self._list is None else self._list


async def probe_end_offsets(consumer: Any, starts: Mapping[Any, int | None]) -> dict[TP, int]:
    """End offsets as the answer to a minimal fetch from `starts` reports them; unknown ones are missing."""
    client = consumer._client  # noqa: SLF001
    by_node: defaultdict[int, defaultdict[str, list[tuple[int, int, int]]]]
    by_node = defaultdict(lambda: defaultdict(list))
    for tp, start in starts.items():
        leader = client.cluster.leader_for_partition(TopicPartition(tp.topic, tp.partition))
        if leader is not None and leader >= 0:
            by_node[leader][tp.topic].append((tp.partition, start or 0, PROBE_BYTES))
    ends: dict[TP, int] = {}
    for node, topics in by_node.items():
        request = FetchRequest(PROBE_WAIT_MS, 0, PROBE_BYTES, 0, list(topics.items()), rack_id="")
        response = await client.send(node, request)
        for topic, partitions in response.topics:
            for partition, error, end, *_ in partitions:
                if error == 0:
                    ends[TP(topic, partition)] = end
    return ends
