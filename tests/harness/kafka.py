"""A real Apache Kafka broker for the tests: jars from Maven, KRaft, one node, loopback, little memory."""

import base64
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from streams.local.ports import free_port

POM = Path(__file__).with_name("pom.xml")
FETCH_TIMEOUT_S = 600
START_TIMEOUT_S = 240

_JVM = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


class KafkaUnavailableError(Exception):
    """This machine cannot run Apache Kafka; the text says what is missing."""


def require_or_skip(reason: str) -> None:
    """Skip the test, or fail it where CX_REQUIRE_KAFKA=1 says that Kafka must be there (CI)."""
    if os.environ.get("CX_REQUIRE_KAFKA") == "1":
        pytest.fail(f"CX_REQUIRE_KAFKA=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def jars() -> Path:
    """Folder with the broker's jars, fetched by Maven on first use and kept in the user's cache."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise KafkaUnavailableError(f"no `{tool}` on PATH: Apache Kafka is started from Maven artifacts")
    pom = POM.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cx-streams"
    ready = cache / f"kafka-{hashlib.sha256(pom).hexdigest()[:12]}"
    if ready.is_dir():
        return ready
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Maven's own store is not made for two at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            _fetch(pom, cache, ready)
    return ready


def _fetch(pom: bytes, cache: Path, ready: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as work:
        (Path(work) / "pom.xml").write_bytes(pom)
        fetched = Path(work) / "jars"
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        try:
            run = subprocess.run(
                command, check=False, cwd=work, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as exc:
            raise KafkaUnavailableError(f"Maven did not fetch Kafka within {FETCH_TIMEOUT_S} s") from exc
        if run.returncode != 0:
            raise KafkaUnavailableError(f"Maven could not fetch Kafka: {(run.stdout + run.stderr).strip()[-600:]}")
        fetched.rename(ready)


class KafkaBroker:
    """One Kafka node, broker and controller in one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.log = folder / "broker.log"
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(folder / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "log.cleaner.dedupe.buffer.size": str(8 << 20),
            "log.cleaner.backoff.ms": "500",
        }
        self._config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))

    def start(self) -> None:
        """Format the storage, start the broker, and wait until it answers.

        Raises:
            KafkaUnavailableError: No jars, or the broker ended or did not answer; the text holds its log's end.
        """
        classpath = f"{jars()}/*"
        cluster = "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config)]
        formatted = subprocess.run(
            ["java", *_JVM, "-cp", classpath, *tool], check=False, capture_output=True, text=True
        )
        if formatted.returncode != 0:
            raise KafkaUnavailableError(f"Kafka could not format its storage: {formatted.stderr[-600:]}")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                ["java", *_JVM, "-cp", classpath, "kafka.Kafka", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise KafkaUnavailableError(f"Kafka did not start: {self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        # Metadata, version 0, of all topics: answered with a broker once the node has left start-up.
        request = b"\x00\x00\x00\x10\x00\x03\x00\x01\x00\x00\x00\x01\x00\x02cx\x00\x00\x00\x00"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(request)
                connection.settimeout(5)
                size = int.from_bytes(connection.recv(4), "big")
                body = connection.recv(size) if size else b""
                return len(body) > 8 and int.from_bytes(body[4:8], "big") > 0
        except OSError:
            return False

    def stop(self) -> None:
        """End the broker."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
