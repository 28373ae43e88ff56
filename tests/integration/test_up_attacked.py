"""
What a page on the web, and other users of this machine, get of a whole `cx up` with a door beside it: nothing.

The page stands on an origin of its own, `evil.test`, a name that the browser is told to find at this machine. That is
also how a page makes a name of its own point here after it was loaded, and then asks as if it were of our origin.
"""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response
from playwright.sync_api import Error as PlaywrightError

from streams.local.clickhouse_config import Credentials
from streams.local.ports import free_port
from tests.harness.browser import chromium
from tests.harness.door import event
from tests.harness.topics import PATIENCE_S

EVIL = "evil.test"
SILENT = ("broker", "native")
"""They speak no HTTP: a request to them ends with the patience of who asks."""
READ = """async ([url, options]) => {
    try {
        const answer = await fetch(url, {...options, signal: AbortSignal.timeout(4000)});
        return answer.type === "opaque" ? "" : String(answer.status) + await answer.text();
    } catch (error) {
        return "";
    }
}"""
EMBED = """async ([tag, attribute, url]) => await new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = () => done("loaded");
    element.onerror = () => done("refused");
    setTimeout(() => done("refused"), 4000);
    element[attribute] = url;
    document.body.append(element);
})"""
STREAM = """async (url) => await new Promise((done) => {
    const source = url.startsWith("ws") ? new WebSocket(url) : new EventSource(url);
    source.onopen = () => done("open");
    source.onmessage = () => done("open");
    source.onerror = () => done("refused");
    setTimeout(() => done("refused"), 4000);
})"""
FORM = """([url, name, value]) => {
    const form = Object.assign(document.createElement("form"), {method: "POST", action: url, enctype: "text/plain"});
    form.append(Object.assign(document.createElement("input"), {name, value}));
    document.body.append(form);
    form.submit();
}"""


@dataclass
class Running:
    """A `cx up` and a `cx collect`, with all their addresses."""

    folder: Path
    ports: dict[str, int]
    processes: list[subprocess.Popen[bytes]]
    passwords: Credentials

    def paths(self) -> list[tuple[str, str]]:
        """What there is to ask for, by listener."""
        who = f"user=cx_reader&password={self.passwords.reader}"
        return [
            ("clickhouse", "/?query=SELECT+42"), ("clickhouse", f"/?query=SELECT+42&{who}"), ("clickhouse", "/ping"),
            ("clickhouse", f"/?query=SELECT+42&{who}&add_http_cors_header=1"), ("clickhouse", "/play"),
            ("native", "/"), ("broker", "/"), ("board", "/"), ("board", "/stream"), ("board", "/healthz"),
            ("board", "/static/board.js"), ("metrics", "/metrics"), ("door", "/v1/events"), ("door", "/health"),
            ("door", "/"), ("door_metrics", "/metrics"),
        ]  # fmt: skip


