"""What the look at the start asks of Kafka, and what a restoration changes there: records, offsets, and a claim."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError as AioKafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as ReadPartition
from faust.types import TP
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    KafkaError,
    NoError,
    NotCoordinatorError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from streams.engine.drain import probe_end_offsets
from streams.engine.fence import LogRecord, PartitionLog, fence_of
from streams.engine.topics import TopicsError
from streams.secured.aio import reading_options
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings
from streams.start.facts import Log

_T = TypeVar("_T")

_ANSWER_S: Final = 60.0
_PAUSE_S: Final = 0.1
_PASSING: Final = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)
_LOST: Final = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
_CLAIM_SESSION_S: Final = 15.0
_CLAIM_POLL_MS: Final = 100
_CLAIM_LONGEST_S: Final = 3600.0
"""A restoration may take so long; the claim of a process that dies is free again after its session."""


class LiveWorkersError(TopicsError):
    """Workers of the group are alive: its offsets cannot be changed."""


class ClaimLostError(TopicsError):
    """The broker has given the claim of a starting worker up: another one may be restoring, or have restored."""


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the broker tells of it."""

    id: str
    partitions: int


class StartBroker:
    """Everything that is asked of Kafka at a start. All methods raise TopicsError when it does not serve."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._group = settings.app_id

    def __enter__(self) -> Self:
        self._admin = self._ask(
            lambda: KafkaAdminClient(
                bootstrap_servers=self._settings.kafka.split(","),
                client_id="cx-start",
                **kafka_client_options(self._settings),
            ),
            "be reached",
        )
        return self

    def __exit__(self, *_exc: object) -> None:
        self._admin.close()

    def describe(self, names: Sequence[str]) -> dict[str, Described]:
        """Return those of the topics that there are."""
        found = self._ask(lambda: self._admin.describe_topics(list(names)), "list its topics")
        return {
            one["name"]: Described(str(one.get("topic_id") or ""), len(one["partitions"]))
            for one in found
            if one["error_code"] == 0
        }

    def committed(self) -> dict[TP, int]:
        """Return what the workers' group has committed."""
        found = self._ask(lambda: self._admin.list_group_offsets(self._group), "tell committed offsets")
        return {
            TP(tp.topic, tp.partition): one.offset for tp, one in found.get(self._group, {}).items() if one.offset >= 0
        }

    def logs(self, counts: Mapping[str, int], committed: Mapping[TP, int]) -> dict[str, tuple[Log, ...]]:
        """Return every partition of these topics with what was committed of it before."""
        tps = [TP(name, p) for name, count in counts.items() for p in range(count)]
        starts, ends = self._read(lambda consumer: _edges(consumer, tps))
        found: dict[str, tuple[Log, ...]] = {}
        for tp in tps:
            found[tp.topic] = (*found.get(tp.topic, ()), Log(starts[tp], ends[tp], committed.get(tp)))
        return found

    def end(self, topic: str, partition: int) -> int:
        """Return the offset behind the last record of a partition."""
        tp = TP(topic, partition)
        return self._read(lambda consumer: _edges(consumer, [tp]))[1][tp]

    def records(self, wanted: Mapping[TP, int]) -> dict[TP, bytes]:
        """Return the values of single records by the offset wanted; what is not there any more is left out."""
        return self._read(lambda consumer: _single(consumer, wanted)) if wanted else {}

    def contents(self, topic: str, ends: Mapping[int, int]) -> dict[int, PartitionLog]:
        """Return what a changelog holds, by partition, of those with the given ends."""
        return self._read(lambda consumer: _contents(consumer, topic, ends))

    def commit(self, offsets: Mapping[TP, int], wait_s: float = 0.0) -> None:
        """
        Set committed offsets of the workers' group, waiting for its last members to be gone.

        Raises:
            LiveWorkersError: the group has members: one that was killed is a member until its session is over.
        """
        asked = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()
        }
        deadline, counted_out = time.monotonic() + wait_s, not wait_s
        while asked:
            results = self._ask(lambda: self._admin.alter_group_offsets(self._group, asked), "commit offsets")
            failed = {error for error in results.values() if error is not NoError}
            if not failed:
                return
            if time.monotonic() < deadline:
                time.sleep(0.3)
            elif UnknownMemberIdError not in failed:
                names = ", ".join(sorted(error.__name__ for error in failed))
                raise TopicsError(f"{self._settings.kafka} does not commit offsets of {self._group}: {names}")
            elif counted_out:
                raise LiveWorkersError(f"workers of the group {self._group} are running: stop all of them first")
            else:
                self._count_out(next(iter(offsets)).topic)
                counted_out = True

    def _count_out(self, topic: str) -> None:
        """
        Join the workers' group for a moment.

        The embedded broker gives dead members up only when somebody joins. Apache Kafka refuses us while there are
        any, since we do not deal out partitions as they do.
        """
        session_s = self._settings.broker_session_s
        with closing(self._consumer(self._group, session_s)) as consumer:
            consumer.subscribe([topic], listener=_Membership(consumer))
            deadline = time.monotonic() + 2 * session_s
            while not consumer.assignment() and time.monotonic() < deadline:
                try:
                    consumer.poll(_CLAIM_POLL_MS, max_records=1)
                except InconsistentGroupProtocolError:
                    return
                time.sleep(_CLAIM_POLL_MS / 1000)

    def leave(self, member: str) -> bool:
        """Give back a membership in the workers' group; False if it was over."""
        return self._read(lambda consumer: _leave(consumer, self._group, member))

    @contextmanager
    def claim(self, topic: str) -> Iterator[Callable[[], None]]:
        """
        Keep other starting workers waiting until this one is done with what it found.

        The claim is the membership in a group of its own: the one that owns the first partition of `topic` goes on.
        While it works it does not poll, so nobody takes the partition over; if it dies, its session ends. So does that
        of one that was paused: what is yielded raises ClaimLostError then.
        """
        first, nothing = TopicPartition(topic, 0), OffsetAndMetadata(0, "", -1)
        with closing(self._consumer(f"{self._group}-start", _CLAIM_SESSION_S)) as consumer:
            consumer.partitions_for_topic(topic)
            consumer.subscribe([topic], listener=_Membership(consumer))
            while first not in consumer.assignment():
                self._ask(lambda: consumer.poll(_CLAIM_POLL_MS, max_records=1), "form a group")
                time.sleep(_CLAIM_POLL_MS / 1000)  # without a partition it returns at once

            def commit() -> None:
                try:
                    consumer.commit({first: nothing}, timeout_ms=int(1000 * _ANSWER_S))
                except _LOST as error:
                    raise ClaimLostError(
                        f"{self._settings.kafka} has given up the claim to restore: {error}"
                    ) from error

            # Only a member of the newest generation may commit.
            yield lambda: self._ask(commit, "confirm a claim")

    def _consumer(self, group: str, session_s: float) -> KafkaConsumer:
        return self._ask(
            lambda: KafkaConsumer(
                bootstrap_servers=self._settings.kafka.split(","),
                group_id=group,
                client_id="cx-start",
                enable_auto_commit=False,
                session_timeout_ms=int(1000 * session_s),
                heartbeat_interval_ms=2000,
                max_poll_interval_ms=int(1000 * _CLAIM_LONGEST_S),
                request_timeout_ms=int(1000 * _CLAIM_LONGEST_S) + 10_000,
                connections_max_idle_ms=int(1000 * _CLAIM_LONGEST_S) + 60_000,
                # A leader that does not know the topic yet deals nothing out, and again only when it has heard of it.
                metadata_max_age_ms=1000,
                max_partition_fetch_bytes=1,
                **kafka_client_options(self._settings),
            ),
            "be reached",
        )

    def _ask(self, ask: Callable[[], _T], what: str) -> _T:
        """Ask, again while the coordinator of the group is being found."""
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                return ask()
            except _PASSING as error:
                if time.monotonic() > deadline:
                    raise TopicsError(f"{self._settings.kafka} cannot {what}: {error}") from error
                time.sleep(0.2)
            except (KafkaError, OSError) as error:
                raise TopicsError(f"{self._settings.kafka} cannot {what}: {error}") from error

    def _read(self, read: Callable[[AIOKafkaConsumer], Awaitable[_T]]) -> _T:
        async def run() -> _T:
            # aiokafka can undo every compression.
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka,
                client_id="cx-start",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=100,
                **reading_options(self._settings),
            )
            await consumer.start()
            try:
                return await asyncio.wait_for(read(consumer), 10 * _ANSWER_S)
            finally:
                await consumer.stop()

        try:
            # In a thread of its own: whoever asks may have an event loop already.
            with ThreadPoolExecutor(1, "start") as pool:
                return pool.submit(lambda: asyncio.run(run())).result()
        except (AioKafkaError, OSError, TimeoutError) as error:
            raise TopicsError(f"{self._settings.kafka} cannot be read: {error or type(error).__name__}") from error


