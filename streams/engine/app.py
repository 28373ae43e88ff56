"""The Faust application with batch lanes: settings that are safe, and one notion of a live assignment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import aiokafka
import faust
from aiokafka.structs import RecordMetadata
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth, server_list
from faust.types import TP
from mode import CrashingSupervisor

from streams import metrics
from streams.aside import Aside
from streams.engine.batch import LOG_APPEND_TIME, BatchSchema
from streams.engine.consumer import BatchConsumer, BatchTransport
from streams.engine.copies import ChangelogCopies
from streams.engine.lane import Assignment, Lane
from streams.engine.lease import Lease
from streams.engine.outgoing import LeaseLostError, Outgoing, StaleGenerationError, StateLostError
from streams.engine.producer import LeasedProducer
from streams.engine.state import FencedTable, PromptTables, copy_changes
from streams.engine.watchdog import Limits, Watchdog

#: Bytes of one record, at most: a packed block of raw events has to fit.
MAX_RECORD_BYTES = 8 * 1024 * 1024

#: Seconds between two looks of a thread that waits for a confirmation of the membership.
_LOOK_AGAIN_S = 0.02

#: Seconds between two copies of changelogs: what came since the last one is read at a restart.
COPY_EVERY_S = 2.0

_COPIES = Aside("copies")

#: What the lanes were proven with. Faust's own guarantees are off on purpose: they do not hold.
SAFE_DEFAULTS: dict[str, Any] = {
    "agent_supervisor": CrashingSupervisor,
    "autodiscover": False,
    "broker_commit_interval": 1.0,
    # What tells a worker that partitions move, and confirms its membership, comes as often.
    "broker_heartbeat_interval": 1.0,
    "broker_rebalance_timeout": 30.0,
    "broker_session_timeout": 12.0,
    "broker_request_timeout": 60.0,
    "consumer_auto_offset_reset": "earliest",
    "consumer_max_fetch_size": 512 * 1024,
    "processing_guarantee": "at_least_once",
    "producer_acks": -1,
    # aiokafka compresses lz4 at its slowest level: four times the CPU of zstd, for blocks half as small.
    "producer_compression_type": "zstd",
    "producer_linger": 0.002,
    "producer_max_batch_size": 256 * 1024,
    "producer_max_request_size": 2 * MAX_RECORD_BYTES,
    "producer_request_timeout": 60.0,
    "store": "memory://",
    "TableManager": PromptTables,
    "stream_wait_empty": True,
    "table_standby_replicas": 0,
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "web_enabled": False,
    "worker_redirect_stdouts": False,
}


class BatchApp(faust.App):
    """A Faust application whose batch topics reach agents as `RecordBatch`.

    Args:
        id: Consumer group and prefix of the changelog topics.
        brokers: Bootstrap servers, `host:port`, separated by commas.
        partitions: Partitions of every topic and changelog: equal, so that they move together.
        limits: When the watchdog ends the process.
        sole: Whether this is the only worker there is, which the caller has seen to: it joins no group.
        options: Faust settings that replace or extend `SAFE_DEFAULTS`.

    Attributes:
        generation: Counts the assignments of this process. The broker's own number will not do: a static
            member that rejoins gets the same one again.
        live_generation: Assignment whose results may be written; `None` while partitions move.
        on_broker_time: Told the broker's time (Unix s) as of now and how far it may be off, after a write to a topic
            that has it.
        on_member: Told the name that the group gave this process when it joined.
        lease: Whether this process is still a member of the group; without it nothing is written.
    """

    #: Seconds the agents have to finish their work before partitions are given away.
    finish_timeout_s = 6.0
    #: Records per batch, at most, cut at the edge of a Kafka record batch.
    max_batch_records = 20_000

    def __init__(
        self,
        id: str,  # noqa: A002
        *,
        brokers: str,
        partitions: int,
        limits: Limits | None = None,
        sole: bool = False,
        **options: Any,
    ) -> None:
        self.is_sole = sole
        self.batch_topics: set[str] = set()
        self.lanes: list[Lane] = []
        self.fenced_tables: list[FencedTable] = []
        self.generation = 0
        self.live_generation: int | None = None
        self.failure: BaseException | None = None
        self.on_broker_time: Callable[[float, float], None] = lambda _said, _within_s: None
        self.on_member: Callable[[str], None] = lambda _member: None
        self.watchdog = Watchdog(self, limits or Limits())
        self._assigned_in_rebalance = 0
        self._live_term = 0
        self._state_is_unsure = False
        urls = ";".join(f"kafka://{server.strip()}" for server in brokers.split(","))
        settings = {**SAFE_DEFAULTS, **options}
        # Joining a group may take the broker a whole session.
        settings["broker_request_timeout"] = max(settings["broker_request_timeout"], settings["broker_session_timeout"])
        self.lease = Lease(min(settings["broker_session_timeout"], settings["broker_rebalance_timeout"]))
        super().__init__(id, broker=urls, topic_partitions=partitions, **settings)

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_producer, self)

    async def on_start(self) -> None:
        """Have the worker watched from its first moment: the first recovery is where most of them hang."""
        await super().on_start()
        self.watchdog.start()

    # Declaring

    def batch_topic(self, *names: str) -> faust.TopicT:
        """A topic, or several read as one, that an agent reads in whole batches."""
        self.batch_topics.update(names)
        return self.topic(*names, schema=BatchSchema(), value_type=bytes)

    def lane(self, *topics: str, stall_limit_s: float | None = 120.0) -> Lane:
        """A lane for one agent over `topics`.

        Args:
            topics: Names of the topics.
            stall_limit_s: Seconds a batch may stay unacknowledged before the watchdog ends the process;
                `None` for an agent that may have to wait for a store that is away.
        """
        lane = Lane(self, self.batch_topic(*topics), topics, stall_limit_s=stall_limit_s)
        self.lanes.append(lane)
        return lane

    def fenced_table(self, name: str, sources: Sequence[str] = ()) -> FencedTable:
        """State of the records of `sources`, written to and recovered from an explicit partition of a changelog."""
        table = FencedTable(self, name, sources)
        self.fenced_tables.append(table)
        return table

    def copy_changelogs(self, copies: ChangelogCopies) -> None:
        """Keep a copy of what changelogs hold; call it before the application starts, and once."""
        for table in self.fenced_tables:
            table.copy_to(copies)

        async def copy() -> None:
            with _COPIES.attempt():
                await copy_changes(self.fenced_tables, copies)

        self.timer(COPY_EVERY_S)(copy)

    def fenced_table_of(self, changelog: str) -> FencedTable:
        """The table that a changelog belongs to."""
        return next(table for table in self.fenced_tables if table.changelog == changelog)

    @property
    def batch_consumer(self) -> BatchConsumer:
        """The consumer, with its batch extensions."""
        consumer = self.consumer
        if not isinstance(consumer, BatchConsumer):
            raise TypeError(f"the transport made a {type(consumer).__name__}, expected a BatchConsumer")
        return consumer

    # Producing

    async def produce(self, generation: int, records: Iterable[Outgoing]) -> list[int]:
        """Send `records` and wait until the broker has confirmed each of them.

        Returns:
            The offset of each record.

        Raises:
            StaleGenerationError: `generation` is not the live one, or the membership is over: nothing further was sent.
            Exception: A send failed; the application is going down, since state and log now differ.
        """
        pending: list[asyncio.Future[Any]] = []
        began = monotonic()
        try:
            for topic, partition, key, value, headers in records:
                await self.require_lease(generation)
                sent: Awaitable[Any] = await self.producer.send(topic, key, value, partition, None, headers)  # type: ignore[arg-type]
                pending.append(asyncio.ensure_future(sent))
            if pending:
                # Not gather(): a cancelled flush must not cancel records that are already on their way.
                await asyncio.wait(pending)
            confirmed = [future.result() for future in pending]
            if confirmed:
                self._tell_time(confirmed[-1], monotonic() - began)
            return [one.offset for one in confirmed]
        except StaleGenerationError:
            raise
        except LeaseLostError as exc:
            raise StaleGenerationError(f"generation {generation} ended before its records were sent") from exc
        except Exception as exc:
            await self.fail(exc)
            raise

    def _tell_time(self, confirmed: Any, took_s: float) -> None:
        """Tell when the broker took a record, which was some time in the last `took_s`, if the topic has its time."""
        if isinstance(confirmed, RecordMetadata) and confirmed.timestamp_type == LOG_APPEND_TIME:
            self.on_broker_time(confirmed.timestamp / 1000 + took_s / 2, took_s / 2)

    @property
    def holds_lease(self) -> bool:
        """Whether the membership that the live assignment came with still holds, as far as is known."""
        return self.lease.term == self._live_term

    def require_live(self, generation: int) -> None:
        """Refuse to go on with the results of an assignment that is over.

        Raises:
            StaleGenerationError: `generation` is not the live one, or the membership it came with is over.
        """
        if generation != self.live_generation:
            raise StaleGenerationError(f"generation {generation}, but {self.live_generation} is live")
        if not self.holds_lease:
            raise StaleGenerationError(f"generation {generation} ended: this worker is no member of the group any more")

    async def require_lease(self, generation: int) -> None:
        """Wait until the broker has confirmed within the session that the assignment is still ours.

        Usually it has, and nothing is waited for. After a suspension it is the next heartbeat that tells.

        Raises:
            StaleGenerationError: It is not ours any more.
        """
        self.require_live(generation)
        if not self.lease.is_held:
            metrics.LEASE_WAITS.inc()
            await self.lease.renewed(self._live_term)
            self.require_live(generation)

    def may_tell(self) -> bool:
        """Whether what the live assignment has to say to the outside, e.g. of alerts, is still ours to say."""
        return self.live_generation is not None and self.holds_lease and self.lease.is_held

    def permit(self, generation: int) -> Callable[[], float]:
        """Return what a thread asks before it writes for `generation`.

        It waits, or raises, as `require_lease` does, and returns for how many seconds the answer holds.
        """

        def ask() -> float:
            self.require_live(generation)
            while (left_s := self.lease.left_s()) <= 0:
                time.sleep(_LOOK_AGAIN_S)
                self.require_live(generation)
            return left_s

        return ask

    async def read_back(self, tp: TP, start: int, end: int) -> list[Any]:
        """Read the records of a partition with offsets from `start` up to `end`, which is not included."""
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=server_list(self.conf.broker_consumer, 9092),
            auto_offset_reset="earliest",
            **credentials_to_aiokafka_auth(self.conf.broker_credentials, self.conf.ssl_context),
        )
        await consumer.start()
        try:
            # The library takes no other named tuple for one of its own.
            part = aiokafka.TopicPartition(*tp)
            consumer.assign([part])
            consumer.seek(part, start)
            found: list[Any] = []
            while await consumer.position(part) < end:
                for records in (await consumer.getmany(part, timeout_ms=1_000)).values():
                    found += [record for record in records if start <= record.offset < end]
            return found
        finally:
            await consumer.stop()

    async def fail(self, exc: BaseException) -> None:
        """Take the process down: a worker that goes on after this would lose or double results."""
        if self.failure is None:
            self.failure = exc
        await self.crash(exc)

    # Assignments

    def begin_recovery(self, assigned: set[TP]) -> None:
        """A new assignment is known; its tables are not yet read."""
        self.generation += 1
        self._assigned_in_rebalance = self.rebalancing_count
        tables: Any = self.tables
        read_from = tables.recovery.active_offsets
        for table in self.fenced_tables:
            ours = {tp for tp in assigned if tp.topic == table.changelog}
            table.keep_only(() if self._state_is_unsure else {tp.partition for tp in ours})
            for tp in ours:
                # Faust goes on behind the offset that it knows, of partitions that stay here; we know a later one.
                table.recall(tp.partition)
                until = table.read_until(tp)
                if until is None:
                    read_from.pop(tp, None)
                else:
                    read_from[tp] = until - 1
        self._state_is_unsure = False

    def on_rebalance_end(self) -> None:
        """Tables are recovered and sources sought: tell the lanes, and let batches come."""
        # Sources are sought last, and partitions may be dealt out anew meanwhile: that recovery will end by itself.
        sought = not self.consumer.assignment() or self.batch_consumer.thread.sought_for == self.generation
        if self._assigned_in_rebalance != self.rebalancing_count or not sought:
            self.log.info("Recovery ended for an assignment that is already being revoked")
            return
        super().on_rebalance_end()
        self.live_generation, self._live_term = self.generation, self.lease.term
        self.add_future(self._begin_generation(self.live_generation))

    async def _begin_generation(self, generation: int) -> None:
        """Claim the tables, then let the lanes begin."""
        owned: dict[str, set[int]] = {}
        for tp in self.consumer.assignment():
            owned.setdefault(tp.topic, set()).add(tp.partition)
        try:
            producer = self.leased_producer
            if producer.term != self._live_term:
                await producer.renew()
            for table in self.fenced_tables:
                await table.claim(generation, sorted(owned.get(table.changelog, ())))
                self._require_whole(table, owned.get(table.changelog, ()))
        except StaleGenerationError as exc:
            self.log.info("Partitions moved on before they were taken over: %s", exc)
            return
        except StateLostError as exc:
            await self.fail(exc)
            return
        for lane in self.lanes:
            partitions = {topic: tuple(sorted(owned.get(topic, ()))) for topic in lane.topics}
            self.add_future(lane.begin(Assignment(generation, partitions)))

    def _require_whole(self, table: FencedTable, partitions: Iterable[int]) -> None:
        """Look whether the changelog has all that it had when sources were read; see `FencedTable.require_whole`."""
        thread = self.batch_consumer.thread
        for partition in partitions:
            tp = TP(table.changelog, partition)
            if any(thread.committed.get(TP(topic, partition)) is not None for topic in table.sources):
                table.require_whole(partition, thread.begun[tp], thread.beginnings[tp], thread.committed[tp] or 0)

    async def finish_generation(self) -> None:
        """Let every lane finish what it holds, side by side and within bounds, and commit."""
        finishing = [asyncio.ensure_future(lane.finish()) for lane in self.lanes]
        if finishing:
            done, late = await asyncio.wait(finishing, timeout=self.finish_timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
                self.log.warning("%d lanes were not done in time; their records are read again", len(late))
            for task in done:
                failed = task.exception()
                if failed is not None and not isinstance(failed, StaleGenerationError):
                    await self.fail(failed)
                    return
        await self.batch_consumer.commit_acknowledged()

    async def end_generation(self) -> None:
        """Nothing computed so far may be written any more, and nothing that waits to be sent may be sent."""
        lost = self.live_generation is not None and not self.holds_lease
        self.live_generation = None
        for lane in self.lanes:
            lane.end()
        producer = self.leased_producer
        if lost or producer.has_unconfirmed:
            self.log.warning("Results that were not confirmed are given up; their records are read again")
            metrics.LEASES_LOST.inc()
            self._state_is_unsure = True
            await producer.renew()

    @property
    def leased_producer(self) -> LeasedProducer:
        """The producer, with its look at the lease."""
        producer = self.producer
        if not isinstance(producer, LeasedProducer):
            raise TypeError(f"the transport made a {type(producer).__name__}, expected a LeasedProducer")
        return producer
