"""
The page's server: HTML at first, then the changed fragments over one event stream per viewer.

Everything a browser needs comes from here; the content policy forbids it to ask anybody else.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from streams.board.pages import PageRenderer, PageView
from streams.board.poller import EVERY_S, Poller
from streams.board.store import BoardStore
from streams.board.workers import Workers
from streams.definitions import steps_of
from streams.kpis.language.steps import Steps
from streams.listener.clients import Client, Clients, read_networks
from streams.listener.hosts import HostGuard, Hosts, named_hosts
from streams.listener.protocol import ConnectionLimits
from streams.listener.serving import server_of
from streams.settings import Settings
from streams.storage.connection import Address

log = logging.getLogger(__name__)

STATIC: Final = Path(__file__).parent / "static"
FIRST_ANSWER_S: Final = 1.2
"""So long the first page waits for numbers; without them it is shown all the same, and they follow."""
BEAT_S: Final = 15.0
"""A stream that has nothing to say says so, that proxies keep it open and a dead browser is noticed."""
VIEWS_KEPT: Final = 64
CLIENT_SHARE: Final = 0.25
"""Of the process's time, for one address, while others want it too."""
SPARE_CONNECTIONS: Final = 50
"""Beside the event streams: for pages, styles and scripts."""
READ_S: Final = 10.0

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Rendered:
    """The fragments of a view as of a version of what is known, and what was sent of the change before."""

    def __init__(self, version: int, fragments: dict[str, str]) -> None:
        self.version = version
        self.fragments = fragments
        self._messages: dict[int, bytes] = {}
        self._changed_at = dict.fromkeys(fragments, version)

    def renew(self, version: int, fragments: dict[str, str]) -> None:
        """Take over new fragments; those that are equal keep their age."""
        self._messages.clear()
        for name, text in fragments.items():
            if self.fragments.get(name) != text:
                self._changed_at[name] = version
        self.version, self.fragments = version, fragments

    def message(self, seen: int) -> bytes:
        """Return the event with all that changed after version `seen`; empty when nothing did."""
        if seen not in self._messages:
            changed = {name: self.fragments[name] for name, at in self._changed_at.items() if at > seen}
            data = json.dumps(changed, ensure_ascii=False) if changed else ""
            self._messages[seen] = f"event: parts\ndata: {data}\n\n".encode() if data else b""
        return self._messages[seen]


class _Stream(StreamingResponse):
    """An event stream that counts from before its first byte until its end, however it ends."""

    def __init__(self, seat: AbstractContextManager[None], content: AsyncIterator[bytes], **named: Any) -> None:
        super().__init__(content, **named)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            await super().__call__(scope, receive, send)


