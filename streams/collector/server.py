"""The door as a service: what it answers where, how long it listens to whom, and how it ends."""

import asyncio
import contextlib
import functools
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from streams import metrics
from streams.collector.access import Access
from streams.collector.answers import RejectedError, Verdict, answer
from streams.collector.bodies import records_of, too_large, unpacked
from streams.collector.checks import Checked, check
from streams.collector.sending import Delivers, Hold, Room, largest, sender_of
from streams.engine.names import Topics
from streams.engine.topics import TopicsError, check_topics, topic_plan
from streams.events.types import ENVELOPE_FIELDS
from streams.settings import ConfigError, Settings, kafka_client_options

log = logging.getLogger(__name__)

CONNECTIONS: Final = 1_000
BACKLOG: Final = 512
HEAD_BYTES: Final = 32_768
IDLE_S: Final = 75
"""Longest pause between two requests of a connection: longer than the proxies in front usually keep theirs."""
FRESH_S: Final = 5.0
"""So long an answer about Kafka is good for the next who asks."""
ASK_S: Final = 3.0
"""Longest wait for that answer."""

_BROWSER_HEADERS: Final = ("Authorization", "Content-Type", "X-API-Key", *(f"ce-{name}" for name in ENVELOPE_FIELDS))


class Door:
    """
    The application.

    Raises:
        ConfigError: keys or origins cannot be right, others could reach it without a key, or memory is too little.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sender: Callable[[Settings, Room], Delivers] | None = None,
        ask: Callable[[Settings], list[str]] | None = None,
    ) -> None:
        """Prepare; `sender` and `ask` stand for Kafka, and are others in tests only."""
        self.access = Access(settings)
        most = largest(settings)
        if settings.collect_in_flight_bytes < most:
            raise ConfigError(
                f"collect_in_flight_bytes = {settings.collect_in_flight_bytes} is less than one request may need, "
                f"{most}: raise it, or lower collect_body_bytes or collect_events"
            )
        self._settings = settings
        self._room = Room(settings.collect_in_flight_bytes)
        self._readiness = Readiness(functools.partial(ask or ask_kafka, settings))
        self._make_sender = sender or sender_of

    def app(self) -> Starlette:
        """Return the ASGI application."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self.access.origins,
            allow_methods=["POST"],
            allow_headers=_BROWSER_HEADERS,
            expose_headers=["Retry-After"],
            max_age=86_400,
        )
        return Starlette(
            routes=[
                Route("/v1/events", self._events, methods=["POST"]),
                Route("/health", self._health),
                Route("/ready", self._ready),
            ],
            middleware=[cors],
            exception_handlers={HTTPException: _elsewhere},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._sender = self._make_sender(self._settings, self._room)
        yield
        # The loop must go on meanwhile: deliveries are told to it.
        await asyncio.to_thread(self._sender.close)

    async def _events(self, request: Request) -> Response:
        started = time.perf_counter()
        with metrics.DOOR_IN_FLIGHT.track_inprogress():
            verdict, response = await self._answer(request)
        metrics.DOOR_REQUESTS.labels(verdict).inc()
        metrics.DOOR_SECONDS.observe(time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> tuple[Verdict, Response]:
        try:
            caller = self.access.admit(request.headers, request.query_params.get("key"))
            with Hold(self._room) as hold:
                try:
                    records = await self._records(request, hold)
                except RejectedError:
                    # What cannot be read costs as much as one event: it must not come faster than events may.
                    caller.bucket.take(1)
                    raise
                caller.bucket.take(max(1, len(records)))
                checked = check(records, caller.key, time.time())
                unconfirmed = await self._sender.deliver(checked.payloads, checked.events)
            _count(checked, unconfirmed)
            return answer(checked.ids(), checked.refusals, unconfirmed)
        except RejectedError as rejection:
            return rejection.verdict, rejection.response()
        except ClientDisconnect:
            return "aborted", Response(status_code=400)

    async def _records(self, request: Request, hold: Hold) -> list[bytes]:
        limit, headers = self._settings.collect_body_bytes, request.headers
        declared = headers.get("content-length", "")[:20]
        if declared.isdecimal() and int(declared) > limit:
            raise too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.collect_read_s):
                async for chunk in request.stream():
                    hold.more(len(chunk))
                    body += chunk
                    if len(body) > limit:
                        raise too_large(limit)
        except TimeoutError:
            raise RejectedError(
                408, "too_slow", f"the body did not come within {self._settings.collect_read_s:g} s"
            ) from None
        finally:
            metrics.DOOR_BYTES.inc(len(body))
        whole = unpacked(headers.get("content-encoding", "").strip().lower(), bytes(body), limit)
        hold.more(len(whole))
        return records_of(headers.get("content-type", ""), headers.raw, whole, self._settings.collect_events)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"alive": True})

    async def _ready(self, _: Request) -> Response:
        ready = await self._readiness.ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)


