"""The outbox of a producer: bounded, retried until a deadline, and never silent about what was not delivered."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from streams.producers.wire import connection_options, open_client, shut_client

log = logging.getLogger(__name__)

OVERHEAD = 400
"""Bytes of bookkeeping per waiting record, measured roughly; counted so that small events cannot exhaust memory."""

BLOCK_SLICE_S = 2.0
"""Longest time the courier thread may be held by the Kafka client for metadata of one topic."""

GRACE_S = 1.0
"""A record the client keeps longer than its deadline and this is stuck inside the client."""

STOP_S = 20.0
"""Longest wait for the courier thread at the end: longer than its client may take to connect and to close."""

PERMANENT = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidRecordError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.AuthorizationError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.PolicyViolationError,
    ValueError,
    TypeError,
)
"""Errors that no retry can heal: the record is handed back at once."""


class Receipt(NamedTuple):
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


class Undelivered(NamedTuple):
    """One event that is the caller's again, as it was given to `send`, and why."""

    event: object
    error: str


class FlushReport(NamedTuple):
    """What became of the events since the last report; `undelivered` is handed over, `pending` is still tried."""

    delivered: int
    pending: int
    undelivered: list[Undelivered]
    errors: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether nothing is open and nothing was given up."""
        return not self.pending and not self.undelivered


class BufferFullError(Exception):
    """
    No room came free in time: the broker is away, too slow, or undelivered events were not taken by `flush`.

    `event` is what was to be sent, with the id and the time that a dict was given: sent again, it is the same event.
    """

    event: object = None


class ProducerClosedError(Exception):
    """`send` came after `close`."""


OnDelivery = Callable[[object, Receipt | str], None]


class Parcel:
    """One record on its way, with the object the caller gave."""

    __slots__ = ("deadline", "done", "error", "event", "key", "payload", "size", "topic")

    def __init__(self, topic: str, key: bytes, payload: bytes, event: object, deadline: float) -> None:
        self.topic = topic
        self.key = key
        self.payload = payload
        self.event = event
        self.deadline = deadline
        self.size = len(payload) + len(key) + OVERHEAD
        self.error = "never tried"
        self.done = False


class Outbox:
    """
    A bounded queue, and one courier thread that empties it into a Kafka client.

    The Kafka client bounds neither its memory nor, before it has a producer id, the life of a record; both are done
    here. A client that holds a record beyond its deadline is replaced, and what it held and may still be tried goes
    to its successor. That can repeat a record the broker already has: events carry an id, and receivers drop repeats.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        buffer_bytes: int,
        max_block_s: float,
        delivery_timeout_s: float,
        options: Mapping[str, Any],
        on_delivery: OnDelivery | None,
    ) -> None:
        self._config = connection_options(bootstrap, delivery_timeout_s, BLOCK_SLICE_S, options)
        self._buffer_bytes = buffer_bytes
        self._max_block_s = max_block_s
        self._timeout_s = delivery_timeout_s
        self._on_delivery = on_delivery
        self._changed = threading.Condition()
        self._queue: deque[Parcel] = deque()
        self._with_client: dict[int, Parcel] = {}
        self._bytes = 0
        self._delivered = 0
        self._given_up: list[Undelivered] = []
        self._given_up_bytes = 0
        self._errors: Counter[str] = Counter()
        self._link_error = "not connected yet"
        self._closing = False
        self._stopped = False
        self._producer: KafkaProducer | None = None
        self._broken: KafkaProducer | None = None
        self._thread = threading.Thread(target=self._run, name="cx-producer", daemon=True)
        self._thread.start()

    def put(self, topic: str, key: bytes, payload: bytes, event: object) -> None:
        """
        Queue a record, waiting for room up to `max_block_s`.

        Raises:
            BufferFullError: no room came free in time.
            ProducerClosedError: the outbox was closed.
        """
        now = time.monotonic()
        parcel = Parcel(topic, key, payload, event, now + self._timeout_s)
        while True:
            with self._changed:
                if self._closing:
                    raise ProducerClosedError("this producer is closed; open a new one")
                if self._bytes + parcel.size <= self._buffer_bytes:
                    self._bytes += parcel.size
                    self._queue.append(parcel)
                    if len(self._queue) == 1:
                        self._changed.notify_all()
                    return
                left = now + self._max_block_s - time.monotonic()
                if left <= 0:
                    raise BufferFullError(self._why_full())
                self._changed.wait(min(left, 0.5))
            self._give_up_overdue()

    def flush(self, timeout_s: float) -> FlushReport:
        """Wait until nothing is open, at most `timeout_s`, and hand over what was given up since the last report."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0 or not (self._queue or self._with_client):
                    return self._report()
                self._changed.wait(min(left, 0.5))
            self._give_up_overdue()

    def wait_connected(self, timeout_s: float) -> str | None:
        """Wait for the broker; return None once connected, else the last error in words."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._producer is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return self._link_error
                self._changed.wait(left)
        return None

    def close(self, timeout_s: float) -> FlushReport:
        """Flush, stop the thread and the client; what is still open then is given up and reported."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        first = self.flush(timeout_s)
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("the producer's thread hangs in the Kafka client; it is left to end by itself")
        with self._changed:
            left = [*self._with_client.values(), *self._queue]
        for parcel in left:
            self._give_up(parcel, f"closed before the broker answered; last error: {parcel.error}")
        with self._changed:
            self._queue.clear()
            self._with_client.clear()
            rest = self._report()
        errors = Counter(first.errors)
        errors.update(rest.errors)
        return FlushReport(first.delivered + rest.delivered, 0, first.undelivered + rest.undelivered, dict(errors))

    def _report(self) -> FlushReport:
        report = FlushReport(
            self._delivered, len(self._queue) + len(self._with_client), self._given_up, dict(self._errors)
        )
        self._bytes -= self._given_up_bytes
        self._delivered, self._given_up, self._given_up_bytes = 0, [], 0
        self._errors.clear()
        self._changed.notify_all()
        return report

    def _why_full(self) -> str:
        text = (
            f"the buffer of {self._buffer_bytes} bytes stayed full for {self._max_block_s:g} s: "
            f"{len(self._queue) + len(self._with_client)} events wait for the broker"
        )
        if self._given_up:
            text += f", {len(self._given_up)} undelivered ones wait to be taken by flush()"
        return f"{text}; last broker error: {self._link_error or 'none'}"

    def _run(self) -> None:
        pause = 0.05
        while True:
            with self._changed:
                if not self._queue and not self._stopped:
                    self._changed.wait(0.25)
                if self._stopped:
                    break
                work = [self._queue.popleft() for _ in range(min(len(self._queue), 500))]
                for parcel in work:
                    self._with_client[id(parcel)] = parcel
            self._replace_dead_client()
            if not self._connect():
                self._return_to_queue(work)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, pause)
                pause = min(pause * 2, 1.0)
                continue
            pause = 0.05
            refused = self._hand_over(work)
            if refused:
                self._return_to_queue(refused)
        if self._producer is not None:
            shut_client(self._producer)

    def _connect(self) -> bool:
        if self._producer is not None:
            return True
        try:
            producer = open_client(self._config)
        except Exception as error:  # noqa: BLE001 - every way to fail is the same to us: said in words, tried again
            text = f"{type(error).__name__}: {error}"
            if text != self._link_error:
                log.warning("no connection to the broker: %s", text)
            self._link_error = text
            return False
        with self._changed:
            self._producer = producer
            self._link_error = ""
            self._changed.notify_all()
        return True

    def _hand_over(self, work: list[Parcel]) -> list[Parcel]:
        """Give records to the client; return those of topics it knows nothing about yet."""
        refused: list[Parcel] = []
        absent: dict[str, str] = {}
        producer: Any = self._producer
        for parcel in work:
            if parcel.done:
                continue
            if parcel.topic in absent:
                parcel.error = absent[parcel.topic]
                refused.append(parcel)
                continue
            try:
                future = producer.send(parcel.topic, parcel.payload, key=parcel.key)
            except PERMANENT as error:
                self._give_up(parcel, f"{type(error).__name__}: {error}")
            except kafka_errors.KafkaError as error:
                text = f"topic {parcel.topic}: {type(error).__name__}: {error}"
                absent[parcel.topic] = parcel.error = self._link_error = text
                refused.append(parcel)
            else:
                future._add_cb_eb(  # noqa: SLF001 - one lock instead of two per record
                    lambda metadata, parcel=parcel: self._arrived(parcel, metadata),
                    lambda error, parcel=parcel: self._failed(parcel, error, producer),
                )
        return refused

    def _arrived(self, parcel: Parcel, metadata: Any) -> None:
        with self._changed:
            if parcel.done:
                return
            parcel.done = True
            self._with_client.pop(id(parcel), None)
            self._bytes -= parcel.size
            self._delivered += 1
            self._changed.notify_all()
        if self._on_delivery is not None:
            self._call_back(parcel, Receipt(metadata.topic, metadata.partition, metadata.offset))

    def _failed(self, parcel: Parcel, error: BaseException, producer: KafkaProducer) -> None:
        parcel.error = f"{type(error).__name__}: {error}"
        self._link_error = parcel.error
        if isinstance(error, PERMANENT):
            self._give_up(parcel, parcel.error)
            return
        if not isinstance(error, kafka_errors.RetriableError):
            # A broker that lost our producer id leaves the client refusing everything, for good.
            self._broken = producer
        self._return_to_queue([parcel])

    def _return_to_queue(self, parcels: list[Parcel]) -> None:
        """Put records back in their order; the overdue ones are given up."""
        with self._changed:
            for parcel in reversed(parcels):
                self._with_client.pop(id(parcel), None)
                if not parcel.done:
                    self._queue.appendleft(parcel)
        self._give_up_overdue()

    def _give_up_overdue(self) -> None:
        """
        Give up what is beyond its deadline.

        Callers of `put` and `flush` do this too: deadlines hold even if the courier hangs in the Kafka client.
        """
        now = time.monotonic()
        with self._changed:
            late = [parcel for parcel in self._queue if parcel.deadline <= now]
            if late:
                self._queue = deque(parcel for parcel in self._queue if parcel.deadline > now)
            # The courier's own way, replacing the client, comes first.
            patience = now - 3 * GRACE_S
            late += [parcel for parcel in self._with_client.values() if parcel.deadline <= patience]
        for parcel in late:
            cause = self._link_error or parcel.error
            self._give_up(parcel, f"not delivered within {self._timeout_s:g} s; last error: {cause}")

    def _replace_dead_client(self) -> None:
        """Part with a client that refuses everything, or keeps records beyond their deadline."""
        if self._producer is None:
            return
        with self._changed:
            oldest = next(iter(self._with_client.values()), None)
        stuck = oldest is not None and oldest.deadline + GRACE_S <= time.monotonic()
        if not stuck and self._broken is not self._producer:
            return
        if stuck:
            self._link_error = "the broker does not answer"
        log.warning("the Kafka client is replaced: %s", self._link_error)
        dead, self._producer, self._broken = self._producer, None, None
        shut_client(dead)

    def _give_up(self, parcel: Parcel, error: str) -> None:
        with self._changed:
            if parcel.done:
                return
            parcel.done = True
            self._with_client.pop(id(parcel), None)
            self._errors[error.partition(";")[0]] += 1
            if self._on_delivery is None:
                # Kept, and counted against the buffer, until a flush takes it: nothing leaves unseen.
                self._given_up.append(Undelivered(parcel.event, error))
                self._given_up_bytes += parcel.size
            else:
                self._bytes -= parcel.size
            self._changed.notify_all()
        if self._on_delivery is not None:
            self._call_back(parcel, error)

    def _call_back(self, parcel: Parcel, outcome: Receipt | str) -> None:
        if self._on_delivery is None:
            return
        try:
            self._on_delivery(parcel.event, outcome)
        except Exception:
            log.exception("on_delivery failed for an event of %s", parcel.topic)
            with self._changed:
                self._errors["on_delivery raised"] += 1
