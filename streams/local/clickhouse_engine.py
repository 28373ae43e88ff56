"""
The process that is ClickHouse: the engine of the chdb-core wheel with its HTTP and native listeners open.

The wheel carries the whole server; its `clickhouse-local` application can open the listeners,
reads `config.xml` from the current directory, and ends cleanly when its last query ends.
That query reads a FIFO nobody writes to; closing the FIFO is the order to stop.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import html
import importlib
import importlib.metadata
import json
import os
import secrets
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

ENGINE_PACKAGE = "chdb-core"
ENGINE_OLDEST = (26, 7)
"""The first engine release in which clickhouse-local can open its own listeners."""

ADMIN, WRITER, READER = "cx_admin", "cx_writer", "cx_reader"
"""Migrations; inserts from the workers; dashboards and analysts (read-only)."""

EXIT_PORT_TAKEN, EXIT_DATA_LOCKED, EXIT_ENGINE_UNFIT, EXIT_ENGINE_ENDED = 73, 74, 75, 76

# The views of KPIs compare little and compute much: looking for chains of comparisons takes two fifths of their time.
# The engine signs in to itself as `default`, without a password and from loopback. That user's quota is used up by the
# three statements of the start, so that nobody else can read a file or close a listener through it.
_USERS_XML = """\
<clickhouse>
  <profiles>
    <default>
      <max_memory_usage>{query_memory}</max_memory_usage>
      <max_bytes_before_external_group_by>{spill}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{spill}</max_bytes_before_external_sort>
      <network_compression_method>LZ4</network_compression_method>
      <optimize_and_compare_chain>0</optimize_and_compare_chain>
    </default>
    <reader>
      <readonly>1</readonly>
      <max_memory_usage>{query_memory}</max_memory_usage>
      <max_execution_time>60</max_execution_time>
      <max_bytes_before_external_group_by>{spill}</max_bytes_before_external_group_by>
      <max_bytes_before_external_sort>{spill}</max_bytes_before_external_sort>
      <network_compression_method>LZ4</network_compression_method>
      <optimize_and_compare_chain>0</optimize_and_compare_chain>
      <max_result_rows>5000000</max_result_rows>
      <max_result_bytes>1000000000</max_result_bytes>
      <max_rows_to_read>5000000000</max_rows_to_read>
      <max_concurrent_queries_for_user>64</max_concurrent_queries_for_user>
      <constraints><max_execution_time><max>600</max><changeable_in_readonly/></max_execution_time></constraints>
    </reader>
  </profiles>
  <quotas>
    <default/>
    <start><interval><duration>2000000000</duration><queries>3</queries></interval></start>
  </quotas>
  <users>
    <default><no_password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>start</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT READ ON FILE</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query></grants></default>
    <{admin}>{admin_password}{networks}<profile>default</profile><quota>default</quota>
      <access_management>1</access_management><named_collection_control>1</named_collection_control></{admin}>
    <{writer}>{writer_password}{networks}<profile>default</profile><quota>default</quota>
      <grants><query>GRANT SELECT, INSERT ON {database}*.*</query><query>GRANT dictGet ON {database}*.*</query>
        <query>GRANT SELECT ON system.processes</query></grants></{writer}>
    <{reader}>{reader_password}{networks}<profile>reader</profile><quota>default</quota>
      <grants><query>GRANT SELECT, SHOW ON {database}*.*</query><query>GRANT dictGet ON {database}*.*</query>
        <query>GRANT SELECT ON system.parts</query><query>GRANT SELECT ON system.merges</query>
        <query>GRANT SELECT ON system.replicas</query><query>GRANT SELECT ON system.view_refreshes</query>
      </grants></{reader}>
  </users>
</clickhouse>
"""

# Dictionaries read their tables as the reader, which statements must not hold the password of: hence the collection.
# The engine resets `logger.level` unless `log-level` says the same. It waits for idle connections when it stops, so
# these must not live long.
_CONFIG_XML = """\
<clickhouse>
  <display_name>{name}</display_name>
  <listen_host>{host}</listen_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{tcp_port}</tcp_port>
  <users_config>{directory}/users.xml</users_config>
  <user_directories><users_xml><path>{directory}/users.xml</path></users_xml></user_directories>
  <log-level>warning</log-level>
  <logger><level>warning</level><log>{log}</log><size>20M</size><count>2</count></logger>
  <max_server_memory_usage>{server_memory}</max_server_memory_usage>
  <keep_alive_timeout>3</keep_alive_timeout>
  <named_collections>
    <cx_dictionaries><user>{reader}</user><password>{reader_password}</password></cx_dictionaries>
  </named_collections>
  <access_control_improvements>
    <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
  </access_control_improvements>
  <mark_cache_size>67108864</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """The passwords of the three users of an embedded server."""

    admin: str
    writer: str
    reader: str

    @classmethod
    def of_directory(cls, data_dir: Path, given: Mapping[str, str] | None = None) -> Self:
        """
        Read the directory's credentials; make random ones the first time.

        `given` (keys admin, writer, reader) replaces what is stored. The file is readable by its owner only.
        """
        path = data_dir / "credentials.json"
        stored: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        wanted = {
            role.name: (given or {}).get(role.name) or stored.get(role.name) or secrets.token_urlsafe(24)
            for role in dataclasses.fields(cls)
        }
        if wanted != stored:
            data_dir.mkdir(parents=True, exist_ok=True)
            _write_private(path, json.dumps(wanted))
        return cls(**wanted)


