"""Counts stay exact whatever happens to the workers: on the embedded broker and on Apache Kafka."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.harness.topics import create_topics, read_all

ROOT = Path(__file__).parents[2]
PARTITIONS = 2
PATIENCE_S = 180.0
"""What is waited for comes in seconds; on a machine that has other things to do, it may take so long."""


class Worker:
    """A counting worker in a process of its own."""

    def __init__(self, run: "Run", *options: str) -> None:
        command = [sys.executable, "-m", "tests.harness.counting_worker"]
        command += ["--brokers", run.bootstrap, "--app-id", run.app_id, "--topic", run.topic]
        command += ["--partitions", str(PARTITIONS), *options]
        self.log = run.folder / f"worker-{len(run.workers)}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first event from now on that fulfils `condition`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such event within {timeout_s} s; {self.tail()}") from None
            if line is None:
                raise AssertionError(f"the worker ended with {self.process.wait()}; {self.tail()}")
            event: dict[str, Any] = json.loads(line)
            self.events.append(event)
            if condition(event):
                return event

    def tail(self) -> str:
        return f"last events {self.events[-3:]}, log:\n{self.log.read_text()[-3000:]}"

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


class Run:
    """One application with its topics, records and workers."""

    def __init__(self, bootstrap: str, folder: Path, name: str, *, changelog_exists: bool = False) -> None:
        self.bootstrap, self.folder = bootstrap, folder
        self.app_id = name
        self.topic = f"{name}-numbers"
        self.changelog = f"{name}-counts-changelog"
        self.workers: list[Worker] = []
        self.sent = 0
        self.total = 0
        topics = [self.topic] if changelog_exists else [self.topic, self.changelog]
        create_topics(bootstrap, dict.fromkeys(topics, PARTITIONS))
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)

    def worker(self, *options: str) -> Worker:
        self.workers.append(Worker(self, *options))
        return self.workers[-1]

    def send(self, count: int) -> None:
        for number in range(self.sent, self.sent + count):
            self.producer.send(self.topic, b"%d" % number, partition=number % PARTITIONS)
            self.total += number
        self.sent += count
        self.producer.flush()

    def state(self) -> tuple[int, int]:
        """Number and sum of the counted records, as the changelog has it now."""
        records = [record for record in read_all(self.bootstrap, self.changelog) if record.value is not None]
        latest = {record.key: record.value for record in records}
        counts = [json.loads(value) for value in latest.values()]
        return sum(count[1] for count in counts), sum(count[2] for count in counts)

    def committed(self) -> int:
        """Sum of the committed offsets."""
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.app_id)
        offsets = [consumer.committed(TopicPartition(self.topic, p)) or 0 for p in range(PARTITIONS)]
        consumer.close()
        return sum(offsets)

    def close(self) -> None:
        self.producer.close()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
            assert worker.process.stdout is not None
            worker.process.stdout.close()


@pytest.fixture
def run(broker: Any, tmp_path: Path) -> Iterator[Run]:
    run = Run(broker.bootstrap, tmp_path, f"x{os.getpid()}-{time.monotonic_ns()}")
    yield run
    run.close()


def finished(run: Run) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["event"] == "state" and event["caught_up"] and event["records"] >= run.sent


def test_count_is_exact_through_kills_between_changelog_and_commit(run: Run) -> None:
    replayed = 0
    for _ in range(3):
        # Dies when the state is durable and nothing is acknowledged: all of it is read again.
        run.send(3_000)
        worker = run.worker("--kill-after", "2", "--sole")
        worker.wait_for(lambda event: event["event"] == "assigned")
        deadline = time.monotonic() + PATIENCE_S
        while worker.process.poll() is None and time.monotonic() < deadline:
            run.send(500)
            time.sleep(0.2)
        assert worker.process.poll() == -signal.SIGKILL, worker.tail()
    run.send(2_000)
    worker = run.worker("--sole")
    state = worker.wait_for(finished(run))
    replayed += state["skipped"]
    assert state["records"] == run.sent
    assert replayed > 0, "nothing was read twice: the kills have proved nothing"
    assert worker.stop() == 0
    assert run.state() == (run.sent, run.total)


def test_count_is_exact_while_workers_join_and_leave(run: Run) -> None:
    first = run.worker()
    first.wait_for(lambda event: event["event"] == "assigned" and event["owned"] == [0, 1])
    sending = threading.Thread(target=lambda: [(run.send(500), time.sleep(0.1)) for _ in range(120)])
    sending.start()
    second = run.worker()
    second.wait_for(lambda event: event["event"] == "assigned" and len(event["owned"]) == 1)
    second.wait_for(lambda event: event["event"] == "state" and event["records"] > 0)
    second.process.kill()
    first.wait_for(lambda event: event["event"] == "assigned" and event["owned"] == [0, 1])
    third = run.worker()
    third.wait_for(lambda event: event["event"] == "assigned" and len(event["owned"]) == 1)
    assert first.stop() == 0
    third.wait_for(lambda event: event["event"] == "assigned" and event["owned"] == [0, 1])
    sending.join()
    state = third.wait_for(finished(run))
    assert state["records"] == run.sent
    assert third.stop() == 0
    assert run.state() == (run.sent, run.total)


def test_graceful_stop_leaves_nothing_to_repeat(run: Run) -> None:
    run.send(5_000)
    worker = run.worker()
    worker.wait_for(lambda event: event["event"] == "state" and event["records"] > 0)
    run.send(5_000)
    assert worker.stop() == 0
    counted, _total = run.state()
    assert counted == run.committed() > 0, "what is counted is committed, and nothing else"
    worker = run.worker()
    state = worker.wait_for(finished(run))
    assert state["records"] == run.sent
    assert state["skipped"] == 0


def test_agent_that_waits_for_ever_blocks_nobody(run: Run) -> None:
    stuck_topic = f"{run.app_id}-stuck"
    create_topics(run.bootstrap, {stuck_topic: PARTITIONS})
    for number in range(50):
        run.producer.send(stuck_topic, b"%d" % number, partition=number % PARTITIONS)
    run.send(1_000)
    stuck = ("--stuck-topic", stuck_topic, "--finish-timeout-s", "2")
    first = run.worker(*stuck)
    first.wait_for(lambda event: event["event"] == "stuck")
    first.wait_for(finished(run))
    run.send(1_000)
    first.wait_for(finished(run))
    second = run.worker(*stuck)
    second.wait_for(lambda event: event["event"] == "assigned" and len(event["owned"]) == 1)
    run.send(1_000)
    half = second.wait_for(lambda event: event["event"] == "state" and event["caught_up"] and event["records"] == 1_500)
    assert half["records"] * 2 == run.sent
    assert first.stop() == 0, "the watchdog had to end it"
    second.wait_for(finished(run))
    assert second.stop() == 0
    assert run.state() == (run.sent, run.total)


def test_failing_agent_ends_the_worker_and_its_records_stay_uncommitted(run: Run) -> None:
    run.send(1_000)
    worker = run.worker("--instance", "only")
    worker.wait_for(finished(run))
    deadline = time.monotonic() + PATIENCE_S
    while run.committed() < 1_000:
        assert time.monotonic() < deadline
    run.producer.send(run.topic, b"no number", partition=0)
    run.producer.flush()
    assert worker.process.wait(PATIENCE_S) == 1
    assert "invalid literal for int()" in worker.log.read_text()
    assert run.committed() == 1_000
    # Not skipped: the next worker meets it again.
    assert run.worker("--instance", "only").process.wait(PATIENCE_S) == 1
    assert run.committed() == 1_000


@pytest.mark.kafka
def test_the_only_worker_and_a_group_keep_clear_of_each_other(kafka_broker: Any, tmp_path: Path) -> None:
    run = Run(kafka_broker.bootstrap, tmp_path, f"x{os.getpid()}-{time.monotonic_ns()}")
    try:
        keep_clear(run)
    finally:
        run.close()


def keep_clear(run: Run) -> None:
    run.send(2_000)
    member = run.worker()
    member.wait_for(finished(run))
    sole = run.worker("--sole")
    deadline = time.monotonic() + PATIENCE_S
    while "waits until they have ended" not in sole.log.read_text():
        assert time.monotonic() < deadline, sole.tail()
        time.sleep(0.1)
    assert all(event["event"] != "assigned" for event in sole.events)
    assert member.stop() == 0
    sole.wait_for(lambda event: event["event"] == "assigned" and event["owned"] == [0, 1])
    run.send(2_000)
    assert sole.wait_for(finished(run))["records"] == 4_000
    # Whoever joins the group all the same has its partitions, since the broker takes commits of nobody else any more.
    member = run.worker()
    member.wait_for(lambda event: event["event"] == "assigned" and event["owned"] == [0, 1])
    run.send(2_000)
    assert member.wait_for(finished(run))["records"] == 6_000
    assert sole.stop() == 0
    assert member.stop() == 0
    assert run.state() == (run.sent, run.total)


@pytest.mark.kafka
def test_only_committed_records_count_through_a_kill(kafka_broker: Any, tmp_path: Path) -> None:
    """What a producer took back never counts, and a log that ends in marks and open transactions is read to its end."""
    run = Run(kafka_broker.bootstrap, tmp_path, f"x{os.getpid()}-{time.monotonic_ns()}")
    producer = KafkaProducer(bootstrap_servers=run.bootstrap, transactional_id=run.app_id)
    open_one = KafkaProducer(bootstrap_servers=run.bootstrap, transactional_id=f"{run.app_id}-open")

    def transact(*, commit: bool) -> None:
        producer.begin_transaction()
        for number in range(100):
            producer.send(run.topic, b"%d" % number, partition=number % PARTITIONS)
        producer.flush()
        if commit:
            producer.commit_transaction()
            run.sent, run.total = run.sent + 100, run.total + sum(range(100))
        else:
            producer.abort_transaction()

    try:
        producer.init_transactions()
        open_one.init_transactions()
        for turn in range(6):
            transact(commit=turn % 2 == 1)
        killed = run.worker("--kill-after", "1", "--instance", "only")
        assert killed.process.wait(PATIENCE_S) == -signal.SIGKILL, killed.tail()
        for turn in range(6):
            transact(commit=turn % 3 == 1)
        open_one.begin_transaction()
        open_one.send(run.topic, b"1000000", partition=0)
        open_one.flush()
        worker = run.worker("--instance", "only")
        assert worker.wait_for(finished(run))["records"] == run.sent == 500
        open_one.abort_transaction()
        run.send(100)
        assert worker.wait_for(finished(run))["records"] == run.sent
        assert worker.stop() == 0
        assert run.state() == (run.sent, run.total)
    finally:
        producer.close(0)
        open_one.close(0)
        run.close()


def test_state_survives_compaction_and_deletion(kafka_broker: Any, tmp_path: Path) -> None:
    name = f"c{os.getpid()}-{time.monotonic_ns()}"
    changelog = f"{name}-counts-changelog"
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create_topics(kafka_broker.bootstrap, {changelog: PARTITIONS}, config)
    run = Run(kafka_broker.bootstrap, tmp_path, name, changelog_exists=True)
    try:
        for number in range(4_000):
            run.producer.send(changelog, json.dumps([-1, number, 0]).encode(), b"0/count", partition=0)
            run.producer.send(changelog, b"x", b"0/gone-%d" % (number % 50), partition=0)
        for number in range(50):
            run.producer.send(changelog, None, b"0/gone-%d" % number, partition=0)
        run.producer.flush()
        time.sleep(0.3)  # the next record closes the segment: only closed ones are compacted
        run.producer.send(changelog, json.dumps([-1, 4_000, 0]).encode(), b"0/count", partition=0)
        run.producer.flush()
        wait_for_compaction(run, end=8_051, below=4_000)
        worker = run.worker()
        assigned = worker.wait_for(lambda event: event["event"] == "assigned")
        assert assigned["records"] == 4_000
        assert assigned["keys"] == ["count"]
    finally:
        run.close()


def wait_for_compaction(run: Run, end: int, below: int) -> None:
    """Wait until partition 0 of the changelog, which ends at ``end``, keeps fewer than ``below`` records.

    The broker cleans segment by segment, in as many passes as it likes.
    """
    deadline = time.monotonic() + 120
    left = end
    while left >= below:
        assert time.monotonic() < deadline, f"the broker keeps {left} of {end} records, expected fewer than {below}"
        consumer = KafkaConsumer(bootstrap_servers=run.bootstrap, auto_offset_reset="earliest", group_id=None)
        partition = TopicPartition(run.changelog, 0)
        consumer.assign([partition])
        left = 0
        while consumer.position(partition) < end:
            left += sum(map(len, consumer.poll(timeout_ms=500).values()))
        consumer.close()