class _Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Fetches nothing of what it is assigned: only the membership is wanted, and this client cannot undo zstd here."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Do nothing: the consumer forgets what it paused."""

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Pause all of them, before the first fetch."""
        self._consumer.pause(*assigned)


async def _edges(consumer: AIOKafkaConsumer, tps: Sequence[TP]) -> tuple[dict[TP, int], dict[TP, int]]:
    asked = [ReadPartition(*tp) for tp in tps]
    consumer.assign(asked)
    starts = {TP(*tp): offset for tp, offset in (await consumer.beginning_offsets(asked)).items()}
    claimed = {TP(*tp): offset for tp, offset in (await consumer.end_offsets(asked)).items()}
    # The embedded broker tells the start of the last batch for the end: only the answer to a fetch is right.
    ends: dict[TP, int] = {}
    for _ in range(round(_ANSWER_S / _PAUSE_S)):
        ends = await probe_end_offsets(consumer, claimed)
        if ends.keys() == claimed.keys():
            break
        await asyncio.sleep(_PAUSE_S)
    return starts, {tp: max(claimed[tp], ends.get(tp, 0)) for tp in tps}


async def _leave(consumer: AIOKafkaConsumer, group: str, member: str) -> bool:
    client = consumer._client  # noqa: SLF001
    node = await client.coordinator_lookup(CoordinationType.GROUP, group)
    answer = await client.send(node, LeaveGroupRequest(group, member), group=ConnectionGroup.COORDINATION)
    return bool(answer.error_code == NoError.errno)


async def _single(consumer: AIOKafkaConsumer, wanted: Mapping[TP, int]) -> dict[TP, bytes]:
    consumer.assign([ReadPartition(*tp) for tp in wanted])
    for tp, offset in wanted.items():
        consumer.seek(ReadPartition(*tp), offset)
    found: dict[TP, bytes] = {}
    for tp, offset in wanted.items():
        reading = consumer.getone(ReadPartition(*tp))
        try:
            record: ConsumerRecord[bytes, bytes] = await asyncio.wait_for(reading, _ANSWER_S)
        except TimeoutError:
            continue  # it left the topic meanwhile, and nothing came after it
        if record.offset == offset and record.value is not None:
            found[tp] = bytes(record.value)
    return found


async def _contents(consumer: AIOKafkaConsumer, topic: str, ends: Mapping[int, int]) -> dict[int, PartitionLog]:
    tps = {ReadPartition(topic, partition): end for partition, end in ends.items() if end}
    logs = {partition: PartitionLog() for partition in ends}
    if not tps:
        return logs
    consumer.assign(list(tps))
    await consumer.seek_to_beginning()
    while waiting := [tp for tp, end in tps.items() if await consumer.position(tp) < end]:
        for tp, records in (await consumer.getmany(*waiting, timeout_ms=500)).items():
            logs[tp.partition].apply(
                LogRecord(record.offset, bytes(record.key or b""), record.value, fence_of(record.headers))
                for record in records
            )
    return logs
