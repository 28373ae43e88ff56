"""One connection: what it may send, how long it may take, and how it ends."""

import asyncio
import http
import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.h11_impl import H11Protocol

from streams.listener.clients import Client, Clients
from streams.listener.framing import Framer, FramingError, RequestHead

REQUESTS: Final = 1_000
"""Requests of one connection; with the last its sender is told to open another."""
REQUEST_S: Final = 0.0002
"""CPU time of a request that is spent where nobody measures it: in the server, in middleware, in routing."""
AHEAD_BYTES: Final = 65_536
"""A sender that is so far ahead of its answers is not read on."""
LINGER_S: Final = 2.0
"""So long the rest of what was refused is thrown away, that its sender can read why; then the connection ends."""
LINGER_BYTES: Final = 4_194_304
DRAINED_BYTES: Final = 262_144
"""A body that was answered before it was read is thrown away up to here, to keep the connection."""


class ConnectionLimits(NamedTuple):
    """What connections of a listener may do; `refused` is called for each request that nobody behind it saw."""

    connections: int
    client_connections: int
    """From one address, unless it is that of a proxy."""
    read_s: float
    """Time for a head, for what follows a request that was answered already, and for the reading of an answer."""
    refused: Callable[[], None]


class Protocol(H11Protocol):
    """
    What `uvicorn` makes of a connection, behind a strict reading of its bytes and with limits.

    The library bounds neither the time a head may take nor the time an answer may, and reads heads that proxies in
    front of it may read in another way.
    """

    clients: Clients
    limits: ConnectionLimits

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._framer = Framer()
        self._peer: Client = self.clients.of("")
        self._client = self._peer
        self._head: RequestHead | None = None
        self._requests = 0
        self._counted = False
        self._ended = False
        self._dropped = 0
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._pacing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or say why not."""
        super().connection_made(transport)
        self._client = self._peer = self.clients.of(self.client[0] if self.client else "")
        if self.clients.connections >= self.limits.connections:
            self._turn_away(503, f"there are {self.limits.connections} connections already")
        elif self._peer.connections >= self.limits.client_connections and not self._peer.proxy:
            self._turn_away(429, f"{self._peer.name} has {self.limits.client_connections} connections already")
        else:
            self._counted = True
            self.clients.connections += 1
            self._peer.connections += 1
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._ended = True
        if self._counted:
            self.clients.connections -= 1
            self._peer.connections -= 1
        for timer in (self._late, self._stuck, self._pacing):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read what comes, as far as it is anybody's turn."""
        if self._ended:
            self._drop(len(data))
            return
        self._framer.feed(data)
        self._advance()
        if self._framer.buffered > AHEAD_BYTES:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        if self.transport.is_closing() and self._stuck is None:
            # What is left of the answer must be read some time.
            self._stuck = self.loop.call_later(self.limits.read_s, self.transport.abort)
        elif not self._framer.between and self._framer.missing > DRAINED_BYTES:
            self._linger()
        else:
            self._advance()

    def pause_writing(self) -> None:
        """Wait for a sender that does not read its answer, for a while."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.limits.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it reads again."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _advance(self) -> None:
        if self._ended or self.transport.is_closing() or self._pacing is not None:
            return
        with self.clients.metered(self._client):
            try:
                self._read()
            except FramingError as error:
                self._refuse(error)
        self._watch()

    def _read(self) -> None:
        while not self._framer.between or (self._answered() and self._begin()):
            piece = self._framer.body()
            if piece:
                super().data_received(piece)
            if not self._framer.between:
                break

    def _begin(self) -> bool:
        """Hand the next head on; False while there is none, or its sender has had its share of time."""
        head = self._head or self._framer.head(last=self._requests + 1 >= REQUESTS)
        if head is None:
            return False
        self._client = self.clients.behind(self._peer, head.forwarded_for)
        self._head = None
        if (wait_s := self.clients.wait_s(self._client)) > 0:
            self._head = head
            self.flow.pause_reading()
            self._pacing = self.loop.call_later(wait_s, self._go_on)
            return False
        self._requests += 1
        self.clients.spend(REQUEST_S, self._client)
        self.app_state = {**self.app_state, "client": self._client}
        super().data_received(head.wire)
        return True

    def _go_on(self) -> None:
        self._pacing = None
        self.flow.resume_reading()
        self._advance()

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Part with a sender that takes too long to say what it wants, or goes on sending what was answered already."""
        if self._framer.between:
            begun = self._requests == 0 or self._framer.buffered > 0
            waits = begun and self._head is None and self._answered()
        else:
            waits = self._answered()
        if waits and self._late is None:
            self._late = self.loop.call_later(self.limits.read_s, self._part)
        elif not waits and self._late is not None:
            self._late.cancel()
            self._late = None

    def _part(self) -> None:
        self._ended = True
        self.transport.abort()

    def _turn_away(self, status: int, message: str) -> None:
        self.limits.refused()
        self._say(status, "too_many_connections", message)
        self._ended = True
        self.transport.close()

    def _refuse(self, error: FramingError) -> None:
        self.limits.refused()
        if self.cycle is not None and not self.cycle.response_complete:
            # What works on it hears that nobody waits for its answer any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self._part()
                return
        self._say(error.status, "bad_request", str(error))
        self._linger()

    def _say(self, status: int, reason: str, message: str) -> None:
        body = json.dumps({"error": reason, "message": message}).encode()
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        rest = f"Content-Length: {len(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        self.transport.write((head + rest).encode() + body)

    def _linger(self) -> None:
        """End the connection so that its sender can read what was said: closed at once, it would be reset."""
        self._ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        if self._late is not None:
            self._late.cancel()
        self._late = self.loop.call_later(LINGER_S, self.transport.abort)

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > LINGER_BYTES:
            self.transport.abort()
