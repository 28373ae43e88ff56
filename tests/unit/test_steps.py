"""Days, hours, weeks and months of known zones on known dates."""

from datetime import datetime
from itertools import pairwise

import pytest

from streams.kpis.language.steps import Steps, clock_of


def steps(length: str, zone: str, since: str, until: str, **more: object) -> list[str]:
    made = Steps.parse(length, zone, **more)  # type: ignore[arg-type]
    bounds = made.bounds(*(int(datetime.fromisoformat(at).timestamp()) for at in (since, until)))
    return [made.label(at) for at in bounds]


def hours(length: str, zone: str, since: str, until: str) -> list[float]:
    made = Steps.parse(length, zone)
    bounds = made.bounds(*(int(datetime.fromisoformat(at).timestamp()) for at in (since, until)))
    return [(end - begin) / 3600 for begin, end in pairwise(bounds)]


def test_a_day_in_iran_begins_at_half_past_eight_utc() -> None:
    assert steps("1d", "Asia/Tehran", "2026-11-27T12:00Z", "2026-11-28T12:00Z") == [
        "2026-11-27 00:00+03:30", "2026-11-28 00:00+03:30", "2026-11-29 00:00+03:30",
    ]  # fmt: skip
    assert steps("1h", "Asia/Tehran", "2026-11-27T20:30Z", "2026-11-27T22:30Z") == [
        "2026-11-28 00:00+03:30", "2026-11-28 01:00+03:30", "2026-11-28 02:00+03:30",
    ]  # fmt: skip
    assert steps("1h", "Asia/Kathmandu", "2026-11-27T18:15Z", "2026-11-27T19:15Z") == [
        "2026-11-28 00:00+05:45", "2026-11-28 01:00+05:45",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "since", "until", "expected"),
    [
        ("Europe/Berlin", "2026-03-28T23:00Z", "2026-03-29T23:00Z", [23, 24]),
        ("Europe/Berlin", "2026-10-24T22:00Z", "2026-10-25T23:00Z", [25]),
        # Clocks went from 24:00 to 01:00, and back from 24:00 to 23:00: at midnight.
        ("Asia/Tehran", "2021-03-21T20:30Z", "2021-03-22T19:30Z", [23]),
        ("Asia/Tehran", "2021-09-20T19:30Z", "2021-09-21T20:30Z", [25]),
        # 00:00 was shown twice in Havana; in Newfoundland at 00:01 it was 23:01 again.
        ("America/Havana", "2026-11-01T04:00Z", "2026-11-02T05:00Z", [25]),
        ("America/St_Johns", "2005-10-29T02:30Z", "2005-10-31T03:30Z", [25, 24]),
        ("Australia/Lord_Howe", "2026-04-04T13:00Z", "2026-04-05T13:30Z", [24.5]),
        ("Australia/Lord_Howe", "2026-10-03T13:30Z", "2026-10-04T13:00Z", [23.5]),
        # A day that Samoa left out.
        ("Pacific/Apia", "2011-12-29T10:00Z", "2011-12-31T10:00Z", [24, 24]),
    ],
)
def test_days_are_as_long_as_clocks_make_them(zone: str, since: str, until: str, expected: list[float]) -> None:
    assert hours("1d", zone, since, until) == expected


def test_an_hour_that_clocks_show_twice_is_two_and_half_of_one_is_not() -> None:
    assert steps("1h", "Europe/Berlin", "2026-10-25T00:00Z", "2026-10-25T02:00Z") == [
        "2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00", "2026-10-25 03:00+01:00",
    ]  # fmt: skip
    assert hours("1h", "Australia/Lord_Howe", "2026-04-04T14:00Z", "2026-04-04T16:30Z") == [1.5, 1.0]
    assert hours("1h", "Australia/Lord_Howe", "2026-10-03T14:30Z", "2026-10-03T16:00Z") == [1.0, 0.5]
    assert hours("6h", "Europe/Berlin", "2026-10-24T22:00Z", "2026-10-25T23:00Z") == [7, 6, 6, 6]


def test_weeks_begin_on_the_day_that_is_said() -> None:
    assert steps("1w", "Asia/Tehran", "2026-11-28T12:00Z", "2026-11-28T13:00Z", first_day=5) == [
        "2026-11-28 00:00+03:30", "2026-12-05 00:00+03:30",
    ]  # fmt: skip
    assert steps("1w", "UTC", "2026-11-28T12:00Z", "2026-11-28T13:00Z") == [
        "2026-11-23 00:00+00:00", "2026-11-30 00:00+00:00",
    ]  # fmt: skip


def test_months_of_both_calendars() -> None:
    made = Steps.parse("1mo", "Asia/Tehran", "jalali")
    bounds = made.bounds(
        *(int(datetime.fromisoformat(at).timestamp()) for at in ("2025-03-20T21:00Z", "2027-03-20T19:00Z"))
    )
    days = [round((end - begin) / 86_400) for begin, end in pairwise(bounds)]
    assert days == [*[31] * 6, *[30] * 5, 29] * 2, "1404 and 1405 have 365 days"
    assert [made.day(at) for at in bounds[:2]] == ["1404-01-01", "1404-02-01"]
    leap = Steps.parse("1y", "Asia/Tehran", "jalali")
    [begin, end] = leap.bounds(1_720_000_000, 1_720_000_001)
    assert (leap.day(begin), (end - begin) // 86_400) == ("1403-01-01", 366)
    assert steps("3mo", "Europe/Berlin", "2026-11-28T12:00Z", "2026-11-28T13:00Z") == [
        "2026-10-01 00:00+02:00", "2027-01-01 00:00+01:00",
    ]  # fmt: skip


def test_what_is_no_step_or_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="step '1M': expected a number of m, h, d, w, mo or y"):
        Steps.parse("1M")
    with pytest.raises(KeyError, match="no time zone 'Asia/Teheran'"):
        clock_of("Asia/Teheran")
