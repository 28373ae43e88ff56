"""Each way stock Faust 0.15.3 loses, doubles or stalls, shown to happen there and not on the lane.

The stock half of a test fails when a later Faust mends the trap: then the lane's remedy can go.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.producer import ProducerBuffer
from faust.types import TP, ConsumerMessage
from faust.types.tuples import FutureMessage

from streams.engine import Assignment, BatchApp, Outgoing, RecordBatch, StaleGenerationError

SOURCE = TP("source", 0)


@pytest.fixture
async def stock() -> AsyncIterator[faust.App]:
    """A stock application; its broker does not exist."""
    app = faust.App("stock", broker="kafka://127.0.0.1:1", autodiscover=False, web_enabled=False)
    app.topics._acking_topics.add(SOURCE.topic)
    app.flow_control.resume()
    thread_loop = app.consumer._thread.thread_loop
    yield app
    thread_loop.close()


@pytest.fixture
async def app() -> AsyncIterator[BatchApp]:
    """An application with a lane over `source`; its broker does not exist."""
    app = BatchApp("lane", brokers="127.0.0.1:1", partitions=1)
    app.lane(SOURCE.topic)
    app.topics._acking_topics.add(SOURCE.topic)
    app.flow_control.resume()
    app.generation = app.live_generation = 1
    app.lease.answered(app.lease.now(), 0, 1)
    app.lanes[0].assignment = Assignment(1, {SOURCE.topic: (SOURCE.partition,)})
    thread_loop = app.batch_consumer.thread.thread_loop
    yield app
    thread_loop.close()


def message(app: faust.App, offset: int, value: Any = b"{}") -> ConsumerMessage:
    generation = app.consumer_generation_id
    return ConsumerMessage(
        SOURCE.topic, 0, offset, 0.0, 0, [], None, value, None, 0, 2, SOURCE, generation_id=generation
    )


def delivered(app: BatchApp, first: int, last: int) -> RecordBatch:
    """A batch that the lane has handed out."""
    offsets = range(first, last + 1)
    batch = app.batch_consumer.ledger.accept(RecordBatch(SOURCE.topic, 0, [b"{}"] * len(offsets), offsets))
    assert batch is not None
    batch.generation = app.generation
    return batch


def committing(consumer: Any) -> dict[TP, int]:
    """Collect what `consumer` commits instead of sending it."""
    committed: dict[TP, int] = {}

    async def commit(offsets: dict[TP, int]) -> bool:
        committed.update(offsets)
        return True

    consumer._commit = commit
    consumer.assignment = lambda: {SOURCE}
    consumer.app.producer.flush = nothing
    return committed


async def nothing(*_args: Any, **_options: Any) -> None:
    """Stands for a coroutine of no interest to the test."""


# Acknowledgements


async def first_event_fails(app: faust.App, stream: Any, values: AsyncIterator[Any]) -> None:
    async def agent() -> None:
        async for _ in values:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await agent()
    await values.aclose()  # what the supervisor's restart of the agent comes to
    await stream.stop()


async def test_exception_in_the_agent_acknowledges_in_stock_and_not_on_the_lane(
    stock: faust.App, app: BatchApp
) -> None:
    topic = stock.topic(SOURCE.topic, value_type=bytes, value_serializer="raw")
    stream = topic.stream()
    await stream.channel.put(await topic.decode(message(stock, 5)))
    values = aiter(stream)
    await first_event_fails(stock, stream, values)
    assert stock.consumer._acked[SOURCE] == [5]

    lane = app.lanes[0]
    batch = delivered(app, 5, 5)
    stream = lane.topic.stream()
    await stream.channel.put(await lane.topic.decode(message(app, 5, batch)))
    values = lane.batches(stream)
    await first_event_fails(app, stream, values)
    assert app.consumer._filter_committable_offsets([SOURCE]) == {}
    lane.ack(batch)
    assert app.consumer._filter_committable_offsets([SOURCE]) == {SOURCE: 6}


async def test_take_acknowledges_the_whole_buffer_when_the_agent_fails(stock: faust.App, app: BatchApp) -> None:
    topic = stock.topic(SOURCE.topic, value_type=bytes, value_serializer="raw")
    stream = topic.stream()
    for offset in range(3):
        await stream.channel.put(await topic.decode(message(stock, offset)))
    await first_event_fails(stock, stream, stream.take(3, within=5))
    assert stock.consumer._acked[SOURCE] == [0, 1, 2]

    # The lane has no take(): several batches wait, and only those acknowledged count.
    first, second = delivered(app, 0, 0), delivered(app, 1, 2)
    assert app.lanes[0].ack(first) == 1
    assert app.consumer._filter_committable_offsets([SOURCE]) == {SOURCE: 1}
    assert not second.released


@pytest.mark.parametrize(("committed", "waiting", "stock_commits"), [(5, 5, 9), (None, 0, 4)])
async def test_commit_skips_an_unacknowledged_head_in_stock(
    stock: faust.App, app: BatchApp, committed: int | None, waiting: int, stock_commits: int
) -> None:
    consumer = stock.consumer
    consumer._committed_offset[SOURCE] = committed
    consumer._acked[SOURCE] = [waiting + 1, waiting + 2, waiting + 3]
    assert consumer._new_offset(SOURCE) == stock_commits, "message at the head is lost"

    consumer = app.consumer
    consumer._committed_offset[SOURCE] = committed
    head, rest = delivered(app, waiting, waiting), delivered(app, waiting + 1, waiting + 3)
    app.lanes[0].ack(rest)
    assert consumer._filter_committable_offsets([SOURCE]) == {}
    app.lanes[0].ack(head)
    assert consumer._filter_committable_offsets([SOURCE]) == {SOURCE: waiting + 4}


async def test_revocation_drops_acknowledged_offsets_in_stock(stock: faust.App, app: BatchApp) -> None:
    consumer = stock.consumer
    committed = committing(consumer)
    consumer._on_partitions_revoked = lambda _revoked: consumer.commit()
    for offset in range(3):
        consumer.ack(message(stock, offset))
    await consumer.on_partitions_revoked({SOURCE})
    assert committed == {}, "three acknowledged messages will be processed again"

    consumer = app.batch_consumer
    committed = committing(consumer)
    consumer._on_partitions_revoked = nothing
    unfinished = delivered(app, 0, 2)

    @app.lanes[0].on_finish
    async def finish() -> None:
        app.lanes[0].ack(unfinished)

    await consumer.on_partitions_revoked({SOURCE})
    assert committed == {SOURCE: 3}
    assert app.live_generation is None


async def test_waiting_for_unfinished_work_has_no_bound_in_stock(stock: faust.App, app: BatchApp) -> None:
    committing(stock.consumer)
    stuck = message(stock, 0)
    stock.consumer.track_message(stuck)
    waiting = asyncio.ensure_future(stock.consumer.wait_empty())
    assert not (await asyncio.wait([waiting], timeout=2.5))[0]
    stock.consumer.ack(stuck)
    await waiting

    committing(app.consumer)
    delivered(app, 0, 0)
    app.finish_timeout_s = 0.2
    cancelled = asyncio.Event()

    @app.lanes[0].on_finish
    async def finish() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await asyncio.wait_for(app.consumer.wait_empty(), 90)
    assert cancelled.is_set()


async def test_acknowledgement_of_a_past_assignment_does_not_count(app: BatchApp) -> None:
    past = delivered(app, 0, 4)
    app.batch_consumer.ledger.clear()
    app.generation = app.live_generation = 2
    again = delivered(app, 0, 4)
    assert app.lanes[0].ack(past) == 0
    assert app.consumer._filter_committable_offsets([SOURCE]) == {}
    assert app.lanes[0].ack(again) == 1


# Producing


async def test_flush_is_no_barrier_in_stock(stock: faust.App, app: BatchApp) -> None:
    sent = []

    async def send_slowly(record: Any) -> None:
        await asyncio.sleep(0.3)
        sent.append(record)

    buffer = ProducerBuffer()
    buffer.app = stock
    buffer._send_pending = send_slowly
    for number in range(5):
        buffer.put(number)
    await buffer.start()
    await buffer.flush()
    assert len(sent) < 5, "the offsets of unsent records are committed now"
    while not buffer.pending.empty():
        buffer.pending.get_nowait()
    await buffer.stop()

    confirmed = []

    async def send(topic: str, key: Any, value: Any, *_rest: Any) -> asyncio.Future[Any]:
        async def confirm() -> Any:
            await asyncio.sleep(0.2)
            confirmed.append(value)
            return SimpleNamespace(offset=len(confirmed))

        return asyncio.ensure_future(confirm())

    app.producer.send = send
    await app.produce(1, [Outgoing("out", 0, None, b"%d" % i) for i in range(5)])
    assert len(confirmed) == 5


async def test_failed_send_is_only_logged_in_stock(stock: faust.App, app: BatchApp) -> None:
    refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    refused.set_exception(OSError("broker is away"))
    topic = stock.topic("changelog", value_type=bytes)
    unsent = FutureMessage(SimpleNamespace(channel=topic))
    topic._on_published(refused, unsent, stock.producer, None)
    assert isinstance(unsent.exception(), OSError)
    assert not stock.crashed

    async def send(*_args: Any) -> asyncio.Future[Any]:
        failing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failing.set_exception(OSError("broker is away"))
        return failing

    app.producer.send = send
    with pytest.raises(OSError, match="broker is away"):
        await app.produce(1, [Outgoing("out", 0, None, b"1")])
    assert app.crashed
    assert isinstance(app.failure, OSError)


async def test_nothing_is_sent_for_a_past_assignment(app: BatchApp) -> None:
    sent = []

    async def send(_topic: str, _key: Any, value: bytes, *_rest: Any) -> asyncio.Future[Any]:
        sent.append(value)
        if len(sent) == 2:
            await app.end_generation()
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    app.producer.send = send
    with pytest.raises(StaleGenerationError):
        await app.produce(1, [Outgoing("out", 0, None, b"%d" % i) for i in range(5)])
    assert sent == [b"0", b"1"]
    assert app.failure is None


# Fetching


class Thread:
    """Stands for the consumer thread: notes what it is asked for, and lets the test act meanwhile."""

    def __init__(self, fetched: dict[TP, Any], meanwhile: Any = None) -> None:
        self.fetched = fetched
        self.meanwhile = meanwhile or (lambda: None)
        self.asked: set[TP] = set()

    async def getmany(self, active: set[TP], _timeout: float) -> dict[TP, Any]:
        self.asked = active
        self.meanwhile()
        return self.fetched

    def highwater(self, _tp: TP) -> int:
        return 100

    def interrupt(self) -> None:
        pass


def record(offset: int) -> Any:
    return SimpleNamespace(
        topic=SOURCE.topic,
        partition=0,
        offset=offset,
        timestamp=0,
        timestamp_type=0,
        headers=(),
        key=None,
        value=b"{}",
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=2,
    )


def batch(first: int = 0, last: int = 9) -> RecordBatch:
    offsets = range(first, last + 1)
    return RecordBatch(SOURCE.topic, 0, [b"{}"] * len(offsets), offsets)


async def got(consumer: Any) -> list[int]:
    return [message.offset async for _tp, message in consumer.getmany(1.0)]


async def test_fetch_under_way_sees_sources_resumed_before_the_seek_in_stock(stock: faust.App, app: BatchApp) -> None:
    changelog = TP("changelog", 0)
    for each in (stock, app):
        each.rebalancing = True
        each.consumer._active_partitions = {changelog}
        consumer = each.consumer
        consumer._thread = Thread({}, lambda consumer=consumer: consumer.resume_partitions({SOURCE}))
        assert await got(consumer) == []
    assert stock.consumer._thread.asked == {changelog, SOURCE}, "the fetch returns records recovery will seek past"
    assert app.consumer._thread.asked == {changelog}
    # And the next fetch asks for the source only when the seek is done.
    assert await got(app.consumer) == []
    assert app.consumer._thread.asked == {changelog}
    app.rebalancing = False
    await got(app.consumer)
    assert app.consumer._thread.asked == {changelog, SOURCE}


async def test_records_fetched_across_a_rebalance_are_delivered_in_stock(stock: faust.App, app: BatchApp) -> None:
    stock.consumer._active_partitions = {SOURCE}

    def rejoined() -> None:
        stock.consumer_generation_id += 1

    stock.consumer._thread = Thread({SOURCE: [record(7)]}, rejoined)
    assert await got(stock.consumer) == [7], "a record of the old assignment with the number of the new one"

    app.consumer._active_partitions = {SOURCE}

    def reassigned() -> None:
        app.generation += 1

    app.consumer._thread = Thread({SOURCE: batch()}, reassigned)
    assert await got(app.consumer) == []
    app.consumer._thread = Thread({SOURCE: batch()})
    assert await got(app.consumer) == [9]


async def test_partition_with_unreleased_batches_is_not_fetched(app: BatchApp) -> None:
    other = TP("other", 0)
    app.batch_topics.add("other")
    consumer = app.batch_consumer
    consumer._active_partitions = {SOURCE, other}
    consumer._thread = Thread({})
    held = [delivered(app, 0, 4), delivered(app, 5, 9)]
    await got(consumer)
    assert consumer._thread.asked == {SOURCE, other}, "little ones may be gathered"
    held[1].nbytes = consumer.max_unreleased_bytes
    await got(consumer)
    assert consumer._thread.asked == {other}
    held[0].release()
    await got(consumer)
    assert consumer._thread.asked == {SOURCE, other}


async def test_redelivered_records_are_trimmed(app: BatchApp) -> None:
    consumer = app.batch_consumer
    consumer._active_partitions = {SOURCE}
    for fetched, expected in ((batch(0, 9), [9]), (batch(5, 14), [14]), (batch(3, 8), [])):
        consumer._thread = Thread({SOURCE: fetched})
        assert await got(consumer) == expected
    assert consumer.ledger.position(SOURCE) == 15


async def test_partitions_dealt_out_while_sources_are_sought_begin_once_with_their_own_recovery(app: BatchApp) -> None:
    """Begun twice, what was read between is forgotten, and its offsets are passed over."""
    app.consumer.assignment = lambda: {SOURCE}
    app.generation, app.live_generation, thread = 0, None, app.batch_consumer.thread
    app.on_rebalance_start()
    app.begin_recovery({SOURCE})
    thread.sought_for = app.generation
    app.on_rebalance_start()
    app.begin_recovery({SOURCE})  # while the sources of the assignment above are still being sought
    app.on_rebalance_end()
    assert app.live_generation is None
    thread.sought_for = app.generation
    app.on_rebalance_end()
    assert app.live_generation == 2


async def test_recovery_of_an_older_assignment_does_not_end_the_rebalance(app: BatchApp) -> None:
    app.on_rebalance_start()
    app.begin_recovery({SOURCE})
    app.on_rebalance_start()  # revoked again while the recovery above is still finishing
    app.consumer.assignment = lambda: {SOURCE}
    app.live_generation = None
    app.on_rebalance_end()
    assert app.rebalancing
    assert app.live_generation is None
