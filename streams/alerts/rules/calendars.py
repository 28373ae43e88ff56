"""
Calendars: named times in which rules keep quiet, and the week that seasonal rules know.

A calendar lives in one time zone and knows the week and the public holidays of one country. In Iran the week begins on
Saturday, Friday is its rest, and Nowruz and the lunar holidays are days off (those of years to come as computed by the
`holidays` package: the moon may be seen a day later).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.expressions import suggest
from streams.kpis.language.steps import WEEKDAYS, known_zones

_MINUTES: Final = 24 * 60
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")

Times: TypeAlias = tuple[int, int]
"""From and until, in minutes of the day; one that ends before it begins goes past midnight."""

Day: TypeAlias = tuple[int, int, int]
"""Year, month and day; the year is 0 if every year is meant."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days from the first to the last, both included."""

    first: Day
    last: Day

    def holds(self, day: date) -> bool:
        """Whether a day is among them; a yearly span may go past the end of the year."""
        if self.first[0]:
            return self.first <= (day.year, day.month, day.day) <= self.last
        at = (0, day.month, day.day)
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last


@dataclass(frozen=True, slots=True)
class Condition:
    """
    Times that meet all that is said of them; what is not said does not matter.

    Attributes:
        times: Of the day.
        weekdays: Monday is 0.
        holidays: Public holidays only, or all days but them.
    """

    times: tuple[Times, ...] = ()
    weekdays: frozenset[int] = frozenset()
    spans: tuple[Span, ...] = ()
    holidays: bool | None = None


@dataclass(frozen=True, slots=True)
class Calendar:
    """
    A named set of times.

    Attributes:
        country: ISO code of the country whose public holidays count; empty if none do.
        first_day: The day on which the week begins, Monday being 0: by default the one after its rest.
        weekend: Its days of rest.
        when: Its times: those that meet any of the conditions.
    """

    name: str
    zone: ZoneInfo
    country: str
    first_day: int
    weekend: frozenset[int]
    when: tuple[Condition, ...]

    def covers(self, at_utc: datetime) -> bool:
        """Whether a moment belongs to the calendar. A night that began on a day belongs to that day."""
        local = at_utc.astimezone(self.zone)
        day, minute = local.date(), local.hour * 60 + local.minute
        return any(self._meets(condition, day, minute) for condition in self.when)

    def holiday(self, day: date) -> str | None:
        """Return the name of the public holiday that a day is."""
        return _holidays(self.country).get(day) if self.country else None

    def hour_of_week(self, at_utc: datetime) -> int:
        """
        Return the hour of the week, 0 to 167, counted from the first hour of the week's first day.

        A public holiday is like the first day of the weekend: its hours are compared with that day's.
        """
        local = at_utc.astimezone(self.zone)
        day = local.weekday()
        if self.weekend and self.holiday(local.date()):
            day = min(self.weekend, key=lambda rest: (rest - self.first_day) % 7)
        return (day - self.first_day) % 7 * 24 + local.hour

    def _meets(self, condition: Condition, day: date, minute: int) -> bool:
        if not condition.times:
            return self._on(condition, day)
        before = day - timedelta(days=1)
        for start, end in condition.times:
            if start < end:
                met = start <= minute < end and self._on(condition, day)
            else:
                met = (minute >= start and self._on(condition, day)) or (minute < end and self._on(condition, before))
            if met:
                return True
        return False

    def _on(self, condition: Condition, day: date) -> bool:
        if condition.weekdays and day.weekday() not in condition.weekdays:
            return False
        if condition.spans and not any(span.holds(day) for span in condition.spans):
            return False
        return condition.holidays is None or condition.holidays == (self.holiday(day) is not None)


def muted(calendars: Mapping[str, Calendar], names: Iterable[str], at_utc: datetime) -> str | None:
    """
    Return the first of the named calendars that covers a moment, None if none does.

    Raises:
        ValueError: The moment has no time zone.
        KeyError: There is no calendar of such a name.
    """
    if at_utc.tzinfo is None:
        raise ValueError(f"{at_utc!r}: expected a moment with its time zone, e.g. datetime(..., tzinfo=UTC)")
    return next((name for name in names if calendars[name].covers(at_utc)), None)


def hour_of_week(calendar: Calendar | None, at_utc: datetime) -> int:
    """Return the hour of the week by a calendar; without one, of the UTC week from Monday on."""
    if calendar is not None:
        return calendar.hour_of_week(at_utc)
    at = at_utc.astimezone(UTC)
    return at.weekday() * 24 + at.hour


