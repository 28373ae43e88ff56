"""Sends a simulation: at the pace of the clock, faster, or as fast as it goes."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol

import msgspec

from streams.producers.simulator.emission import Emission, Flaws, emissions
from streams.producers.simulator.scenario import Plan

REPORT_S: Final = 1.0
NAP_S: Final = 0.02
"""Events due within this time are sent together: pacing every one of them would cost more than sending it."""


class SimulationSender(Protocol):
    """What a run needs of a producer; `TouchpointProducer` is one."""

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        """Queue a record."""


class RunProgress(msgspec.Struct):
    """How far a run is: records sent in all and by channel, the event time reached, and how far behind the clock."""

    sent: int
    by_channel: dict[str, int]
    event_time: float
    behind_s: float
    elapsed_s: float

    @property
    def per_second(self) -> float:
        """Return the records sent per second of the wall clock."""
        return self.sent / self.elapsed_s if self.elapsed_s > 0 else 0.0


def run(
    plan: Plan,
    sender: SimulationSender,
    *,
    flaws: Flaws | None = None,
    speed: float | None = 1.0,
    count: int | None = None,
    duration_s: float | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> RunProgress:
    """
    Generate a plan's events and send them, until told to stop.

    Args:
        plan: what happens. For a live run its start is now, so that event time is the clock's.
        sender: takes the records.
        flaws: shares of bad, repeated and late records.
        speed: seconds of event time per second of the clock; None: as fast as it goes.
        count: stop after so many records.
        duration_s: stop after so many seconds of event time.
        stop: stops the run when set.
        on_progress: called about once a second.

    Returns:
        The final state of the run. Records may still be under way: flush the sender.

    Raises:
        ValueError: the speed is not positive.
        IncidentError: an incident of the plan is wrong.
        BufferFullError: the sender's broker is away for too long.
    """
    if speed is not None and speed <= 0:
        raise ValueError(f"speed is {speed:g}; expected a positive number, or None for as fast as possible")
    stop = stop or threading.Event()
    start = plan.start.timestamp()
    began = time.monotonic()
    reported = began
    sent: Counter[str] = Counter()
    reached, behind = start, 0.0

    def progress() -> RunProgress:
        return RunProgress(sent.total(), dict(sent), reached, behind, time.monotonic() - began)

    for emission in islice(emissions(plan, flaws), count):
        if duration_s is not None and emission.due >= start + duration_s:
            break
        if speed is not None:
            ahead = (emission.due - start) / speed - (time.monotonic() - began)
            behind = max(0.0, -ahead)
            if ahead > NAP_S and not _wait(stop, ahead, on_progress, progress):
                break
        now = time.monotonic()
        if now - reported >= REPORT_S:
            reported = now
            if on_progress is not None:
                on_progress(progress())
        if stop.is_set():
            break
        sender.send_encoded(emission.payload, emission.channel, emission.subject)
        sent[emission.channel] += 1
        reached = emission.due
    last = progress()
    if on_progress is not None:
        on_progress(last)
    return last


def _wait(
    stop: threading.Event,
    seconds: float,
    on_progress: Callable[[RunProgress], None] | None,
    progress: Callable[[], RunProgress],
) -> bool:
    """Sleep, reporting now and then in a long one; returns False when the run shall stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if stop.wait(min(left, REPORT_S)):
            return False
        if left > REPORT_S and on_progress is not None:
            on_progress(progress())
    return True


def pregenerate(count: int, plan: Plan, flaws: Flaws | None = None) -> list[Emission]:
    """Make a pool of records once, for benchmarks that must not measure the simulation."""
    return list(islice(emissions(plan, flaws), count))


def recycled(pool: list[Emission], count: int) -> Iterator[Emission]:
    """
    Tell `count` records from a pool, each round with ids of its own so that they are no duplicates.

    Raises:
        ValueError: the pool is empty, or a record's id stands elsewhere than `encode` puts it.
    """
    if not pool:
        raise ValueError("the pool is empty; expected at least one record")
    marker = b'"id":"'
    for number in range(count):
        round_, index = divmod(number, len(pool))
        emission = pool[index]
        if round_ == 0:
            yield emission
            continue
        head, found, tail = emission.payload.partition(marker)
        if not found:
            raise ValueError(f"record {index} of the pool has no {marker.decode()}; expected encoded events")
        # The first 8 characters of the id give way to the number of the round: still unique, as long as before.
        yield emission._replace(payload=head + marker + b"%08x" % round_ + tail[8:])
