"""What a fault is done to: one installation under live traffic, its supervisor, and the comparison at the end."""

import json
import logging
import os
import random
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from streams.engine.topics import TABLES
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.observe import worker_state
from tests.fault import oracle
from tests.fault.traffic import Traffic
from tests.harness.kafka import KafkaBroker, KafkaCluster
from tests.harness.proxy import Proxy
from tests.harness.wholejob import Pipeline, Worker

SESSION_S = 6
EPOCH_BITS = 40
"""A stored position holds the epoch of its topics above so many bits of the offset."""
RECOVERY_S = 180.0
"""Who has not recovered by then never will."""
DRAIN_S = 240.0
PARTITIONS = 4
SHIFTED = Path(__file__).with_name("shifted.py")

log = logging.getLogger("fault")


class BrickedError(Exception):
    """The installation does not go on by itself; the text says what it waits for, and what the workers said."""


@dataclass
class Outcome:
    """What came of one batch of faults."""

    scenario: str
    seed: int
    faults: int = 0
    records: int = 0
    transitions: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By kind: bricked, lost, doubled, wrong, verify. All empty: it passed."""
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until records sent after a fault were stored, by kind of fault."""
    ended: list[str] = field(default_factory=list)
    """Workers that ended by themselves, and why; the supervisor started them anew."""
    told: list[str] = field(default_factory=list)
    """What was done when, for people who look for the reason."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not any(self.problems.values())


class Rig:
    """One installation: topics, database, workers, traffic. Faults are done through its methods; it keeps the diary."""

    def __init__(
        self,
        outcome: Outcome,
        pipeline: Pipeline,
        chance: random.Random,
        *,
        rate: float,
        speed: float,
        broker: KafkaBroker | KafkaCluster,
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
        self.traffic = Traffic(pipeline.producer, outcome.seed, rate=rate, speed=speed)
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
        self.compares_alerts = True
        self._generation = 0
        self._first_epoch = 0
        self._kept: list[oracle.Record] = []

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
        self.wait(lambda: len(self.stored_ends()) == len(self._sources), "a beginning")

    def join(self, instance: str = "", clock: Path | None = None) -> Worker:
        """Start one more worker, by a name that outlives it, or with a clock that is off by what a file says."""
        options = self.start_options()
        if clock is not None:
            options["command"] = (str(SHIFTED), str(clock), "worker")
        worker = self.pipeline.start(instance, **options)
        self._started[worker] = (instance, clock)
        self.tell(f"{worker.name} {instance} starts")
        return worker

    def again(self, worker: Worker) -> Worker:
        """Start a worker like one that has ended."""
        return self.join(*self._started[worker])

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
        """Return the next offsets of partitions."""
        found: dict[TopicPartition, int] = self._offsets.end_offsets(partitions)
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
        since = self._first_epoch << EPOCH_BITS
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
        self.compares_alerts = False
        self.tell(f"CX_EPOCH={self.epoch}")

    def next_generation(self) -> None:
        """Keep what the source topics hold: they are about to be deleted, and must begin a new epoch."""
        self._kept += self._records()
        self._generation += 1
        self._first_epoch = self.epoch + 1

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """Give a client that may change topics."""
        client = KafkaAdminClient(bootstrap_servers=self.pipeline.bootstrap)
        try:
            yield client
        finally:
            client.close()

    def _records(self) -> list[oracle.Record]:
        mark = f"#{self._generation}" if self._generation else ""
        return [
            oracle.Record(record.topic + mark, record.partition, record.offset, record.value)
            for topic in self.pipeline.topics.sources
            for record in self.pipeline.consume(topic)
        ]

    def _place(self, topic: str, partition: int, position: int) -> tuple[str, int, int]:
        """Return a stored position as the topic of its generation, and the offset."""
        epoch, offset = divmod(position, 1 << EPOCH_BITS)
        made_anew = self._generation and epoch >= self._first_epoch
        return (f"{topic}#{self._generation}" if made_anew else topic), partition, offset

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """
        End the traffic, wait until all is stored, and compare with the oracle; problems go into the outcome.

        Raises:
            BrickedError: it is never all stored.
        """
        self.traffic.stop()
        target = self.ends()
        quiet_since = [time.monotonic()]

        def done() -> bool:
            stored = self.stored_ends()
            states = [worker_state(worker.port) for worker in self.workers]
            rest = all(stored.get(source, 0) >= end for source, end in target.items()) and bool(states)
            if not (rest and all(state is not None and state.idle for state in states)):
                quiet_since[0] = time.monotonic()
            return time.monotonic() - quiet_since[0] > 3.0

        try:
            self.wait(done, "everything to be stored", DRAIN_S)
        finally:
            self.compare()

    def compare(self) -> None:
        """Compare the store and the topics with the oracle, and have the store verified."""
        expected = oracle.expect([*self._kept, *self._records()], time.time())
        self.outcome.records = expected.read
        self.outcome.transitions = len(expected.changes)
        found = self._found()
        if not self.compares_alerts:
            expected.changes, found.alerts, found.stored_alerts = [], [], []
        for kind, wrong in oracle.problems(expected, found).items():
            self.outcome.problems.setdefault(kind, []).extend(wrong)
        self.outcome.problems["verify"] = [str(difference) for difference in self.pipeline.verify().differences]

    def _found(self) -> oracle.Found:
        rows, place = self.pipeline.database.rows, self._place
        names = ", ".join(f"'{name}'" for name in oracle.CHECKED_KPIS)
        sums = rows(
            "SELECT kpi, labels['channel'], toUnixTimestamp(minute), fields, bins FROM kpi_minute_sums"
            f" WHERE kpi IN ({names}) AND by IN ('', 'channel')"
        )
        alerts = [json.loads(record.value) for record in self.pipeline.consume(self.pipeline.topics.alerts)]
        stored = rows(
            "SELECT id, labels['channel'], old, new, toUnixTimestamp(at) FROM alerts FINAL"
            f" WHERE rule = '{oracle.RULE}' AND old != new"
        )
        balances = rows("SELECT topic, partition, first, last, read, counted, duplicate, late, bad FROM outcomes")
        return oracle.Found(
            ranges=[
                (
                    *place(topic, partition, first),
                    place(topic, partition, last)[2],
                    Counter(dict(zip(("read", *oracle.OUTCOMES), balance, strict=True))),
                )
                for topic, partition, first, last, *balance in balances
            ],
            events=[
                (*place(topic, partition, offset), name, outcome)
                for topic, partition, offset, name, outcome in rows(
                    "SELECT topic, partition, offset, id, outcome FROM events"
                )
            ],
            letters=[place(*row) for row in rows("SELECT topic, partition, offset FROM dead_letters")],
            sums={
                (kpi, channel, minute // 60): Counter(dict(bins))
                if kpi in oracle.BINNED
                else [int(one) for one in flat]
                for kpi, channel, minute, flat, bins in sums
            },
            alerts=[
                (one["id"], oracle.Change(one["labels"]["channel"], one["old"], one["new"], one["minute"]))
                for one in alerts
                if one["rule"] == oracle.RULE and one["old"] != one["new"]
            ],
            stored_alerts=[
                (name, oracle.Change(channel, old, new, at // 60 - 1)) for name, channel, old, new, at in stored
            ],
        )


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
