"""
Events into Kafka, through the client library's own outbox, so that key, partition and delivery are the client's.

Memory is bounded, and so is the wait: what Kafka did not confirm in time is said to be unconfirmed, not lost.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, Self

from streams import metrics
from streams.collector.answers import RETRY_AFTER_S, RejectedError
from streams.events.types import Envelope
from streams.listener.clients import Client, Work
from streams.producers.client import topic_of
from streams.producers.delivery import BufferFullError, Outbox, Receipt
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings

log = logging.getLogger(__name__)

PER_EVENT: Final = 2_000
"""Bytes of bookkeeping per event here and in the Kafka client, generously."""
LINGER_MS: Final = 5
PROBES: Final = 8
"""Requests that may wait for Kafka while it confirms nothing."""
CLOSE_S: Final = 5.0


class MemoryBudget:
    """
    Bytes in flight, bounded: of all, and of one client, that nobody takes the room of the others.

    Args:
        limit: of all.
        client_limit: of one that is no proxy.
    """

    def __init__(self, limit: int, client_limit: int) -> None:
        self._limit = limit
        self._client_limit = client_limit
        self._taken = 0

    def take(self, size: int, client: Client) -> None:
        """
        Take room.

        Raises:
            RejectedError: there is none left.
        """
        crowded = client.held_bytes + size > self._client_limit and not client.proxy
        if crowded or self._taken + size > self._limit:
            raise RejectedError(
                503,
                "busy",
                "too much is on its way to Kafka already; nothing of this request was taken",
                retry_after_s=RETRY_AFTER_S,
                verdict="unavailable",
            )
        self._taken += size
        client.held_bytes += size
        metrics.DOOR_IN_FLIGHT_BYTES.set(self._taken)

    def give(self, size: int, client: Client) -> None:
        """Give room back."""
        self._taken -= size
        client.held_bytes -= size
        metrics.DOOR_IN_FLIGHT_BYTES.set(self._taken)


def largest(settings: Settings) -> int:
    """Return the most room that one request may take: unpacked, cut into events, and on its way."""
    return 3 * settings.collect_body_bytes + PER_EVENT * settings.collect_events


def client_budget(settings: Settings) -> int:
    """Return the most room of one client: a quarter of all, and never less than one request may take."""
    return max(largest(settings), settings.collect_in_flight_bytes // 4)


class Reservation:
    """What one request takes of the room while it is read; a context that gives it back."""

    def __init__(self, budget: MemoryBudget, client: Client) -> None:
        self._budget = budget
        self._client = client
        self._size = 0

    def more(self, size: int) -> None:
        """
        Take more room.

        Raises:
            RejectedError: there is none left.
        """
        self._budget.take(size, self._client)
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give(self._size, self._client)


class Shipment:
    """The events of one request on their way; `open` are the places of those that Kafka did not confirm."""

    def __init__(self, places: Sequence[int], size: int, client: Client) -> None:
        self.size = size
        self.client = client
        self.open = set(places)
        self.done = asyncio.Event()
        self._left = len(places)
        self._lock = threading.Lock()

    def record_end(self, place: int, outcome: Receipt | str) -> bool:
        """Take note of one event's end, from any thread; True with the last one."""
        with self._lock:
            if isinstance(outcome, Receipt):
                self.open.discard(place)
            self._left -= 1
            return self._left == 0

    def unconfirmed(self) -> frozenset[int]:
        """Return the places that are not confirmed by now."""
        with self._lock:
            return frozenset(self.open)


class Delivers(Protocol):
    """What takes events to Kafka."""

    async def deliver(self, payloads: Sequence[bytes], events: Sequence[Envelope | None], work: Work) -> frozenset[int]:
        """Send those that are events; return the places of those that were not confirmed in time."""

    def close(self) -> None:
        """Send what is left and stop; blocks."""


class DoorSender:
    """
    Sends events and waits for Kafka; used from one event loop, which must run until `close` is through.

    Args:
        bootstrap: Kafka servers.
        prefix: of the topics' names.
        timeout_s: longest wait for Kafka.
        room: what requests and events in flight share.
        buffer_bytes: of the outbox, larger than the room, so that it is never full.
        security: options of a secured connection.
    """

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        *,
        timeout_s: float,
        budget: MemoryBudget,
        buffer_bytes: int,
        security: Mapping[str, Any],
    ) -> None:
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._in_flight: set[Shipment] = set()
        self._failing = False
        self._outbox = Outbox(
            bootstrap,
            buffer_bytes=buffer_bytes,
            max_block_s=0.0,
            delivery_timeout_s=timeout_s,
            options={"linger_ms": LINGER_MS, "client_id": "cx-collector", **security},
            on_delivery=self._record_delivery,
        )

    async def deliver(self, payloads: Sequence[bytes], events: Sequence[Envelope | None], work: Work) -> frozenset[int]:
        """
        Send those that are events, and wait until Kafka has them all; return the places of those it did not confirm.

        Raises:
            RejectedError: no room, or Kafka is away: while it is, few requests at a time go and see, the others need
                not wait to hear it.
        """
        places = [place for place, event in enumerate(events) if event is not None]
        if not places:
            return frozenset()
        if self._failing and len(self._in_flight) >= PROBES:
            raise RejectedError(
                503,
                "unavailable",
                "Kafka does not answer; nothing of this request was taken",
                retry_after_s=RETRY_AFTER_S,
                verdict="unavailable",
            )
        size = sum(len(payloads[place]) + PER_EVENT for place in places)
        self._budget.take(size, work.client)
        shipment = Shipment(places, size, work.client)
        self._in_flight.add(shipment)
        async with work:
            for place in places:
                event = events[place]
                assert event is not None
                topic, key = topic_of(event.channel, self._prefix), event.subject.encode()
                try:
                    self._outbox.put(topic, key, payloads[place], (shipment, place))
                except BufferFullError as error:
                    self._record_delivery((shipment, place), str(error))
                await work.pause()
        with contextlib.suppress(TimeoutError):
            # Beyond it, the memory stays taken until the outbox lets go of it.
            async with asyncio.timeout(self._timeout_s):
                await shipment.done.wait()
        unconfirmed = shipment.unconfirmed()
        if unconfirmed:
            self._tell(failing=True)
        return unconfirmed

    def close(self) -> None:
        """Send what is left and stop; blocks."""
        self._outbox.close(CLOSE_S)

    def _record_delivery(self, event: object, outcome: Receipt | str) -> None:
        assert isinstance(event, tuple)
        shipment, place = event
        if shipment.record_end(place, outcome):
            self._loop.call_soon_threadsafe(self._finish, shipment)

    def _finish(self, shipment: Shipment) -> None:
        self._in_flight.discard(shipment)
        self._budget.give(shipment.size, shipment.client)
        if not shipment.open:
            self._tell(failing=False)
        shipment.done.set()

    def _tell(self, *, failing: bool) -> None:
        if failing != self._failing:
            self._failing = failing
            if failing:
                log.warning("Kafka confirms nothing within %g s; senders are told to come again", self._timeout_s)
            else:
                log.info("Kafka confirms again")


def sender_of(settings: Settings, budget: MemoryBudget) -> DoorSender:
    """Return a sender to the configured Kafka."""
    return DoorSender(
        settings.kafka,
        settings.topic_prefix,
        timeout_s=settings.collect_timeout_s,
        budget=budget,
        buffer_bytes=2 * settings.collect_in_flight_bytes,
        security=kafka_client_options(settings),
    )
