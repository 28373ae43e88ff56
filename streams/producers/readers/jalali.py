"""The Persian calendar: a Jalali date to the Gregorian one, by arithmetic alone."""

from datetime import date

# Leap years fall in cycles of 33; the rule agrees with the astronomical calendar from 1206 to 1498.
_LEAP_IN_CYCLE = (1, 5, 9, 13, 17, 22, 26, 30)
_FIRST_YEAR, _LAST_YEAR = 1206, 1498
_MONTHS_OF_31 = 6

# 1 Farvardin 1403 was 20 March 2024: every other day is counted from there.
_ANCHOR_YEAR = 1403
_ANCHOR = date(2024, 3, 20).toordinal()


def is_leap(year: int) -> bool:
    """Whether the Jalali year has 366 days (Esfand has 30)."""
    return year % 33 in _LEAP_IN_CYCLE


def to_gregorian(year: int, month: int, day: int) -> date:
    """
    The Gregorian date of a Jalali one.

    Raises:
        ValueError: There is no such day, or the year lies outside 1206-1498, where the leap rule is proven.
    """
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        raise ValueError(f"Jalali year {year} is outside {_FIRST_YEAR}-{_LAST_YEAR}")
    if not 1 <= month <= 12 or not 1 <= day <= _month_length(year, month):
        raise ValueError(f"no day {day} in month {month} of Jalali year {year}")
    months = month - 1
    day_of_year = months * 30 + min(months, _MONTHS_OF_31) + day - 1
    return date.fromordinal(_ANCHOR + _days_before(year) - _days_before(_ANCHOR_YEAR) + day_of_year)


def _month_length(year: int, month: int) -> int:
    if month <= _MONTHS_OF_31:
        return 31
    return 30 if month < 12 or is_leap(year) else 29


def _days_before(year: int) -> int:
    cycles, rest = divmod(year, 33)
    leaps = cycles * len(_LEAP_IN_CYCLE) + sum(leap < rest for leap in _LEAP_IN_CYCLE)
    return year * 365 + leaps
