"""The Iranian week and its holidays."""

from datetime import UTC, date, datetime, timedelta

import pytest

from streams.events.scalars import CHANNELS
from streams.producers.rhythm import TEHRAN, Rhythm, fixed_holidays


def at(year: int, month: int, day: int, hour: int) -> float:
    return datetime(year, month, day, hour, 30, tzinfo=TEHRAN).timestamp()


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_factor_averages_one_over_a_plain_week(channel: str) -> None:
    rhythm = Rhythm()
    start = datetime(2026, 10, 3, tzinfo=TEHRAN)
    assert not any(rhythm.is_holiday((start + timedelta(days=n)).date()) for n in range(7))
    factors = [rhythm.factor((start + timedelta(minutes=15 * n)).timestamp(), channel) for n in range(7 * 96)]
    assert sum(factors) / len(factors) == pytest.approx(1.0, abs=0.01)
    assert max(factors) > 1.3
    assert min(factors) < 0.3


def test_friday_is_rest_thursday_half_saturday_busiest_on_the_phone() -> None:
    rhythm = Rhythm()
    saturday, thursday, friday, monday = (rhythm.factor(at(2026, 10, day, 11), "call_center") for day in (3, 8, 9, 5))
    assert friday < 0.5 * thursday < thursday < 0.7 * monday < monday < saturday


def test_hours_are_those_of_tehran_not_of_utc() -> None:
    rhythm = Rhythm()
    noon_in_tehran = datetime(2026, 10, 5, 8, 30, tzinfo=UTC).timestamp()
    noon_in_london = datetime(2026, 10, 5, 23, 30, tzinfo=UTC).timestamp()
    assert rhythm.factor(noon_in_tehran, "store") > 0.8
    assert rhythm.factor(noon_in_london, "store") == 0.0


def test_holidays_follow_the_persian_calendar() -> None:
    assert date(2026, 3, 21) in fixed_holidays(2026)  # Nowruz 1405
    assert date(2024, 3, 20) in fixed_holidays(2024)  # Nowruz 1403 came a day earlier
    assert date(2026, 2, 11) in fixed_holidays(2026)  # 22 Bahman 1404
    assert date(2026, 10, 5) not in fixed_holidays(2026)


def test_holidays_calm_the_phone_and_the_days_before_nowruz_fill_the_shops() -> None:
    plain, festive = Rhythm(), Rhythm(holidays=[date(2026, 10, 5)])
    moment = at(2026, 10, 5, 11)
    assert festive.factor(moment, "call_center") == pytest.approx(0.2 * plain.factor(moment, "call_center"))
    assert plain.factor(at(2026, 3, 16, 18), "store") == pytest.approx(2.2 * plain.factor(at(2026, 10, 5, 18), "store"))


def test_flat_is_always_one() -> None:
    assert {Rhythm(flat=True).factor(at(2026, 3, 21, hour), "store") for hour in range(24)} == {1.0}
