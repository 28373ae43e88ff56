"""A store filled by hand, and the live page in a process of its own in front of it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streams.kpis.arithmetic.intervals import wilson
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.lengths import TOTAL, WINDOWS
from streams.local.ports import free_port
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event


class Wall:
    """The seeded store: what is put in here is what the page must show."""

    def __init__(self, database: Database) -> None:
        self.database = database
        prepare(database.admin, Catalogue.load(), lambda _: None)
        self.minute = int(time.time()) // 60 * 60 - 60
        """End of the newest closed minute."""
        self._revision = 0
        self._offset = 0
        self._alerts = 0

    def share(self, kpi: str, hits: int, n: int, **labels: str) -> None:
        """Publish a share in all windows, as of the newest closed minute."""
        lo, hi = wilson(hits, n) if n else (0.0, 0.0)
        shown = (100 * hits / n, n, 100 * lo, 100 * hi) if n else (None, 0, None, None)
        self.values(kpi, *shown, **labels)

    def values(self, kpi: str, value: Any, n: int, lo: Any = None, hi: Any = None, at: int = 0, **labels: str) -> None:
        self._revision += 1
        stat = labels.pop("stat", "")
        columns = [
            "kpi",
            "labels",
            "window",
            "stat",
            "at",
            "value",
            "n",
            "lo",
            "hi",
            "definition",
            "maturity",
            "revision",
        ]
        end = datetime.fromtimestamp(at or self.minute, UTC).replace(tzinfo=None)
        rows = [
            [kpi, labels, window, stat, end, value, n, lo, hi, f"{kpi}@1", "closed", self._revision]
            for window in (*WINDOWS, TOTAL)
        ]
        self.database.client.insert("kpi_values", rows, column_names=columns)

    def trend(self, kpi: str, n: int, hits: list[int], **labels: str) -> None:
        """Fill the last quarters of an hour, one minute each."""
        quarter = self.minute // 900 * 900
        rows = [
            [kpi, labels, datetime.fromtimestamp(quarter - 900 * back - 60, UTC).replace(tzinfo=None), 0, 1, [n, count]]
            for back, count in enumerate(reversed(hits))
        ]
        names = ["kpi", "labels", "minute", "part", "revision", "fields"]
        self.database.client.insert("kpi_minutes", rows, column_names=names)

    def say(self, text: str, channel: str = "web", **changes: Any) -> None:
        """Store what a customer wrote just now."""
        self.happens({"text": text, "score": 4}, channel, touchpoint="checkout", **changes)

    def happens(self, data: dict[str, Any], channel: str = "web", ago_s: float = 0, **changes: Any) -> None:
        """Store an event."""
        at = datetime.fromtimestamp(time.time() - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        payload = event(self._offset, time=at, channel=channel, data=data, **changes)
        writer = Writer(self.database.writer)
        writer.insert_block(block_of([payload], self._offset, topic=f"cx.touchpoints.{channel}"))
        writer.close()
        self._offset += 1

    def alert(self, rule: str, new: str, **changes: Any) -> None:
        """Store a transition of an alert on customer satisfaction."""
        self._alerts += 1
        row = {
            "id": f"0/0/{self._alerts}", "at": datetime.fromtimestamp(self.minute, UTC).replace(tzinfo=None), "rule": rule,
            "kpi": "csat", "labels": {"channel": "web"}, "old": "pending", "new": new, "why": f"PENDING => {new.upper()}",
            "severity": "page", "owner": "cx", "inhibited_by": "", "episode": rule, "window": "15m", "unit": "percent",
            "value": 61.0, "n": 120, "lo": 52.0, "hi": 69.0, "baseline": 83.0,
            "contributors": json.dumps([{"labels": {"region": "tehran"}, "explained": 0.62}]),
            "annotations": {"summary": f"{rule}: satisfaction fell"},
        }  # fmt: skip
        row |= changes
        self.database.client.insert("alerts", [list(row.values())], column_names=list(row))

    def advise(self, how: str) -> None:
        """Store an action that comes first."""
        row = {
            "judged_at": datetime.fromtimestamp(self.minute, UTC), "outcome": "csat", "place": 1, "standing": "ranked",
            "how": how, "owner": "logistics", "days": 5.0, "gain": 0.06, "gain_lo": 0.05, "gain_hi": 0.07,
            "customers": 125.0, "at_stake": 5_500.0, "currency": "EUR", "basis": "association",
        }  # fmt: skip
        self.database.client.insert("driver_actions", [list(row.values())], column_names=list(row))


def filled(database: Database) -> Wall:
    """Return a store with something for every part of the page."""
    wall = Wall(database)
    day = wall.minute - 86_400
    wall.share("csat", 640, 800)
    for channel, hits, n in (("web", 270, 300), ("app", 180, 200), ("call_center", 110, 200), ("store", 3, 4)):
        wall.share("csat", hits, n, channel=channel)
    wall.share("csat", 195, 200, channel="web", touchpoint="checkout")
    wall.share("csat", 60, 150, channel="call_center", touchpoint="phone_agent")
    wall.share("csat", 2, 3, channel="app", touchpoint="payment")
    wall.trend("csat", 100, [82, 84, 79, 81, 85, 80, 78, 83])
    lo, hi = wilson(950, 1000)
    # The quarter of an hour a day earlier is compared with only if it began after the first event.
    for at in (day - 900, day):
        wall.values("csat", 95.0, 1000, 100 * lo, 100 * hi, at=at)
    wall.share("nps", 0, 0)
    wall.values("asa", 154.0, 90, 140.0, 168.0)
    wall.values("volume", 4_321.0, 4_321)
    for channel in ("web", "app", "store", "call_center"):
        wall.values("volume", 1_000.0, 1_000, channel=channel)
    wall.say("پرداخت انجام نشد و پولم برگشت نخورد، لطفاً با ۰۹۱۲۳۴۵۶۷۸۹ تماس بگیرید", subject="ali@example.com")
    wall.say("Easy to order, thank you", "app")
    wall.alert("SatisfactionLow", "firing")
    wall.share("synthetic_success", 4, 4, path="web-order")
    wall.advise("Stronger boxes for fragile goods")
    return wall


class Board:
    """A running page."""

    def __init__(self, port: int, pid: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pid = pid

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=60) as answer:
            return dict(json.load(answer))

    def cpu_s(self) -> float:
        ticks = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_board(database: Database, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Board]:
    port, password = free_port(), log.with_suffix(".password")
    password.write_text(database.reader.password)
    settings = {
        "CX_CLICKHOUSE": database.reader.url, "CX_CLICKHOUSE_DATABASE": database.name,
        "CX_CLICKHOUSE_USER": database.reader.user, "CX_CLICKHOUSE_PASSWORD_FILE": str(password),
        # All of a test's viewers come from one address.
        "CX_BOARD_CLIENT_VIEWERS": "100",
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "board", "--port", str(port)],
            env={**os.environ, **settings, **(environment or {})},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    board = Board(port, process.pid)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                board.health()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the page does not answer"
                time.sleep(0.1)
        yield board
    finally:
        process.terminate()
        assert process.wait(120) == 0, log.read_text()


class Listener(threading.Thread):
    """A viewer without a browser."""

    def __init__(self, board: Board) -> None:
        super().__init__(daemon=True)
        self.heard = 0
        where = urlsplit(board.url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=300)
        self._connection.request("GET", "/stream")
        assert self._connection.sock is not None
        self._socket = self._connection.sock
        self._answer = self._connection.getresponse()

    def run(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):  # how reading ends when `leave` closes it
            while line := self._answer.readline():
                self.heard += len(line)

    def leave(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self.join(180)
        self._answer.close()
        self._connection.close()


def questions_per_second(board: Board, viewers: int, seconds: float) -> tuple[float, float]:
    """Return the store's questions and the page's CPU seconds per second with so many viewers."""
    listeners = [Listener(board) for _ in range(viewers)]
    for listener in listeners:
        listener.start()
    try:
        deadline = time.monotonic() + 180
        while board.health()["viewers"] < viewers:
            assert time.monotonic() < deadline, "not everybody was let in"
            time.sleep(0.1)
        time.sleep(4)
        asked, cpu, started = board.health()["asked"], board.cpu_s(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - started
        result = (board.health()["asked"] - asked) / took, (board.cpu_s() - cpu) / took
    finally:
        for listener in listeners:
            listener.leave()
    assert all(listener.heard > 10_000 for listener in listeners), "somebody saw nothing"
    return result
