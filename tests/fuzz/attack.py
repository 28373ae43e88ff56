"""
A whole job under a fuzzer, beside honest senders: what it must not change, and how long the honest wait.

Honest events come over Kafka and through the door, at a steady pace, under a name and in shops of their own. The oracle:
every record of the topics has one outcome; each honest event is counted in its shop, none twice; worker and door live and
never broke off; `cx verify` finds no difference; nobody's partition is stopped.
"""

import itertools
import json
import re
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kafka import KafkaProducer

from streams.events.refusal import REASONS
from streams.producers.client import topic_of
from streams.storage.connection import connect
from tests.fuzz.records import CHANNELS, Sent
from tests.fuzz.requests import KEY
from tests.harness.clickhouse import Database
from tests.harness.door import DoorProcess
from tests.harness.wholejob import Pipeline, Worker

SHOPS: Final = 10
HONEST_KEY: Final = "secret-key-of-the-honest-shop"
OTHER: Final = "127.0.0.2"
"""Another client, on the same machine."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_ANSWER_S: Final = 15.0


@dataclass
class Honest:
    """Whoever sends what must not suffer: when each event was sent, and when as many were stored and counted."""

    pipeline: Pipeline
    door: DoorProcess
    rate: float
    sent_at: list[float] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=lambda: {"stored": [], "counted": []})
    door_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def _event(self, number: int) -> dict[str, Any]:
        return {
            "specversion": "1.0", "id": f"honest-{number}", "source": "/honest", "type": "cx.survey.answered",
            "time": datetime.now(UTC).isoformat(), "subject": f"h{number % 97}", "channel": "web", "unitid": f"honest-{number % SHOPS}",
            "data": {"survey_id": "s", "metric": "csat", "scale": 5, "score": 1 + number % 5},
        }  # fmt: skip

    def send(self, ended: threading.Event) -> None:
        """Send every tenth event to the door, all others to Kafka, until told to end."""
        began = time.monotonic()
        for number in itertools.count():
            if ended.wait(max(0.0, began + number / self.rate - time.monotonic())):
                return
            event = self._event(number)
            self.sent_at.append(time.monotonic())
            if number % 10:
                self.pipeline.producer.send_encoded(json.dumps(event).encode(), "web", event["subject"])
                continue
            asked = time.monotonic()
            answer = self.door.post(event, **{"X-API-Key": HONEST_KEY})
            self.door_s.append(time.monotonic() - asked)
            if answer.status != 202:
                self.failures.append(f"{answer.status}: {answer.body[:200]!r}")

    def watch(self, ended: threading.Event) -> None:
        """Note again and again for how long the oldest event waits that is not stored, or not counted, yet."""
        counts = {
            "stored": "SELECT count() FROM events WHERE source = '/honest'",
            "counted": "SELECT sum(n) FROM kpi_minutes FINAL WHERE kpi = 'csat' AND by = 'unitid'"
            " AND startsWith(labels['unitid'], 'honest-')",
        }
        with _client(self.pipeline.database) as ask:
            while not ended.wait(0.25):
                for what, sql in counts.items():
                    known = int(ask(sql))
                    now = time.monotonic()
                    self.waits[what].append(now - self.sent_at[known] if known < len(self.sent_at) else 0.0)


@contextmanager
def _client(database: Database) -> Iterator[Any]:
    client = connect(database.reader)
    try:
        yield lambda sql: client.query(sql).first_row[0] or 0
    finally:
        client.close()


@dataclass
class Found:
    """What a run found, and all that is wrong of it."""

    wrong: list[str]
    figures: dict[str, Any]


def write_records(pipeline: Pipeline, made: Sequence[tuple[str, Sent]]) -> None:
    """Write records to the topics as fast as they are taken."""
    producer = KafkaProducer(bootstrap_servers=pipeline.bootstrap, linger_ms=5, max_request_size=2_000_000)
    sending = [
        producer.send(topic_of(channel, pipeline.topics.prefix), sent.value, sent.key, sent.headers)
        for channel, sent in made
    ]
    producer.flush(60)
    assert all(one.succeeded() for one in sending)
    producer.close()


def ask_door(door: DoorProcess, made: Sequence[bytes], threads: int = 8) -> dict[str, int]:
    """Send requests from another address, each over a connection of its own; return how many got which status."""

    def ask(sent: bytes) -> str:
        try:
            with socket.create_connection((door.host, door.port), _ANSWER_S, (OTHER, 0)) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                said = b""
                while piece := connection.recv(65_536):
                    said += piece
        except TimeoutError:
            return "no answer in time"
        except OSError:
            return "ended"
        statuses = _STATUS.findall(said)
        return statuses[0].decode() if statuses else "ended"

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(ask, made))
    return {answer: answers.count(answer) for answer in sorted(set(answers))}


def written(pipeline: Pipeline) -> int:
    """Return how many records the source topics hold."""
    return sum(len(pipeline.consume(topic_of(channel, pipeline.topics.prefix))) for channel in CHANNELS)


def metric(worker: Worker, name: str) -> float:
    """Return the sum of a metric of a worker."""
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def resident_mb(pid: int) -> float:
    """Return the memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def keys_file(folder: Path) -> Path:
    """Write the keys of the door: one of the honest, and a public one that the fuzzer has."""
    keys = folder / "keys.toml"
    keys.write_text(f'[honest]\nkey = "{HONEST_KEY}"\n\n[fuzz]\nkey = "{KEY}"\npublic = true\n')
    keys.chmod(0o600)
    return keys


