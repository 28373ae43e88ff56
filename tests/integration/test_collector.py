"""The HTTP door in front of real brokers: where events land, what they become, and what it says while Kafka is away."""

import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from streams.collector.sending import PROBES
from streams.engine.topics import ensure_topics, topic_plan
from streams.local.broker import EmbeddedBroker
from streams.local.ports import free_port
from streams.producers.client import Receipt, TouchpointProducer
from tests.conftest import Broker
from tests.harness.door import DoorProcess, event
from tests.harness.topics import PATIENCE_S, read_all
from tests.harness.wholejob import Pipeline

# The Kafka client leaves sockets of refused connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PARTITIONS = 4
Opener = Callable[..., DoorProcess]


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Opener]:
    """Start `cx collect`; what still runs at the end is killed."""
    made: list[DoorProcess] = []

    def start(**environment: str) -> DoorProcess:
        made.append(DoorProcess({"CX_PARTITIONS": str(PARTITIONS), **environment}, tmp_path / f"door-{len(made)}.log"))
        return made[-1]

    yield start
    for door in made:
        if door.process.poll() is None:
            door.kill()


@pytest.fixture
def prefix(broker: Broker) -> str:
    name = f"d{uuid.uuid4().hex[:8]}"
    assert ensure_topics(broker.bootstrap, topic_plan(PARTITIONS, 1, name, name)) == []
    return name


def now() -> str:
    return datetime.now(UTC).isoformat()


def answered(number: int, score: object) -> dict[str, Any]:
    data = {"survey_id": "after-order", "metric": "csat", "scale": 5, "score": score}
    return event(number, type="cx.survey.answered", time=now(), data=data)


def test_client_and_door_put_a_customer_into_the_same_partition(broker: Broker, prefix: str, doors: Opener) -> None:
    """Duplicates are found per partition: an event that comes both ways must meet itself there."""
    receipts: dict[str, Receipt] = {}

    def delivered(one: Any, outcome: Receipt | str) -> None:
        assert isinstance(outcome, Receipt), outcome
        receipts[one["id"]] = outcome

    sent = [
        event(number, subject=subject, channel=channel)
        for number, (subject, channel) in enumerate(
            (f"{name}-{number}", channel)
            for name in ("c", "مشتری", "customer with spaces")
            for number in range(20)
            for channel in ("web", "app", "store", "call_center")
        )
    ]
    with TouchpointProducer(broker.bootstrap, topic_prefix=prefix, on_delivery=delivered) as producer:
        for one in sent:
            producer.send(one)
    assert len(receipts) == len(sent)
    door = doors(CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=prefix)
    answer = door.post(sent)
    assert (answer.status, answer.json["accepted"]) == (202, len(sent))
    for channel in ("web", "app", "store", "call_center"):
        topic = f"{prefix}.touchpoints.{channel}"
        of_channel = [one for one in sent if one["channel"] == channel]
        records = read_all(broker.bootstrap, topic)
        assert len(records) == 2 * len(of_channel)
        found: dict[str, list[Any]] = {}
        for record in records:
            found.setdefault(json.loads(record.value)["id"], []).append(record)
        for one in of_channel:
            first, second = found[one["id"]]
            assert first.partition == second.partition == receipts[one["id"]].partition
            assert first.key == second.key == one["subject"].encode()
            assert json.loads(first.value) == json.loads(second.value) == one


def test_what_comes_by_http_becomes_a_kpi(pipelines: Callable[..., Pipeline], doors: Opener) -> None:
    """In every mode, good and bad, twice: the good ones are counted once, the bad ones never get so far."""
    pipeline = pipelines()
    pipeline.start()
    door = doors(**pipeline.environment)
    scores = ["۵", "٤", 3, 5, 1, 2, 4, "5", 5, 5]
    batch = [answered(number, score) for number, score in enumerate(scores)]
    mixed = door.post([*batch[:6], answered(99, "۶")])
    assert (mixed.status, mixed.json["accepted"], mixed.json["refused"]) == (207, 6, 1)
    assert mixed.json["events"][6]["path"] == "data.score"
    assert door.post([*batch[:6]]).status == 202
    one = batch[6]
    binary = {f"ce-{name}": value for name, value in one.items() if name != "data"}
    assert door.post(one["data"], **binary).status == 202
    assert door.post(batch[7], **{"Content-Type": "application/cloudevents+json"}).status == 202
    assert door.post(batch[8], **{"Content-Type": "text/plain;charset=UTF-8"}).status == 202
    timeless = {name: value for name, value in batch[9].items() if name != "time"}
    assert door.post(timeless).status == 202

    records = pipeline.wait_stored(16)

    assert (records["counted"], records["duplicate"], records["bad"]) == (10, 6, 0)
    assert pipeline.total("csat") == (70.0, 10)
    stored = pipeline.database.rows("SELECT id FROM events WHERE timeimputed")
    assert [row[0] for row in stored] == ["e-9"]
    assert pipeline.verify().differences == []


def test_metrics_health_and_readiness(broker: Broker, prefix: str, doors: Opener) -> None:
    port = free_port()
    door = doors(CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=prefix, CX_COLLECT_METRICS_PORT=str(port))
    assert door.ask("GET", "/health").json == {"alive": True}
    assert door.ask("GET", "/ready").json == {"ready": True}
    door.post([event(1), 7])
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as response:
        text = response.read().decode()
    assert 'cx_collector_events_total{channel="web",outcome="accepted"} 1.0' in text
    assert 'cx_collector_requests_total{outcome="partly"} 1.0' in text
    absent = doors(CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=f"{prefix}-none")
    assert absent.ask("GET", "/ready").status == 503
    assert f"{prefix}-none.touchpoints.web is missing" in absent.log.read_text()


