"""The embedded ClickHouse process: starting, failing, dying, stopping."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from streams.local import clickhouse as module
from streams.local.clickhouse import DataLockedError, EmbeddedClickHouse, EngineUnfitError, PortTakenError
from streams.local.ports import free_port
from streams.storage.connection import Address, PermanentStorageError, connect
from tests.harness.clickhouse import address_of, running_server


def ask(server: EmbeddedClickHouse, sql: str, user: str, password: str) -> str:
    request = urllib.request.Request(
        server.url, data=sql.encode(), headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    )
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:
            return answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_it_answers_over_http_and_native_and_keeps_its_data(tmp_path: Path) -> None:
    """Stopped and started, the rows are there; both ports are real."""
    with running_server(tmp_path) as server:
        client = connect(address_of(server, database=""))
        client.command("CREATE DATABASE cx")
        client.command("CREATE TABLE cx.t (x UInt8) ENGINE = MergeTree ORDER BY x")
        client.command("INSERT INTO cx.t VALUES (7)")
        client.close()
        with socket.create_connection(("127.0.0.1", server.tcp_port), timeout=180) as native:
            native.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert f"use port {server.http_port} for HTTP".encode() in native.recv(1000)
        pid = server.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with running_server(tmp_path) as server:
        assert ask(server, "SELECT x FROM cx.t", server.reader_user, server.credentials.reader) == "7"


def test_passwords_are_needed_and_stay_private(clickhouse: EmbeddedClickHouse) -> None:
    """They are the owner's only; what the engine was told of them is gone; nobody gets in without one."""
    credentials = clickhouse.data_dir / "credentials.json"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (credentials, clickhouse.data_dir / "server")]
    assert modes == [0o600, 0o700]
    assert not list((clickhouse.data_dir / "server").glob("*.xml"))
    for user in (clickhouse.reader_user, clickhouse.writer_user, clickhouse.admin_user, "nobody"):
        assert "AUTHENTICATION_FAILED" in ask(clickhouse, "SELECT 1", user, "")
    for user in ("default", ""):
        assert "USER_SESSION_LIMIT_EXCEEDED" in ask(clickhouse, "SELECT 1", user, "")
    with pytest.raises(PermanentStorageError, match=r"in the folder of that run commands find it by themselves"):
        connect(Address(clickhouse.url))


def test_a_folder_of_an_earlier_version_goes_on_without_its_open_door(tmp_path: Path) -> None:
    """Rows and passwords stay; users are made anew, so that nobody signs in as the user without a password."""
    with running_server(tmp_path, wide=False) as server:
        passwords = server.credentials
        for sql in ("CREATE DATABASE cx", "CREATE TABLE cx.t (x UInt8) ENGINE = MergeTree ORDER BY x",
                    "INSERT INTO cx.t VALUES (7)"):  # fmt: skip
            assert not ask(server, sql, server.admin_user, passwords.admin)
    (tmp_path / "server" / "users.xml").write_text(
        "<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><no_password/>"
        "<networks><ip>::/0</ip></networks><access_management>1</access_management></default></users></clickhouse>"
    )
    (tmp_path / "server" / "config.xml").write_text("<clickhouse><http_port>1</http_port></clickhouse>")
    (tmp_path / "server").chmod(0o755)
    with running_server(tmp_path, wide=False) as server:
        assert server.credentials == passwords
        assert ask(server, "SELECT x FROM cx.t", server.reader_user, passwords.reader) == "7"
        assert "USER_SESSION_LIMIT_EXCEEDED" in ask(server, "SELECT x FROM cx.t", "default", "")
        assert stat.S_IMODE((tmp_path / "server").stat().st_mode) == 0o700


def test_the_engine_is_told_nothing_that_is_secret(clickhouse: EmbeddedClickHouse) -> None:
    """Neither passwords nor what stands in the environment of whoever started it."""
    for place in ("cmdline", "environ"):
        told = Path(f"/proc/{clickhouse.pid}/{place}").read_bytes().decode()
        for secret in (clickhouse.credentials.admin, clickhouse.credentials.writer, clickhouse.credentials.reader):
            assert secret not in told
        assert "PYTEST_CURRENT_TEST" not in told


def test_a_second_server_on_the_directory_is_refused(clickhouse: EmbeddedClickHouse) -> None:
    """The message names the directory."""
    with pytest.raises(DataLockedError, match=str(clickhouse.data_dir)):
        EmbeddedClickHouse(clickhouse.data_dir).start()


def test_a_taken_port_is_refused_by_number(clickhouse: EmbeddedClickHouse, tmp_path: Path) -> None:
    """Also when the other program answers HTTP: it is not ours."""
    with pytest.raises(PortTakenError, match=str(clickhouse.http_port)):
        EmbeddedClickHouse(tmp_path, http_port=clickhouse.http_port, tcp_port=free_port()).start()


def test_a_preferred_port_is_taken_only_when_free(clickhouse: EmbeddedClickHouse) -> None:
    """A taken one gives way to any other."""
    wanted = free_port()
    assert free_port(preferred=wanted) == wanted
    assert free_port(preferred=clickhouse.http_port) not in {0, clickhouse.http_port}


def test_a_wheel_that_cannot_listen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older engine is refused with the version that is needed."""
    site = tmp_path / "site"
    (site / "chdb_core-26.5.0.dist-info").mkdir(parents=True)
    (site / "chdb_core-26.5.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: chdb-core\nVersion: 26.5.0\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    with pytest.raises(EngineUnfitError, match=r"26\.5\.0 cannot listen .* 26\.7 or newer"):
        EmbeddedClickHouse(tmp_path / "data").start()


def test_a_killed_server_comes_back_on_the_same_ports(tmp_path: Path) -> None:
    """The supervisor restarts it by itself."""
    with running_server(tmp_path) as server:
        before = server.pid, server.url
        server.kill()
        deadline = time.monotonic() + 180
        while server.restarts == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.restarts == 1
        assert server.pid not in {before[0], None}
        assert server.url == before[1]
        assert ask(server, "SELECT 1", server.reader_user, server.credentials.reader) == "1"


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves nothing behind."""
    code = f"import time; from pathlib import Path; from streams.local.clickhouse import EmbeddedClickHouse\nprint(EmbeddedClickHouse(Path({str(tmp_path)!r})).start().pid, flush=True); time.sleep(600)"
    root = Path(module.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_stopping_twice_and_starting_twice(tmp_path: Path) -> None:
    """The first is harmless, the second is an error."""
    with running_server(tmp_path) as server:
        with pytest.raises(module.ClickHouseProcessError, match="already started"):
            server.start()
        server.stop()
        server.stop()
        assert server.pid is None
