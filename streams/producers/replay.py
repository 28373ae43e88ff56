"""
Send recorded events again: in the order of their times, at the pace they had, faster, or as fast as the broker takes.

A replay sends the recorded bytes, ids included. What was counted before is therefore a duplicate the second time;
only a rebased replay, which moves all times, makes new events, and marks them `timeimputed`.
"""

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from random import Random
from typing import Any, Final, Literal, Protocol
from uuid import UUID, uuid5

import msgspec

from streams.events.types import EVENT_TYPES, data_fields
from streams.producers.client import EventTooLargeError
from streams.producers.readers.base import Touch

RUN = 2_000
"""Most events sent between two looks at the clock and at the stop signal."""

_REBASED: Final = UUID("0b8b1f3c-4f0e-57e5-9d0a-6f1d6c1f7b52")
_TIME_FIELDS: Final = {
    name: tuple(field.name for field in data_fields(name).values() if field.kind == "time") for name in EVENT_TYPES
}


class Deliveries(Protocol):
    """What became of events since a producer was last asked; the `FlushReport` of `TouchpointProducer` is one."""

    @property
    def delivered(self) -> int:
        """How many reached the broker."""

    @property
    def undelivered(self) -> Sequence[object]:
        """Those that were given up."""

    @property
    def errors(self) -> Mapping[str, int]:
        """Why they were given up: how many by reason."""


