"""The HTTP door in the test's own process, or in one of its own; and events to send it."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streams.collector.sending import MemoryBudget
from streams.collector.server import Door, door_server
from streams.events.types import Envelope
from streams.listener.clients import Work
from streams.listener.serving import listen
from streams.settings import Settings
from tests.harness.topics import PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent.parent
CAME_AT = "2026-11-22T10:00:00Z"


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An event that is right; `None` takes an attribute away."""
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "/shop/web",
        "type": "cx.page.viewed",
        "time": CAME_AT,
        "subject": f"c-{number % 20}",
        "channel": "web",
        "data": {"page": "home"},
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


@dataclass
class Answer:
    """What the door said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def outcomes(self) -> list[str]:
        return [told["outcome"] for told in self.json["events"]]


@dataclass
class Taken:
    """Stands for Kafka: keeps what it is given, and confirms all but the places in `lost`."""

    lost: frozenset[int] = frozenset()
    payloads: list[bytes] = field(default_factory=list)
    events: list[Envelope] = field(default_factory=list)
    closed: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed, it holds back the answers."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """That something was to be delivered."""

    def __post_init__(self) -> None:
        self.gate.set()

    async def deliver(self, payloads: Sequence[bytes], events: Sequence[Envelope | None], work: Work) -> frozenset[int]:
        for payload, one in zip(payloads, events, strict=True):
            if one is not None:
                self.payloads.append(payload)
                self.events.append(one)
        self.came.set()
        await self.gate.wait()
        return self.lost

    def close(self) -> None:
        self.closed = True


class InProcess:
    """The application without a network."""

    def __init__(self, app: Any, taken: Taken) -> None:
        self._app = app
        self.taken = taken

    async def post(self, body: Any, path: str = "/v1/events", **headers: str) -> Answer:
        """Send bytes as they are, lists of bytes in pieces, anything else as JSON; `_` in names of headers is `-`."""
        if not isinstance(body, bytes | list) or (
            isinstance(body, list) and not all(isinstance(x, bytes) for x in body)
        ):
            body = json.dumps(body, ensure_ascii=False).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", path, {"content-type": "application/json", **named}, body)

    async def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | list[bytes] = b"") -> Answer:
        pieces = list(body) if isinstance(body, list) else [body]
        target, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": target, "raw_path": target.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in {"host": "127.0.0.1", **headers}.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0) if pieces else None
            if piece is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], head, b"".join(part.get("body", b"") for part in sent[1:]))


@asynccontextmanager
async def door_in_process(
    settings: Settings | None = None, lost: frozenset[int] = frozenset()
) -> AsyncIterator[InProcess]:
    taken = Taken(lost)
    # The times of events in tests stand still: they are not to be late one day.
    app = Door(
        settings or Settings(retention_s=1e9), sender=lambda _settings, _budget: taken, ask=lambda _settings: []
    ).app()
    async with app.router.lifespan_context(app):
        yield InProcess(app, taken)


@contextmanager
def door_in_thread(settings: Settings) -> Iterator[tuple[str, int, Taken]]:
    """The real server on a port of its own, with something that stands for Kafka behind it."""
    taken = Taken()

    def sender(_settings: Settings, _budget: MemoryBudget) -> Taken:
        return taken

    listening = listen("127.0.0.1", 0)
    server = door_server(Door(settings, sender=sender, ask=lambda _settings: []), settings)
    thread = threading.Thread(target=server.run, args=([listening],))
    host, port = listening.getsockname()
    thread.start()
    try:
        yield host, port, taken
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class DoorProcess:
    """`cx collect` as a process."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams", "collect"],
                env={
                    **os.environ,
                    "CX_COLLECT_PORT": "0",
                    "CX_COLLECT_METRICS_PORT": "0",
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if "events may be sent to " not in said:
            self.kill()
            raise AssertionError(f"no door: {said}{log.read_text(errors='replace')}")
        self.url = said.split("sent to ")[1].split()[0]
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        self.host, self.port = parts.hostname, parts.port

    def post(self, body: Any, timeout_s: float = PATIENCE_S, **headers: str) -> Answer:
        """Send over a connection of its own."""
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return self.ask("POST", "/v1/events", content, {"Content-Type": "application/json", **headers}, timeout_s)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def children(self) -> list[int]:
        """The processes of a door that has several."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self._end()
        return code

    def _end(self) -> None:
        self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
