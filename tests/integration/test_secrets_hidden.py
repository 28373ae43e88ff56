"""Secrets in every setting that takes one, a whole job and every command: what may be seen holds none of them."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from streams.cli import _COMMANDS
from streams.collector.access import make_key
from tests.harness.door import ROOT, DoorProcess, event

PATIENCE_S = 300.0
RUNS = [
    ["status", "--json"], ["doctor"], ["doctor", "--json"], ["topics", "--check"], ["migrate"],
    ["query", "SELECT 1"], ["verify"], ["repair"], ["dlq", "list"], ["kpis", "list"], ["rules", "list"], ["schemas", "check"],
    ["dashboards", "check"], ["board", "--host", "192.0.2.1"], ["collect", "--host", "192.0.2.1"], ["replay", "jsonl", "--path", "/"],
    ["simulate", "--rate", "none"], ["sources", "show"], ["relations", "list"], ["experiments", "list"], ["drivers", "rank"], ["value", "summary"],
    ["cases", "list"], ["surveys", "check"], ["gaps", "listening"], ["report", "--week", "--out", "/"],
    ["synthetic", "run", "web-order"], ["products", "defects"],
    ["forget", "nobody"], ["export", "nobody"],
]  # fmt: skip
ELSEWHERE = {"up", "worker", "test"}
"""The job itself, and the tests."""


@pytest.mark.slow
def test_no_secret_is_seen_anywhere(tmp_path: Path) -> None:
    """Neither in logs, output, command lines, metrics nor on the page."""
    assert {run[0] for run in RUNS} | ELSEWHERE == set(_COMMANDS)
    key, entry = make_key("sender")
    secrets = {name: f"{name}-secret-5e1c0b7a" for name in ("path", "query", "token", "signature", "password")} | {
        "key": key
    }
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\n")
    (tmp_path / "keys.toml").write_text(entry)
    environment = os.environ | {
        "CX_WEBHOOKS": f"https://127.0.0.1:1/in/{secrets['path']}?key={secrets['query']}",
        "CX_CASE_WEBHOOKS": f"https://127.0.0.1:1/in/{secrets['path']}",
        "CX_CASES": "shipped",
        "CX_WEBHOOK_TOKEN_FILE": str(tmp_path / "token"),
        "CX_WEBHOOK_SECRET_FILE": str(tmp_path / "signature"),
        "CX_ALERTMANAGERS": "http://127.0.0.1:1",
        "CX_ALERTMANAGER_USER": "cx",
        "CX_ALERTMANAGER_PASSWORD_FILE": str(tmp_path / "password"),
        "CX_COLLECT_KEYS_FILE": str(tmp_path / "keys.toml"),
        "CX_LOG_LEVEL": "DEBUG",
    }
    data = tmp_path / "data"
    seen: dict[str, str] = {}
    with (tmp_path / "up.log").open("wb") as out:
        up = subprocess.Popen(
            [sys.executable, "-m", "streams", "up", "--no-simulate", "--data", str(data)],
            cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait(lambda: (data / "environment").is_file() and "http://" in (tmp_path / "up.log").read_text(), up)
        environment |= dict(
            shlex.split(line)[1].split("=", 1) for line in (data / "environment").read_text().splitlines()
        )
        passwords = json.loads((data / "clickhouse" / "credentials.json").read_text())
        secrets |= {name: value for name, value in passwords.items() if isinstance(value, str) and len(value) > 10}
        _wait(lambda: "/cases (key" in (tmp_path / "up.log").read_text(), up)
        cases = str(re.findall(r"http://[^ ]+/cases", (tmp_path / "up.log").read_text())[0])
        _wait(lambda: "viewers" in _get(cases.replace("/cases", "/healthz")), up)
        secrets["board"] = (data / "secrets" / "board").read_text()
        assert len(secrets) >= 10
        seen["sign-in"] = _signed_in(cases, secrets["board"])
        door = DoorProcess(environment, tmp_path / "door.log")
        try:
            assert door.post(event(), Authorization=f"Bearer {key}").status == 202
            assert door.post(event(), Authorization=f"Bearer {key}-wrong").status == 401
        finally:
            assert door.stop() == 0
        for run in RUNS:
            done = subprocess.run(
                [sys.executable, "-m", "streams", *run],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
            )  # fmt: skip
            seen[f"cx {' '.join(run)}"] = done.stdout + done.stderr
        for url in set(re.findall(r"http://127\.0\.0\.1:\d+", (tmp_path / "up.log").read_text())):
            for path in ("/", "/metrics", "/cases", "/sign-in"):
                seen[url + path] = _get(url + path)
        seen[".../metrics"] = _get(f"http://127.0.0.1:{environment['CX_METRICS_PORT']}/metrics")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                seen[str(process)] = (process / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(PATIENCE_S)
    for log in (tmp_path / "up.log", tmp_path / "door.log", *(data / "logs").iterdir()):
        seen[log.name] = log.read_text(errors="replace")
    assert "cx_records" in seen[".../metrics"]
    assert "webhooks" in seen["cx doctor"]
    assert "https://127.0.0.1:1/…?…" in seen["cx doctor"]
    found = [(where, name) for where, text in seen.items() for name, secret in secrets.items() if secret in text]
    assert found == []


def _wait(condition: object, up: subprocess.Popen[bytes]) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert up.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _signed_in(url: str, key: str) -> str:
    """What the page says to the key, and to one that is nearly it."""
    where = urllib.parse.urlsplit(url)
    answers = ""
    for given, wanted in ((f"{key}x", 401), (key, 303)):
        connection = http.client.HTTPConnection(where.netloc, timeout=60)
        form = urllib.parse.urlencode({"key": given, "name": "Neda"})
        headers = {"Origin": f"http://{where.netloc}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/sign-in", form, headers)
        answer = connection.getresponse()
        assert answer.status == wanted
        answers += f"{answer.headers}{answer.read().decode()}"
        connection.close()
    return answers


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode(errors="replace"))
    except (urllib.error.URLError, OSError) as error:
        return str(error)