class BoardServer:
    """The application: one poller, many viewers."""

    def __init__(
        self,
        address: Address,
        *,
        every_s: float = EVERY_S,
        viewers: int = 200,
        client_viewers: int = 20,
        workers: Workers = Workers(()),  # noqa: B008 - never changed
        days: Steps = Steps("day", 1),  # noqa: B008 - never changed
    ) -> None:
        self.poller = Poller(BoardStore(address), every_s=every_s, troubles=workers.troubles)
        self._most_viewers = viewers
        self._most_of_client = client_viewers
        self.viewers = 0
        self.failed = asyncio.Event()
        """Set when the poller has ended by a fault: a page that stands still for good must not look alive."""
        self._pages = PageRenderer(days)
        self._rendered: OrderedDict[PageView, Rendered] = OrderedDict()
        self._stopping = asyncio.Event()

    def app(self, hosts: Hosts) -> Starlette:
        """Return the ASGI application, which answers to the given names only."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/stream", self._stream),
                Route("/runbook", self._runbook),
                Route("/healthz", self._health),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[
                Middleware(HostGuard, hosts),
                Middleware(GZipMiddleware, minimum_size=2_000, compresslevel=4),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        polling = asyncio.create_task(self.poller.run())
        polling.add_done_callback(self._ended)
        yield
        polling.cancel()
        await self.poller.stop()

    def _ended(self, polling: asyncio.Task[None]) -> None:
        if not polling.cancelled() and (error := polling.exception()) is not None:
            log.error("the poller ended by a fault", exc_info=error)
            self.failed.set()
            self.stop()

    def stop(self) -> None:
        """Let all streams end, so that the server can."""
        self._stopping.set()

    def _view(self, request: Request) -> PageView:
        known = self.poller.known
        view = PageView.of(request.query_params, known.windows, known.infos)
        self.poller.want(view.window, view.kpi)
        return view

    async def _page(self, request: Request) -> Response:
        view = self._view(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_S):
                while not self.poller.has(view.window):
                    await self.poller.next_version(self.poller.version)
        # Which windows and KPIs there are may be known only now.
        view = self._view(request)
        return HTMLResponse(self._pages.whole(view, self.poller.known, time.time()), headers=_HEADERS)

    async def _runbook(self, _: Request) -> Response:
        return HTMLResponse(self._pages.runbook(), headers=_HEADERS)

    async def _health(self, _: Request) -> Response:
        known = self.poller.known
        return JSONResponse(
            {
                "viewers": self.viewers,
                "asked": self.poller.store.asked,
                "rounds": self.poller.version,
                "clickhouse": "away" if known.away_since else "refuses" if known.refusal else "answers",
            }
        )

    async def _stream(self, request: Request) -> Response:
        client: Client | None = request.scope.get("state", {}).get("client")
        if self.viewers >= self._most_viewers or (client and client.streams >= self._most_of_client):
            said = "too many look at the live page: CX_BOARD_VIEWERS, and CX_BOARD_CLIENT_VIEWERS from one address"
            return JSONResponse({"error": "too_many_viewers", "message": said}, 503, {"Retry-After": "60"})
        # An event stream that is compressed is held back until enough has come together.
        headers = {**_HEADERS, "X-Accel-Buffering": "no", "Content-Encoding": "identity"}
        return _Stream(self._seat(client), self._events(request), media_type="text/event-stream", headers=headers)

    @contextlib.contextmanager
    def _seat(self, client: Client | None) -> Iterator[None]:
        self.viewers += 1
        if client:
            client.streams += 1
        try:
            yield
        finally:
            self.viewers -= 1
            if client:
                client.streams -= 1

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        view, seen = self._view(request), -1
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set():
                # What the reader asked for may have become known, or been taken out of the catalogue.
                view = self._view(request)
                rendered = self.rendered(view)
                if message := rendered.message(seen):
                    yield message
                seen = rendered.version
                news = asyncio.create_task(self.poller.next_version(seen))
                await asyncio.wait({news, stopping}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    news.cancel()
                    yield b": nothing new\n\n"
        finally:
            stopping.cancel()

    def rendered(self, view: PageView) -> Rendered:
        """Return a view's fragments as of now; made once for all who look at it."""
        version = self.poller.version
        found = self._rendered.get(view)
        if found is None or found.version != version:
            fragments: dict[str, str] = dict(self._pages.fragments(view, self.poller.known, time.time()))
            if found is None:
                found = self._rendered[view] = Rendered(version, fragments)
                while len(self._rendered) > VIEWS_KEPT:
                    self._rendered.popitem(last=False)
            else:
                found.renew(version, fragments)
        self._rendered.move_to_end(view)
        return found


def serve(address: Address, settings: Settings) -> None:
    """
    Serve the page until SIGINT or SIGTERM.

    Raises:
        SystemExit: With code 1, when the port is taken or a fault ends the polling.
    """
    board = BoardServer(
        address,
        viewers=settings.board_viewers,
        client_viewers=settings.board_client_viewers,
        workers=Workers.of(settings),
        days=steps_of(settings, "1d"),
    )
    hosts = Hosts(settings.board_host, named_hosts(settings.http_hosts))
    limits = ConnectionLimits(
        connections=settings.board_viewers + SPARE_CONNECTIONS,
        client_connections=settings.board_client_viewers + SPARE_CONNECTIONS,
        read_s=READ_S,
        refused=lambda: None,
    )
    server_of(
        board.app(hosts),
        Clients(CLIENT_SHARE, read_networks(settings.http_proxies)),
        limits,
        graceful_s=3,
        # Streams end first: they would keep it waiting.
        ending=board.stop,
        failed=board.failed.is_set,
        host=settings.board_host,
        port=settings.board_port,
    ).run()
    if board.failed.is_set():
        sys.exit(1)