def attack(
    pipeline: Pipeline,
    folder: Path,
    made: Sequence[tuple[str, Sent]],
    asked: Sequence[bytes],
    *,
    rate: float = 50.0,
    quiet_s: float = 10.0,
) -> Found:
    """Run honest senders alone for a while, then beside records and requests; wait until all is done, and compare."""
    environment = {**pipeline.environment, "CX_COLLECT_KEYS_FILE": str(keys_file(folder)), "CX_COLLECT_READ_S": "2"}
    worker = pipeline.start()
    door = DoorProcess(environment, folder / "door.log")
    honest = Honest(pipeline, door, rate)
    ended = threading.Event()
    others = [threading.Thread(target=work, args=(ended,)) for work in (honest.send, honest.watch)]
    try:
        pipeline.wait(lambda: pipeline.records()["read"] == 0 and worker_ready(worker), "the worker")
        for other in others:
            other.start()
        time.sleep(quiet_s)
        alone = {what: len(waits) for what, waits in honest.waits.items()}
        memory = resident_mb(worker.process.pid)
        with ThreadPoolExecutor(2) as pool:
            asking = pool.submit(ask_door, door, asked)
            pool.submit(write_records, pipeline, made).result()
            answers = asking.result()
        time.sleep(quiet_s)
    finally:
        ended.set()
        for other in others:
            if other.ident is not None:
                other.join()
    try:
        assert pipeline.producer.flush(60).complete
        everything = written(pipeline)
        outcomes = pipeline.wait_stored(everything)
        wrong = list(_wrong(pipeline, worker, door, honest, outcomes, answers))
        waits = {
            f"{what} {when}": f"p50 {statistics.median(part):.2f} s, most {max(part):.2f} s"
            for what, all_waits in honest.waits.items()
            for when, part in (("alone", all_waits[: alone[what]]), ("beside", all_waits[alone[what] :]))
        }
        figures = {
            "records": everything,
            "outcomes": outcomes,
            "answers": answers,
            "honest": len(honest.sent_at),
            **waits,
            "door": f"p50 {statistics.median(honest.door_s):.3f} s, most {max(honest.door_s):.2f} s",
            "memory_mb": f"{memory:.0f} before, {resident_mb(worker.process.pid):.0f} after",
            "reasons": dict(
                pipeline.database.rows("SELECT reason, count() FROM dead_letters GROUP BY reason ORDER BY 1")
            ),
        }
        return Found(wrong, figures)
    finally:
        door.kill()


def worker_ready(worker: Worker) -> bool:
    """Tell whether the worker has taken its partitions over."""
    return "source partitions taken over" in worker.said()


def _wrong(
    pipeline: Pipeline,
    worker: Worker,
    door: DoorProcess,
    honest: Honest,
    outcomes: dict[str, int],
    answers: dict[str, int],
) -> Iterator[str]:
    database = pipeline.database
    parts = sum(outcomes[name] for name in outcomes if name != "read")
    if parts != outcomes["read"]:
        yield f"outcomes do not add up: {outcomes}"
    letters = database.value(
        "SELECT uniqExact(topic, partition, offset) FROM dead_letters WHERE reason != 'refused_by_store'"
    )
    if letters != outcomes["bad"] + outcomes.get("conflict", 0):
        yield f"{letters} dead letters of {outcomes}"
    strange = database.rows("SELECT DISTINCT reason FROM dead_letters WHERE reason NOT IN {known:Array(String)} OR reason = 'invalid'",
                            known=list(REASONS))  # fmt: skip
    if strange:
        yield f"dead letters of no known reason: {strange}"
    expected = [(f"honest-{n}", len(range(n, len(honest.sent_at), SHOPS))) for n in range(SHOPS)]
    have = database.rows(
        "SELECT labels['unitid'] AS shop, sum(n) FROM kpi_minutes FINAL WHERE kpi = 'csat' AND by = 'unitid'"
        " AND startsWith(shop, 'honest-') GROUP BY shop ORDER BY shop"
    )
    if [tuple(row) for row in have] != expected:
        yield f"honest shops have {have}, expected {expected}"
    yield from honest.failures
    for name, process, log in (("worker", worker.process, worker.log), ("door", door.process, door.log)):
        if process.poll() is not None:
            yield f"the {name} has ended with {process.poll()}"
        said = log.read_text(errors="replace")
        if "Traceback" in said or "CRITICAL" in said:
            yield f"the {name} broke off: {said[said.find('Traceback') :][:2_000]}"
    if metric(worker, "cx_breaker_open") != 0:
        yield "a partition is stopped"
    if failed := {
        status: number
        for status, number in answers.items()
        if status.startswith("5") and status not in {"501", "503", "505"}
    }:
        yield f"the door answered {failed}"
    if answers.get("no answer in time"):
        yield f"the door did not answer {answers['no answer in time']} requests"
    differences = pipeline.verify().differences
    if differences:
        yield f"{len(differences)} differences, e.g. {differences[0]}"
