"""A whole pipeline for a test: its own topics and database on a shared broker and server, its own worker processes."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from streams.definitions import live_relations_of
from streams.engine.names import Topics
from streams.engine.topics import ensure_topics, topic_plan
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.observe import WorkerState, worker_state
from streams.local.ports import free_port
from streams.local.values import records_stored, totals
from streams.producers.client import TouchpointProducer
from streams.producers.readers.base import Touch
from streams.settings import Settings
from streams.storage.connection import StorageError
from streams.storage.verify import VerifyReport, verify
from tests.harness.clickhouse import Database
from tests.harness.topics import read_all

_numbers = itertools.count(1)
ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 300.0
FOLLOWING_S = 60.0
"""What is waited for comes in seconds; on a machine that has other things to do, it may take so long."""


class Worker:
    """
    A `cx worker` process; `command` and `root` are those of another version of the program, or a wrapper of it.

    `home` names the worker in whose folder this one goes on.
    """

    def __init__(
        self,
        environment: dict[str, str],
        folder: Path,
        name: str,
        command: Sequence[str] = ("-m", "streams", "worker"),
        root: Path = ROOT,
        port: int = 0,
        home: str = "",
    ) -> None:
        self.name = name
        self.home = home or name
        self.port = port or free_port()
        self.log = folder / f"{name}.log"
        own = {"CX_METRICS_PORT": str(self.port), "CX_DATA_DIR": str(folder / self.home)}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **environment, **own},
                cwd=root,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait until it has ended."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end: {self.tail()}") from None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.said()[-3000:]


class Finished:
    """
    Whether workers have finished all, by looks at them one after the other.

    That nothing was pending for 2.5 s says that nothing follows any more. Only facts are let out, of which sources
    repeat what they know every two seconds: that those are read is seen at three looks, not at all of them.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._idle = 0

    def seen(self, states: Sequence[WorkerState | None]) -> bool:
        """Take what workers say, nothing for a reason to begin anew; whether they have finished."""
        now = time.monotonic()
        if not states or any(state is None or state.pending or self._behind(state) for state in states):
            self._since, self._idle = None, 0
            return False
        self._since = self._since or now
        is_idle = all(state is not None and state.idle for state in states)
        self._idle += is_idle
        return is_idle and self._idle >= 3 and now - self._since > 2.5

    def _behind(self, state: WorkerState) -> bool:
        return not state.lag or any(lag for topic, lag in state.lag.items() if not topic.endswith(".facts"))


class Pipeline:
    """Topics, a database and workers of one test."""

    def __init__(
        self,
        bootstrap: str,
        database: Database,
        folder: Path,
        partitions: int = 4,
        *,
        replication: int = 1,
        embedded: bool = False,
        **settings: Any,
    ) -> None:
        self.embedded = embedded
        name = f"t{os.getpid()}-{next(_numbers)}"
        self.bootstrap = bootstrap
        self.database = database
        self.folder = folder
        self.catalogue = Catalogue.load()
        self.relations = str(settings.get("relations", ""))
        self.topics = Topics(name)
        self.workers: list[Worker] = []
        password = folder / "password"
        password.write_text(database.writer.password)
        self.environment = {
            "CX_KAFKA": bootstrap,
            "CX_APP_ID": name,
            "CX_TOPIC_PREFIX": name,
            "CX_PARTITIONS": str(partitions),
            "CX_REPLICATION": str(replication),
            # The embedded broker lets a group wait for half a session before it begins.
            "CX_BROKER_SESSION_S": "6",
            "CX_CLICKHOUSE": database.writer.url,
            "CX_CLICKHOUSE_DATABASE": database.name,
            "CX_CLICKHOUSE_USER": database.writer.user,
            "CX_CLICKHOUSE_PASSWORD_FILE": str(password),
            **{f"CX_{key.upper()}": str(value) for key, value in settings.items()},
        }
        problems = ensure_topics(bootstrap, topic_plan(partitions, replication, name, name))
        assert problems == [], problems
        self.producer = TouchpointProducer(bootstrap, topic_prefix=name)

    def start(self, instance: str = "", **options: Any) -> Worker:
        return self._start({"CX_INSTANCE": instance} if instance else {}, **options)

    def start_alone(self, **options: Any) -> Worker:
        """Start a worker when no other one runs, in the way that waits for nobody: that of `cx up` on its broker."""
        return self._start({"CX_SOLE_WORKER": "true"} if self.embedded else {"CX_INSTANCE": "only"}, **options)

    def _start(self, membership: dict[str, str], **options: Any) -> Worker:
        environment = {**self.environment, **membership}
        worker = Worker(environment, self.folder, f"worker-{len(self.workers)}", **options)
        self.workers.append(worker)
        return worker

    def send(self, touches: Iterable[Touch]) -> int:
        """Send events and wait for the broker; the number sent."""
        count = 0
        for touch in touches:
            self.producer.send_encoded(touch.value, touch.channel, touch.subject)
            count += 1
        report = self.producer.flush(PATIENCE_S)
        assert report.complete, report.errors
        return count

    def records(self) -> dict[str, int]:
        return records_stored(self.database.reader)

    def wait_stored(self, records: int) -> dict[str, int]:
        """Wait until so many records are stored and everything behind them is finished."""
        finished = Finished()

        def done() -> bool:
            stored = self.records()["read"]
            assert stored <= records, f"{stored} records stored, only {records} were sent"
            states = [worker_state(worker.port) for worker in self.workers if worker.process.poll() is None]
            return finished.seen(states if stored == records else [])

        self.wait(done, f"{records} records to be stored")
        return self.records()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(worker.tail() for worker in self.workers)
                try:
                    have = str(self.records())
                except StorageError as error:
                    have = str(error)
                raise AssertionError(f"waited {PATIENCE_S:.0f} s for {what}; have {have}\n{logs}")
            time.sleep(0.2)

    def verify(self, within_s: float = FOLLOWING_S) -> VerifyReport:
        """Recompute everything; what differs for good. KPIs of KPIs follow those by a moment after all is stored."""
        relations = live_relations_of(Settings(relations=self.relations))
        deadline = time.monotonic() + within_s
        while True:
            report = verify(self.database.client, self.catalogue, relations=relations)
            if report.ok or time.monotonic() >= deadline:
                return report
            time.sleep(1)

    def total(self, kpi: str, stat: str = "", **labels: str) -> tuple[float | None, int]:
        """The value since the beginning and its n."""
        for row in totals(self.database.reader):
            if row["kpi"] == kpi and row["stat"] == stat and row["labels"] == labels:
                return row["value"], row["n"]
        raise AssertionError(f"no total of {kpi} {stat} {labels}")

    def consume(self, topic: str) -> list[Any]:
        """Read every record that a topic holds now."""
        return read_all(self.bootstrap, topic)

    def close(self) -> None:
        self.producer.close(5)
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