class Readiness:
    """Whether Kafka answers and has the topics; asked once for all who want to know, and only so often."""

    def __init__(self, ask: Callable[[], list[str]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[list[str]] | None = None
        self._asked_at = 0.0
        self._said: list[str] = []

    async def ready(self) -> bool:
        """Tell whether events can be sent; why not is for the log only: whoever asks may be anybody."""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked_at > FRESH_S):
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
            self._asked_at = time.monotonic()
        done, _ = await asyncio.wait({self._asking}, timeout=ASK_S)
        problems = self._asking.result() if done else [f"Kafka does not answer within {ASK_S:g} s"]
        if problems != self._said:
            self._said = problems
            log.warning("not ready: %s", "; ".join(problems)) if problems else log.info("ready")
        return not problems


class _Protocol(H11Protocol):
    """
    Parts with senders that take too long to say what they want, or go on sending what was answered already.

    The library bounds only the pause between two requests.
    """

    read_s = 10.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(waits=True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The head is not complete yet, or what comes was answered before it was read.
        self._watch(waits=self.conn.their_state is h11.IDLE or self._is_answered())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(waits=self._is_answered())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late is not None:
            self._late.cancel()

    def _is_answered(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _watch(self, *, waits: bool) -> None:
        if waits and self._late is None:
            self._late = self.loop.call_later(self.read_s, self.transport.close)
        elif not waits and self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(uvicorn.Server):
    """To be asked to end is no failure: the signal is not raised again afterwards, as the library would."""

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """
    Open the port.

    Raises:
        OSError: it is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Handed down to connections: head and body of an answer are two writes, and the second must not wait 40 ms for the
    # first to be acknowledged. The loop sees to that only for sockets that it opened itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server_of(door: Door, settings: Settings) -> uvicorn.Server:
    """
    Return the server, to be run with the sockets of `listen`.

    At SIGINT or SIGTERM nothing new is taken, and what is under way is finished and answered.
    """
    config = uvicorn.Config(
        door.app(),
        http=type("Protocol", (_Protocol,), {"read_s": settings.collect_read_s}),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=math.ceil(settings.collect_read_s + settings.collect_timeout_s) + 1,
    )
    return _Server(config)


def ask_kafka(settings: Settings) -> list[str]:
    """Ask Kafka for the topics of events; return what is wrong, in sentences."""
    sources = Topics(settings.topic_prefix).sources
    plan = topic_plan(settings.partitions, settings.replication, settings.app_id, settings.topic_prefix)
    timeouts = {"bootstrap_timeout_ms": 2_000, "request_timeout_ms": 3_000}
    try:
        return check_topics(
            settings.kafka,
            [topic for topic in plan if topic.name in sources],
            **timeouts,
            **kafka_client_options(settings),
        )
    except TopicsError as exc:
        return [str(exc)]


def _count(checked: Checked, unconfirmed: frozenset[int]) -> None:
    for place, event in enumerate(checked.events):
        if event is None:
            metrics.DOOR_EVENTS.labels("unknown", "refused").inc()
        else:
            metrics.DOOR_EVENTS.labels(event.channel, "unconfirmed" if place in unconfirmed else "accepted").inc()


async def _elsewhere(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "events go to /v1/events by POST"
    return JSONResponse({"error": "not_here", "message": hint}, error.status_code, error.headers)
