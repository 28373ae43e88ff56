"""Rolling windows: what they hold, what leaves them, and what gaps cost."""

from __future__ import annotations

import random

import pytest

from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.lengths import first_minute, window_end, window_minutes
from streams.kpis.rolling.pages import Page, Pages
from streams.kpis.rolling.retention import Retention
from streams.kpis.rolling.windows import Windows

YEAR = 525_600


def pages_of(minutes: dict[int, dict[int, Acc]]) -> Pages:
    pages = Pages()
    for minute, totals in minutes.items():
        pages.at(minute, 0, 0).totals = totals
    return pages


def sums(windows: Windows) -> dict[str, dict[int, Acc]]:
    return {name: dict(settled) for name, settled in windows.advanced()}


@pytest.mark.parametrize(("name", "minutes"), [("1m", 1), ("15m", 15), ("24h", 1440), ("7d", 10_080)])
def test_names_say_minutes(name: str, minutes: int) -> None:
    assert window_minutes(name) == minutes


@pytest.mark.parametrize("name", ["", "0m", "5", "m", "1w", "90s", "-5m", "total"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected minutes, hours or days"):
        window_minutes(name)
    with pytest.raises(ValueError, match="expected minutes, hours or days"):
        Windows(("1m", name))


def test_a_window_ends_with_its_last_minute() -> None:
    assert window_end(10) == 660


def test_minutes_enter_and_leave() -> None:
    pages = pages_of({10: {1: [1, 10], 2: [1, 1]}, 11: {1: [2, 20]}, 12: {1: [4, 40]}})
    windows = Windows(("1m", "3m"))
    windows.advance(12, pages)
    assert sums(windows) == {
        "1m": {1: [4, 40], 2: [0, 0]},
        "3m": {1: [7, 70], 2: [1, 1]},
        "total": {1: [7, 70], 2: [1, 1]},
    }
    windows.advance(13, pages)
    assert sums(windows) == {"1m": {1: [0, 0]}, "3m": {1: [6, 60], 2: [0, 0]}, "total": {}}
    windows.advance(14, pages)
    assert sums(windows) == {"1m": {}, "3m": {1: [4, 40]}, "total": {}}
    windows.advance(15, pages)
    assert sums(windows) == {"1m": {}, "3m": {1: [0, 0]}, "total": {}}
    windows.advance(16, pages)
    assert sums(windows) == {"1m": {}, "3m": {}, "total": {}}


def test_a_series_that_stays_is_not_reported_as_gone() -> None:
    pages = pages_of({10: {1: {5: 1}}, 20: {1: {6: 1}}})
    windows = Windows(("1m",))
    windows.advance(10, pages)
    sums(windows)
    windows.advance(20, pages)
    assert sums(windows) == {"1m": {1: {6: 1}}, "total": {1: {5: 1, 6: 1}}}


def test_what_a_leap_passed_by_is_reported_as_gone() -> None:
    """A state that was lost may have published the window half-way; its readers must learn that it ended."""
    pages = pages_of({10: {1: [1]}, 15: {2: [1]}})
    windows = Windows(("3m",))
    windows.advance(11, pages)
    assert sums(windows)["3m"] == {1: [1]}
    windows.advance(30, pages)
    assert sums(windows)["3m"] == {1: [0], 2: [0]}


def test_a_mark_without_content_may_leave_after_the_series_has_ended() -> None:
    pages = pages_of({10: {1: [1]}, 11: {1: [0], 2: [0]}})
    windows = Windows(("2m",))
    for minute in (11, 12):
        windows.advance(minute, pages)
    assert sums(windows)["2m"] == {1: [0], 2: [0]}
    windows.advance(13, pages)
    assert sums(windows)["2m"] == {2: [0]}
    windows.advance(14, pages)
    assert sums(windows)["2m"] == {}


def test_late_additions_are_taken_once_and_only_where_they_belong() -> None:
    pages = pages_of({10: {1: [1]}})
    windows = Windows(("1m", "3m"))
    windows.advance(10, pages)
    sums(windows)
    windows.add([(9, [(1, [5])])])
    assert [(name, dict(settled)) for name, settled in windows.touched()] == [
        ("1m", {}),
        ("3m", {1: [6]}),
        ("total", {1: [6]}),
    ]
    assert all(not settled for _, settled in windows.touched())


def test_years_without_data_cost_nothing() -> None:
    reads = []

    class Counting(Pages):
        def between(self, after, last):
            found = super().between(after, last)
            reads.extend(found)
            return found

    pages = Counting()
    for minute in (10, 10 + 30 * YEAR):
        pages.at(minute, 0, 0).totals = {1: [1]}
    windows = Windows()
    windows.advance(10, pages)
    windows.advance(10 + 30 * YEAR, pages)
    assert len(reads) == 2
    assert sums(windows)["24h"] == {1: [1]}


def test_a_start_from_pages_equals_going_there() -> None:
    minutes: dict[int, dict[int, Acc]] = {
        m: {m % 3: [1, m, m * (1 << 60)], 7: {m % 5 - 1: 2}, 8: [m]} for m in (1, 2, 50, 58, 59, 60)
    }
    walked = Windows(("1m", "5m", "15m"))
    for minute in sorted(minutes):
        walked.advance(minute, pages_of({m: t for m, t in minutes.items() if m <= minute}))
    started = Windows(("1m", "5m", "15m"))
    started.start(60, pages_of(minutes), {8: [1000]}, 9)
    walked.add([(-10_000, [(8, [1000])])])
    walked.forget_touched()
    started.forget_touched()
    for windows in (walked, started):
        windows.touch(60, range(9))
    assert [(n, dict(s)) for n, s in started.touched()] == [(n, dict(s)) for n, s in walked.touched()]


def test_a_week_begins_with_a_full_hour() -> None:
    """Windows longer than a day hold up to 59 minutes more; what entered in an hour leaves together."""
    start = 1_000 * 60
    assert first_minute(start + 10_079, 10_080) == start
    assert first_minute(start + 10_138, 10_080) == start
    assert first_minute(start + 10_139, 10_080) == start + 60
    assert first_minute(start + 1_439, 1_440) == start, "a day is exact to the minute"
    assert first_minute(start + 1_440, 1_440) == start + 1
    pages = pages_of({start: {1: [1]}, start + 59: {1: [2]}, start + 60: {1: [4]}})
    windows = Windows(("24h", "7d"))
    for as_of, held in [(60, 7), (10_079, 7), (10_138, 7), (10_139, 4), (10_198, 4), (10_199, 0)]:
        windows.advance(start + as_of, pages)
        assert windows.sums("7d").get(1, [0]) == [held]


def test_hours_leave_as_minutes_would() -> None:
    """A window that starts over minutes and hours loses an hour that was minutes when it entered."""
    start = 1_000 * 60
    hours = pages_of({start: {1: [3]}, start + 60: {1: [4]}})
    pages = pages_of({start + 61: {1: [8]}, start + 9_000: {1: [16]}})
    windows = Windows(("24h", "7d"))
    windows.start(start + 10_079, pages, {1: [100]}, 2, hours)
    assert (windows.sums("7d"), windows.sums("24h"), windows.sums("total")) == ({1: [31]}, {1: [16]}, {1: [131]})
    windows.advance(start + 10_139, pages, hours)
    assert windows.sums("7d") == {1: [28]}
    windows.advance(start + 10_199, pages, hours)
    assert windows.sums("7d") == {1: [16]}


def test_what_is_kept_is_what_windows_need() -> None:
    """Minutes of a day for windows that begin with the hour; no hours where no window is that long."""
    week, day = Retention.of(("1m", "7d")), Retention.of(("1m", "24h"))
    assert (week.minutes, week.hours, week.hourly) == (1_450, 10_150, True)
    assert (day.minutes, day.hours, day.hourly) == (1_450, 1_450, False)
    assert week.last_hour(10_000 * 60) % 60 == 59
    assert week.last_gone(20_000) < first_minute(20_000, 10_080)


def test_a_page_whose_rows_still_wait_is_packed_when_nobody_adds_to_it() -> None:
    page = Page(5, 0, 0)
    page.open()[1] = [1]
    page.dirty, page.hot, page.pending = True, True, {1}
    assert not page.cool()
    page.save()
    page.hot = True
    assert [page.cool(), page.cool()] == [False, True]
    assert (page.totals, page.pending) == (None, {1})
    assert page.read() == {1: [1]}


def test_minutes_added_together_are_the_same_as_one_after_the_other() -> None:
    """Those that the same windows hold are added up first, in whatever order windows are named."""
    chance = random.Random(4)
    together, apart = (Windows(("24h", "1m", "1h", "5m")) for _ in range(2))
    counted: list[tuple[int, list[tuple[int, Acc]]]] = [
        (minute, [(n, [1, chance.randrange(9)]) for n in chance.sample(range(6), 3)])
        for minute in (3_000, 2_999, 2_997, 2_950, 2_949, 1_700, 1_500, 3_000, 40)
    ]
    before = [[(number, acc.copy()) for number, acc in contributions] for _, contributions in counted]
    for windows in (together, apart):
        windows.advance(3_000, Pages())
    together.add(counted)
    for one in counted:
        apart.add([one])
    for name in apart.names:
        assert together.sums(name) == apart.sums(name)
    assert sum(acc[0] for acc in together.sums("total").values()) == 27  # type: ignore[misc]
    assert [contributions for _, contributions in counted] == before, "what was given is not changed"


def test_a_leap_over_minutes_equals_one_step_after_the_other() -> None:
    """Minutes that enter or leave together are added up before they reach the windows, in any company."""
    chance = random.Random(5)
    minutes: dict[int, dict[int, Acc]] = {
        minute: {
            **{n: [1, minute] for n in chance.sample(range(8), 3)},
            **{n: {chance.randrange(4): 2} for n in chance.sample(range(8, 14), 3)},
        }
        for minute in chance.sample(range(100), 60)
    }
    pages, lasting = pages_of(minutes), {3, 9}
    walked, leapt = (Windows(("1m", "5m", "15m", "1h"), {7}, lasting) for _ in range(2))
    for minute in range(100):
        walked.advance(minute, pages)
        if chance.random() < 0.1 or minute == 99:
            leapt.advance(minute, pages)
            assert [leapt.sums(name) for name in leapt.names] == [walked.sums(name) for name in walked.names]
    fallen = {name: {n for n, acc in settled if not any(acc)} for name, settled in leapt.advanced()}
    assert fallen == {name: {n for n, acc in settled if not any(acc)} for name, settled in walked.advanced()}


def test_of_many_series_that_come_late_it_is_said_once_that_windows_are_empty() -> None:
    """A backlog brings minute after minute for windows that have long left them; of new series nothing was said."""
    late = {minute: {number: [1, 1] for number in range(200)} for minute in (100, 101, 102)}
    windows = Windows(("1m", "5m", "1h"))
    windows.advance(500, pages_of({500: {1_000: [1, 1]}}))
    sums(windows)
    said = []
    for minute, contributions in late.items():
        windows.add([(minute, list(contributions.items()))])
        windows.pass_by(minute, contributions.items())
        said.append({name: len(rows) for name, rows in windows.touched()})
    assert said == [
        {"1m": 0, "5m": 0, "1h": 0, "total": 200},
        {"1m": 200, "5m": 200, "1h": 200, "total": 200},
        {"1m": 0, "5m": 0, "1h": 0, "total": 200},
    ]
    windows.advance(501, pages_of({501: {1_000: [1, 1]}}))
    sums(windows)
    windows.pass_by(103, [(number, None) for number in range(200)])
    assert {name: len(rows) for name, rows in windows.touched()}["5m"] == 0, "what was said a minute ago holds"


@pytest.mark.parametrize(("minute", "window"), [(97, "5m"), (100, "1m")])
def test_what_corrects_nothing_stands_in_the_way_of_nothing(minute: int, window: str) -> None:
    """Late for long ago, then for a minute that one of the windows held when it was published that nothing is in it."""
    windows, pages = Windows(("1m", "5m")), Pages()

    def late(minute: int) -> set[str]:
        acc = [1, 1]
        pages.at(minute, 0, minute).totals = {1: acc.copy()}
        windows.add([(minute, [(1, acc)])])
        windows.pass_by(minute, [(1, acc)])
        return {name for name, rows in windows.touched() if rows}

    windows.advance(100, pages)
    sums(windows)
    late(90)
    assert late(80) == {"1m", "5m", "total"}
    windows.advance(103, pages)
    sums(windows)
    assert late(70) == {"total"}
    assert window in late(minute)
