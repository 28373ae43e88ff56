"""Traps of stock Faust and of the embedded broker that need a broker to be seen; see test_engine_traps.py."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from streams.engine import BatchApp
from streams.engine.drain import BatchConsumerThread, probe_end_offsets
from tests.harness.topics import create_topics


@pytest.fixture
async def topic(broker: Any, request: pytest.FixtureRequest) -> str:
    name = f"traps-{abs(hash(request.node.name)) % 10**8}-{time.monotonic_ns()}"
    create_topics(broker.bootstrap, {name: 1})
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    for start in range(0, 100, 10):
        builder = producer.create_batch()
        for number in range(start, start + 10):
            builder.append(key=None, value=b"%d" % number, timestamp=None)
        await (await producer.send_batch(builder, name, partition=0))
    await producer.stop()
    return name


@pytest.fixture
async def consumer(broker: Any, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A plain aiokafka consumer that has read the whole topic and committed nothing; it has no session to lose."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        group_id=f"group-{topic}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    read = 0
    while read < 100:
        read += sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))
    yield consumer
    await consumer.stop()


async def test_partition_without_a_commit_is_not_rewound_in_stock(consumer: AIOKafkaConsumer, topic: str) -> None:
    tp = TP(topic, 0)
    await consumer.seek_to_committed()
    assert await consumer.position(tp) == 100, "whatever was fetched and dropped is lost"

    thread = SimpleNamespace(
        _ensure_consumer=lambda: consumer,
        consumer=SimpleNamespace(
            app=SimpleNamespace(
                tables=SimpleNamespace(changelog_topics=set()), conf=SimpleNamespace(topic_partitions=1)
            )
        ),
        begun={},
    )
    assert await BatchConsumerThread._seek_to_committed(thread) == {tp: None}
    assert await consumer.position(tp) == 0
    await consumer.commit({TopicPartition(topic, 0): 40})
    assert await BatchConsumerThread._seek_to_committed(thread) == {tp: 40}
    assert await consumer.position(tp) == 40


async def test_end_offset_of_the_embedded_broker_lacks_the_last_batch(
    broker: Any, consumer: AIOKafkaConsumer, topic: str
) -> None:
    tp = TP(topic, 0)
    listed = await consumer.end_offsets([tp])
    assert listed[tp] == (91 if broker.kind == "embedded" else 100), "offset of the last batch, plus one"
    assert await probe_end_offsets(consumer, listed) == {tp: 100}


async def test_no_partition_means_every_partition_in_stock(consumer: AIOKafkaConsumer, topic: str) -> None:
    tp = TP(topic, 0)
    thread = lane_thread(topic)
    consumer.seek(tp, 0)
    stock = await consumer._fetcher.fetched_records(set(), timeout=90)
    assert sum(map(len, stock.values())) > 0, "records of a partition that was not asked for"

    consumer.seek(tp, 0)
    assert await thread._fetch_records(consumer, set(), timeout=1.0) == {}
    fetched = await thread._fetch_records(consumer, {tp}, timeout=90.0)
    assert fetched[tp].first_offset == 0


def lane_thread(topic: str) -> Any:
    """The lane's fetching part without the thread around it."""
    thread = BatchConsumerThread.__new__(BatchConsumerThread)
    thread.consumer = SimpleNamespace(
        flow_active=True, app=SimpleNamespace(batch_topics={topic}, max_batch_records=20_000)
    )
    thread._holed = set()
    thread._bare = {}
    thread._interrupted = False
    thread._waiter = None
    return thread


async def test_interrupted_fetch_returns_at_once(consumer: AIOKafkaConsumer, topic: str) -> None:
    thread = lane_thread(topic)
    asyncio.get_running_loop().call_later(0.2, thread._interrupt)
    assert await asyncio.wait_for(thread._fetch_records(consumer, {TP(topic, 0)}, timeout=600.0), 90) == {}


async def test_records_are_read_back_by_their_offsets(broker: Any, topic: str) -> None:
    app = BatchApp("reader", brokers=broker.bootstrap, partitions=1)
    found = await app.read_back(TP(topic, 0), 15, 42)
    app.batch_consumer.thread.thread_loop.close()
    assert [(record.offset, record.value) for record in found] == [(n, b"%d" % n) for n in range(15, 42)]