def test_asked_to_end_it_answers_what_is_under_way(broker: Broker, prefix: str, doors: Opener) -> None:
    """SIGTERM in the middle of a body: the rest is still read, sent and confirmed; then it ends, with 0."""
    door = doors(CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=prefix, CX_COLLECT_READ_S="120")
    assert door.post(event(1)).status == 202
    body = json.dumps([event(number) for number in range(100)]).encode()
    with socket.create_connection((door.host, door.port), PATIENCE_S) as connection:
        head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        # Told to go on, so the request is being worked on when the signal comes.
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100")
        connection.sendall(body[:500])
        door.process.send_signal(signal.SIGTERM)
        until_refused(door)
        connection.sendall(body[500:])
        said = b""
        while piece := connection.recv(65_536):
            said += piece
    assert said.startswith(b"HTTP/1.1 202")
    assert b'"accepted":100' in said
    assert door.stop() == 0


def until_refused(door: DoorProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((door.host, door.port), 5).close()
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("it still takes connections")


def test_several_processes_share_a_port_and_one_that_dies_is_replaced(
    broker: Broker, prefix: str, doors: Opener
) -> None:
    """Each has metrics of its own; all end when asked to, and also when the first of them is gone."""
    port = free_ports(2)
    door = doors(
        CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=prefix, CX_COLLECT_PROCESSES="2", CX_COLLECT_METRICS_PORT=str(port)
    )
    until(lambda: len(door.children()) == 2)
    assert {door.post(event(number)).status for number in range(20)} == {202}
    for place in range(2):
        with urlopen(f"http://127.0.0.1:{port + place}/metrics", timeout=PATIENCE_S) as response:
            assert b"cx_collector_requests_total" in response.read()
    killed, left = door.children()
    os.kill(killed, signal.SIGKILL)
    assert {door.post(event(number)).status for number in range(20)} == {202}
    until(lambda: len(door.children()) == 2 and killed not in door.children())
    assert left in door.children()
    assert "ended with code -9; another takes its place" in door.log.read_text()
    assert door.stop() == 0
    orphans = doors(CX_KAFKA=broker.bootstrap, CX_TOPIC_PREFIX=prefix, CX_COLLECT_PROCESSES="2")
    until(lambda: len(orphans.children()) == 2)
    until(lambda: orphans.ask("GET", "/health").status == 200)
    children = orphans.children()
    orphans.kill()
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- Kafka away ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may stop and start again; it forgets everything in between."""
    broker = EmbeddedBroker(tmp_path / "broker.log")
    yield broker
    broker.stop()


def started(broker: EmbeddedBroker) -> None:
    broker.start()
    assert ensure_topics(broker.bootstrap, topic_plan(PARTITIONS, 1, "cx", "cx")) == []


def test_while_kafka_is_away_senders_are_told_in_time_and_later_it_goes_on(
    mortal: EmbeddedBroker, doors: Opener
) -> None:
    """Started without Kafka, and left by it later: 503 within bounds, then 202 without a restart."""
    door = doors(CX_KAFKA=mortal.bootstrap, CX_COLLECT_TIMEOUT_S="1")
    assert away(door) < 30
    assert door.ask("GET", "/ready").status == 503
    assert door.ask("GET", "/health").status == 200
    started(mortal)
    until_accepted(door)
    mortal.stop()
    assert away(door) < 30
    started(mortal)
    until_accepted(door)
    assert door.stop() == 0
    assert "c-1" not in door.log.read_text()


def away(door: DoorProcess) -> float:
    began = time.monotonic()
    answer = door.post([event(1), event(2, channel="fax")])
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    if "events" in answer.json:
        assert answer.outcomes == ["unconfirmed", "refused"]
    else:
        # Another request is still out to see; this one was told at once.
        assert answer.json["error"] == "unavailable"
    return time.monotonic() - began


def until_accepted(door: DoorProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while door.post(event(1)).status != 202:
        assert time.monotonic() < deadline, door.log.read_text()[-3_000:]
        time.sleep(0.1)


def test_a_crowd_waits_for_nothing_while_kafka_is_frozen(mortal: EmbeddedBroker, doors: Opener) -> None:
    """No queue without end: a few go and see, all others are told at once; and later it goes on."""
    started(mortal)
    door = doors(CX_KAFKA=mortal.bootstrap, CX_COLLECT_TIMEOUT_S="2")
    until_accepted(door)
    assert mortal.pid is not None
    os.kill(mortal.pid, signal.SIGSTOP)
    try:
        first = door.post(event(1))
        assert (first.status, first.outcomes) == (503, ["unconfirmed"])
        with ThreadPoolExecutor(4 * PROBES) as crowd:
            answers = list(crowd.map(lambda number: door.post(event(number)), range(16 * PROBES)))
        assert {answer.status for answer in answers} == {503}
        at_once = [answer for answer in answers if answer.json.get("error") == "unavailable"]
        assert len(at_once) > 4 * PROBES
    finally:
        os.kill(mortal.pid, signal.SIGCONT)
    until_accepted(door)
