"""What channel teams import: check an event here and now, and deliver it to the Kafka topic of its channel."""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from streams.events.decode import Refusal, decode_batch
from streams.events.finite import unfinite
from streams.events.types import Envelope, Event
from streams.events.visible import visible
from streams.privacy.records import Protection, protect
from streams.producers.delivery import (
    BufferFullError,
    FlushReport,
    OnDelivery,
    Outbox,
    ProducerClosedError,
    Receipt,
    Undelivered,
)
from streams.producers.foresight import RETENTION_S, Kind, foreseen, shipped_touchpoints

__all__ = [
    "BrokerAwayError",
    "BufferFullError",
    "EventTooLargeError",
    "FlushReport",
    "InvalidEventError",
    "NotDeliveredError",
    "ProducerClosedError",
    "Receipt",
    "TouchpointProducer",
    "Undelivered",
    "topic_of",
]

log = logging.getLogger(__name__)

MAX_EVENT_BYTES = 900_000
"""Larger events are refused here: Kafka's usual limit is 1 MiB for a whole batch with its framing."""


class InvalidEventError(ValueError):
    """
    The event breaks the contract and was not sent.

    Args:
        refusal: what the check found: the field (`path`), what came (`got`), what was expected.
    """

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self.reason = refusal.reason
        self.field = refusal.path
        self.got = refusal.got
        self.expected = refusal.expected
        super().__init__(
            f"{refusal.path or 'event'}: got {refusal.got}, expected {refusal.expected} ({refusal.reason})"
        )


class EventTooLargeError(ValueError):
    """The event is larger than a Kafka broker takes; it was not sent."""


class BrokerAwayError(ConnectionError):
    """The broker could not be reached in time; the text holds the last error."""


class NotDeliveredError(RuntimeError):
    """Leaving a `with` block, some events had not been delivered; they are in `report.undelivered`."""

    def __init__(self, report: FlushReport) -> None:
        self.report = report
        causes = "; ".join(f"{count} × {error}" for error, count in sorted(report.errors.items()))
        super().__init__(f"{len(report.undelivered)} events were not delivered: {causes}")


def topic_of(channel: str, prefix: str = "cx") -> str:
    """Name the topic of a channel, e.g. `cx.touchpoints.web`."""
    return f"{prefix}.touchpoints.{channel}"


