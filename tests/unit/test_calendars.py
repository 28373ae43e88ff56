"""Calendars: Iranian week and holidays, nights that pass midnight, days of every year, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streams.alerts.rules.calendars import Calendar, hour_of_week, muted
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RulesError
from streams.kpis.catalogue.catalogue import Catalogue

TEHRAN = ZoneInfo("Asia/Tehran")
NOTHING = Catalogue({})


def calendars(text):
    return dict(parse_rules("calendars:\n" + text, NOTHING, "c.yaml").calendars)


def one(text) -> Calendar:
    return calendars(text)["c"]


def tehran(text) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=TEHRAN)


def refused(text) -> str:
    with pytest.raises(RulesError) as caught:
        calendars(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("moment", "covered"),
    [
        ("2026-05-03 22:59", False),
        ("2026-05-03 23:00", True),
        ("2026-05-04 00:00", True),
        ("2026-05-04 06:59", True),
        ("2026-05-04 07:00", False),
    ],
)
def test_a_night_passes_midnight(moment, covered):
    night = one("  - name: c\n    zone: Asia/Tehran\n    when:\n      - times: [23:00-07:00]\n")
    assert night.covers(tehran(moment)) is covered
    assert night.covers(tehran(moment).astimezone(UTC)) is covered


def test_a_night_belongs_to_the_day_on_which_it_begins():
    thursday = one(
        "  - name: c\n    zone: Asia/Tehran\n    when:\n      - {weekdays: [thursday], times: [22:00-06:00]}\n"
    )
    assert thursday.covers(tehran("2026-05-07 23:00"))  # Thursday
    assert thursday.covers(tehran("2026-05-08 05:00"))  # Friday morning
    assert not thursday.covers(tehran("2026-05-07 05:00"))  # Thursday morning is Wednesday's night
    assert not thursday.covers(tehran("2026-05-08 23:00"))


def test_the_last_minute_of_a_day_can_be_written():
    evening = one("  - name: c\n    zone: UTC\n    when:\n      - times: [18:00-24:00]\n")
    assert evening.covers(datetime(2026, 5, 3, 23, 59, tzinfo=UTC))
    assert not evening.covers(datetime(2026, 5, 4, 0, 0, tzinfo=UTC))


def test_the_iranian_week_begins_on_saturday_and_rests_on_friday():
    iran = one("  - name: c\n    zone: Asia/Tehran\n    country: IR\n    when:\n      - weekdays: [weekend]\n")
    assert (iran.first_day, iran.weekend) == (5, frozenset({4}))
    assert iran.covers(tehran("2026-05-08 12:00"))
    assert not iran.covers(tehran("2026-05-09 12:00"))
    assert iran.hour_of_week(tehran("2026-05-09 00:00")) == 0  # Saturday
    assert iran.hour_of_week(tehran("2026-05-08 23:59")) == 167  # Friday


def test_all_hours_of_a_week_without_holidays_are_told_apart():
    iran = one("  - name: c\n    zone: Asia/Tehran\n    country: IR\n")
    start = tehran("2026-05-09 00:30")
    assert [iran.hour_of_week(start + timedelta(hours=hour)) for hour in range(168)] == list(range(168))


def test_a_public_holiday_is_like_the_first_day_of_rest():
    iran = one("  - name: c\n    zone: Asia/Tehran\n    country: IR\n")
    assert iran.holiday(date(2026, 3, 22)) is not None  # a Sunday of Nowruz
    assert iran.hour_of_week(tehran("2026-03-22 10:15")) == iran.hour_of_week(tehran("2026-05-08 10:15"))


def test_without_a_calendar_the_week_is_that_of_utc():
    assert hour_of_week(None, datetime(2026, 5, 4, 3, tzinfo=UTC)) == 3  # Monday
    assert hour_of_week(None, tehran("2026-05-04 03:00")) == 167  # still Sunday there


def test_working_days_and_holidays():
    text = (
        "  - name: c\n    zone: Asia/Tehran\n    country: IR\n    when:\n"
        "      - {weekdays: [workdays], times: [08:00-17:00], holidays: false}\n"
    )
    office = one(text)
    assert office.covers(tehran("2026-05-04 09:00"))
    assert not office.covers(tehran("2026-05-08 09:00"))  # Friday
    assert not office.covers(tehran("2026-03-22 09:00"))  # Nowruz
    assert not office.covers(tehran("2026-05-04 17:00"))


def test_ranges_of_weekdays_go_round():
    text = "  - name: c\n    zone: UTC\n    when:\n      - weekdays: [saturday-wednesday]\n"
    days = [one(text).covers(datetime(2026, 5, 4 + day, tzinfo=UTC)) for day in range(7)]  # from Monday on
    assert days == [True, True, True, False, False, True, True]


@pytest.mark.parametrize(
    ("dates", "inside", "outside"),
    [
        ("2026-11-20..2026-11-27", "2026-11-27 23:59", "2027-11-20 00:00"),
        ("03-20..04-02", "2031-04-02 12:00", "2031-04-03 00:00"),
        ("12-25..01-05", "2027-01-05 12:00", "2026-12-24 12:00"),
        ("2026-11-20", "2026-11-20 12:00", "2026-11-21 00:00"),
        ("02-29", "2028-02-29 12:00", "2028-02-28 12:00"),
    ],
)
def test_days_once_and_each_year(dates, inside, outside):
    calendar = one(f"  - name: c\n    zone: Asia/Tehran\n    when:\n      - dates: [{dates}]\n")
    assert calendar.covers(tehran(inside))
    assert not calendar.covers(tehran(outside))


def test_a_calendar_covers_what_any_of_its_conditions_does():
    text = "  - name: c\n    zone: UTC\n    when:\n      - weekdays: [friday]\n      - times: [00:00-01:00]\n"
    calendar = one(text)
    assert calendar.covers(datetime(2026, 5, 8, 12, tzinfo=UTC))
    assert calendar.covers(datetime(2026, 5, 7, 0, 30, tzinfo=UTC))
    assert not calendar.covers(datetime(2026, 5, 7, 12, tzinfo=UTC))


def test_clocks_that_change_are_followed_by_the_wall():
    text = "  - name: c\n    zone: Europe/Berlin\n    when:\n      - times: [08:00-09:00]\n"
    calendar = one(text)
    assert calendar.covers(datetime(2026, 3, 28, 7, 30, tzinfo=UTC))  # winter: UTC+1
    assert calendar.covers(datetime(2026, 3, 30, 6, 30, tzinfo=UTC))  # summer: UTC+2
    assert not calendar.covers(datetime(2026, 3, 30, 7, 30, tzinfo=UTC))


def test_the_first_calendar_that_covers_a_moment_mutes():
    found = calendars(
        "  - {name: a, zone: UTC, when: [times: [10:00-11:00]]}\n  - {name: b, zone: UTC, when: [times: [10:00-12:00]]}\n"
    )
    assert muted(found, ("a", "b"), datetime(2026, 5, 4, 10, tzinfo=UTC)) == "a"
    assert muted(found, ("a", "b"), datetime(2026, 5, 4, 11, tzinfo=UTC)) == "b"
    assert muted(found, ("a", "b"), datetime(2026, 5, 4, 12, tzinfo=UTC)) is None
    assert muted(found, (), datetime(2026, 5, 4, 10, tzinfo=UTC)) is None


def test_a_moment_without_a_zone_is_no_moment():
    with pytest.raises(ValueError, match="time zone"):
        muted({}, (), datetime(2026, 5, 4))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("  - name: c\n", 2, "'zone' is missing"),
        ("  - name: c\n    zone: Asia/Teheran\n", 3, "did you mean 'Asia/Tehran'?"),
        ("  - name: c\n    zone: UTC\n    country: XX\n", 4, "ISO code, e.g. IR"),
        ("  - name: c\n    zone: UTC\n    wen: []\n", 4, "unknown key 'wen'; did you mean 'when'?"),
        ("  - name: c\n    zone: UTC\n    when: []\n", 4, "lists no times"),
        ("  - name: c\n    zone: UTC\n    when:\n      - times: [7-9]\n", 5, "e.g. 22:00-07:00"),
        ("  - name: c\n    zone: UTC\n    when:\n      - times: [22:00]\n", 5, "e.g. 22:00-07:00"),
        ("  - name: c\n    zone: UTC\n    when:\n      - times: [08:00-08:00]\n", 5, "e.g. 22:00-07:00"),
        ("  - name: c\n    zone: UTC\n    when:\n      - weekdays: [fryday]\n", 5, "did you mean 'friday'?"),
        ("  - name: c\n    zone: UTC\n    when:\n      - weekdays: [[friday]]\n", 5, "is no day of the week"),
        ("  - name: c\n    zone: UTC\n    when:\n      - times: []\n", 5, "every moment would be meant"),
        ("  - name: c\n    zone: UTC\n    when:\n      - dates: []\n", 5, "every moment would be meant"),
        ("  - name: c\n    zone: UTC\n    when:\n      - {}\n", 5, "says nothing: every moment would be meant"),
        ("  - name: c\n    zone: UTC\n    when:\n      - dates: [2026-02-30]\n", 5, "day is out of range for month"),
        ("  - name: c\n    zone: UTC\n    when:\n      - dates: [02-30]\n", 5, "each year 03-20..04-02"),
        ("  - name: c\n    zone: UTC\n    when:\n      - dates: [2026-02-03..02-04]\n", 5, "each year 03-20..04-02"),
        ("  - name: c\n    zone: UTC\n    when:\n      - dates: [2026-02-03..2026-02-01]\n", 5, "before they begin"),
        ("  - name: c\n    zone: UTC\n    when:\n      - holidays: true\n", 5, "of which country?"),
        ("  - name: c\n    zone: UTC\n  - name: c\n    zone: UTC\n", 4, "of this name already"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(text, line, message):
    told = refused(text)
    assert told.startswith(f"c.yaml:{line}: ")
    assert message in told
