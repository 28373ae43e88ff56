"""
Ranges of records as events: what KPIs of the pipeline's health are made of.

A function of the frozen range and its records, so that a range that is repeated after a crash adds the same. Times are
cut to whole milliseconds here, once, because they are stored so and recomputed from there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any, Final, NamedTuple

from streams.events.intake import FrozenRange, Outcome
from streams.events.ranges import RangeClosed, RangeEvent, RecordRefused, RefusedEvent
from streams.events.types import Event

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RangeTimes(NamedTuple):
    """When a range was, in Unix milliseconds; 0: unknown."""

    counted: int = 0
    """Event time at which KPIs count it; unknown, it is in none of them."""
    taken: int = 0
    """When its first records were taken in, by the clock."""
    newest: int = 0
    """The newest event time of its source, once it was closed."""


def times_of(frozen: FrozenRange) -> RangeTimes:
    """Return the times of a range."""
    if frozen.time is None:
        return RangeTimes()
    newest = frozen.after.newest
    return RangeTimes(_ms(frozen.time), _ms(frozen.now), _ms(newest) if newest > 0 else 0)


def events_of(outcome: Outcome, channel: str) -> list[Event]:
    """Return what a closed range adds to KPIs besides its events: itself, and each record that was refused."""
    times = times_of(outcome.frozen)
    if not times.counted:
        return []
    tally = outcome.tally
    age_s = max(0, times.taken - times.newest) / 1000 if times.newest else None
    data = RangeClosed(
        read=tally.read,
        counted=tally.counted,
        duplicate=tally.duplicate,
        late=tally.late,
        bad=tally.bad,
        conflict=tally.conflict,
        age_s=age_s,
    )
    source = outcome.frozen.source
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"{source}/{outcome.frozen.first}",
        "source": source,
        "time": _EPOCH + timedelta(milliseconds=times.counted),
        "subject": source,
        "channel": channel,
    }
    refused = (RecordRefused(reason=bad.refusal.reason, path=bad.refusal.path or None) for bad in outcome.bad)
    return [RangeEvent(data=data, **envelope), *(RefusedEvent(data=one, **envelope) for one in refused)]


def _ms(at: float) -> int:
    return floor(at * 1000)
