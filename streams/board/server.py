"""
The page's server: HTML at first, then the changed fragments over one event stream per viewer.

Everything a browser needs comes from here; the content policy forbids it to ask anybody else.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from streams.board.caseserver import CaseServer
from streams.board.pages import PageRenderer, PageView
from streams.board.poller import EVERY_S, Poller
from streams.board.rounds import Rounds
from streams.board.store import BoardStore
from streams.board.streaming import HEADERS, Renderings, Streams
from streams.board.workers import Workers
from streams.definitions import steps_of
from streams.kpis.language.steps import Steps
from streams.listener.clients import Clients, read_networks
from streams.listener.hosts import HostGuard, Hosts, named_hosts
from streams.listener.protocol import ConnectionLimits
from streams.listener.serving import server_of
from streams.settings import Settings
from streams.storage.connection import Address

log = logging.getLogger(__name__)

STATIC: Final = Path(__file__).parent / "static"
FIRST_ANSWER_S: Final = 1.2
"""So long the first page waits for numbers; without them it is shown all the same, and they follow."""
CLIENT_SHARE: Final = 0.25
"""Of the process's time, for one address, while others want it too."""
SPARE_CONNECTIONS: Final = 50
"""Beside the event streams: for pages, styles and scripts."""
READ_S: Final = 10.0


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
        self.streams = Streams(viewers, client_viewers)
        self.failed = asyncio.Event()
        """Set when the poller has ended by a fault: a page that stands still for good must not look alive."""
        self.cases: CaseServer | None = None
        self._pages = PageRenderer(days)
        self.renderings: Renderings[PageView] = Renderings(
            self.poller, lambda view: self._pages.fragments(view, self.poller.known, time.time())
        )

    def add_cases(self, address: Address, settings: Settings) -> None:
        """
        Add the case page.

        Raises:
            ConfigError: The key to act cannot be read, or could be guessed.
            CatalogueError: The rules for cases cannot be right.
        """
        self.cases = CaseServer(address, settings, self.streams)

    def app(self, hosts: Hosts) -> Starlette:
        """Return the ASGI application, which answers to the given names only."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/stream", self._stream),
                Route("/runbook", self._runbook),
                Route("/healthz", self._health),
                Mount("/static", StaticFiles(directory=STATIC)),
                *(self.cases.routes() if self.cases else ()),
            ],
            middleware=[
                Middleware(HostGuard, hosts),
                Middleware(GZipMiddleware, minimum_size=2_000, compresslevel=4),
            ],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        kept: list[Rounds[Any]] = [self.poller, *([self.cases.watch] if self.cases else [])]
        polling = [asyncio.create_task(rounds.run()) for rounds in kept]
        for task in polling:
            task.add_done_callback(self._ended)
        yield
        for task, rounds in zip(polling, kept, strict=True):
            task.cancel()
            await rounds.stop()
        if self.cases:
            self.cases.close()

    def _ended(self, polling: asyncio.Task[None]) -> None:
        if not polling.cancelled() and (error := polling.exception()) is not None:
            log.error("the poller ended by a fault", exc_info=error)
            self.failed.set()
            self.stop()

    def stop(self) -> None:
        """Let all streams end, so that the server can."""
        self.streams.stop()

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
        return HTMLResponse(self._pages.whole(view, self.poller.known, time.time()), headers=HEADERS)

    async def _runbook(self, _: Request) -> Response:
        return HTMLResponse(self._pages.runbook(), headers=HEADERS)

    async def _health(self, _: Request) -> Response:
        known = self.poller.known
        return JSONResponse(
            {
                "viewers": self.streams.viewers,
                "asked": self.poller.store.asked,
                "rounds": self.poller.version,
                "clickhouse": "away" if known.away_since else "refuses" if known.refusal else "answers",
            }
        )

    async def _stream(self, request: Request) -> Response:
        # What the reader asked for may have become known, or been taken out of the catalogue.
        return self.streams.answer(request, self.renderings, lambda: self._view(request))


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
    board.add_cases(address, settings)
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
