"""The routes of the case page: the queue, one case, and their event streams."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from streams.board.casepages import CasePages
from streams.board.casewatch import CaseWatch
from streams.board.queue import CaseNames, CaseView
from streams.board.store import BoardStore
from streams.board.streaming import HEADERS, Renderings, Streams
from streams.definitions import shown_case_rules, steps_of, touchpoints_of
from streams.settings import Settings
from streams.storage.connection import Address

FIRST_ANSWER_S = 3.0
"""So long the first page waits for the cases; without them it is shown all the same, and they follow."""


class CaseServer:
    """The case page: what it shows is kept up to date by a watch of its own."""

    def __init__(self, address: Address, settings: Settings, streams: Streams) -> None:
        self.watch = CaseWatch(BoardStore(address))
        names = CaseNames(shown_case_rules(settings), touchpoints_of(settings))
        self._pages = CasePages(names, opens=bool(settings.cases), days=steps_of(settings, "1d"))
        self._streams = streams
        self._renderings: Renderings[CaseView] = Renderings(self.watch, self._fragments)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/cases", self._page, methods=["GET"]),
            Route("/cases/{case_id:path}", self._page, methods=["GET"]),
            Route("/stream/cases", self._stream),
            Route("/stream/cases/{case_id:path}", self._stream),
        ]

    def _view(self, request: Request) -> CaseView:
        view = CaseView.of(request.query_params, request.path_params.get("case_id", ""))
        self.watch.want(view.case_id)
        return view

    def _fragments(self, view: CaseView) -> Mapping[str, str]:
        return self._pages.fragments(view, self.watch.known, time.time())

    async def _page(self, request: Request) -> Response:
        view = self._view(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_S):
                while not self.watch.has(view.case_id):
                    await self.watch.next_version(self.watch.version)
        known = self.watch.known
        missing = bool(view.case_id) and known.opened.get(view.case_id, known) is None
        page = self._pages.whole(view, known, time.time())
        return HTMLResponse(page, 404 if missing else 200, headers=HEADERS)

    async def _stream(self, request: Request) -> Response:
        return self._streams.answer(request, self._renderings, lambda: self._view(request))
