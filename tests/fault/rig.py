"""What a fault is done to: one installation under live traffic, its supervisor, and the comparison at the end."""

import logging
import os
import random
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from streams.engine.topics import TABLES
from streams.local.broker import EmbeddedBroker
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.observe import worker_state
from tests.fault.evidence import EPOCH_BITS, Evidence, Outcome
from tests.fault.traffic import Traffic
from tests.harness.kafka import KafkaBroker, KafkaCluster
from tests.harness.proxy import Proxy
from tests.harness.wholejob import Finished, Pipeline, Worker

SESSION_S = 6
RECOVERY_S = 180.0
"""Who has not recovered by then never will."""
DRAIN_S = 240.0
PARTITIONS = 4
SHIFTED = Path(__file__).with_name("shifted.py")

log = logging.getLogger("fault")


class BrickedError(Exception):
    """The installation does not go on by itself; the text says what it waits for, and what the workers said."""


class Rig:
    """One installation: topics, database, workers, traffic. Faults are done through its methods; it keeps the diary."""

    def __init__(
        self,
        outcome: Outcome,
        pipeline: Pipeline,
        traffic: Traffic,
        chance: random.Random,
        *,
        broker: KafkaBroker | KafkaCluster | EmbeddedBroker,
        server: EmbeddedClickHouse,
        proxies: Mapping[str, Proxy] | None = None,
    ) -> None:
        self.outcome = outcome
        self.pipeline = pipeline
        self.chance = chance
        self.broker = broker
        self.server = server
        self.proxies = proxies
        """In front of `kafka` and `clickhouse`, if the scenario wants them."""
        self.traffic = traffic
        self.away: set[Worker] = set()
        """Workers that the scenario has ended on purpose, or took over: not the supervisor's business."""
        self.start_options: Callable[[], dict[str, Any]] = dict
        """What a worker that joins now is started with."""
        self._started: dict[Worker, tuple[str, Path | None]] = {}
        self._offsets = KafkaConsumer(bootstrap_servers=pipeline.bootstrap)
        self._sources = [
            TopicPartition(topic, partition) for topic in pipeline.topics.sources for partition in range(PARTITIONS)
        ]
        self._zero = time.monotonic()
        self.epoch = 0
        self.evidence = Evidence(pipeline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.traffic._ending.set()
        self._offsets.close()
        for worker in self.workers:
            worker.process.send_signal(signal.SIGCONT)
        self.pipeline.close()

    # -- workers -------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> list[Worker]:
        """Those that run."""
        return [worker for worker in self.pipeline.workers if worker.process.poll() is None]

    def begin(self, workers: int, names: Sequence[str] = ()) -> None:
        """Start workers and traffic, and wait until the first records are stored."""
        for number in range(workers):
            self.join(names[number] if names else "")
        self.traffic.start()
        self.wait(lambda: len(self.stored_ends()) == len(self._sources), "a beginning", 2 * DRAIN_S)

    def join(self, instance: str = "", clock: Path | None = None, home: str = "") -> Worker:
        """
        Start one more worker, by a name that outlives it, or with a clock that is off by what a file says.

        `home` names a worker that has ended, in whose folder it goes on.
        """
        options = {**self.start_options(), "home": home}
        if clock is not None:
            options["command"] = (str(SHIFTED), str(clock), "worker")
        worker = self.pipeline.start(instance, **options)
        self._started[worker] = (instance, clock)
        self.tell(f"{worker.name} {instance} starts")
        return worker

    def again(self, worker: Worker) -> Worker:
        """Start a worker like one that has ended, in its place."""
        return self.join(*self._started[worker], home=worker.home)

    def kill(self, worker: Worker) -> None:
        """SIGKILL; nobody starts it anew."""
        self.away.add(worker)
        worker.kill()
        self.tell(f"{worker.name} killed")

    def leave(self, worker: Worker) -> None:
        """SIGTERM, and wait until it has ended."""
        self.away.add(worker)
        began = time.monotonic()
        code = worker.stop()
        self.tell(f"{worker.name} left in {time.monotonic() - began:.1f} s, exit code {code}")

    @contextmanager
    def paused(self, name: str, pid: int) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        self.tell(f"{name} stopped")
        try:
            yield
        finally:
            # It may have been ending when it was stopped.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            self.tell(f"{name} continued")

    def tend(self) -> None:
        """Do as a supervisor does: start anew whatever ended by itself."""
        for worker in self.pipeline.workers:
            if worker.process.poll() is None or worker in self.away:
                continue
            self.away.add(worker)
            reason = last_error(worker.said())
            self.outcome.ended.append(f"{worker.name} (exit code {worker.process.returncode}): {reason}")
            self.tell(f"{worker.name} ended by itself, exit code {worker.process.returncode}: {reason}")
            if len(self.outcome.ended) > 40:
                raise BrickedError("workers end again and again")
            self.again(worker)

    def victim(self) -> Worker:
        """Choose a worker that has partitions, and wait for one if none has."""
        found: list[Worker] = []

        def some() -> bool:
            found[:] = [worker for worker in self.workers if self.owned(worker)]
            return bool(found)

        self.wait(some, "a worker with partitions")
        return self.chance.choice(found)

    def owned(self, worker: Worker) -> set[tuple[str, int]]:
        """Return channel and partition of the sources that a worker has."""
        return set(worker_sources(worker.port))

    # -- time ----------------------------------------------------------------------------------------------------

    def tell(self, what: str) -> None:
        """Write into the diary."""
        line = f"{time.monotonic() - self._zero:7.2f} {time.strftime('%H:%M:%S')} {what}"
        self.outcome.told.append(line)
        with (self.pipeline.folder / "diary.log").open("a") as diary:
            diary.write(f"{line}\n")

    def sleep(self, seconds: float, watch: tuple[str, float] | None = None) -> None:
        """Let time pass, as a supervisor; `watch`, a fault and when it began, notes if it is over by then."""
        deadline = time.monotonic() + seconds
        target = self.ends() if watch else {}
        while (left := deadline - time.monotonic()) > 0:
            self.tend()
            if watch and self._past(target):
                self._note(*watch)
                watch = None
            time.sleep(min(left, 0.1 if watch else 0.25))

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = RECOVERY_S) -> None:
        """
        Wait until it is so.

        Raises:
            BrickedError: it did not come.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.tend()
            if time.monotonic() > deadline:
                tails = "\n".join(
                    f"--- {worker.name}\n{worker.tail()[-1200:]}" for worker in self.pipeline.workers[-4:]
                )
                raise BrickedError(f"waited {timeout_s:.0f} s for {what}\n{tails}")
            time.sleep(0.1)

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the next offset of every source partition."""
        return {(tp.topic, tp.partition): end for tp, end in self.end_offsets(self._sources).items()}

    def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """
        Return the next offsets of partitions; asks again while brokers are away.

        Raises:
            BrickedError: none answers for minutes.
        """
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                found: dict[TopicPartition, int] = self._offsets.end_offsets(partitions)
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise BrickedError(f"Kafka does not tell the ends of topics: {error}") from error
                log.debug("a cluster in trouble: %s", error)
                # The client may wait for ever for a broker that has come back.
                self._offsets.close()
                self._offsets = KafkaConsumer(bootstrap_servers=self.pipeline.bootstrap)
            else:
                return found

    @property
    def changelogs(self) -> list[str]:
        """The topics in which workers keep what they remember."""
        return [f"{self.pipeline.environment['CX_APP_ID']}-{table}-changelog" for table in TABLES]

    def in_step(self) -> bool:
        """Tell whether all copies of all partitions of our topics are in step."""
        admin = KafkaAdminClient(bootstrap_servers=self.pipeline.bootstrap)
        try:
            topics = admin.describe_topics([*self.pipeline.topics.sources, *self.changelogs])
        except KafkaError as error:
            log.debug("a cluster in trouble: %s", error)
            return False
        finally:
            admin.close()
        parts = [part for topic in topics for part in topic["partitions"]]
        return all(len(part["isr_nodes"]) == len(part["replica_nodes"]) for part in parts)

    def stored_ends(self) -> dict[tuple[str, int], int]:
        """Return one more than the last stored offset of every source partition; nothing while the store is away."""
        since = self.evidence.first_epoch << EPOCH_BITS
        sql = (
            f"SELECT topic, partition, max(bitAnd(last, {(1 << EPOCH_BITS) - 1})) + 1 FROM outcomes"
            f" WHERE first >= {since} GROUP BY topic, partition"
        )
        try:
            rows = self.pipeline.database.rows(sql)
        except Exception as error:  # noqa: BLE001 - whatever a store in trouble raises: it has told nothing
            log.debug("the store does not answer: %s", error)
            return {}
        return {(topic, partition): end for topic, partition, end in rows}

    def recover(self, kind: str, since: float) -> None:
        """
        Wait until what is sent from now on is stored, of every source; note how long after the fault that was.

        Raises:
            BrickedError: it never is.
        """
        target = self.ends()
        self.wait(lambda: self._past(target), f"recovery from {kind}")
        self._note(kind, since)

    def _past(self, target: dict[tuple[str, int], int]) -> bool:
        stored = self.stored_ends()
        return all(stored.get(source, 0) > end for source, end in target.items())

    def _note(self, kind: str, since: float) -> None:
        took = time.monotonic() - since
        self.outcome.recoveries.setdefault(kind, []).append(took)
        self.tell(f"recovered from {kind} {took:.1f} s after it")

    # -- what is lost and begun anew -------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds of a clock that only goes on."""
        return time.monotonic()

    def settle(self) -> None:
        """Wait until all that was sent is stored."""
        target = self.ends()
        self.wait(lambda: self._at(target), "all that was sent to be stored", DRAIN_S)

    def _at(self, target: Mapping[tuple[str, int], int]) -> bool:
        stored = self.stored_ends()
        return all(stored.get(source, 0) >= end for source, end in target.items())

    def raise_epoch(self) -> None:
        """Raise CX_EPOCH by one, as workers advise; what alerts remember is not restored, and so not compared."""
        self.epoch += 1
        self.pipeline.environment["CX_EPOCH"] = str(self.epoch)
        self.evidence.compares_alerts = False
        self.tell(f"CX_EPOCH={self.epoch}")

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """Give a client that may change topics."""
        client = KafkaAdminClient(bootstrap_servers=self.pipeline.bootstrap)
        try:
            yield client
        finally:
            client.close()

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """
        End the traffic, wait until all is stored, and compare with the oracle; problems go into the outcome.

        Raises:
            BrickedError: it is never all stored.
        """
        self.traffic.stop()
        target = self.ends()
        finished = Finished()

        def done() -> bool:
            there = self._at(target)
            return finished.seen([worker_state(worker.port) for worker in self.workers] if there else [])

        try:
            self.wait(done, "everything to be stored", DRAIN_S)
        finally:
            self.evidence.compare(self.outcome)


def worker_sources(port: int) -> Iterator[tuple[str, int]]:
    """Yield channel and partition of the sources that a worker reports on."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return
    for family in text_string_to_metric_families(text):
        if family.name == "cx_breaker_open":
            yield from ((one.labels["channel"], int(one.labels["partition"])) for one in family.samples)


def last_error(said: str) -> str:
    """Return the line of a log that most likely says why a worker ended: that of the last exception of ours or others."""
    lines = [line for line in said.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b: ", line)]
    return (raised or lines or ["it said nothing"])[-1][:300]
