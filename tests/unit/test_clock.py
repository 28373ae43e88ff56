"""Whom the worker believes about the time, and what it decides about events while it does not know it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from streams.events.clock import SENDERS, Clock
from streams.events.intake import Intake

NOON = datetime(2026, 3, 21, 12, tzinfo=UTC)
NOW = NOON.timestamp()
STEADY = 5_000.0


def clock(**ahead_s: float) -> Clock:
    """A clock whose references are ahead of the worker's by so many seconds."""
    made = Clock()
    for reference, ahead in ahead_s.items():
        made.measured(reference, NOW + ahead, 0.5, STEADY)
    return made


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "difference"),
    [
        ({}, "unknown", 0),
        ({"clickhouse": 3}, "right", 2.5),
        ({"clickhouse": 1_200}, "suspected", 1_199.5),
        ({"clickhouse": 1_200, "kafka": 1_200}, "wrong", 1_199.5),
        ({"clickhouse": -7_200, "kafka": -7_200}, "wrong", -7_199.5),
        ({"clickhouse": 1_200, "kafka": 0}, "right", 0),
        ({"clickhouse": 0, "kafka": -1_200}, "right", 0),
    ],
)
def test_whom_to_believe(ahead_s: dict[str, float], verdict: str, difference: float) -> None:
    """One reference that differs is the wrong one, if another agrees with us."""
    reading = clock(**ahead_s).read(NOW, STEADY)
    assert (reading.verdict, reading.ahead_s) == (verdict, difference)
    assert reading.text


def test_a_clock_that_is_set_is_seen_before_anybody_is_asked_again() -> None:
    known = clock(clickhouse=0, kafka=0)
    assert known.read(NOW + 10, STEADY + 10).verdict == "right"
    assert known.read(NOW + 10 - 1_200, STEADY + 10).verdict == "wrong"
    assert known.read(NOW + 10 + 7_200, STEADY + 10).ahead_s == pytest.approx(-7_199.5)


def test_references_that_nobody_has_asked_for_an_hour_are_none() -> None:
    assert clock(clickhouse=0).read(NOW + 3_601, STEADY + 3_601).verdict == "unknown"


@pytest.mark.parametrize(
    ("leads", "verdict"), [([1_200] * 2, "unknown"), ([1_200] * 3, "suspected"), ([1_200] * 3 + [0] * 4, "unknown")]
)
def test_many_senders_are_a_witness_when_no_clock_is(leads: list[float], verdict: str) -> None:
    known = Clock()
    for number, lead in enumerate(leads):
        known.heard(f"/shop/{number}", NOW + lead, NOW)
    reading = known.read(NOW, STEADY)
    assert (reading.verdict, reading.witnesses) == (verdict, (SENDERS,) if verdict == "suspected" else ())
    known.measured("kafka", NOW, 0.1, STEADY)
    assert known.read(NOW, STEADY).verdict == "right"


def test_senders_are_forgotten() -> None:
    known = Clock()
    for number in range(5_000):
        known.heard(f"/spoofed/{number}", NOW + 1_200, NOW)
    assert known.read(NOW, STEADY).verdict == "suspected"
    assert known.read(NOW + 61, STEADY + 61).verdict == "unknown"
    assert len(known._leads) == 1_000


def record(number: int, lead: timedelta, source: str = "/shop") -> bytes:
    return json.dumps({
        "specversion": "1.0", "id": f"e{number}", "source": source, "type": "cx.session.started",
        "time": (NOON + lead).isoformat(), "subject": "c1", "channel": "web", "data": {},
    }).encode()  # fmt: skip


HONEST = timedelta(minutes=20)
"""What is of the right present is so far ahead of a clock that is 20 minutes behind."""


def intake(known: Clock) -> Intake:
    return Intake("web/0", retention_s=86_400, dedup_ids=10_000, clock=known)


def test_a_slow_clock_makes_no_dead_letters_and_goes_on_when_it_is_right() -> None:
    """The records wait from the first one on that only a better clock can decide about."""
    known = clock(clickhouse=1_200, kafka=1_200)
    one = intake(known)
    values = [record(0, timedelta()), *(record(number, HONEST) for number in range(1, 4))]
    assert one.add(values, range(4), NOW, STEADY) == 1
    first = one.close()
    assert first is not None
    assert (first.tally.counted, first.tally.bad, first.frozen.last) == (1, 0, 0)
    assert one.add(values[1:], range(1, 4), NOW + 5, STEADY + 5) == 0
    assert one.close() is None, "a range of no records is none"

    right = NOW + 10 + 1_200
    assert one.add(values[1:], range(1, 4), right, STEADY + 10) == 3
    second = one.close()
    assert second is not None
    assert (second.tally.counted, second.tally.bad) == (3, 0)


def test_a_single_fast_device_is_refused_while_the_clock_is_right() -> None:
    one = intake(clock(clickhouse=0, kafka=0))
    assert one.add([record(0, HONEST), record(1, timedelta())], range(2), NOW, STEADY) == 2
    outcome = one.close()
    assert outcome is not None
    assert (outcome.tally.counted, outcome.tally.bad, outcome.frozen.ahead) == (1, 1, 1)


@pytest.mark.parametrize(
    "known", [clock(clickhouse=1_200, kafka=1_200), clock(clickhouse=0), Clock()], ids=["slow", "right", "unknown"]
)
def test_far_future_times_stop_nobody(known: Clock) -> None:
    """A hostile sender under a thousand names: refused whatever the clock, since no reference makes it the present."""
    one = intake(known)
    hostile = [record(number, timedelta(days=400 + number % 7), f"/evil/{number}") for number in range(1_500)]
    honest = [record(9_000 + number, timedelta(), f"/shop/{number % 40}") for number in range(40)]
    if known.read(NOW, STEADY).verdict == "unknown":
        one.add(honest, range(40), NOW, STEADY)
    start = one.open_records
    values = [value for pair in zip(hostile[:20], honest[:20], strict=True) for value in pair]
    assert one.add(values, range(start, start + 40), NOW, STEADY) == 40
    outcome = one.close()
    assert outcome is not None
    assert outcome.tally.bad == 20


def test_without_any_reference_the_senders_are_believed() -> None:
    """Twenty channels and shops that agree with each other, and a worker that nobody can tell the time."""
    one = intake(Clock())
    values = [record(number, HONEST, f"/shop/{number % 20}") for number in range(100)]
    assert one.add(values, range(100), NOW, STEADY) == 0


def test_a_range_that_is_repeated_is_not_doubted() -> None:
    """What was frozen was decided, whatever is known of the clock by now."""
    first = intake(clock(clickhouse=0))
    first.add([record(0, HONEST)], [0], NOW, STEADY)
    frozen = first.close()
    assert frozen is not None
    second = intake(clock(clickhouse=1_200, kafka=1_200))
    second.restore([frozen.frozen])
    assert second.add([record(0, HONEST)], [0], NOW, STEADY) == 1
    repeated = second.close()
    assert repeated is not None
    assert repeated.frozen == frozen.frozen


def test_nothing_is_refused_for_its_time_before_a_first_clock_was_asked() -> None:
    """A worker starts with a backlog, and its clock may be slow: it waits for the first answer, or for its failure."""
    known = Clock(awaited=True)
    one = intake(known)
    assert one.add([record(0, HONEST), record(1, timedelta(days=400))], range(2), NOW, STEADY) == 0
    known.awaited = False
    assert one.add([record(0, HONEST), record(1, timedelta(days=400))], range(2), NOW, STEADY) == 2