class TouchpointProducer:
    """
    Sends touchpoint events; safe to share between threads.

    Events are delivered at least once; one customer's events keep their order as long as the broker is well.
    Repeats carry the same event id, and are counted once. Nothing is dropped silently: an event is delivered,
    or handed back by `flush`, `close` or `on_delivery`, with the reason.

    Args:
        bootstrap: Kafka servers, `host:port`, several separated by commas. The connection is made in the background.
        source: filled in as `source` of dict events that have none, e.g. `"/shop/web"`.
        channel: filled in as `channel` of dict events that have none.
        topic_prefix: first part of the topic names.
        on_delivery: called with the event and its `Receipt`, or with the event and the error text once it is given
            up; runs in a background thread, must be quick. With it set, `flush` no longer hands back events.
        buffer_bytes: memory for events that wait for the broker.
        max_block_s: how long `send` waits for room in the buffer.
        delivery_timeout_s: how long an event is tried before it is handed back.
        security: options of a secured connection, passed to the Kafka client: `security_protocol`,
            `sasl_mechanism`, `sasl_plain_username`, `sasl_plain_password`, `ssl_cafile`, …
        options: tuning of the Kafka client: `linger_ms`, `batch_size`, `compression_type`, `client_id`.
        retention_s: older events are in no KPI: `CX_RETENTION_S` of the workers; for `warnings`.
        protection: takes personal data out of events before they are sent, see `streams.secured.protection`; None: the
            workers do, and Kafka keeps what was sent.
        touchpoints: ids of the touchpoints that workers know; when not given, those shipped; for `warnings`.

    Raises:
        ValueError: an option is unknown or unusable.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        source: str | None = None,
        channel: str | None = None,
        topic_prefix: str = "cx",
        on_delivery: OnDelivery | None = None,
        buffer_bytes: int = 32 * 1024 * 1024,
        max_block_s: float = 30.0,
        delivery_timeout_s: float = 120.0,
        security: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        retention_s: float = RETENTION_S,
        touchpoints: Container[str] | None = None,
        protection: Protection | None = None,
    ) -> None:
        self._defaults = {key: value for key, value in (("source", source), ("channel", channel)) if value is not None}
        self._prefix = topic_prefix
        self._topics: dict[str, str] = {}
        self._clock = clock
        self._retention_s = retention_s
        self._protection = protection
        self._touchpoints = shipped_touchpoints() if touchpoints is None else touchpoints
        self._warned: Counter[Kind] = Counter()
        self._warning = threading.Lock()
        self._outbox = Outbox(
            bootstrap,
            buffer_bytes=buffer_bytes,
            max_block_s=max_block_s,
            delivery_timeout_s=delivery_timeout_s,
            options={**(options or {}), **(security or {})},
            on_delivery=on_delivery,
        )

    def send(self, event: Event | Mapping[str, Any] | bytes) -> str:
        """
        Check an event and queue it; returns its id.

        A dict may leave out `specversion`, `id`, `time`, and `source` and `channel` if the producer knows them. A time
        filled in here says so in `timeimputed`, and is no part of what is compared when the same event comes again. An
        id made here is new at each call: send again what `BufferFullError.event` or `undelivered` hands back, which has
        both, or set your own.

        Raises:
            InvalidEventError: it breaks the contract; the error names field, value and expectation.
            EventTooLargeError: it is larger than a broker takes.
            BufferFullError: the broker has been away or slow for so long that no room came free.
            ProducerClosedError: after `close`.
        """
        if isinstance(event, bytes):
            payload = event
        else:
            event = self._filled(event) if isinstance(event, Mapping) else event
            payload = _encoded(event)
        payload = protect(self._protection, [payload]).values[0] or payload
        decoded, refusals = decode_batch([payload])
        checked = decoded[0]
        if checked is None:
            raise InvalidEventError(refusals[0])
        try:
            self._put(payload, checked.channel, checked.subject, event)
        except BufferFullError as error:
            error.event = event
            raise
        self._foresee(checked)
        return checked.id

    @property
    def warnings(self) -> dict[Kind, int]:
        """
        How many events were sent so far of which something is missed downstream, by kind.

        `late`: too old for any KPI; `unknown_touchpoint`: counted as `unknown`. The first of a kind is logged.
        """
        with self._warning:
            return dict(self._warned)

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        """
        Queue an event that is known to be good, without checking it again: for replays and simulations.

        Raises:
            EventTooLargeError, BufferFullError, ProducerClosedError: as `send`.
        """
        self._put(payload, channel, subject, payload)

    def flush(self, timeout_s: float = 30.0) -> FlushReport:
        """
        Wait until every event so far is delivered or given up, at most `timeout_s`.

        `undelivered` events are the caller's again; `pending` ones are still being tried.
        """
        return self._outbox.flush(timeout_s)

    def wait_connected(self, timeout_s: float = 10.0) -> None:
        """
        Wait until the broker answered.

        Raises:
            BrokerAwayError: it did not in time.
        """
        started = time.monotonic()
        error = self._outbox.wait_connected(timeout_s)
        if error is not None:
            raise BrokerAwayError(f"no broker after {time.monotonic() - started:.1f} s: {error}")

    def close(self, timeout_s: float = 30.0) -> FlushReport:
        """Flush and stop; events still open after `timeout_s` are given up and reported."""
        return self._outbox.close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        report = self.close()
        if report.undelivered:
            undelivered = NotDeliveredError(report)
            if error is None:
                raise undelivered
            # The block's own error leaves; what was not delivered travels along with it.
            error.add_note(str(undelivered))

    def _filled(self, event: Mapping[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = {"specversion": "1.0", **self._defaults, **event}
        if "id" not in filled:
            filled["id"] = str(uuid.uuid4())
        if "time" not in filled:
            filled |= {"time": self._clock(), "timeimputed": True}
        return filled

    def _foresee(self, event: Envelope) -> None:
        for kind, text in foreseen(event, self._clock(), self._retention_s, self._touchpoints).items():
            with self._warning:
                self._warned[kind] += 1
                first = self._warned[kind] == 1
            if first:
                named = visible(f"{event.source} {event.id}")
                log.warning("%s: event %s: %s; more of them are only counted, in `warnings`", kind, named, text)

    def _put(self, payload: bytes, channel: str, subject: str, event: object) -> None:
        if len(payload) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"the event has {len(payload)} bytes; expected at most {MAX_EVENT_BYTES}")
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = topic_of(channel, self._prefix)
        self._outbox.put(topic, subject.encode(), payload, event)


def _encoded(event: Event | Mapping[str, Any]) -> bytes:
    try:
        payload = msgspec.json.encode(event)
    except TypeError as error:
        raise InvalidEventError(Refusal(0, "not_json", "", str(error), "values JSON can hold", str(error))) from error
    if (found := unfinite(event, payload)) is not None:
        expected = "a finite number, or no field"
        message = f"{found.path} is {found.got}, expected {expected}"
        raise InvalidEventError(Refusal(0, "out_of_range", found.path, found.got, expected, message))
    return payload