class ReplaySender(Protocol):
    """What a replay needs of a producer, such as `TouchpointProducer` without `on_delivery`."""

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        """Queue an event."""

    def flush(self, timeout_s: float = 30.0) -> Deliveries:
        """Wait for what is queued, and tell what became of it since the last call."""


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay has come: of `total` events, and up to which event time."""

    total: int
    sent: int
    delivered: int
    undelivered: int
    reached: datetime | None
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """
    What a replay came to. `sent` is `delivered` + `undelivered` + `pending`; `pending` had no answer in time.

    `errors` counts why events were not delivered; `shift` is by how much times were moved, if they were.
    """

    total: int
    sent: int
    delivered: int
    undelivered: int
    pending: int
    by_channel: dict[str, int]
    errors: dict[str, int]
    duration_s: float
    stopped: bool
    shift: timedelta | None

    @property
    def complete(self) -> bool:
        """Whether every event was sent and reached the broker."""
        return self.delivered == self.total


def replay(
    events: Iterable[Touch],
    producer: ReplaySender,
    speed: float | Literal["max"] = 1.0,
    *,
    shuffle_within_s: float = 0.0,
    seed: int = 0,
    repeat: int = 1,
    rebase: datetime | None = None,
    progress: Callable[[ReplayProgress], None] | None = None,
    progress_every_s: float = 1.0,
    stop: threading.Event | None = None,
    flush_timeout_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> ReplayReport:
    """
    Send `events` in the order of their times, and wait until the broker has them.

    Args:
        events: What `readers.read` gives; held in memory.
        producer: Not used by others meanwhile, since its deliveries are counted as the replay's.
        speed: Event seconds per second of wall time, or `max`: without waiting.
        shuffle_within_s: Disorder the events so that none comes more than this many event seconds late.
        seed: Decides the disorder: the same events and seed give the same order.
        repeat: How often to send the same events; the second time they are duplicates.
        rebase: Move all times by the same amount so that the last event falls on this moment.
            Moved events are new events: their ids are made of the old id and the shift, and they say `timeimputed`.
        progress: Called now and then, also while waiting for the next event's time, and at the end.
        progress_every_s: Seconds between two calls of `progress`.
        stop: Set it to end the replay early; what was sent is still waited for.
        flush_timeout_s: How long to wait for the broker at the end.
        clock: Seconds that only go forward.

    Raises:
        ValueError: `speed` or `repeat` is not positive, or `shuffle_within_s` is negative.
        BufferFullError, ProducerClosedError: As the producer raises them;
            a note says how far the replay had come.
    """
    if speed != "max" and not 0 < speed < float("inf"):
        raise ValueError(f"speed is {speed!r}; expected 'max' or a number above 0")
    if repeat < 1:
        raise ValueError(f"repeat is {repeat}; expected at least 1")
    touches = list(events)
    shift = None
    if rebase is not None and touches:
        shift = rebase - datetime.fromtimestamp(max(touch.time for touch in touches), UTC)
        touches = [_moved(touch, shift) for touch in touches]
    order, arrivals = _in_order(touches, shuffle_within_s, seed)
    run = _Replay(producer, len(order) * repeat, progress, progress_every_s, clock)
    stop = stop or threading.Event()
    try:
        for _ in range(repeat):
            run.one_pass(order, arrivals, speed, stop)
    except Exception as error:
        error.add_note(f"the replay had sent {run.sent} of {run.total} events")
        raise
    run.take(producer.flush(flush_timeout_s))
    run.tell()
    return ReplayReport(
        total=run.total,
        sent=run.sent,
        delivered=run.delivered,
        undelivered=run.undelivered,
        pending=run.sent - run.delivered - run.undelivered,
        by_channel=dict(sorted(run.by_channel.items())),
        errors=dict(run.errors),
        duration_s=clock() - run.started,
        stopped=run.sent < run.total,
        shift=shift,
    )


class _Replay:
    """The counts of one replay, and its sending loop."""

    def __init__(
        self,
        producer: ReplaySender,
        total: int,
        progress: Callable[[ReplayProgress], None] | None,
        every_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._producer = producer
        self._progress = progress
        self._every_s = every_s
        self._clock = clock
        self.total = total
        self.sent = 0
        self.delivered = 0
        self.undelivered = 0
        self.by_channel: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._reached: float | None = None
        self.started = self._reported_at = clock()

    def one_pass(
        self, order: Sequence[Touch], arrivals: Sequence[float], speed: float | Literal["max"], stop: threading.Event
    ) -> None:
        """Send all events once, each when its arrival time is due."""
        began, place = self._clock(), 0
        while place < len(order) and not stop.is_set():
            end = min(place + RUN, len(order))
            if speed != "max":
                now = arrivals[0] + (self._clock() - began) * speed
                end = bisect_right(arrivals, now, place, end)
                if end == place:
                    stop.wait(min((arrivals[place] - now) / speed, self._every_s))
            self._send(order[place:end])
            place = end
            if self._clock() - self._reported_at >= self._every_s:
                # Also frees the producer's memory of events that were given up.
                self.take(self._producer.flush(0))
                self.tell()

    def _send(self, touches: Sequence[Touch]) -> None:
        send = self._producer.send_encoded
        for touch in touches:
            try:
                send(touch.value, touch.channel, touch.subject)
            except EventTooLargeError as error:
                # One that grew by being moved does not end the replay of the others.
                self.undelivered += 1
                self.errors[f"too_large: {error}"] += 1
            self.sent += 1
        if touches:
            self.by_channel.update(map(itemgetter(1), touches))
            self._reached = touches[-1].time

    def take(self, report: Deliveries) -> None:
        """Add what the producer tells since it was last asked."""
        self.delivered += report.delivered
        self.undelivered += len(report.undelivered)
        self.errors.update(report.errors)

    def tell(self) -> None:
        """Call the progress function."""
        self._reported_at = self._clock()
        if self._progress is not None:
            reached = None if self._reached is None else datetime.fromtimestamp(self._reached, UTC)
            elapsed_s = self._reported_at - self.started
            self._progress(ReplayProgress(self.total, self.sent, self.delivered, self.undelivered, reached, elapsed_s))


def _in_order(touches: list[Touch], within_s: float, seed: int) -> tuple[list[Touch], list[float]]:
    """
    Sort events by the time they arrive, and give these times too.

    Each arrives at its own time plus a random part of `within_s`. One that came before it is then at most
    `within_s` younger, so the disorder keeps within that bound.
    """
    if within_s < 0:
        raise ValueError(f"shuffle_within_s is {within_s}; expected 0 or more")
    chance = Random(seed)  # noqa: S311 - disorder for tests, not a secret
    arriving = [(touch.time + within_s * chance.random() if within_s else touch.time, touch) for touch in touches]
    arriving.sort(key=itemgetter(0))
    return [touch for _, touch in arriving], [arrival for arrival, _ in arriving]


def _moved(touch: Touch, shift: timedelta) -> Touch:
    """Move an event in time, with the times in its data, as a new event that says its time is imputed."""
    try:
        event: dict[str, Any] = msgspec.json.decode(touch.value)
        event["time"] = datetime.fromtimestamp(touch.time, UTC) + shift
    except (msgspec.MsgspecError, RecursionError, OverflowError):
        # A number, a depth or a time beyond all limits: the event is bad, and its receiver is to say so.
        return touch
    event["timeimputed"] = True
    if isinstance(event.get("id"), str):
        event["id"] = str(uuid5(_REBASED, f"{event['id']}\x1f{shift.total_seconds()}"))
    data = event.get("data")
    if isinstance(data, dict):
        for name in _TIME_FIELDS.get(str(event.get("type")), ()):
            if name in data:
                data[name] = _moved_time(data[name], shift)
    return Touch(touch.time + shift.total_seconds(), touch.channel, touch.subject, msgspec.json.encode(event))


def _moved_time(value: object, shift: timedelta) -> object:
    try:
        return msgspec.convert(value, datetime) + shift
    except (msgspec.ValidationError, OverflowError):
        # No time at all: the event is bad, and its receiver is to say so.
        return value
