"""`/metrics` over a real connection: what it tells, whom, and how often it is written down."""

import http.client
import socket

import pytest

from streams import metrics
from streams.commands.worker import _expose
from streams.listener import exposition
from streams.listener.serving import listen
from streams.settings import Settings

PATIENCE_S = 120


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(exposition, "FRESH_S", 1e9)
    listening = listen("127.0.0.1", 0)
    exposition.serve(listening, "127.0.0.1", ["metrics.example"])
    return int(listening.getsockname()[1])


def ask(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def test_metrics_are_told_and_written_down_once_for_all_who_ask(port: int) -> None:
    metrics.STORE_RETRIES.inc()
    status, kind, text = ask(port)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE cx_store_retries_total counter" in text
    metrics.STORE_RETRIES.inc()
    assert ask(port)[2] == text


def test_names_and_pages_of_others_are_not_answered(port: int) -> None:
    assert ask(port, Host="metrics.example")[0] == 200
    assert ask(port, Host="evil.example")[0] == 421
    assert ask(port, Origin="https://evil.example")[0] == 403
    assert ask(port, "/other")[0] == 404


def test_connections_are_bounded(port: int) -> None:
    most = exposition.LIMITS.client_connections
    crowd = [socket.create_connection(("127.0.0.1", port), PATIENCE_S) for _ in range(most)]
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as beyond:
            assert beyond.recv(1_000).startswith(b"HTTP/1.1 429")
    finally:
        for connection in crowd:
            connection.close()


def test_a_worker_whose_port_is_taken_says_which_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            _expose(Settings(metrics_port=port))
    assert ended.value.code == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"cx worker: cannot listen at 127.0.0.1:{port} (CX_METRICS_HOST, CX_METRICS_PORT): ")
