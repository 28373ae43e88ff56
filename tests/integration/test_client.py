"""The producer against real brokers: delivered once, in order, to the right topic; and through an outage."""

import json
import ssl
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from streams.local.broker import EmbeddedBroker
from streams.producers.client import Receipt, TouchpointProducer, topic_of
from streams.producers.simulator import Plan, emissions
from tests.conftest import Broker
from tests.harness.topics import PATIENCE_S, read_all

# The Kafka client leaves sockets of refused connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PARTITIONS = 4
TRIED_S = 3
GOOD: dict[str, Any] = {
    "type": "cx.page.viewed",
    "source": "/shop/web",
    "channel": "web",
    "subject": "c-1",
    "data": {"page": "home"},
}


def create_topics(bootstrap: str, prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic_of(c, prefix), PARTITIONS, 1) for c in ("web", "app", "store", "call_center")])
    admin.close()


@pytest.fixture
def prefix(broker: Broker) -> str:
    name = f"t{uuid.uuid4().hex[:8]}"
    create_topics(broker.bootstrap, name)
    return name


def test_events_reach_the_topic_of_their_channel_keyed_by_customer(broker: Broker, prefix: str) -> None:
    receipts: dict[str, Receipt | str] = {}

    def delivered(event: Any, outcome: Receipt | str) -> None:
        receipts[event["id"]] = outcome

    with TouchpointProducer(broker.bootstrap, topic_prefix=prefix, on_delivery=delivered) as producer:
        for number in range(300):
            producer.send({**GOOD, "id": f"e-{number}", "subject": f"c-{number % 20}"})
        report = producer.flush(PATIENCE_S)
    assert (report.delivered, report.pending, report.undelivered) == (300, 0, [])
    records = read_all(broker.bootstrap, topic_of("web", prefix))
    assert len(records) == 300
    partitions: dict[bytes, set[int]] = defaultdict(set)
    order: dict[str, list[int]] = defaultdict(list)
    for record in records:
        event = json.loads(record.value)
        assert record.key == event["subject"].encode()
        partitions[record.key].add(record.partition)
        order[event["subject"]].append(int(event["id"][2:]))
        assert receipts[event["id"]] == (record.topic, record.partition, record.offset)
    assert {len(found) for found in partitions.values()} == {1}
    assert all(numbers == sorted(numbers) for numbers in order.values())


def test_simulated_events_arrive_as_sent_from_several_threads(broker: Broker, prefix: str) -> None:
    from datetime import UTC, datetime

    sent = list(islice(emissions(Plan(start=datetime.now(UTC), rate=100, flat=True)), 4000))
    with TouchpointProducer(broker.bootstrap, topic_prefix=prefix) as producer:

        def work(part: int) -> None:
            for emission in sent[part::4]:
                producer.send_encoded(emission.payload, emission.channel, emission.subject)

        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert producer.flush(PATIENCE_S).delivered == 4000
    for channel in ("web", "app", "store", "call_center"):
        expected = sorted(e.payload for e in sent if e.channel == channel)
        found = read_all(broker.bootstrap, topic_of(channel, prefix))
        assert sorted(record.value for record in found) == expected


def test_a_large_event_passes_and_one_the_broker_refuses_is_handed_back(broker: Broker, prefix: str) -> None:
    producer = TouchpointProducer(broker.bootstrap, topic_prefix=prefix)
    large = {**GOOD, "type": "cx.feedback.given", "data": {"text": "م" * 15_000}}
    producer.send(large)
    assert producer.flush(PATIENCE_S).delivered == 1
    producer.close()
    tight = TouchpointProducer(broker.bootstrap, topic_prefix=prefix, options={"max_request_size": 10_000})
    tight.send(large)
    tight.send(GOOD)
    report = tight.close(PATIENCE_S)
    assert report.delivered == 1
    assert [large.items() <= u.event.items() for u in report.undelivered] == [True]  # type: ignore[attr-defined]
    assert "MessageSizeTooLarge" in report.undelivered[0].error