def read_calendar(block: YamlBlock) -> Calendar:
    """Read one calendar; if problems were noted on the way, what it returns means nothing."""
    block.expect(("name", "zone"), ("country", "first_day", "weekend", "when"))
    country = _country(block)
    weekend = frozenset(_holidays(country).weekend) if country else frozenset({5, 6})
    if "weekend" in block:
        weekend = _weekdays(block, "weekend", frozenset())
    after = [day for day in range(7) if day not in weekend and (day - 1) % 7 in weekend]
    first = block.choice("first_day", WEEKDAYS, WEEKDAYS[after[0] if after else 0])
    conditions = block.blocks("when", "condition of", "weekdays")
    if "when" in block and not conditions:
        block.problem("when", "'when' lists no times")
    return Calendar(
        name=block.text("name"),
        zone=_zone(block),
        country=country,
        first_day=WEEKDAYS.index(first),
        weekend=weekend,
        when=tuple(_condition(condition, country, weekend) for condition in conditions),
    )


def _zone(block: YamlBlock) -> ZoneInfo:
    name = block.text("zone")
    known = known_zones()
    if name and name not in known:
        block.problem("zone", f"unknown time zone {name!r}{suggest(name, known) or '; e.g. Asia/Tehran'}")
    return ZoneInfo(name if name in known else "UTC")


def _country(block: YamlBlock) -> str:
    code = block.text("country")
    known = _countries()
    if code and code not in known:
        block.problem("country", f"no public holidays are known of {code!r}: give the ISO code, e.g. IR")
        return ""
    return code


def _condition(block: YamlBlock, country: str, weekend: frozenset[int]) -> Condition:
    block.what = "condition of a calendar"
    block.expect((), ("times", "weekdays", "dates", "holidays"))
    for key in ("times", "dates"):
        if key in block and block.plain(key) == []:
            block.problem(key, f"{key!r} lists none: every moment would be meant")
    if not any(True for _ in block):
        block.problem("", "says nothing: every moment would be meant")
    holidays = block.choice("holidays", (True, False), None) if "holidays" in block else None
    if holidays is not None and not country:
        block.problem("holidays", "of which country? the calendar has no 'country'")
    return Condition(
        times=tuple(_times(block, item) for item in block.list("times")),
        weekdays=_weekdays(block, "weekdays", weekend),
        spans=tuple(_span(block, item) for item in block.list("dates")),
        holidays=holidays,
    )


def _times(block: YamlBlock, item: object) -> Times:
    """Read `22:00-07:00`."""
    found = [_CLOCK.fullmatch(part.strip()) for part in str(item).split("-")]
    if len(found) == 2 and found[0] and found[1] and found[0][0] not in {found[1][0], "24:00"}:
        start, end = (int(clock[1]) * 60 + int(clock[2]) if clock[1] else _MINUTES for clock in found if clock)
        return start, end
    block.problem("times", f"times {item!r}: expected two times of the day, e.g. 22:00-07:00")
    return 0, _MINUTES


def _weekdays(block: YamlBlock, key: str, weekend: frozenset[int]) -> frozenset[int]:
    """Read days and ranges of them: `friday`, `saturday-wednesday`, `weekend`, `workdays`."""
    words = {"weekend": weekend, "workdays": frozenset(range(7)) - weekend} if weekend else {}
    days: set[int] = set()
    for item in map(str, block.list(key)):
        if item in words:
            days |= words[item]
            continue
        ends = item.split("-")
        unknown = next((end for end in ends if end not in WEEKDAYS), None)
        if unknown is not None or len(ends) > 2:
            hint = suggest(unknown or "", [*WEEKDAYS, *words]) or "; e.g. friday or saturday-wednesday"
            block.problem(key, f"{item!r} is no day of the week{hint}")
            continue
        first, last = WEEKDAYS.index(ends[0]), WEEKDAYS.index(ends[-1])
        days |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    if key in block and not days:
        block.problem(key, f"{key!r} names no day")
    return frozenset(days)


def _span(block: YamlBlock, item: object) -> Span:
    """Read a day or days: `2026-03-20..2026-04-02`, or each year `03-20..04-02`."""
    ends = [_day(part.strip()) for part in str(item).split("..")]
    first, last = ends[0], ends[-1]
    if len(ends) > 2 or first is None or last is None or bool(first[0]) != bool(last[0]):
        block.problem("dates", f"dates {str(item)!r}: expected e.g. 2026-03-20..2026-04-02, or each year 03-20..04-02")
        return Span((1, 1, 1), (1, 1, 1))
    if first[0] and last < first:
        block.problem("dates", f"dates {str(item)!r} end before they begin")
    return Span(first, last)


def _day(text: str) -> Day | None:
    found = re.fullmatch(r"(?:(\d{4})-)?(\d\d)-(\d\d)", text)
    if found is None:
        return None
    try:
        day = date(int(found[1] or 2000), int(found[2]), int(found[3]))
    except ValueError:
        return None
    return (day.year if found[1] else 0), day.month, day.day


@lru_cache(maxsize=32)
def _holidays(country: str) -> Any:
    # Hundreds of modules: only who asks for a country pays for them.
    from holidays import country_holidays  # noqa: PLC0415

    return country_holidays(country, language="en_US")


@lru_cache(maxsize=1)
def _countries() -> frozenset[str]:
    # And the names alone do without them.
    from holidays.registry import EntityLoader  # noqa: PLC0415

    return frozenset(EntityLoader.get_country_codes(include_aliases=True))
