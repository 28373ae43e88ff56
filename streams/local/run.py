"""
The embedded run: broker, ClickHouse, worker and traffic as supervised children of one process.

Everything is on loopback, on free ports, in one folder; what stops last started first.
"""

import fcntl
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self, TypeAlias

import msgspec

from streams.definitions import case_paths, catalogue_of, steps_of, touchpoint_path, touchpoints_of
from streams.engine.topics import ensure_topics, topic_plan
from streams.local.broker import EmbeddedBroker
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.clickhouse_config import write_private
from streams.local.observe import WorkerState, worker_state
from streams.local.ports import PortClaims
from streams.local.supervisor import Child, ChildError, wait_until
from streams.settings import Settings, kpi_paths
from streams.start.check import StartRefusedError, check_start
from streams.start.restore import next_epoch
from streams.storage.connection import Address
from streams.storage.retention import wanted
from streams.storage.setup import prepare

Role: TypeAlias = Literal["admin", "writer", "reader"]

START_TIMEOUT_S = 120.0
STOP_S = 9.0
"""In so long everything has ended: what is not stored by then is named, and killed is what has not ended by itself."""
_DRAINED_S = 3.5
"""Of it, what the ends of the worker, the broker and the store may take. What remains holds a flush of each stage."""
_PRODUCER_S = 1.5
_WORKER_S = 2.5
QUIET_S = 1.5
"""So long everything has to be finished: longer than any flush, so that nothing is between two stages."""

SESSION_S = 6
"""How old the last sign that a worker runs may be when it writes; short, since it is alone and soon runs on."""

_WATCH_EVERY_S = 0.1

LOOK_S = 1.0
"""Longest wait for a command that only looks whether a run uses the folder."""

ENDING_S = 40.0
"""Longest wait for the store of a run that was killed: it ends by itself within half a minute."""

# What a run makes in its folder, and what may be deleted there; nothing else is touched.
_OURS = ("clickhouse", "faust", "logs", "secrets")


@dataclass(frozen=True, slots=True)
class Load:
    """What produces events: the arguments of a `cx` command, or nothing."""

    args: tuple[str, ...] = ()
    ends: bool = False
    """Whether it ends by itself, as a replay does."""


