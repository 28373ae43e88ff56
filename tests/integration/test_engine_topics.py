"""Declared topics, and what the brokers take."""

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from faust.types import TP
from kafka import KafkaProducer, TopicPartition

from streams.engine import MAX_RECORD_BYTES, BatchApp
from streams.engine.outgoing import Outgoing
from streams.engine.topics import TopicSpec, check_topics, ensure_topics, topic_plan
from streams.local.broker import BrokerError, EmbeddedBroker
from tests.harness.topics import PATIENCE_S, create_topics


@pytest.fixture
def plan() -> list[TopicSpec]:
    name = f"plan{time.monotonic_ns()}"
    return topic_plan(3, 1, app_id=name, prefix=name)


def test_missing_topics_are_told_created_once_and_then_right(broker: Any, plan: list[TopicSpec]) -> None:
    missing = check_topics(broker.bootstrap, plan)
    assert len(missing) == len(plan) == 19
    assert all("is missing: `cx topics` creates it" in problem for problem in missing)
    assert ensure_topics(broker.bootstrap, plan) == []
    assert ensure_topics(broker.bootstrap, plan) == []


def test_another_number_of_partitions_is_told_and_nothing_is_changed(broker: Any, plan: list[TopicSpec]) -> None:
    create_topics(broker.bootstrap, {plan[0].name: 5})
    [problem] = ensure_topics(broker.bootstrap, plan)
    assert problem.startswith(f"{plan[0].name} has 5 partitions, expected 3")
    assert check_topics(broker.bootstrap, plan) == [problem]


@pytest.mark.kafka
def test_settings_that_lose_state_or_records_are_told(kafka_broker: Any, plan: list[TopicSpec]) -> None:
    changelog = next(spec for spec in plan if spec.name.endswith("ingest-changelog"))
    create_topics(kafka_broker.bootstrap, {changelog.name: 3}, {"max.message.bytes": "1000000"})
    policy, size = ensure_topics(kafka_broker.bootstrap, plan)
    assert policy.startswith(f"{changelog.name} has cleanup.policy=delete, expected compact: old state")
    assert size.startswith(f"{changelog.name} takes records up to 1000000 bytes (max.message.bytes), expected")


def test_a_plan_names_every_topic_of_the_agents() -> None:
    names = {spec.name for spec in topic_plan(4, 3, app_id="app", prefix="cx")}
    assert names == {
        *(f"cx.touchpoints.{channel}" for channel in ("web", "app", "store", "call_center", "derived")),
        "cx.facts",
        "cx.case_facts",
        "cx.cases",
        "cx.kpi.partials",
        "cx.blocks",
        "cx.kpis",
        "cx.alerts",
        "cx.notifications",
        "cx.control",
        "cx.dead_letters",
        "app-ingest-changelog",
        "app-merge-changelog",
        "app-relate-changelog",
        "app-cases-changelog",
    }
    spec = topic_plan(4, 3, app_id="app", prefix="cx")[0]
    assert (spec.partitions, spec.replication, spec.config["min.insync.replicas"]) == (4, 3, "2")


def test_no_broker_is_told_with_its_address() -> None:
    # In a process of its own: kafka-python leaves its sockets behind when it finds no broker.
    code = "from streams.engine.topics import check_topics; check_topics('127.0.0.1:1', [], bootstrap_timeout_ms=500)"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "TopicsError: no broker answers at 127.0.0.1:1" in ended.stderr


