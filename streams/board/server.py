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
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from streams.board.pages import Pages, View
from streams.board.poller import EVERY_S, Poller
from streams.board.store import Store
from streams.settings import is_loopback
from streams.storage.connection import Address

log = logging.getLogger(__name__)

STATIC: Final = Path(__file__).parent / "static"
FIRST_ANSWER_S: Final = 1.2
"""So long the first page waits for numbers; without them it is shown all the same, and they follow."""
BEAT_S: Final = 15.0
"""A stream that has nothing to say says so, that proxies keep it open and a dead browser is noticed."""
VIEWS_KEPT: Final = 64

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


class Board:
    """The application: one poller, many viewers."""

    def __init__(self, address: Address, *, every_s: float = EVERY_S) -> None:
        self.poller = Poller(Store(address), every_s=every_s)
        self.viewers = 0
        self.failed = asyncio.Event()
        """Set when the poller has ended by a fault: a page that stands still for good must not look alive."""
        self._pages = Pages()
        self._rendered: OrderedDict[View, Rendered] = OrderedDict()
        self._stopping = asyncio.Event()

    def app(self, hosts: list[str]) -> Starlette:
        """Return the ASGI application, which answers only to the given host names (`*`: any)."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/stream", self._stream),
                Route("/healthz", self._health),
                Mount("/static", StaticFiles(directory=STATIC)),
            ],
            middleware=[
                # A page on the web must not read this one by a name that it made point at loopback.
                Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
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

    def _view(self, request: Request) -> View:
        known = self.poller.known
        view = View.of(request.query_params, known.windows, known.infos)
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
        # An event stream that is compressed is held back until enough has come together.
        headers = {**_HEADERS, "X-Accel-Buffering": "no", "Content-Encoding": "identity"}
        return StreamingResponse(self._events(request), media_type="text/event-stream", headers=headers)

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        view, seen = self._view(request), -1
        self.viewers += 1
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
            self.viewers -= 1

    def rendered(self, view: View) -> Rendered:
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


class _Server(uvicorn.Server):
    """
    Ends the streams first when asked to end: they would keep it waiting.

    To be asked to end is no failure: the signal is not raised again afterwards, as the library would.
    """

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        self._board = board

    async def on_tick(self, counter: int) -> bool:
        """End too when the poller has."""
        return await super().on_tick(counter) or self._board.failed.is_set()

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002
        self._board.stop()
        self.should_exit = True


def serve(address: Address, host: str, port: int) -> None:
    """
    Serve the page until SIGINT or SIGTERM.

    Raises:
        SystemExit: With code 1, when the port is taken or a fault ends the polling.
    """
    board = Board(address)
    hosts = ["localhost", "127.0.0.1", "[::1]", host] if is_loopback(host) else ["*"]
    config = uvicorn.Config(
        board.app(hosts),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    _Server(config, board).run()
    if board.failed.is_set():
        sys.exit(1)
