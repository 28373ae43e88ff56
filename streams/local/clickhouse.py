"""
A real ClickHouse server for one machine, out of a wheel, listening on loopback.

`python -m streams.local.clickhouse --data DIR` runs the engine as a process of its own,
so that several workers, a dashboard and Grafana can all connect by host and port,
exactly as they would to an installed server.
`EmbeddedClickHouse` starts, watches, restarts and stops such a process.

A data directory holds `credentials.json` (mode 0600; the passwords of the three users),
`server/` (configuration made anew at each start), `store/` (the data) and two logs.
"""

import argparse
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import streams
from streams.local.clickhouse_engine import (
    ADMIN,
    EXIT_DATA_LOCKED,
    EXIT_ENGINE_UNFIT,
    EXIT_PORT_TAKEN,
    READER,
    WRITER,
    Credentials,
    serve,
)
from streams.local.ports import free_port

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 90.0
"""One that ends instead of starting is seen at once: only a machine with other things to do needs long."""


class ClickHouseProcessError(RuntimeError):
    """The embedded server did not start, or ended on its own; the message carries the end of its log."""


class PortTakenError(ClickHouseProcessError):
    """A port asked for is used by another program."""


class DataLockedError(ClickHouseProcessError):
    """Another embedded server owns the data directory."""


class EngineUnfitError(ClickHouseProcessError):
    """The engine wheel is missing, or older than the first release that can listen."""


_EXIT_ERRORS = {
    EXIT_PORT_TAKEN: PortTakenError,
    EXIT_DATA_LOCKED: DataLockedError,
    EXIT_ENGINE_UNFIT: EngineUnfitError,
}


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
    ) -> None:
        """
        Describe the server; nothing runs before `start`.

        `database` is the prefix of the database names that writer and reader may touch;
        `memory_mb` bounds the whole server.
        """
        self.data_dir = data_dir.resolve()
        self.database = database
        self.http_port, self.tcp_port = http_port, tcp_port
        self.credentials = Credentials.of_directory(self.data_dir, passwords)
        self.restarts = 0
        self._ports_chosen = not (http_port and tcp_port)
        self._memory_mb = memory_mb
        self._restart = restart
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

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
        # The child finds this package where we found it, wherever it is started from.
        paths = [str(Path(streams.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-m", "streams.local.clickhouse", "--data", str(self.data_dir)]
        command += ["--http-port", str(self.http_port), "--tcp-port", str(self.tcp_port), "--host", self.host]
        command += ["--database", self.database, "--memory-mb", str(self._memory_mb), "--stop-with-parent"]
        log = self.data_dir / "server.log"
        # A session of its own: Ctrl-C in the terminal must reach the workers first, this process by `stop`.
        with log.open("ab") as errors:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        assert child.stdout is not None
        with child.stdout as announcements:
            ready = _line_within(announcements, timeout_s).startswith(b"ready ")
        if ready:
            return child
        if child.poll() is None and not _ends_within(child, 2.0):
            child.kill()
        code = child.wait()
        tail = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise _EXIT_ERRORS.get(code, ClickHouseProcessError)(
            f"ClickHouse on {self.data_dir} did not start (exit code {code}): {' | '.join(tail)}"
        )

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


def _line_within(stream: IO[bytes], timeout_s: float) -> bytes:
    """Read one line, or what came before the end of the stream or the time limit."""
    deadline, line = time.monotonic() + timeout_s, b""
    while not line.endswith(b"\n") and (left_s := deadline - time.monotonic()) > 0:
        if select.select([stream], [], [], left_s)[0]:
            part = os.read(stream.fileno(), 4096)
            if not part:
                break
            line += part
    return line


def _ends_within(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def main() -> None:
    """Run the server in the foreground: `python -m streams.local.clickhouse --data DIR`."""
    parser = argparse.ArgumentParser(description="ClickHouse from the chdb-core wheel, on loopback")
    parser.add_argument("--data", required=True, help="directory of the data, the configuration and the credentials")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=8123, help="0: any free port")
    parser.add_argument("--tcp-port", type=int, default=9000, help="0: any free port")
    parser.add_argument("--database", default="cx", help="prefix of the database names that writer and reader may use")
    parser.add_argument("--memory-mb", type=int, default=2048, help="bound of the whole server")
    parser.add_argument("--stop-with-parent", action="store_true", help="end when the starting process ends")
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
