"""The seasonal baseline: rhythm, holidays, incidents, thin hours, and how wide its band is."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streams.alerts.facts import Facts
from streams.alerts.judging.baseline import Week, learn
from streams.alerts.rules.calendars import Calendar
from streams.kpis.arithmetic.accumulators import Acc
from tests.harness.reading import add_value

SHARE = Facts("ratio", "up", "percent")
COUNT = Facts("count", "none", "count")
TEHRAN = Calendar("iran", ZoneInfo("Asia/Tehran"), "IR", 5, frozenset({4}), ())
WEEK = Week(TEHRAN)
UNTIL = int(datetime(2026, 6, 6, 20, 30, tzinfo=UTC).timestamp())  # midnight in Tehran, to Sunday
HOUR = 3600


def local(at: int, zone: str = "Asia/Tehran") -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


def rows(weeks: int, make, until: int = UNTIL) -> list[tuple[int, Acc]]:
    """Make every local hour of some weeks by a function of its local time; None leaves it out."""
    found = []
    for start in range(until - weeks * 7 * 86_400, until, HOUR):
        acc = make(local(start))
        if acc is not None:
            found.append((start, acc))
    return found


def minute_of(year: int, month: int, day: int, hour: int, minute: int = 59, zone: str = "Asia/Tehran") -> int:
    """The closed minute (unix minutes) with which a local hour ends."""
    return int(datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()) // 60


def busy(at: datetime) -> int:
    """Calls of an hour: full on working days, half on Fridays, few at night."""
    return (120 if 9 <= at.hour < 18 else 12) // (2 if at.weekday() == 4 else 1)


def test_each_hour_of_the_local_week_has_its_own_normal() -> None:
    """Half an hour off UTC, Friday the day of rest; the last one was a holiday besides."""
    found = learn(COUNT, rows(6, lambda at: [busy(at)]), WEEK, until=UNTIL, weeks=6)
    assert found is not None
    for day, hour, calls, weeks in ((7, 12, 120, 6), (7, 3, 12, 6), (12, 12, 60, 5), (12, 3, 6, 5)):
        expected = found.expected(minute_of(2026, 6, day, hour), 60)
        assert expected is not None
        assert (expected.value, expected.level, expected.weeks) == (pytest.approx(calls), "hour of the week", weeks)
        assert expected.n == pytest.approx(calls)


def test_windows_take_their_part_of_the_hours_they_reach_over() -> None:
    found = learn(COUNT, rows(6, lambda at: [busy(at)]), WEEK, until=UNTIL, weeks=6)
    noon = minute_of(2026, 6, 7, 12, 44)
    assert found.expected(noon, 15).value == pytest.approx(30)
    assert found.expected(minute_of(2026, 6, 7, 15), 240).value == pytest.approx(480)
    day = found.expected(minute_of(2026, 6, 7, 23), 1440)
    assert day.value == pytest.approx(9 * 120 + 15 * 12, rel=0.01)
    edge = found.expected(minute_of(2026, 6, 7, 9, 14), 15).value  # between the middles of 8 and 9 o'clock
    assert 3 < edge < 30


def test_hours_that_held_nothing_are_hours_of_nothing_for_a_count() -> None:
    """No row is 0 calls, but no value of a share."""
    quiet = rows(6, lambda at: [30] if at.day % 2 else None)
    assert learn(COUNT, quiet, WEEK, until=UNTIL, weeks=6).expected(
        minute_of(2026, 6, 7, 12), 60
    ).value == pytest.approx(15, abs=15)
    found = learn(SHARE, rows(6, lambda at: [30, 24] if at.day % 2 else None), WEEK, until=UNTIL, weeks=6)
    assert found.expected(minute_of(2026, 6, 7, 12), 60).value == pytest.approx(80)


def test_a_holiday_is_like_the_day_of_rest_and_teaches_nothing() -> None:
    """14 and 15 Khordad 1405 (4 and 5 June 2026) are holidays, the first a Thursday: calls as on a Friday."""
    holidays = {date(2026, 6, 4), date(2026, 6, 5)}
    assert all(TEHRAN.holiday(day) for day in holidays)
    made = rows(6, lambda at: [120 if at.date() in holidays else busy(at)])
    found = learn(COUNT, made, WEEK, until=UNTIL, weeks=6)
    noon = found.expected(minute_of(2026, 6, 4, 12), 60)
    assert noon.value == pytest.approx(60)
    assert noon.weeks == 5  # the Friday that was a holiday does not count
    assert found.expected(minute_of(2026, 6, 11, 12), 60).weeks == 5


def test_a_few_bad_hours_do_not_shift_it() -> None:
    """Two Sundays of six at half: the median is still that of the others."""
    bad = {date(2026, 5, 17), date(2026, 5, 24)}
    made = rows(6, lambda at: [200, 100 if at.date() in bad else 180])
    expected = learn(SHARE, made, WEEK, until=UNTIL, weeks=6).expected(minute_of(2026, 6, 7, 12), 60)
    assert expected.value == pytest.approx(90)


def test_incidents_that_are_known_teach_nothing() -> None:
    bad = {date(2026, 5, day) for day in (3, 10, 17, 24)}
    made = rows(6, lambda at: [200, 100 if at.date() in bad else 180])
    spans = [(int(datetime(d.year, d.month, d.day, tzinfo=ZoneInfo("Asia/Tehran")).timestamp()),) * 2 for d in bad]
    spans = [(start, start + 86_400) for start, _ in spans]
    assert learn(SHARE, made, WEEK, until=UNTIL, weeks=6).expected(minute_of(2026, 6, 7, 12), 60).value < 60
    found = learn(SHARE, made, WEEK, until=UNTIL, weeks=6, excluded=spans, min_weeks=2)
    expected = found.expected(minute_of(2026, 6, 7, 12), 60)
    assert (expected.value, expected.weeks) == (pytest.approx(90), 2)


def test_where_an_hour_was_seen_too_seldom_coarser_ones_stand_in() -> None:
    """One week: no hour of the week in three weeks; then the hour of working days; then of all days."""
    thin = learn(SHARE, rows(1, lambda at: [50, 40]), WEEK, until=UNTIL, weeks=6, min_weeks=1)
    assert thin.expected(minute_of(2026, 6, 7, 12), 60).level == "hour of the week"

    def only_mornings(at: datetime) -> Acc | None:
        # Sundays from the fourth week on only; other working days all along.
        return [50, 40] if at.weekday() not in (6, 4) or at.date() >= date(2026, 5, 30) else None

    made = rows(6, only_mornings)
    found = learn(SHARE, made, WEEK, until=UNTIL, weeks=6)
    sunday = found.expected(minute_of(2026, 6, 7, 12), 60)
    assert (sunday.level, sunday.weeks) == ("hour of such days", 6)
    friday = found.expected(minute_of(2026, 6, 12, 12), 60)
    assert friday.level == "hour of the day"


def test_a_cold_start_knows_how_little_it_has_seen() -> None:
    assert learn(SHARE, [], WEEK, until=UNTIL, weeks=6) is None
    assert learn(SHARE, rows(1, lambda at: [5, 4], until=UNTIL + 7 * 86_400), WEEK, until=UNTIL - 1, weeks=6) is None
    week = learn(SHARE, rows(1, lambda at: [50, 40]), WEEK, until=UNTIL, weeks=6)
    assert week.expected(minute_of(2026, 6, 7, 12), 60).weeks <= 2
    night = learn(SHARE, rows(6, lambda at: [50, 40] if at.hour > 6 else None), WEEK, until=UNTIL, weeks=6)
    assert night.expected(minute_of(2026, 6, 7, 3), 60) is None


def test_only_the_weeks_asked_for_count() -> None:
    made = rows(8, lambda at: [100, 50 if at.date() < date(2026, 5, 10) else 90])
    assert learn(SHARE, made, WEEK, until=UNTIL, weeks=3).expected(
        minute_of(2026, 6, 7, 12), 60
    ).value == pytest.approx(90)


def test_the_spread_leaves_out_what_samples_vary_by_themselves() -> None:
    """Hours of 100 answers at 85 % vary by 3.6 points for being samples, and by nothing else."""
    rng = np.random.default_rng(1)
    pure = learn(SHARE, rows(8, lambda at: [100, int(rng.binomial(100, 0.85))]), WEEK, until=UNTIL, weeks=8)
    moved = learn(
        SHARE,
        rows(8, lambda at: [100, int(rng.binomial(100, np.clip(rng.normal(0.8, 0.08), 0, 1)))]),
        WEEK,
        until=UNTIL,
        weeks=8,
    )
    hours = [minute_of(2026, 6, 7 + hour // 24, hour % 24) for hour in range(168)]
    spreads = [np.median([found.expected(at, 60).spread for at in hours]) for found in (pure, moved)]
    assert spreads[0] < 2.5
    assert spreads[1] == pytest.approx(8, abs=2.5)


def test_volumes_know_their_dispersion() -> None:
    rng = np.random.default_rng(2)
    calm = learn(COUNT, rows(8, lambda at: [int(rng.poisson(400))]), WEEK, until=UNTIL, weeks=8)
    wild = learn(COUNT, rows(8, lambda at: [int(rng.poisson(400 * rng.gamma(4, 0.25)))]), WEEK, until=UNTIL, weeks=8)
    noon = minute_of(2026, 6, 7, 12)
    assert calm.expected(noon, 60).dispersion < 0.02
    assert wild.expected(noon, 60).dispersion == pytest.approx(0.25, abs=0.2)


def test_the_band_holds_what_it_promises() -> None:
    """Of hours like those it learnt from, about one in 370 is beyond three deviations; ten times as many would show."""
    rng = np.random.default_rng(3)

    def rate(at: datetime) -> float:
        return 40 + 300 * np.exp(-((at.hour - 13) ** 2) / 18)

    made = rows(7, lambda at: [int(rng.poisson(rate(at) * rng.gamma(100, 0.01)))])
    split = UNTIL - 7 * 86_400
    found = learn(COUNT, [row for row in made if row[0] < split], WEEK, until=split, weeks=6)
    beyond = 0
    for start, acc in made:
        if start >= split:
            expected = found.expected((start + HOUR) // 60 - 1, 60)
            deviation = (expected.spread**2 + expected.value) ** 0.5
            beyond += abs(acc[0] - expected.value) > 3 * deviation
    assert beyond <= 5


def test_every_kind_of_kpi_can_be_learnt() -> None:
    bins: dict[int, int] = {}
    for seconds in range(1, 101):
        add_value(bins, seconds * 1000)
    for facts, acc, value in (
        (Facts("mean", "up", "score", 1000), [10, 40_000, 161_000_000], 4.0),
        (Facts("nps", "up", "points"), [100, 50, 20], 30.0),
        (Facts("sum", "up", "currency", 1000), [3, 90_000], 90.0),
        (Facts("quantile", "down", "seconds", 1000, 0.5), bins, 50.0),
        (Facts("share", "up", "percent", 1), [2, 100, 60, 5200, 3000, 2000], 60.0),
        (Facts("distinct", "none", "count"), {5: 1, 9: 1}, 2.0),
    ):
        found = learn(facts, rows(4, lambda at, acc=acc: acc), WEEK, until=UNTIL, weeks=6)
        expected = found.expected(minute_of(2026, 6, 7, 12), 60)
        assert expected.value == pytest.approx(value, rel=0.02), facts
        assert expected.spread >= 0


def test_without_a_calendar_weeks_are_those_of_utc() -> None:
    week = Week(None)
    start = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
    made = [
        (at, [10 if datetime.fromtimestamp(at, UTC).weekday() < 5 else 4])
        for at in range(start - 42 * 86_400, start, HOUR)
    ]
    found = learn(COUNT, made, week, until=start, weeks=6)
    saturday = int(datetime(2026, 6, 6, 12, 59, tzinfo=UTC).timestamp()) // 60
    assert found.expected(saturday, 60).value == pytest.approx(4)
    assert found.expected(saturday - 1440, 60).value == pytest.approx(10)


def test_a_change_of_the_clocks_moves_no_hour() -> None:
    """Berlin, across the last Sunday in March: nine in the morning stays nine in the morning."""
    zone = ZoneInfo("Europe/Berlin")
    week = Week(Calendar("berlin", zone, "", 0, frozenset({5, 6}), ()))
    until = int(datetime(2026, 4, 20, tzinfo=zone).timestamp())
    made = [
        (at, [100 if datetime.fromtimestamp(at, zone).hour == 9 else 10])
        for at in range(until - 42 * 86_400, until, HOUR)
    ]
    found = learn(COUNT, made, week, until=until, weeks=6)
    at = datetime(2026, 4, 21, 9, 30, tzinfo=zone)
    for day in range(5):
        assert found.expected(int((at + timedelta(days=day)).timestamp()) // 60, 1).value == pytest.approx(
            100 / 60, rel=0.01
        )