def serve(options: argparse.Namespace) -> None:
    """Run the engine in this process until SIGTERM, SIGINT or the end of the parent; leaves with a code."""
    data_dir = Path(options.data).resolve()
    server_dir, store_dir = data_dir / "server", data_dir / "store"
    # The engine starts its clean-up tasks only when the metadata folder exists beforehand.
    for directory in (server_dir, store_dir / "metadata"):
        directory.mkdir(parents=True, exist_ok=True)
    parent = os.getppid()
    stop = threading.Event()

    with _owned(data_dir):
        ports = _claim(options.host, options.http_port), _claim(options.host, options.tcp_port)
        name = f"cx-{os.getpid()}-{secrets.token_hex(4)}"
        credentials = Credentials.of_directory(data_dir)
        _write_users(options, server_dir, credentials)
        _write_config(options, data_dir, name, ports, credentials)
        fifo = server_dir / "stop.fifo"
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo, 0o600)
        query = _engine()
        os.chdir(server_dir)  # where the engine looks for its config.xml
        outcome: list[str] = []
        engine = threading.Thread(
            target=lambda: outcome.append(_listen(query, fifo, store_dir)), name="clickhouse", daemon=True
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        engine.start()

        url = f"http://{options.host}:{ports[0]}/"
        ready = False
        while engine.is_alive() and not stop.is_set():
            # Another program on the port would answer with another name.
            if not ready and _ask(url, READER, credentials.reader, "SELECT displayName()") == name:
                ready = True
                sys.stdout.write(f"ready http={ports[0]} tcp={ports[1]} data={data_dir}\n")
                sys.stdout.flush()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            stop.wait(0.2 if ready else 0.03)
            if options.stop_with_parent and os.getppid() != parent:
                stop.set()
        if engine.is_alive():
            os.close(os.open(fifo, os.O_WRONLY))  # end of file ends the blocking query, and with it the engine
            engine.join(30)
            return
        reason = outcome[0] if outcome else "no reason given"
        unfit = "START LISTEN" in reason and "not supported" in reason
        _leave(EXIT_ENGINE_UNFIT if unfit else EXIT_ENGINE_ENDED, f"the engine ended by itself: {reason}")


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _leave(EXIT_DATA_LOCKED, f"another server owns the data directory {data_dir}")
        yield


def _claim(host: str, port: int) -> int:
    """The port itself when it can be bound, any free one for 0: the engine only logs a taken port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _leave(EXIT_PORT_TAKEN, f"port {port} on {host} cannot be used: {error.strerror}")
        return int(probe.getsockname()[1])


def _engine() -> Any:
    """The engine's query function; leaves with an explanation when the wheel is missing or too old."""
    try:
        version = importlib.metadata.version(ENGINE_PACKAGE)
        engine = importlib.import_module("chdb._chdb")  # 0.7 s and a very large library: only here
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        _leave(EXIT_ENGINE_UNFIT, f"{ENGINE_PACKAGE} is not installed ({error}); install cx-streams[local]")
    if tuple(int(part) for part in version.split(".")[:2]) < ENGINE_OLDEST:
        oldest = ".".join(map(str, ENGINE_OLDEST))
        _leave(
            EXIT_ENGINE_UNFIT,
            f"{ENGINE_PACKAGE} {version} cannot listen on a port; {oldest} or newer is needed",
        )
    return engine.query


def _listen(query: Any, fifo: Path, store_dir: Path) -> str:
    """Open both listeners and block until the FIFO is closed; returns why it ended."""
    # TabSeparated: the format named here becomes the default format of every HTTP answer.
    blocking = f"SELECT count() FROM file('{fifo}', LineAsString, 'line String')"  # noqa: S608 - our own path
    sql = f"""
        SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP;
        {blocking} SETTINGS max_execution_time = 0, max_threads = 1
    """
    try:
        result = query(sql, "TabSeparated", path=str(store_dir))
        return str(result.error_message()) if result.has_error() else "its listeners closed"
    except Exception as error:  # noqa: BLE001 - the engine raises plain RuntimeError and worse; the text is what matters
        return str(error)


def _ask(url: str, user: str, password: str, sql: str) -> str | None:
    """The answer of the server, None while nobody listens or it refuses."""
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    request = urllib.request.Request(url, data=sql.encode(), headers=headers)  # noqa: S310 - always http
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            text: bytes = answer.read()
    except OSError:
        return None
    return text.decode().strip()


def _write_users(options: argparse.Namespace, server_dir: Path, credentials: Credentials) -> None:
    memory = options.memory_mb << 20
    everywhere = "" if options.host in {"127.0.0.1", "::1", "localhost"} else "<ip>::/0</ip>"
    text = _USERS_XML.format(
        admin=ADMIN, writer=WRITER, reader=READER, database=options.database,
        admin_password=_hashed(credentials.admin), writer_password=_hashed(credentials.writer),
        reader_password=_hashed(credentials.reader), query_memory=memory * 3 // 4, spill=memory // 4,
        networks=f"<networks><ip>127.0.0.1</ip><ip>::1</ip>{everywhere}</networks>",
    )  # fmt: skip
    _write_private(server_dir / "users.xml", text)


def _write_config(
    options: argparse.Namespace, data_dir: Path, name: str, ports: tuple[int, int], credentials: Credentials
) -> None:
    text = _CONFIG_XML.format(
        name=name, host=options.host, http_port=ports[0], tcp_port=ports[1], directory=data_dir / "server",
        log=data_dir / "clickhouse.log", server_memory=options.memory_mb << 20, reader=READER,
        reader_password=html.escape(credentials.reader),
    )  # fmt: skip
    _write_private(data_dir / "server" / "config.xml", text)


def _write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _hashed(password: str) -> str:
    return f"<password_sha256_hex>{hashlib.sha256(password.encode()).hexdigest()}</password_sha256_hex>"


def _leave(code: int, why: str) -> NoReturn:
    sys.stderr.write(f"clickhouse: {why}\n")
    raise SystemExit(code)
