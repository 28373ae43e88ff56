"""The door as a service: what it answers where, how long it listens to whom, and how it ends."""

import asyncio
import contextlib
import functools
import logging
import math
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams import metrics
from streams.collector.access import KeyAccess
from streams.collector.answers import RejectedError, Verdict, answer
from streams.collector.bodies import BATCH, Unpacking, media_of, records_of, too_large
from streams.collector.checks import Checked, Checking, slices, warnings_of, without_personal_data
from streams.collector.sending import Delivers, MemoryBudget, Reservation, client_budget, largest, sender_of
from streams.definitions import record_limits, touchpoints_of
from streams.engine.names import Topics
from streams.engine.rights import rights_of
from streams.engine.topics import TopicsError, check_topics, topic_plan
from streams.listener.clients import Clients, Work, read_networks
from streams.listener.hosts import HostGuard, Hosts, named_hosts
from streams.listener.protocol import ConnectionLimits
from streams.listener.serving import Server, server_of
from streams.secured.kafka import kafka_client_options
from streams.secured.protection import protection_of
from streams.settings import ConfigError, Settings

log = logging.getLogger(__name__)

FRESH_S: Final = 5.0
"""So long an answer about Kafka is good for the next who asks."""
ASK_S: Final = 3.0
"""Longest wait for that answer."""