def test_a_topic_that_does_not_exist_holds_up_no_other(broker: Broker, prefix: str) -> None:
    producer = TouchpointProducer(broker.bootstrap, topic_prefix=prefix, delivery_timeout_s=10 * PATIENCE_S)
    producer._topics["app"] = f"{prefix}.absent"
    producer.send({**GOOD, "channel": "app"})
    for _ in range(10):
        producer.send(GOOD)
    delivered, deadline = 0, time.monotonic() + PATIENCE_S
    while delivered < 10:
        assert time.monotonic() < deadline
        delivered += producer.flush(0.2).delivered
    report = producer.close(1)
    delivered += report.delivered
    if report.undelivered:  # a broker that makes topics by itself delivers all
        assert len(report.undelivered) == 1
        assert f"{prefix}.absent" in report.undelivered[0].error
    assert delivered + len(report.undelivered) == 11


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may stop and start again; it forgets everything in between."""
    broker = EmbeddedBroker(tmp_path / "broker.log")
    yield broker
    broker.stop()


def restarted(broker: EmbeddedBroker) -> None:
    broker.start()
    create_topics(broker.bootstrap, "cx")


def test_events_wait_for_a_broker_that_starts_later(mortal: EmbeddedBroker) -> None:
    producer = TouchpointProducer(mortal.bootstrap, delivery_timeout_s=2 * PATIENCE_S)
    for number in range(50):
        producer.send({**GOOD, "id": f"e-{number}"})
    assert producer.flush(0.5).pending == 50
    restarted(mortal)
    producer.wait_connected(PATIENCE_S)
    report = producer.close(PATIENCE_S)
    assert (report.delivered, report.undelivered) == (50, [])
    assert len(read_all(mortal.bootstrap, "cx.touchpoints.web")) == 50


def test_events_survive_a_broker_that_dies_and_comes_back(mortal: EmbeddedBroker) -> None:
    restarted(mortal)
    producer = TouchpointProducer(mortal.bootstrap, delivery_timeout_s=2 * PATIENCE_S)
    producer.send({**GOOD, "id": "before"})
    assert producer.flush(PATIENCE_S).delivered == 1
    mortal.stop()
    for number in range(50):
        producer.send({**GOOD, "id": f"e-{number}"})
    assert producer.flush(2).pending == 50
    restarted(mortal)
    report = producer.close(PATIENCE_S)
    assert (report.delivered, report.undelivered) == (50, [])
    ids = {json.loads(record.value)["id"] for record in read_all(mortal.bootstrap, "cx.touchpoints.web")}
    assert ids == {f"e-{number}" for number in range(50)}


def connected(broker: EmbeddedBroker) -> TouchpointProducer:
    """A producer that soon gives up, which has delivered something."""
    producer = TouchpointProducer(broker.bootstrap, delivery_timeout_s=TRIED_S)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        producer.send({**GOOD, "id": "first"})
        if producer.flush(PATIENCE_S).delivered:
            return producer
        assert time.monotonic() < deadline


def test_events_are_handed_back_when_the_broker_stays_dead(mortal: EmbeddedBroker) -> None:
    restarted(mortal)
    producer = connected(mortal)
    mortal.stop()
    began = time.monotonic()
    for number in range(20):
        producer.send({**GOOD, "id": f"e-{number}"})
    report = producer.flush(PATIENCE_S)
    assert time.monotonic() - began > 0.9 * TRIED_S
    assert sorted(u.event["id"] for u in report.undelivered) == sorted(f"e-{n}" for n in range(20))  # type: ignore[index]
    assert producer.close(0).complete


def test_a_broker_that_freezes_is_noticed(mortal: EmbeddedBroker, freeze: Callable[[int], None]) -> None:
    restarted(mortal)
    producer = connected(mortal)
    assert mortal.pid is not None
    freeze(mortal.pid)
    producer.send({**GOOD, "id": "frozen"})
    report = producer.close(PATIENCE_S)
    assert [u.event["id"] for u in report.undelivered] == ["frozen"]  # type: ignore[index]
    assert f"not delivered within {TRIED_S} s" in report.undelivered[0].error, "it was not given up in its time"


@pytest.fixture
def freeze() -> Iterator[Callable[[int], None]]:
    import os
    import signal

    frozen: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    yield stop
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)


def test_security_options_reach_the_connection(mortal: EmbeddedBroker) -> None:
    restarted(mortal)
    secure = TouchpointProducer(
        mortal.bootstrap,
        delivery_timeout_s=4,
        security={"security_protocol": "SSL", "ssl_context": ssl.create_default_context()},
    )
    secure.send(GOOD)
    report = secure.close(10)  # the broker speaks no TLS: an unencrypted delivery would be a leak
    assert report.delivered == 0
    assert len(report.undelivered) == 1