class EmbeddedRun:
    """Starts, watches and stops all parts; use it as a context."""

    def __init__(
        self, settings: Settings, load: Load, say: Callable[[str], None], *, keep: bool = False, board: bool = False
    ) -> None:
        self.settings = settings
        self.data_dir = Path(settings.data_dir).resolve()
        self._keep = keep
        self._with_board = board
        self.load = load
        self._say = say
        self.epoch = 0
        self._ports = PortClaims()
        self.metrics_port = 0
        self.worker: Child | None = None
        self.producer: Child | None = None
        self.board: Child | None = None
        self.board_port = 0
        self._parts: list[EmbeddedBroker | EmbeddedClickHouse] = []
        self._lock: IO[str] | None = None

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
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One that an earlier version made was open to others.
        self.data_dir.chmod(0o700)
        self._take_folder()
        (self.data_dir / "logs").mkdir(exist_ok=True)
        self.metrics_port = self._ports.choose(9464)
        self.board_port = self._ports.choose(self.settings.board_port) if self._with_board else 0
        self.broker = EmbeddedBroker(self.data_dir / "logs" / "broker.log", self._ports.choose(9092))
        self.clickhouse = EmbeddedClickHouse(
            self.data_dir / "clickhouse",
            http_port=self._ports.choose(8123),
            tcp_port=self._ports.choose(9000),
            database=self.settings.clickhouse_database,
            # No other run uses the folder, so it can only be the one of a run that was killed, which is ending.
            patience_s=ENDING_S,
        )
        self._parts = [self.broker, self.clickhouse]
        with ThreadPoolExecutor(1) as pool:
            store = pool.submit(self.clickhouse.start)
            # Here and not in the pool: the broker ends with the thread that started it.
            self.broker.start()
            store.result()
        self._say(f"broker at {self.broker.bootstrap}, ClickHouse at {self.clickhouse.url}")
        if not self.clickhouse.confined:
            self._say(
                "this system cannot keep ClickHouse to its own files (Linux can from 5.19 on, by Landlock): whoever has"
                " one of its passwords can read all that you can, so give none away"
            )
        self.catalogue = catalogue_of(self.settings)
        prepare(
            self.address("admin"),
            self.catalogue,
            self._say,
            keep_days=wanted(self.settings),
            touchpoints=touchpoints_of(self.settings),
            weeks=steps_of(self.settings, "1w"),
        )
        self.epoch = self._next_epoch()
        plan = topic_plan(self.settings.partitions, 1, self.settings.app_id, self.settings.topic_prefix)
        problems = ensure_topics(self.broker.bootstrap, plan)
        if problems:
            raise ChildError("topics: " + "; ".join(problems))
        self._take_over()
        (self.data_dir / "unfinished").touch()
        environment = self.environment()
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
        new = self.data_dir / "environment.new"
        new.write_text("".join(lines))
        new.replace(self.data_dir / "environment")  # commands beside it read it at any time
        self.worker = Child("worker", ["worker"], environment, self.data_dir / "logs" / "worker.log")
        self.worker.start()
        wait_until(lambda: self.state() is not None, "the worker", START_TIMEOUT_S, [self.worker])
        self._say(f"worker runs, metrics at http://127.0.0.1:{self.metrics_port}/metrics")
        if self._with_board:
            self._start_board(environment)
        if self.load.args:
            self.producer = Child(
                self.load.args[0], self.load.args, environment, self.data_dir / "logs" / f"{self.load.args[0]}.log"
            )
            self.producer.log.unlink(missing_ok=True)
            self.producer.start()

    def _start_board(self, environment: dict[str, str]) -> None:
        """Start the live page: a process of its own, as a user who can only read, so that viewers cost no worker."""
        reader = {
            "CX_CLICKHOUSE_USER": self.address("reader").user,
            "CX_CLICKHOUSE_PASSWORD_FILE": str(self._password_file("reader")),
            "CX_BOARD_HOST": "127.0.0.1",
            "CX_BOARD_PORT": str(self.board_port),
            "CX_BOARD_WRITE_KEY_FILE": self._write_key_file(),
        }
        self.board = Child("board", ["board"], environment | reader, self.data_dir / "logs" / "board.log")
        self.board.start()
        self._say(f"live page at http://127.0.0.1:{self.board_port}/")

    def _write_key_file(self) -> str:
        """Return the file of the key with which people act on cases, made once for a folder; empty: there are none."""
        if self.settings.board_write_key_file or not self.settings.cases:
            return self.settings.board_write_key_file
        path = self.data_dir / "secrets" / "board"
        if not path.is_file():
            write_private(path, secrets.token_urlsafe(24))
        return str(path)

    def _take_folder(self) -> None:
        """Make sure that no other run uses the folder; empty it unless it is to be kept."""
        self._lock = (self.data_dir / "lock").open("w")
        deadline = time.monotonic() + LOOK_S
        while not self._locked(self._lock):
            if time.monotonic() > deadline:
                raise ChildError(f"another run uses {self.data_dir}; give this one a folder of its own by --data")
            time.sleep(LOOK_S / 20)
        (self.data_dir / "environment").unlink(missing_ok=True)  # of the run before
        if not self._keep:
            for name in _OURS:
                shutil.rmtree(self.data_dir / name, ignore_errors=True)
            for name in ("epoch", "partitions", "unfinished"):
                (self.data_dir / name).unlink(missing_ok=True)
        self._check_partitions()

    @staticmethod
    def _locked(lock: IO[str]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _check_partitions(self) -> None:
        """Refuse a folder filled with another number of partitions: each customer's ids would be elsewhere."""
        file, partitions = self.data_dir / "partitions", self.settings.partitions
        if file.is_file() and int(file.read_text()) != partitions:
            raise ChildError(
                f"{self.data_dir} was filled with {file.read_text()} partitions, {partitions} are set: "
                f"use CX_PARTITIONS={file.read_text()}, or another folder"
            )
        file.write_text(str(partitions))

    def _take_over(self) -> None:
        """Give the workers' new topics the state that earlier runs have left in the store."""
        settings = msgspec.structs.replace(self.settings, kafka=self.broker.bootstrap, epoch=self.epoch)
        clean = not (self.data_dir / "unfinished").exists()
        if not clean:
            self._say("the last run did not end by itself")
        try:
            check_start(settings, self.address("admin"), self.catalogue, clean=clean, alone=True, say=self._say)
        except StartRefusedError as error:
            raise ChildError(str(error)) from error

    def environment(self) -> dict[str, str]:
        """Return the `CX_*` variables that point a `cx` command at this run."""
        return {
            "CX_KAFKA": self.broker.bootstrap,
            "CX_CLICKHOUSE": self.clickhouse.url,
            "CX_CLICKHOUSE_USER": self.address("writer").user,
            "CX_CLICKHOUSE_PASSWORD_FILE": str(self._password_file("writer")),
            "CX_CLICKHOUSE_READER_USER": self.address("reader").user,
            "CX_CLICKHOUSE_READER_PASSWORD_FILE": str(self._password_file("reader")),
            "CX_CLICKHOUSE_DATABASE": self.settings.clickhouse_database,
            "CX_PARTITIONS": str(self.settings.partitions),
            "CX_TOPIC_PREFIX": self.settings.topic_prefix,
            "CX_APP_ID": self.settings.app_id,
            "CX_EPOCH": str(self.epoch),
            # The embedded broker lets whoever joins a group wait for seconds, and one that is killed meanwhile may lead
            # it for ever.
            "CX_SOLE_WORKER": "true",
            "CX_BROKER_SESSION_S": str(SESSION_S),
            "CX_CHANGELOG_COPY": "true",
            "CX_METRICS_PORT": str(self.metrics_port),
            "CX_BOARD_URL": f"http://127.0.0.1:{self.board_port}" if self.board_port else "",
            "CX_DATA_DIR": str(self.data_dir),
            "CX_TOUCHPOINTS_PATH": str(path.resolve()) if (path := touchpoint_path(self.settings)) else "",
            "CX_KPIS_PATH": os.pathsep.join(str(path.resolve()) for path in kpi_paths(self.settings)),
            "CX_CASES": os.pathsep.join(str(path.resolve()) for path in case_paths(self.settings)),
        }

    def address(self, role: Role) -> Address:
        """Return how to reach the store as admin, writer or reader."""
        server = self.clickhouse
        user = {"admin": server.admin_user, "writer": server.writer_user, "reader": server.reader_user}[role]
        return Address(server.url, server.database, user, getattr(server.credentials, role))

    def _password_file(self, role: Role) -> Path:
        path = self.data_dir / "secrets" / role
        write_private(path, self.address(role).password)
        return path

    def _next_epoch(self) -> int:
        # The embedded broker forgets everything at its end, so each run's offsets start again.
        file = self.data_dir / "epoch"
        epoch = next_epoch(self.address("admin"), int(file.read_text()) + 1 if file.is_file() else 0)
        file.write_text(str(epoch))
        return epoch

    def state(self) -> WorkerState | None:
        """Return what the worker says of itself."""
        return worker_state(self.metrics_port)

    def worker_cpu_s(self) -> float:
        """Return the CPU seconds the worker has used since it started."""
        pid = self.worker.pid if self.worker else None
        if pid is None:
            return 0.0
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def places(self) -> list[tuple[str, str]]:
        """Return what else to open or connect to, with its address."""
        password = self._password_file("reader")
        page = [("live page", f"http://127.0.0.1:{self.board_port}/")] if self.board else []
        if self.board and self.settings.cases:
            page.append(("cases", f"http://127.0.0.1:{self.board_port}/cases (key to act in {self._write_key_file()})"))
        clickhouse = f"{self.clickhouse.url} (user {self.clickhouse.reader_user}, password in {password})"
        return [
            *page,
            ("kafka", self.broker.bootstrap),
            ("clickhouse", clickhouse),
            ("metrics", f"http://127.0.0.1:{self.metrics_port}/metrics"),
            ("logs", str(self.data_dir / "logs")),
            ("other cx", f". {self.data_dir / 'environment'}"),
        ]

    def watch_for(self, seconds: float) -> None:
        """Wait, and restart meanwhile what dies."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(left_s, _WATCH_EVERY_S))
            self.watch()

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
        self._watch_board()
        producer = self.producer
        if producer is None or producer.exit_code is None:
            return
        if not self.load.ends:
            producer.keep_running()
        elif producer.exit_code != 0:
            raise ChildError(f"the replay ended with exit code {producer.exit_code}:\n{producer.tail()}")

    def _watch_board(self) -> None:
        """Restart the live page if it died; the run goes on without one that cannot be kept."""
        if self.board is None:
            return
        try:
            self.board.keep_running()
        except ChildError as exc:
            self._say(f"no live page any more: {exc}")
            self.board = None

    def stop(self) -> None:
        """
        Stop everything within `STOP_S`, in the direction of the flow, so that what was produced is still worked off.

        Whatever is not stored by then is named: the broker takes it with it.
        """
        deadline = time.monotonic() + STOP_S
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda child: child.stop(_PRODUCER_S), filter(None, (self.producer, self.board))))
        if self._keep and self._drained(deadline - _DRAINED_S):
            (self.data_dir / "unfinished").unlink(missing_ok=True)
        if self.worker is not None:
            self.worker.stop(_WORKER_S)
        left_s = max(1.0, deadline - time.monotonic())
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: part.stop(left_s), self._parts))
        if self._lock is not None:
            self._lock.close()
        self._ports.give_back()

    def _drained(self, deadline: float) -> bool:
        """Wait until all that was taken in is stored; say what is not by then."""
        if self.worker is None or self.worker.pid is None:
            return False
        self._say("storing what is on its way")
        quiet_since, state = None, None
        while (now := time.monotonic()) < deadline and self.worker.pid is not None:
            state = self.state()
            if state is None or not state.idle:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since >= QUIET_S:
                return True
            time.sleep(0.1)
        self._say("not everything is stored, and goes with the broker; the next run makes its KPIs of what is:")
        for line in unstored(state):
            self._say(f"  {line}")
        return False


def unstored(state: WorkerState | None) -> list[str]:
    """Return in sentences what a worker has not stored, as far as it says."""
    if state is None:
        return ["the worker does not answer: its log tells how far it came"]
    lines = [f"{one.source} {one.text}; {one.ways_out}" for one in state.stopped]
    lines += [f"{source} waits for a right clock" for source in state.waiting]
    lines += [f"{one.what}: {one.why}" for one in state.not_stored]
    lines += [f"{records:,} records of {topic}" for topic, records in sorted(state.lag.items()) if records]
    lines += [f"{state.pending:,} open minutes that are not published yet"] if state.pending else []
    if not lines and not state.lag:
        lines = ["the worker does not say yet what it was given: it had only begun"]
    return lines or [f"perhaps nothing: all that came was finished, but not for {QUIET_S:g} s"]