@dataclass
class Answers:
    """What a page was answered by anybody but its own server, whether or not it may read it."""

    own: int
    seen: list[tuple[int, str]] = field(default_factory=list)

    def note(self, answer: Response) -> None:
        if f":{self.own}/" not in answer.url:
            self.seen.append((answer.status, answer.url))

    def good(self) -> list[tuple[int, str]]:
        """Those that are no refusals. That the door lives is told to a request without origin, and read by nobody."""
        return [(status, url) for status, url in self.seen if status < 400 and not url.endswith("/health")]


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>evil</title><body></body>")

    def log_message(self, *_: Any) -> None:
        """A test has no use for a log of requests."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("attacked")
    data, ports = folder / "data", {"door": free_port(), "door_metrics": free_port()}
    # As an earlier version left it: open to others.
    data.mkdir(mode=0o755)
    cx = [sys.executable, "-m", "streams"]
    log = (folder / "log").open("wb")
    processes = [subprocess.Popen([*cx, "up", "--no-simulate", "--data", str(data)], stdout=log, stderr=log)]
    try:
        environment = data / "environment"
        wait(lambda: environment.exists() and "live page at" in (folder / "log").read_text(), processes, folder)
        told = dict(shlex.split(line)[1].split("=", 1) for line in environment.read_text().splitlines())
        ports["clickhouse"] = int(told["CX_CLICKHOUSE"].rpartition(":")[2])
        ports["broker"] = int(told["CX_KAFKA"].rpartition(":")[2])
        ports["metrics"] = int(told["CX_METRICS_PORT"])
        ports["board"] = int(
            (folder / "log").read_text().partition("live page at http://127.0.0.1:")[2].partition("/")[0]
        )
        ports["native"] = native_port(processes[0].pid)
        asked = {"CX_COLLECT_PORT": str(ports["door"]), "CX_COLLECT_METRICS_PORT": str(ports["door_metrics"])}
        processes.append(
            subprocess.Popen([*cx, "collect"], env={**os.environ, **told, **asked}, stdout=log, stderr=log)
        )
        wait(lambda: all(answers(ports[name], path) for name, path in (("door", "/health"), ("board", "/healthz"))),
             processes, folder)  # fmt: skip
        yield Running(folder, ports, processes, Credentials.of_directory(data / "clickhouse"))
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(PATIENCE_S)
        log.close()


def wait(condition: Any, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert all(process.poll() is None for process in processes), (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)


def answers(port: int, path: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            for child in children.read_text().split():
                found += family(int(child))
    return found


def native_port(pid: int) -> int:
    commands = [Path(f"/proc/{one}/cmdline").read_bytes().decode().split("\0") for one in family(pid)]
    engine = next(command for command in commands if "streams.local.clickhouse_engine" in command)
    return int(engine[engine.index("--listen") + 2])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as found:
        yield found


@pytest.fixture(scope="module")
def evil() -> Iterator[int]:
    """The server of the page: its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join(PATIENCE_S)
    server.server_close()


@pytest.fixture
def page(browser: Browser, evil: int) -> Iterator[tuple[Page, Answers]]:
    opened, seen = browser.new_page(), Answers(evil)
    opened.on("response", seen.note)
    opened.goto(f"http://{EVIL}:{evil}/")
    yield opened, seen
    opened.close()


def test_a_page_of_another_origin_reads_nothing(running: Running, page: tuple[Page, Answers]) -> None:
    """By whatever a page can ask with; and none of it is answered but by a refusal."""
    opened, seen = page
    for name, path in running.paths():
        if name in SILENT:
            assert opened.evaluate(READ, [f"http://127.0.0.1:{running.ports[name]}{path}", {}]) == ""
            continue
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{running.ports[name]}{path}"
            assert opened.evaluate(READ, [url, {}]) == "", url
        assert (
            opened.evaluate(READ, [url, {"credentials": "include", "headers": {"X-ClickHouse-User": "cx_reader"}}])
            == ""
        )
        assert opened.evaluate(READ, [url, {"mode": "no-cors"}]) == ""
        for tag, attribute in (("img", "src"), ("script", "src")):
            assert opened.evaluate(EMBED, [tag, attribute, url]) == "refused", url
    for name in ("board", "clickhouse", "door", "metrics", "broker", "native"):
        for scheme, path in (("http", "/stream"), ("ws", "/")):
            assert opened.evaluate(STREAM, f"{scheme}://127.0.0.1:{running.ports[name]}{path}") == "refused", name
    assert seen.good() == []
    assert {url.split("/")[2].split(":")[1] for _, url in seen.seen} >= {
        str(running.ports[name]) for name in ("clickhouse", "board", "metrics", "door", "door_metrics")
    }, "each was really asked"


