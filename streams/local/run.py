"""
The embedded run: broker, ClickHouse, worker and traffic as supervised children of one process.

Everything is on loopback, on free ports, in one folder; what stops last started first.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.engine.topics import ensure_topics, topic_plan
from streams.local.broker import EmbeddedBroker, free_port
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.observe import WorkerState, worker_state
from streams.local.supervisor import Child, ChildError, wait_until
from streams.settings import Settings
from streams.storage.setup import prepare_store

START_TIMEOUT_S = 60.0
SETTLED_S = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """What produces events: the arguments of a `cx` command, or nothing."""

    args: tuple[str, ...] = ()
    ends: bool = False
    """Whether it ends by itself, as a replay does."""


class EmbeddedRun:
    """Starts, watches and stops all parts; use it as a context."""

    def __init__(self, settings: Settings, load: Load, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.data_dir = Path(settings.data_dir).resolve()
        self.load = load
        self._say = say
        self.epoch = 0
        self.broker = EmbeddedBroker(self.data_dir / "logs" / "broker.log")
        self.clickhouse = EmbeddedClickHouse(self.data_dir / "clickhouse", database=settings.clickhouse_database)
        self.metrics_port = free_port()
        self.worker: Child | None = None
        self.producer: Child | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        self.epoch = self._next_epoch()
        with ThreadPoolExecutor(2) as pool:
            for started in [pool.submit(self.broker.start), pool.submit(self.clickhouse.start)]:
                started.result()
        self._say(f"broker at {self.broker.bootstrap}, ClickHouse at {self.clickhouse.url}")
        prepare_store(self.clickhouse, self.settings)
        plan = topic_plan(self.settings.partitions, 1, self.settings.app_id, self.settings.topic_prefix)
        problems = ensure_topics(self.broker.bootstrap, plan)
        if problems:
            raise ChildError("topics: " + "; ".join(problems))
        environment = self.environment()
        self.worker = Child("worker", ["worker"], environment, self.data_dir / "logs" / "worker.log")
        self.worker.start()
        wait_until(lambda: self.state() is not None, "the worker", START_TIMEOUT_S, [self.worker])
        self._say(f"worker runs, metrics at http://127.0.0.1:{self.metrics_port}/metrics")
        if self.load.args:
            self.producer = Child(
                self.load.args[0], self.load.args, environment, self.data_dir / "logs" / f"{self.load.args[0]}.log"
            )
            self.producer.log.unlink(missing_ok=True)
            self.producer.start()

    def environment(self) -> dict[str, str]:
        """Return the `CX_*` variables that point a `cx` command at this run."""
        secrets = self.data_dir / "secrets"
        return {
            "CX_KAFKA": self.broker.bootstrap,
            "CX_CLICKHOUSE": self.clickhouse.url,
            "CX_CLICKHOUSE_USER": self.clickhouse.writer_user,
            "CX_CLICKHOUSE_PASSWORD_FILE": str(secrets / self.clickhouse.writer_user),
            "CX_CLICKHOUSE_DATABASE": self.settings.clickhouse_database,
            "CX_PARTITIONS": str(self.settings.partitions),
            "CX_TOPIC_PREFIX": self.settings.topic_prefix,
            "CX_APP_ID": self.settings.app_id,
            "CX_EPOCH": str(self.epoch),
            "CX_METRICS_PORT": str(self.metrics_port),
            "CX_DATA_DIR": str(self.data_dir),
        }

    def _next_epoch(self) -> int:
        # The embedded broker forgets everything at its end, so each run's offsets start again.
        file = self.data_dir / "epoch"
        epoch = int(file.read_text()) + 1 if file.is_file() else 0
        file.write_text(str(epoch))
        return epoch

    def state(self) -> WorkerState | None:
        """Return what the worker says of itself."""
        return worker_state(self.metrics_port)

    def watch(self) -> None:
        """
        Restart what died.

        Raises:
            ChildError: a part cannot be kept running, or the producer ended with an error.
        """
        if self.broker.pid is None:
            raise ChildError(f"the broker ended; its log is {self.broker.log}")
        if self.worker is not None:
            self.worker.keep_running()
        if self.producer is not None and self.producer.exit_code is not None:
            if self.load.ends and self.producer.exit_code == 0:
                return
            self.producer.keep_running() if not self.load.ends else self._replay_failed()

    def _replay_failed(self) -> None:
        assert self.producer is not None
        raise ChildError(f"the replay ended with exit code {self.producer.exit_code}:\n{self.producer.tail()}")

    def stop(self) -> None:
        """Stop everything, in the direction of the flow, so that what was produced is still worked off."""
        for child in (self.producer, self.worker):
            if child is not None:
                child.stop()
        self.broker.stop()
        self.clickhouse.stop()
