"""How often what is still open is published, and how many minutes of a stall are made up for."""

from streams.kpis.rolling.outputs import MinuteRow, Outputs, RollingSum
from streams.kpis.rolling.throttle import Due, PublishingThrottle, steps_to

SHORT = frozenset({"5m"})
CLOSED = 7
ALL = Due(minutes=True, short=True, long=True)
UNLESS_LONG = Due(minutes=True, short=True, long=False)
MINUTES = Due(minutes=True, short=False, long=False)
NONE = Due(minutes=False, short=False, long=False)


def rows(minutes: int = 0, short: int = 0, long: int = 0, history: int = 0) -> Outputs:
    value = RollingSum("csat", "5m", 60, [1, 1], "open", 0)
    minute = MinuteRow("csat", CLOSED + 1, 0, [1, 1], 0)
    return Outputs(
        [minute] * minutes + [minute._replace(minute=CLOSED)] * history,
        [value] * short + [value._replace(window="24h")] * long,
    )


def publish(pace: PublishingThrottle, now: float, **counts: int) -> Due:
    due = pace.due(now, history=False)
    pace.published(now, due, rows(**counts), CLOSED, SHORT)
    return due


def test_few_short_windows_are_published_every_second_minutes_twice_and_long_windows_every_five_seconds() -> None:
    pace = PublishingThrottle(1.0)
    assert publish(pace, 100, minutes=10, short=10, long=10) == ALL
    assert publish(pace, 100.4) == NONE
    assert publish(pace, 100.5, minutes=10) == MINUTES
    assert publish(pace, 101, minutes=10, short=10) == UNLESS_LONG
    assert publish(pace, 101.8) == MINUTES
    assert publish(pace, 104.4, minutes=10, short=10) == UNLESS_LONG
    assert publish(pace, 105.4, minutes=10, short=10, long=10) == ALL
    assert publish(pace, 106.4, minutes=10, short=10) == UNLESS_LONG


def test_a_flush_that_comes_a_little_early_makes_nothing_wait_for_the_next_one() -> None:
    pace = PublishingThrottle(1.0)
    for flush in range(20):
        assert publish(pace, 100 + 0.95 * flush, minutes=10, short=10).short


def test_with_very_many_minutes_come_before_short_windows_and_these_before_long_ones() -> None:
    pace = PublishingThrottle(1.0)
    seen = []
    for second in range(100, 130):
        due = pace.due(second, history=False)
        pace.published(second, due, rows(1_000, 5_000 * due.short, 7_000 * due.long), CLOSED, SHORT)
        seen.append(due)
    assert all(due.minutes for due in seen)
    assert [n for n, due in enumerate(seen) if due.short] == list(range(0, 30, 2))
    assert [n for n, due in enumerate(seen) if due.long] == [0, 10, 20]


def test_minutes_wait_as_well_when_there_are_too_many_of_them() -> None:
    pace = PublishingThrottle(1.0)
    assert publish(pace, 100, minutes=6_000) == ALL
    assert publish(pace, 102.9) == NONE
    assert publish(pace, 103) == UNLESS_LONG


def test_what_closed_makes_open_windows_wait_but_no_minutes() -> None:
    pace = PublishingThrottle(1.0)
    publish(pace, 100)
    pace.published(100.5, MINUTES, rows(0, 5_000, 4_200, 200_000), CLOSED, SHORT)
    assert pace.due(101, history=False) == MINUTES
    assert pace.due(102.5, history=False) == UNLESS_LONG
    assert pace.due(106.4, history=False) == UNLESS_LONG
    assert pace.due(106.5, history=False) == ALL


def test_nobody_waits_for_history() -> None:
    pace = PublishingThrottle(1.0)
    publish(pace, 100)
    assert pace.due(104.9, history=True) == NONE
    assert pace.due(105, history=True) == ALL


def test_a_stall_is_made_up_for_minute_by_minute_unless_each_has_very_many_rows() -> None:
    assert steps_to(None, 100, rows=0, catching_up=False) == range(100, 101)
    assert steps_to(97, 100, rows=10, catching_up=False) == range(98, 101)
    assert steps_to(50, 100, rows=10, catching_up=False) == range(96, 101)
    assert steps_to(97, 100, rows=10_000, catching_up=False) == range(100, 101)
    assert steps_to(97, 100, rows=10, catching_up=True) == range(100, 101)
    assert not steps_to(100, 100, rows=10, catching_up=True)