def test_a_page_of_another_origin_changes_nothing(
    running: Running, page: tuple[Page, Answers], browser: Browser, evil: int
) -> None:
    """What needs no leave is sent all the same, and refused: texts, beacons, forms."""
    opened, seen = page
    passwords = running.passwords
    sql = "CREATE TABLE cx.stolen (x UInt8) ENGINE = Memory"
    bodies = {
        "clickhouse": (f"/?user=cx_admin&password={passwords.admin}", sql), "door": ("/v1/events", json.dumps(event(1))),
        "broker": ("/", "x" * 20_000), "native": ("/", "x"), "board": ("/", "x"), "metrics": ("/metrics", "x"),
    }  # fmt: skip
    for name, (path, body) in bodies.items():
        url = f"http://127.0.0.1:{running.ports[name]}{path}"
        for kind in ("text/plain", "application/x-www-form-urlencoded")[: 1 if name in SILENT else 2]:
            options = {"method": "POST", "mode": "no-cors", "body": body, "headers": {"Content-Type": kind}}
            assert opened.evaluate(READ, [url, options]) == ""
        opened.evaluate("([url, body]) => navigator.sendBeacon(url, body)", [url, body])
        with suppress(PlaywrightError):
            form = browser.new_page()
            form.on("response", seen.note)
            form.goto(f"http://{EVIL}:{evil}/")
            with form.expect_navigation(timeout=4_000):
                form.evaluate(FORM, [url, body, ""])
        form.close()
    assert seen.good() == []
    assert tables(running) == "0"
    metrics = (
        urllib.request.urlopen(f"http://127.0.0.1:{running.ports['door_metrics']}/metrics", timeout=30).read().decode()
    )
    taken = [line for line in metrics.splitlines() if line.startswith("cx_collector_events") and "accepted" in line]
    assert all(line.endswith((" 0", " 0.0")) for line in taken)


def tables(running: Running) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.ports['clickhouse']}/",
        data=b"SELECT count() FROM system.tables WHERE name = 'stolen'",
        headers={"X-ClickHouse-User": "cx_admin", "X-ClickHouse-Key": running.passwords.admin},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode().strip())


def test_a_name_that_points_here_is_not_answered(running: Running, browser: Browser) -> None:
    """A page that was loaded by such a name is of the listener's own origin, as the browser sees it."""
    opened, seen = browser.new_page(), Answers(0)
    opened.on("response", seen.note)
    for name, path in running.paths():
        with suppress(PlaywrightError):  # what speaks no HTTP ends as an error of the browser
            opened.goto(f"http://{EVIL}:{running.ports[name]}{path}", timeout=4_000)
        if name in SILENT:
            # Its page waits for an answer for ever, and can be asked nothing.
            opened.close()
            opened = browser.new_page()
            opened.on("response", seen.note)
            continue
        for read in (path, "/", "/metrics", "/?query=SELECT+42"):
            said = opened.evaluate(READ, [f"http://{EVIL}:{running.ports[name]}{read}", {}])
            assert not said or int(said[:3]) >= 400, (name, read, said)
            assert "42" not in said.splitlines()
    assert seen.good() == []
    assert {url.split("/")[2].split(":")[1] for _, url in seen.seen} >= {
        str(running.ports[name]) for name in ("clickhouse", "board", "metrics", "door", "door_metrics")
    }
    opened.close()


def test_no_process_list_shows_a_secret(running: Running) -> None:
    """Neither as an argument nor in the environment of anything that was started."""
    secrets = [text.encode() for text in (running.passwords.admin, running.passwords.writer, running.passwords.reader)]
    started = [pid for process in running.processes for pid in family(process.pid)]
    assert len(started) >= 6
    for pid in started:
        for place in ("cmdline", "environ"):
            told = Path(f"/proc/{pid}/{place}").read_bytes()
            assert not any(secret in told for secret in secrets), (pid, place)


def test_only_the_owner_reads_the_folder(running: Running) -> None:
    """The folder lets nobody else in, and what holds a secret says so itself."""
    data = running.folder / "data"
    assert [stat.S_IMODE((data / name).stat().st_mode) for name in (".", "secrets", "clickhouse")] == [0o700] * 3
    secrets = [text.encode() for text in (running.passwords.admin, running.passwords.writer, running.passwords.reader)]
    holding = [path for path in data.rglob("*") if path.is_file() and any(s in path.read_bytes() for s in secrets)]
    assert sorted(path.name for path in holding) == ["credentials.json", "reader", "writer"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}
