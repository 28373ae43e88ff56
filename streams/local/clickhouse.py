"""
A real ClickHouse server for one machine, out of a wheel, listening on loopback.

`EmbeddedClickHouse` starts, watches, restarts and stops the engine as a process of its own, so that several workers, a
dashboard and Grafana can all connect by host and port, exactly as they would to an installed server.

A data directory holds `credentials.json` (mode 0600; the passwords of the three users, out of the engine's reach),
`server/` (configuration made anew at each start), `store/` (the data), `log/` and `server.log`.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import streams
from streams.local import confinement
from streams.local.clickhouse_config import Credentials, forget_configuration, write_configuration
from streams.local.clickhouse_engine import EXIT_ENGINE_UNFIT
from streams.local.ports import free_port
from streams.storage.grants import ADMIN, READER, WRITER

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 90.0
"""One that ends instead of starting is seen at once: only a machine with other things to do needs long."""

# What the engine gets of our environment: how to find Python's modules and which language and zone to use.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


class ClickHouseProcessError(RuntimeError):
    """The embedded server did not start, or ended on its own; the message carries the end of its log."""


class PortTakenError(ClickHouseProcessError):
    """A port asked for is used by another program."""


class DataLockedError(ClickHouseProcessError):
    """Another embedded server owns the data directory."""


class EngineUnfitError(ClickHouseProcessError):
    """The engine wheel is missing, or older than the first release that can listen."""


class EmbeddedClickHouse:
    """
    A supervised ClickHouse process: started, proven ready, restarted when it dies, stopped cleanly.

    Ports given as 0 are chosen free, and stay the same over restarts. Safe to use from several threads.
    """

    host = "127.0.0.1"
    admin_user, writer_user, reader_user = ADMIN, WRITER, READER

    def __init__(
        self,
        data_dir: Path,
        *,
        http_port: int = 0,
        tcp_port: int = 0,
        passwords: Mapping[str, str] | None = None,
        database: str = "cx",
        memory_mb: int = 2048,
        restart: bool = True,
        connect: Sequence[int] = (),
        patience_s: float = 0.0,
    ) -> None:
        """
        Describe the server; nothing runs before `start`.

        `database` is the one that the three users may touch, `memory_mb` bounds the whole server, `connect` names the
        TCP ports that the engine itself may connect to, as shards of a cluster do, `patience_s` is how long to wait
        for another server to leave the directory.
        """
        self.data_dir = data_dir.resolve()
        self.database = database
        self.http_port, self.tcp_port = http_port, tcp_port
        self.credentials = Credentials.of_directory(self.data_dir, passwords)
        self.restarts = 0
        self._ports_chosen = not (http_port and tcp_port)
        self._memory_mb = memory_mb
        self._restart = restart
        self._connect = connect
        self._patience_s = patience_s
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def confined(self) -> bool:
        """Whether the kernel keeps the engine to its own files: otherwise it can read all that this user can."""
        return confinement.available()

    @property
    def url(self) -> str:
        """The HTTP address."""
        return f"http://{self.host}:{self.http_port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, None when there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """
        Start the server and return once it has answered with its own name.

        Raises:
            PortTakenError, DataLockedError, EngineUnfitError: as their names say.
            ClickHouseProcessError: it ended, or was not ready in time.

        """
        if self._child is not None:
            raise ClickHouseProcessError(f"the server of {self.data_dir} was already started")
        asked = (self.http_port, self.tcp_port)
        for attempt in range(3):
            self.http_port, self.tcp_port = (port or free_port(self.host) for port in asked)
            try:
                self._child = self._launch(timeout_s)
                break
            except PortTakenError:
                if attempt == 2 or not self._ports_chosen:
                    raise
        if self._restart:
            self._watcher = threading.Thread(target=self._watch, name="clickhouse-watch", daemon=True)
            self._watcher.start()
        return self

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask the server to end, wait, and kill it when it does not. Stopping twice does nothing."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            logger.warning("clickhouse %d did not end in %.0f s: killed", child.pid, timeout_s)
            child.kill()
            child.wait()

    def kill(self) -> None:
        """Kill the process at once, as a crash would. The supervisor starts it again."""
        if self._child is not None:
            self._child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, timeout_s: float) -> subprocess.Popen[bytes]:
        name = f"cx-{secrets.token_hex(8)}"
        for folder in ("server", "log", "store/metadata"):
            # The engine starts its clean-up tasks only when the metadata folder exists beforehand.
            (self.data_dir / folder).mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        log = self.data_dir / "server.log"
        with _owned(self.data_dir, self._patience_s) as lock, log.open("ab") as errors:
            for port in (self.http_port, self.tcp_port):
                _claim(self.host, port)
            write_configuration(
                self.data_dir,
                self.credentials,
                name=name,
                database=self.database,
                http_port=self.http_port,
                tcp_port=self.tcp_port,
                memory_mb=self._memory_mb,
            )
            order = self.data_dir / "server" / "stop.fifo"
            order.unlink(missing_ok=True)
            os.mkfifo(order, 0o600)
            temporary = self.data_dir.absolute() / "store" / "tmp"
            temporary.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "streams.local.clickhouse_engine", str(self.data_dir)]
            command += ["--listen", str(self.http_port), str(self.tcp_port), "--connect", *map(str, self._connect)]
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # Set here: in the child it would move the environment, behind which the engine looks for what
                # the kernel has notified its process.
                env=_environment() | {"TMPDIR": str(temporary)},
                # Who owns the directory is the engine's process, for as long as it lives.
                pass_fds=(lock,),
                # A session of its own: Ctrl-C in the terminal must reach the workers first, this process by `stop`.
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        # Another program on the port would answer with another name.
        while self._ask("SELECT displayName()") != name:
            if child.poll() is not None:
                break
            if time.monotonic() > deadline:
                child.kill()
                child.wait()
                break
            time.sleep(0.03)
        else:
            forget_configuration(self.data_dir)
            return child
        kind = EngineUnfitError if child.returncode == EXIT_ENGINE_UNFIT else ClickHouseProcessError
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise kind(f"ClickHouse on {self.data_dir} did not start (exit code {child.returncode}): {' | '.join(tail)}")

    def _ask(self, sql: str) -> str | None:
        """Return the answer to the reader, None while nobody listens or it refuses."""
        headers = {"X-ClickHouse-User": READER, "X-ClickHouse-Key": self.credentials.reader}
        request = urllib.request.Request(f"{self.url}/", data=sql.encode(), headers=headers)  # noqa: S310 - always http
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                text: bytes = answer.read()
        except OSError:
            return None
        return text.decode().strip()

    def _watch(self) -> None:
        pause_s = 0.1
        while not self._stopping.wait(0.1):
            if self.pid is not None:
                continue
            code = self._child.returncode if self._child is not None else None
            logger.warning(
                "RUNNING => RESTARTING: clickhouse on %s ended by itself (exit code %s)", self.data_dir, code
            )
            try:
                self._child = self._launch(START_TIMEOUT_S)
                self.restarts += 1
                pause_s = 0.1
            except ClickHouseProcessError:
                logger.exception("clickhouse on %s: restart failed, next try in %.1f s", self.data_dir, pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, 10.0)


@contextlib.contextmanager
def _owned(data_dir: Path, patience_s: float) -> Iterator[int]:
    """Lock the directory, for as long as this descriptor is open in any process."""
    deadline = time.monotonic() + patience_s
    with (data_dir / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise DataLockedError(f"another server owns the data directory {data_dir}") from None
            time.sleep(0.1)
        yield lock.fileno()


def _claim(host: str, port: int) -> None:
    """See that a port can be listened on: the engine only logs a taken one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(f"port {port} on {host} cannot be used: {error.strerror}") from None


def _environment() -> dict[str, str]:
    # The child finds this package where we found it, wherever it is started from.
    paths = [str(Path(streams.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
