"""What a benchmark runs on: a broker, a store, and workers whose CPU seconds are read from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.engine.topics import ensure_topics, topic_plan
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.broker import EmbeddedBroker
from streams.local.observe import WorkerState, worker_state
from streams.local.ports import free_port
from streams.local.supervisor import Child
from streams.producers.client import topic_of
from streams.producers.simulator import Emission
from streams.storage.connection import Address, connect
from streams.storage.setup import prepare
from tests.harness.clickhouse import running_server
from tests.harness.kafka import KafkaBroker

TICK = os.sysconf("SC_CLK_TCK")
LOAD_TIMEOUT_S = 300.0
STALL_S = 120.0
ASKED_S = 1.0
"""A worker is asked what it does at most so often: the answer takes CPU, which is being measured."""
QUIET_S = 3.0
"""So long everything has to be finished: longer than any flush, so that nothing is between two stages."""


@dataclass(frozen=True)
class MemoryBudget:
    """Topics, consumer group and database of one round, apart from those of all others."""

    name: str
    environment: Mapping[str, str]
    metrics_port: int
    address: Address
    folder: Path

    def seat(self, number: int) -> "MemoryBudget":
        """Return the same room for another worker, with a port and a folder of its own."""
        port, folder = free_port(), self.folder / f"worker-{number}"
        folder.mkdir()
        own = {"CX_METRICS_PORT": str(port), "CX_DATA_DIR": str(folder)}
        return replace(self, metrics_port=port, folder=folder, environment={**self.environment, **own})


@dataclass(frozen=True)
class Usage:
    """CPU seconds of a process, in all and by kind of thread, and its resident memory in bytes."""

    cpu_s: float
    threads: Mapping[str, float]
    resident: int


class Stand:
    """A running broker and ClickHouse."""

    def __init__(self, kind: str, folder: Path, partitions: int) -> None:
        self.kind = kind
        self.partitions = partitions
        self.folder = folder
        self.catalogue = Catalogue.load()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            if self.kind == "kafka":
                self.folder.joinpath("kafka").mkdir()
                self.broker: KafkaBroker | EmbeddedBroker = KafkaBroker(self.folder / "kafka")
            else:
                self.broker = EmbeddedBroker(self.folder / "broker.log")
            self._stack.callback(self.broker.stop)
            self.broker.start()
            self.clickhouse = self._stack.enter_context(running_server(self.folder / "clickhouse"))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def servers(self) -> dict[str, float]:
        """Return the CPU seconds that ClickHouse and the broker have used since they started."""
        running = {"ClickHouse": self.clickhouse.pid, "broker": self.broker.pid}
        return {name: _ticks(Path(f"/proc/{pid}/stat")) for name, pid in running.items() if pid is not None}

    def budget(self, name: str, settings: Mapping[str, str]) -> MemoryBudget:
        """Make topics and database of a round."""
        server = self.clickhouse
        admin = Address(server.url, name, server.admin_user, server.credentials.admin)
        writer = Address(server.url, name, server.writer_user, server.credentials.writer)
        prepare(admin, self.catalogue, lambda _: None)
        problems = ensure_topics(self.broker.bootstrap, topic_plan(self.partitions, 1, name, name))
        if problems:
            raise RuntimeError("; ".join(problems))
        folder = self.folder / name
        folder.mkdir()
        secret = folder / "writer"
        secret.write_text(writer.password)
        port = free_port()
        environment = {
            "CX_KAFKA": self.broker.bootstrap,
            "CX_CLICKHOUSE": server.url,
            "CX_CLICKHOUSE_USER": writer.user,
            "CX_CLICKHOUSE_PASSWORD_FILE": str(secret),
            "CX_CLICKHOUSE_DATABASE": name,
            "CX_PARTITIONS": str(self.partitions),
            "CX_TOPIC_PREFIX": name,
            "CX_APP_ID": name,
            "CX_METRICS_PORT": str(port),
            "CX_DATA_DIR": str(folder),
            **settings,
        }
        return MemoryBudget(name, environment, port, admin, folder)

    def fill(self, budget: MemoryBudget, emissions: Iterable[Emission], batch: int) -> int:
        """
        Send records to a room's source topics, `batch` of them in one Kafka record batch; returns how many there are.

        Partitions and compression are those of our own producer, which would take minutes.
        """
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "acks": "all",
                "linger.ms": 200,
                "batch.num.messages": batch,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 500_000,
            }
        )
        refused: list[str] = []
        sent = 0

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                refused.append(str(error))

        for emission in emissions:
            topic, key = topic_of(emission.channel, budget.name), emission.subject.encode()
            while True:
                try:
                    producer.produce(topic, emission.payload, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            sent += 1
            if sent % 1_000 == 0:
                producer.poll(0)
        if producer.flush(LOAD_TIMEOUT_S) or refused:
            raise RuntimeError(f"not all of {sent} records were delivered: {refused[:1]}")
        return sent

    @contextmanager
    def worker(self, budget: MemoryBudget) -> Iterator["Worker"]:
        """Run a worker in a room; when the block begins it has just taken its partitions over."""
        worker = Worker(budget)
        try:
            worker.start()
            yield worker
        finally:
            worker.stop()

    def read_barely(self, kind: str, budget: MemoryBudget, count: int) -> dict[str, Any]:
        """Have a bare reader read a room's source topics."""
        command = [sys.executable, "-m", "bench.readers", kind, self.broker.bootstrap, budget.name]
        done = subprocess.run(
            [*command, str(self.partitions), str(count)], check=False, capture_output=True, timeout=300
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        result: dict[str, Any] = json.loads(done.stdout)
        return result


class Worker:
    """A worker process and what it has used."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.child = Child("worker", ["worker"], budget.environment, budget.folder / "worker.log")
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """A connection to the room's database, with all rights."""
        if self._client is None:
            self._client = connect(self.budget.address)
        return self._client

    def start(self) -> None:
        """Start it, and wait until ingest owns its partitions: from here on it works."""
        self.child.start()
        log = self.child.log
        deadline = time.monotonic() + 60
        # The log and not the metrics: asking costs the worker nothing, and reading begins milliseconds later.
        while not re.search(r"ingest: \d+ source partitions taken over", log.read_text(errors="replace")):
            if self.child.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start:\n{self.child.tail()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop it."""
        self.child.stop()
        if self._client is not None:
            self._client.close()

    @contextmanager
    def profiled(self, file: str) -> Iterator[None]:
        """Have py-spy look at all threads that hold the interpreter, 100 times a second; it costs CPU of its own."""
        pid = str(self.child.pid)
        command = [
            str(Path(sys.executable).with_name("py-spy")),
            "record",
            "--pid",
            pid,
            "--rate",
            "100",
            "--format",
            "raw",
            "--threads",
            "--output",
            file,
        ]
        process = subprocess.Popen(
            [*command, "--duration", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)

    def usage(self) -> Usage:
        """Return what the process has used since it started."""
        pid = self.child.pid
        if pid is None:
            raise RuntimeError(f"the worker ended:\n{self.child.tail()}")
        threads: dict[str, float] = {}
        for task in Path(f"/proc/{pid}/task").iterdir():
            name = "event loop" if int(task.name) == pid else "consumer, store and others"
            threads[name] = threads.get(name, 0.0) + _ticks(task / "stat")
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return Usage(_ticks(Path(f"/proc/{pid}/stat")), threads, resident)

    def state(self) -> WorkerState | None:
        """Return what the worker says of itself."""
        return worker_state(self.budget.metrics_port)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over all its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.budget.metrics_port}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def stored(self) -> int:
        """Return how many records of channels have found their end in the store."""
        query = "SELECT sumIf(read, topic NOT LIKE '%.derived') FROM outcomes"
        return int(self.client.query(query).first_row[0] or 0)

    def finish(self, count: int, say: Callable[[str], None]) -> tuple[Usage, float]:
        """
        Wait until `count` records are stored and everything that follows from them is published and stored.

        Returns:
            What was used up to the moment after which it was all quiet, and that moment (monotonic clock).
        """
        moved, before, told, asked = time.monotonic(), -1, 0.0, 0.0
        done: tuple[Usage, float] | None = None
        while True:
            stored, now = self.stored(), time.monotonic()
            usage = self.usage()
            if stored >= count and now - asked < ASKED_S:
                time.sleep(0.1)
                continue
            asked = now
            state = self.state() if stored >= count else None
            if state is None or not state.idle:
                done = None
            elif done is None:
                done = usage, now
            elif now - done[1] > QUIET_S:
                break
            if stored != before:
                moved, before = now, stored
            if now - moved > STALL_S:
                raise RuntimeError(
                    f"nothing was stored for {STALL_S:.0f} s, {stored:,} records are:\n{self.child.tail()}"
                )
            if now - told > 5 and done is None:
                told = now
                say(f"{stored:,} of {count:,} stored")
            time.sleep(0.1)
        if stored != count:
            raise RuntimeError(f"{stored:,} records are stored, {count:,} were sent")
        return done


def _ticks(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
