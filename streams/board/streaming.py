"""Event streams: each viewer hears which fragments of the chosen view have changed; rendered once for all of a view."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streams.board.rounds import Rounds
from streams.listener.clients import Client

BEAT_S: Final = 15.0
"""A stream that has nothing to say says so, that proxies keep it open and a dead browser is noticed."""
VIEWS_KEPT: Final = 64
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

V = TypeVar("V", bound=Hashable)


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


class Renderings(Generic[V]):
    """What is rendered of views: once for each view and version of what is known."""

    def __init__(self, rounds: Rounds[Any], fragments: Callable[[V], Mapping[str, str]]) -> None:
        self.rounds = rounds
        self._fragments = fragments
        self._rendered: OrderedDict[V, Rendered] = OrderedDict()

    def of(self, view: V) -> Rendered:
        """Return a view's fragments as of now."""
        version = self.rounds.version
        found = self._rendered.get(view)
        if found is None or found.version != version:
            fragments = dict(self._fragments(view))
            if found is None:
                found = self._rendered[view] = Rendered(version, fragments)
                while len(self._rendered) > VIEWS_KEPT:
                    self._rendered.popitem(last=False)
            else:
                found.renew(version, fragments)
        self._rendered.move_to_end(view)
        return found


class _Stream(StreamingResponse):
    """An event stream that counts from before its first byte until its end, however it ends."""

    def __init__(self, seat: AbstractContextManager[None], content: AsyncIterator[bytes], **named: Any) -> None:
        super().__init__(content, **named)
        self._seat = seat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._seat:
            await super().__call__(scope, receive, send)


class Streams:
    """The event streams of a server, all pages together: bounded in all and from one address."""

    def __init__(self, most: int, most_of_client: int) -> None:
        self._most = most
        self._most_of_client = most_of_client
        self.viewers = 0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let all streams end, so that the server can."""
        self._stopping.set()

    def answer(self, request: Request, renderings: Renderings[V], view_of: Callable[[], V]) -> Response:
        """Return the stream of a view, which is asked for again and again: what exists of it may change."""
        client: Client | None = request.scope.get("state", {}).get("client")
        if self.viewers >= self._most or (client and client.streams >= self._most_of_client):
            said = "too many look at the live page: CX_BOARD_VIEWERS, and CX_BOARD_CLIENT_VIEWERS from one address"
            return JSONResponse({"error": "too_many_viewers", "message": said}, 503, {"Retry-After": "60"})
        # An event stream that is compressed is held back until enough has come together.
        headers = {**HEADERS, "X-Accel-Buffering": "no", "Content-Encoding": "identity"}
        events = self._events(renderings, view_of)
        return _Stream(self._seat(client), events, media_type="text/event-stream", headers=headers)

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

    async def _events(self, renderings: Renderings[V], view_of: Callable[[], V]) -> AsyncIterator[bytes]:
        seen = -1
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            yield b"retry: 2000\n\n"
            while not self._stopping.is_set():
                rendered = renderings.of(view_of())
                if message := rendered.message(seen):
                    yield message
                seen = rendered.version
                news = asyncio.create_task(renderings.rounds.next_version(seen))
                await asyncio.wait({news, stopping}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    news.cancel()
                    yield b": nothing new\n\n"
        finally:
            stopping.cancel()