_QUERY_KEY: Final = re.compile(rb"(?:^|&)key=([^&]*)")


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
        sender: Callable[[Settings, MemoryBudget], Delivers] | None = None,
        ask: Callable[[Settings], list[str]] | None = None,
    ) -> None:
        """Prepare; `sender` and `ask` stand for Kafka, and are others in tests only."""
        self.access = KeyAccess(settings)
        most = largest(settings)
        if settings.collect_in_flight_bytes < most:
            raise ConfigError(
                f"collect_in_flight_bytes = {settings.collect_in_flight_bytes} is less than one request may need, "
                f"{most}: raise it, or lower collect_body_bytes or collect_events"
            )
        # The parser of arrays takes a while to make: not when the first sender waits.
        records_of(BATCH, [], b"[]", settings.collect_events)
        self._settings = settings
        self._limits = record_limits(settings)
        self._protection = protection_of(settings, make=False)
        self._touchpoints = frozenset(touchpoints_of(settings))
        self.clients = Clients(settings.collect_client_share, read_networks(settings.http_proxies))
        self._budget = MemoryBudget(settings.collect_in_flight_bytes, client_budget(settings))
        self._readiness = Readiness(functools.partial(ask or ask_kafka, settings))
        self._make_sender = sender or sender_of

    def app(self) -> Starlette:
        """Return the ASGI application."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self.access.origins,
            allow_methods=["POST"],
            # The door takes or ignores all headers; a page that sends one more for its own tracing loses no events.
            allow_headers=["*"],
            expose_headers=["Retry-After"],
            max_age=86_400,
        )
        hosts = Hosts(self._settings.collect_host, named_hosts(self._settings.http_hosts))
        # Without keys all of this machine may send, but no page that made a name of its own point at it.
        named = Middleware(HostGuard, hosts, own_pages_only=False)
        return Starlette(
            routes=[
                Route("/v1/events", self._events, methods=["POST"]),
                Route("/health", self._health),
                Route("/ready", self._ready),
            ],
            middleware=[cors] if self.access.names() else [named, cors],
            exception_handlers={HTTPException: _elsewhere},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._sender = self._make_sender(self._settings, self._budget)
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
        client = request.scope.get("state", {}).get("client") or self.clients.of("")
        try:
            caller = self.access.admit(request.headers, _query_key(request.scope["query_string"]))
            caller.afford(self.clients.whole)
            work = Work(self.clients, client, caller.budget)
            with Reservation(self._budget, client) as reservation:
                try:
                    records = await self._records(request, reservation, work)
                except RejectedError:
                    # What cannot be read costs as much as one event: it must not come faster than events may.
                    caller.take(1, client)
                    raise
                caller.take(max(1, len(records)), client)
                checking = Checking(caller.key, time.time(), sum(map(len, records)), self._limits)
                async with work:
                    for part in slices(records):
                        checking.add(part)
                        await work.pause()
                    sent = without_personal_data(checking.checked, self._protection)
                unconfirmed = await self._sender.deliver(sent.payloads, sent.events, work)
                # Senders find their events by the ids that they gave them.
                checked = Checked(checking.checked.payloads, sent.events, sent.refusals)
            async with work:
                _count(checked, unconfirmed)
                retention_s = self._settings.retention_s
                warnings = warnings_of(checked.events, time.time(), retention_s, self._touchpoints)
                return answer(checked.ids(), checked.refusals, unconfirmed, warnings)
        except RejectedError as rejection:
            return rejection.verdict, rejection.response()
        except ClientDisconnect:
            return "aborted", Response(status_code=400)

    async def _records(self, request: Request, reservation: Reservation, work: Work) -> list[bytes]:
        limit, headers = self._settings.collect_body_bytes, request.headers
        # All that the head says is looked at before any of the body is.
        content_type = headers.get("content-type", "")
        media_of(content_type, headers.raw)
        unpacking = Unpacking(headers.get("content-encoding", ""), limit)
        declared = headers.get("content-length", "")[:20]
        if declared.isdecimal() and int(declared) > limit:
            raise too_large(limit)
        body, came = bytearray(), 0
        try:
            async with asyncio.timeout(self._settings.collect_read_s):
                async for chunk in request.stream():
                    came += len(chunk)
                    if came > limit:
                        raise too_large(limit)
                    async with work:
                        for piece in unpacking.feed(chunk):
                            reservation.more(len(piece))
                            body += piece
                            await work.pause()
        except TimeoutError:
            raise RejectedError(
                408, "too_slow", f"the body did not come within {self._settings.collect_read_s:g} s"
            ) from None
        finally:
            metrics.DOOR_BYTES.inc(came)
        unpacking.close()
        reservation.more(len(body))
        async with work:
            return records_of(content_type, headers.raw, bytes(body), self._settings.collect_events)

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
        """Return whether events can be sent; why not is for the log only: whoever asks may be anybody."""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked_at > FRESH_S):
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
            self._asked_at = time.monotonic()
        done, _ = await asyncio.wait({self._asking}, timeout=ASK_S)
        problems = self._asking.result() if done else [f"Kafka does not answer within {ASK_S:g} s"]
        if problems != self._said:
            self._said = problems
            log.warning("not ready: %s", "; ".join(problems)) if problems else log.info("ready")
        return not problems


def door_server(door: Door, settings: Settings, orphaned: Callable[[], bool] | None = None) -> Server:
    """
    Return the server, to be run with sockets of `listen`.

    At SIGINT or SIGTERM, or once it is `orphaned`, nothing new is taken; what is under way is finished and answered.
    """
    limits = ConnectionLimits(
        connections=settings.collect_connections,
        client_connections=settings.collect_client_connections,
        read_s=settings.collect_read_s,
        refused=metrics.DOOR_REQUESTS.labels("malformed").inc,
    )
    graceful_s = math.ceil(settings.collect_read_s + settings.collect_timeout_s) + 1
    return server_of(door.app(), door.clients, limits, graceful_s=graceful_s, failed=orphaned)


def ask_kafka(settings: Settings) -> list[str]:
    """Ask Kafka for the topics of events; return what is wrong, in sentences."""
    sources = Topics(settings.topic_prefix).sources
    plan = topic_plan(settings.partitions, settings.replication, settings.app_id, settings.topic_prefix)
    timeouts = {"bootstrap_timeout_ms": 2_000, "request_timeout_ms": 3_000}
    try:
        return check_topics(
            settings.kafka,
            [topic for topic in plan if topic.name in sources],
            rights_of("door", settings.topic_prefix, settings.app_id),
            **timeouts,
            **kafka_client_options(settings),
        )
    except TopicsError as exc:
        return [str(exc)]


def _query_key(query: bytes) -> str | None:
    found = _QUERY_KEY.search(query)
    return unquote_plus(found[1].decode("latin-1")) if found else None


def _count(checked: Checked, unconfirmed: frozenset[int]) -> None:
    outcomes = Counter(
        ("unknown", "refused") if event is None
        else (event.channel, "unconfirmed" if place in unconfirmed else "accepted")
        for place, event in enumerate(checked.events)
    )  # fmt: skip
    for (channel, outcome), number in outcomes.items():
        metrics.DOOR_EVENTS.labels(channel, outcome).inc(number)


async def _elsewhere(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "events go to /v1/events by POST"
    return JSONResponse({"error": "not_here", "message": hint}, error.status_code, error.headers)