async def test_largest_blocks_pass_through_producer_broker_and_consumer(broker: Any, plan: list[TopicSpec]) -> None:
    ensure_topics(broker.bootstrap, plan)
    blocks = next(spec.name for spec in plan if spec.name.endswith(".blocks"))
    app = BatchApp("large", brokers=broker.bootstrap, partitions=3)
    thread_loop = app.batch_consumer.thread.thread_loop
    block = bytes(range(256)) * (MAX_RECORD_BYTES // 256)
    app.lease.answered(app.lease.now(), 0, 1)
    await app.producer.start()
    await app.producer.send_and_wait(blocks, None, block, 1, None, None)
    await app.producer.stop()
    thread_loop.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        max_partition_fetch_bytes=app.conf.consumer_max_fetch_size,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    consumer.assign([TopicPartition(blocks, 1)])
    record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
    await consumer.stop()
    assert record.value == block


async def test_the_brokers_clock_is_told_by_every_write(broker: Any, plan: list[TopicSpec]) -> None:
    """By Apache Kafka; the embedded broker, which keeps the client's time, tells nothing, and nothing wrong."""
    ensure_topics(broker.bootstrap, plan)
    partials = next(spec.name for spec in plan if spec.name.endswith(".partials"))
    app = BatchApp("clocks", brokers=broker.bootstrap, partitions=3)
    thread_loop = app.batch_consumer.thread.thread_loop
    told: list[tuple[float, float]] = []
    app.on_broker_time = lambda said, within_s: told.append((said - time.time(), within_s))
    app.live_generation = 1
    app.lease.answered(app.lease.now(), 0, 1)
    await app.producer.start()
    long_ago = 1_000_000.0
    real = app.producer.send

    async def send(topic: str, key: Any, value: Any, partition: int, _at: Any, headers: Any) -> Any:
        return await real(topic, key, value, partition, long_ago, headers)  # a clock that is wrong by decades

    app.producer.send = send  # type: ignore[method-assign]
    await app.produce(1, [Outgoing(partials, partition, None, b"x") for partition in range(3)])
    await app.producer.stop()
    thread_loop.close()
    if broker.kind == "kafka":
        [(ahead_s, within_s)] = told
        assert abs(ahead_s) <= within_s + 0.1
    else:
        assert told == []


@pytest.mark.parametrize("compression", [None, "lz4", "gzip"])
@pytest.mark.parametrize("idempotent", [False, True])
def test_producers_of_channel_teams_are_served(broker: Any, compression: str | None, idempotent: bool) -> None:
    topic = f"produced-{time.monotonic_ns()}"
    create_topics(broker.bootstrap, {topic: 2})
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap,
        acks="all",
        enable_idempotence=idempotent,
        compression_type=compression,
        linger_ms=5,
    )
    sent = [producer.send(topic, b"%d" % number, partition=number % 2) for number in range(1_000)]
    offsets = sorted((future.get(PATIENCE_S).partition, future.get(PATIENCE_S).offset) for future in sent)
    producer.close()
    assert offsets == [(partition, offset) for partition in range(2) for offset in range(500)]


def test_topics_the_embedded_broker_made_on_a_write_are_told(embedded_broker: Any, plan: list[TopicSpec]) -> None:
    producer = KafkaProducer(bootstrap_servers=embedded_broker.bootstrap)
    producer.send(plan[0].name, b"sent before `cx topics` ran").get(PATIENCE_S)
    producer.close()
    [problem] = ensure_topics(embedded_broker.bootstrap, plan)
    assert problem.startswith(f"{plan[0].name} has ")
    assert "partitions, expected 3" in problem


def test_the_embedded_broker_refuses_a_taken_port_and_ends_with_its_context(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} on 127.0.0.1 is taken"):
            EmbeddedBroker(tmp_path / "log", port).start()
    with EmbeddedBroker(tmp_path / "log") as running:
        assert running.pid is not None
        address = running.host, running.port
        socket.create_connection(address, timeout=PATIENCE_S).close()
    assert running.pid is None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(address, timeout=PATIENCE_S)


def test_a_missing_binary_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "none"))
    with pytest.raises(BrokerError, match="no embedded broker for this machine"):
        EmbeddedBroker(tmp_path / "log").start()


def test_a_broker_that_ends_at_once_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "broker"
    script.write_text("#!/bin/sh\necho out of luck\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(script))
    with pytest.raises(BrokerError, match=r"(?s)ended with code 3.*out of luck"):
        EmbeddedBroker(tmp_path / "log").start()


def test_faust_names_partitions_as_kafka_python_does() -> None:
    assert TP("t", 1) == TopicPartition("t", 1)
