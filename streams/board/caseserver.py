"""The routes of the case page: the queue, one case, their event streams, signing in, and what people do."""

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from streams.board.acting import ActionAnswer, CaseWriter, UnreadableActionError, read_action
from streams.board.casepages import CasePages, Shell
from streams.board.casewatch import CaseWatch
from streams.board.queue import CaseNames, CaseView
from streams.board.signing import SESSION_S, WriteAccess, WrongKeys, name_of_person
from streams.board.store import BoardStore
from streams.board.streaming import HEADERS, Renderings, Streams
from streams.definitions import relations_of, shown_case_rules, steps_of, touchpoints_of
from streams.producers.cases import CaseSender
from streams.settings import Settings, read_secret
from streams.storage.connection import Address, StorageError

FIRST_ANSWER_S: Final = 3.0
"""So long the first page waits for the cases; without them it is shown all the same, and they follow."""
LONGEST_FORM: Final = 4_096
_EVENT: Final = re.compile(r"[A-Za-z0-9._-]{1,249}/[0-9]{1,6}/[0-9]{1,19}")
_FIELDS: Final = 16
_FORM: Final = "application/x-www-form-urlencoded"
_HEADERS: Final = {**HEADERS, "Referrer-Policy": "same-origin"}
"""Without any referrer a browser does not say either of whose page a form is."""


class RefusedFormError(Exception):
    """A form is not taken: the status, the word for it, and what is expected."""

    def __init__(self, status: int, word: str, expected: str) -> None:
        super().__init__(expected)
        self.status = status
        self.word = word


