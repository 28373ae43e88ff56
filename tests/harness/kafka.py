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
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

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


def new_cluster_id() -> str:
    """Return the name of a cluster, as the storage is formatted with."""
    return "c" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


class KafkaBroker:
    """
    One Kafka node, broker and controller in one process; it can be killed, paused and started again on its data.

    `advertised` gives it a second listener, at `behind`, of which clients are told that port instead: a proxy's.
    `nodes` are the controller ports of all nodes of a cluster by their number, this one's among them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        number: int = 1,
        nodes: Mapping[int, int] | None = None,
        cluster: str = "",
        advertised: int = 0,
        secured: Mapping[str, tuple[str, int]] | None = None,
        properties: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        jvm_options: Sequence[str] = (),
    ) -> None:
        """Prepare; `secured` are further listeners, name → security protocol and port, on 127.0.0.1."""
        self.folder = folder
        self._format_options, self._jvm = format_options, [*_JVM, *jvm_options]
        others = dict(secured or {})
        self.port, self.behind = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.log = folder / "broker.log"
        self._nodes = nodes or {number: free_port()}
        self._cluster = cluster or new_cluster_id()
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        copies, controller = min(3, len(self._nodes)), f"CONTROLLER://127.0.0.1:{self._nodes[number]}"
        listeners = [f"PLAINTEXT://{self.bootstrap}"]
        listeners += [f"{name}://127.0.0.1:{port}" for name, (_, port) in others.items()]
        protocols = "".join(f",{name}:{protocol}" for name, (protocol, _) in others.items())
        told = [*listeners, f"OUTSIDE://127.0.0.1:{advertised}"] if advertised else listeners
        if advertised:
            listeners = [*listeners, f"OUTSIDE://127.0.0.1:{self.behind}"]
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(number),
            "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._nodes.items()),
            "listeners": ",".join([*listeners, controller]),
            "advertised.listeners": ",".join(told),
            "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(folder / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.replication.factor": str(copies),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(max(1, copies - 1)),
            "transaction.state.log.num.partitions": "1",
            "log.cleaner.dedupe.buffer.size": str(8 << 20),
            "log.cleaner.backoff.ms": "500",
            **(properties or {}),
        }
        self._config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    @property
    def pid(self) -> int:
        """The process id; it must have been started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """
        Format the storage unless it is, start the broker, and wait until it answers.

        Raises:
            KafkaUnavailableError: No jars, or the broker ended or did not answer; the text holds its log's end.
        """
        self.launch()
        self.wait_answers()

    def launch(self) -> None:
        """
        Format the storage unless it is, and start the broker, which is not ready yet.

        Raises:
            KafkaUnavailableError: No jars, or the storage could not be formatted.
        """
        classpath = f"{jars()}/*"
        if not (self.folder / "data").exists():
            tool = [
                "kafka.tools.StorageTool",
                "format",
                "-t",
                self._cluster,
                "-c",
                str(self._config),
                *self._format_options,
            ]
            formatted = subprocess.run(
                ["java", *self._jvm, "-cp", classpath, *tool], check=False, capture_output=True, text=True
            )
            if formatted.returncode != 0:
                raise KafkaUnavailableError(f"Kafka could not format its storage: {formatted.stderr[-600:]}")
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                ["java", *self._jvm, "-cp", classpath, "kafka.Kafka", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_answers(self) -> None:
        """
        Wait until the launched broker answers.

        Raises:
            KafkaUnavailableError: It ended, or did not answer in time; the text holds its log's end.
        """
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise KafkaUnavailableError(f"Kafka did not start: {self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; `start` brings it back on its data."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

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


class KafkaCluster:
    """Three Kafka nodes, each broker and controller."""

    def __init__(self, folder: Path) -> None:
        nodes, cluster = {number: free_port() for number in (1, 2, 3)}, new_cluster_id()
        self.nodes: list[KafkaBroker] = []
        for number in nodes:
            (folder / f"node-{number}").mkdir()
            self.nodes.append(KafkaBroker(folder / f"node-{number}", number=number, nodes=nodes, cluster=cluster))
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def start(self) -> None:
        """
        Start all nodes, and wait until they answer and know each other.

        Raises:
            KafkaUnavailableError: As for one broker.
        """
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_answers()
            self._wait_known()
        except KafkaUnavailableError:
            self.stop()
            raise

    def _wait_known(self) -> None:
        """Wait until the cluster tells of all its nodes: no topic gets its copies before."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while len(admin.describe_cluster()["brokers"]) < len(self.nodes):
                if time.monotonic() > deadline:
                    raise KafkaUnavailableError("the nodes do not form a cluster")
                time.sleep(0.2)
        finally:
            admin.close()

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()
