"""The clocks of a worker, and the references it compares them with."""

import time

from streams.events.clock import Clock, Reading


def steady() -> float:
    """Return the seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def read(clock: Clock) -> Reading:
    """Judge the worker's clock as of now."""
    return clock.read(time.time(), steady())