class CaseServer:
    """
    The case page: what it shows is kept up to date by a watch of its own.

    Raises:
        ConfigError: The key cannot be read, or could be guessed.
        CatalogueError: The rules for cases cannot be right.
    """

    def __init__(self, address: Address, settings: Settings, streams: Streams) -> None:
        key = read_secret("board_write_key_file", settings.board_write_key_file)
        self.access = WriteAccess(key) if key else None
        self.writer = CaseWriter(BoardStore(address), CaseSender(settings))
        names = CaseNames(shown_case_rules(settings), touchpoints_of(settings))
        derived = [relation.emits for relation in relations_of(settings).values()]
        self.watch = CaseWatch(BoardStore(address), names.rank, derived=derived)
        self._pages = CasePages(names, opens=bool(settings.cases), writes=bool(key), days=steps_of(settings, "1d"))
        self._wrong = WrongKeys()
        self._streams = streams
        self._renderings: Renderings[CaseView] = Renderings(self.watch, self._fragments)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/cases", self._page, methods=["GET"]),
            Route("/cases/{case_id:path}", self._page, methods=["GET"]),
            Route("/cases/{case_id:path}", self._act, methods=["POST"]),
            Route("/sign-in", self._ask, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/customers/{event:path}", self._page, methods=["GET"]),
            Route("/stream/customers/{event:path}", self._stream),
            Route("/stream/cases", self._stream),
            Route("/stream/cases/{case_id:path}", self._stream),
        ]

    # -- showing ---------------------------------------------------------------------------------------------------

    def _view(self, request: Request) -> CaseView:
        parts = request.path_params
        event = parts.get("event", "")
        if event and not _EVENT.fullmatch(event):
            raise HTTPException(404, "there is no such event")
        view = CaseView.of(request.query_params, parts.get("case_id", ""), event)
        self.watch.want(view.case_id, view.event)
        return view

    def _fragments(self, view: CaseView) -> Mapping[str, str]:
        return self._pages.fragments(view, self.watch.known, time.time())

    async def _page(self, request: Request) -> Response:
        return await self._whole(request, Shell(self._who(request)), 0)

    async def _whole(self, request: Request, shell: Shell, status: int) -> Response:
        view = self._view(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER_S):
                while not self.watch.has(view.case_id, view.event):
                    await self.watch.next_round()
        known = self.watch.known
        missing = (view.case_id and known.opened.get(view.case_id, known) is None) or (
            view.event and known.senders.get(view.event) == ""
        )
        page = self._pages.whole(view, known, time.time(), shell)
        return HTMLResponse(page, status or (404 if missing else 200), headers=_HEADERS)

    async def _stream(self, request: Request) -> Response:
        return self._streams.answer(request, self._renderings, lambda: self._view(request))

    # -- signing in ------------------------------------------------------------------------------------------------

    def _who(self, request: Request) -> str:
        return self.access.who(request.cookies) if self.access else ""

    async def _ask(self, request: Request) -> Response:
        view = CaseView.of(request.query_params)
        page = self._pages.sign_in(view, _back(request.query_params.get("next", "")), "")
        return HTMLResponse(page, headers=_HEADERS)

    async def _sign_in(self, request: Request) -> Response:
        view = CaseView.of(request.query_params)
        try:
            access, form = self._writing(), await _form(request)
        except RefusedFormError as error:
            return HTMLResponse(self._pages.sign_in(view, "/cases", str(error)), error.status, headers=_HEADERS)
        client = getattr(request.scope.get("state", {}).get("client"), "name", "")
        back, name = _back(form.get("next", "")), name_of_person(form.get("name", ""))
        wait_s = self._wrong.wait_s(client)
        session = "" if wait_s or not name else access.sign_in(form.get("key", ""), name)
        if session:
            answer: Response = RedirectResponse(back, 303, headers=_HEADERS)
            answer.set_cookie(
                access.cookie, session, SESSION_S, httponly=True, samesite="strict", secure=_is_secure(request)
            )
            return answer
        word = "sign_in_wait" if wait_s else "sign_in_wrong" if name else "sign_in_name"
        if word == "sign_in_wrong":
            self._wrong.note(client)
        page = self._pages.sign_in(view, back, word)
        headers = {**_HEADERS, "Retry-After": f"{wait_s:.0f}"} if wait_s else _HEADERS
        return HTMLResponse(page, 429 if wait_s else 401, headers=headers)

    async def _sign_out(self, request: Request) -> Response:
        try:
            access, form = self._writing(), await _form(request)
        except RefusedFormError as error:
            return _refused(error)
        answer = RedirectResponse(_back(form.get("next", "")), 303, headers=_HEADERS)
        answer.delete_cookie(access.cookie, httponly=True, samesite="strict")
        return answer

    # -- acting ----------------------------------------------------------------------------------------------------

    def _writing(self) -> WriteAccess:
        if self.access is None:
            raise RefusedFormError(403, "writing_off", "this page only shows: CX_BOARD_WRITE_KEY_FILE is not set")
        return self.access

    async def _act(self, request: Request) -> Response:
        try:
            access, form = self._writing(), await _form(request)
            by = _signed_in(access, request)
            answer = await self.writer.act(request.path_params["case_id"], read_action(form), by)
        except RefusedFormError as error:
            if error.status == 401 and not _wants_json(request):
                asked = urlencode({"lang": request.query_params.get("lang", ""), "next": str(request.url.path)})
                return RedirectResponse(f"/sign-in?{asked}", 303, headers=_HEADERS)
            return _refused(error)
        except UnreadableActionError as error:
            return _refused(RefusedFormError(422, "unreadable", str(error)))
        except StorageError as error:
            answer = ActionAnswer(503, f"ClickHouse does not answer: {error}")
        view = CaseView.of(request.query_params)
        says = self._pages.says(view, answer)
        if _wants_json(request):
            body = {"version": answer.version, "says": says, "repeat": answer.repeat}
            return JSONResponse(body, answer.status, headers=_HEADERS)
        self.watch.renew()
        return await self._whole(request, Shell(by, says, refused=answer.status >= 400), answer.status)

    def close(self) -> None:
        """Give the connections back."""
        self.writer.close()


async def _form(request: Request) -> dict[str, str]:
    """
    Read the form of a page of ours.

    Raises:
        RefusedFormError: It comes from elsewhere, or is none.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    if origin is None or origin.partition("://")[2] != request.headers.get("host") or site != "same-origin":
        raise RefusedFormError(403, "origin_not_allowed", "only this page itself may ask for that")
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
        raise RefusedFormError(415, "no_form", f"expected {_FORM}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            raise RefusedFormError(413, "too_large", f"a form has {LONGEST_FORM} bytes at most")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_FIELDS))
    except ValueError as error:
        raise RefusedFormError(400, "no_form", "the form cannot be read") from error


def _signed_in(access: WriteAccess, request: Request) -> str:
    by = access.who(request.cookies)
    if not by:
        raise RefusedFormError(401, "sign_in", "sign in first, with the key of this page")
    return by


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _refused(error: RefusedFormError) -> Response:
    body = {"error": error.word, "says": str(error)}
    return JSONResponse(body, error.status, headers={**_HEADERS, "Connection": "close"})


def _back(address: str) -> str:
    """Return where a page of ours wants to go back to; nowhere else."""
    own = address == "/cases" or address.startswith(("/cases?", "/cases/"))
    return address if own and address.isprintable() and "\\" not in address else "/cases"


def _is_secure(request: Request) -> bool:
    """Return whether the browser speaks TLS, to the proxy in front: what a page says of its own origin."""
    return request.headers.get("origin", "").startswith("https:")
