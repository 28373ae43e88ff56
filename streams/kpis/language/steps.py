"""
Steps of time as people count them: hours, days, weeks and months by the clocks and the calendar of a zone.

What the clocks of a zone show is read once from its rules, as stretches of one offset each; all else is arithmetic in
Unix seconds. A day may have 23 or 25 hours, and an hour 90 minutes (Lord Howe, where clocks go back by half an hour).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo, available_timezones

CalendarName: TypeAlias = Literal["gregorian", "jalali"]
CALENDARS: Final[tuple[CalendarName, ...]] = get_args(CalendarName)
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
_LAST: Final = 1 << 32
"""The end of the times that a store of whole Unix seconds in 32 bits can hold."""
_FIRST_MONDAY: Final = 4
"""Days from 1970-01-01 to the first Monday after it."""
_UNITS: Final[dict[str, tuple[Literal["minute", "day", "week", "month"], int]]] = {
    "m": ("minute", 1), "h": ("minute", 60), "d": ("day", 1), "w": ("week", 1), "mo": ("month", 1), "y": ("month", 12),
}  # fmt: skip


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """Return the names of all time zones, e.g. `Asia/Tehran`."""
    return frozenset(available_timezones())


@dataclass(frozen=True, slots=True)
class ZoneClock:
    """
    What the clocks of a zone show, from 1970 to 2106.

    Attributes:
        since: Unix seconds from which on each offset holds.
        offsets: Seconds that clocks are ahead of UTC.
    """

    since: tuple[int, ...]
    offsets: tuple[int, ...]

    def local(self, at: int) -> int:
        """Return what clocks show at a moment, in seconds since 1970-01-01 00:00 as they show it."""
        return at + self.offsets[bisect_right(self.since, at) - 1]

    def reached(self, local: int) -> int:
        """Return the first whole minute from which on clocks never again show less than so many seconds."""
        place = max(0, bisect_left(self.since, local - _DAY) - 1)
        ended = 0
        while place < len(self.since) and self.since[place] + self.offsets[place] < local:
            later = self.since[place + 1] if place + 1 < len(self.since) else _LAST
            ended, place = min(later, local - self.offsets[place]), place + 1
        return _whole_minute(ended)

    def stretches(self, since: int, until: int) -> Iterator[tuple[int, int, int, int]]:
        """Return start, end, offset and the offset before, for each stretch of a span."""
        for place in range(max(0, bisect_right(self.since, since) - 1), len(self.since)):
            begin = max(since, self.since[place])
            end = min(until, self.since[place + 1]) if place + 1 < len(self.since) else until
            if begin >= until:
                return
            before = self.offsets[place - 1] if begin == self.since[place] and place else self.offsets[place]
            yield begin, end, self.offsets[place], before


def _whole_minute(at: int) -> int:
    """Return a moment, or the next whole minute: before 1972 some clocks were off by seconds."""
    return -(-at // 60) * 60


@lru_cache(maxsize=64)
def clock_of(zone: str) -> ZoneClock:
    """
    Return the clock of a time zone.

    Raises:
        KeyError: There is no such zone.
    """
    if zone not in known_zones():
        raise KeyError(f"no time zone {zone!r}")
    rules = ZoneInfo(zone)

    def offset(at: int) -> int:
        found = datetime.fromtimestamp(at, rules).utcoffset()
        assert found is not None
        return int(found.total_seconds())

    since, offsets = [0], [offset(0)]
    for day in range(0, _LAST - _DAY, _DAY):
        after = offset(day + _DAY)
        if after != offsets[-1]:
            since.append(bisect_right(range(day, day + _DAY), False, key=lambda at: offset(at) == after) + day)
            offsets.append(after)
    return ZoneClock(tuple(since), tuple(offsets))


@dataclass(frozen=True, slots=True)
class Steps:
    """
    A division of time into steps: each moment lies in exactly one.

    Minutes, hours and days are counted from 1970-01-01 00:00 on the zone's clocks, weeks from their first day, months
    from the first of the calendar's year. Up to an hour, what clocks show twice is two steps; longer steps last longer.

    Attributes:
        count: So many units are one step.
        first_day: On which weeks begin, Monday being 0.
    """

    unit: Literal["minute", "day", "week", "month"]
    count: int
    zone: str = "UTC"
    calendar: CalendarName = "gregorian"
    first_day: int = 0

    @classmethod
    def parse(cls, text: str, zone: str = "UTC", calendar: CalendarName = "gregorian", first_day: int = 0) -> "Steps":
        """
        Read a length: `15m`, `1h`, `1d`, `1w`, `1mo`, `1y`.

        Raises:
            ValueError: It is none.
        """
        found = re.fullmatch(r"([1-9][0-9]{0,3})(m|h|d|w|mo|y)", text)
        if found is None:
            raise ValueError(f"step {text!r}: expected a number of m, h, d, w, mo or y, e.g. 15m, 1h, 1d, 1w, 1mo")
        unit, each = _UNITS[found[2]]
        return cls(unit, int(found[1]) * each, zone, calendar, first_day)

    @property
    def first(self) -> int:
        """Seconds from 1970-01-01 00:00 on the zone's clocks to where steps are counted from."""
        return (_FIRST_MONDAY - 7 + self.first_day) * _DAY if self.unit == "week" else 0

    def bounds(self, since: int, until: int) -> list[int]:
        """
        Return where steps begin, Unix seconds: the one that holds `since`, all that begin before `until`, and one more.

        So each pair of neighbours is a step, and together they cover the span.

        Raises:
            KeyError: There is no such zone.
        """
        if since >= until:
            return []
        short = self.unit == "minute" and self.count <= 60
        found = (self._short if short else self._long)(since, until)
        return found[bisect_right(found, since) - 1 : bisect_left(found, until) + 1]

    def fixed_s(self, since: int, until: int) -> int | None:
        """Return the length of a step where all of a span are multiples of it since 1970 in UTC, else None."""
        size = {"minute": 60, "day": _DAY}.get(self.unit, 0) * self.count
        clock = clock_of(self.zone)
        stretches = [*clock.stretches(max(0, since - 2 * _DAY), until + 2 * _DAY)]
        even = size and all(offset % size == 0 for *_, offset, _ in stretches)
        return size if even and (len(stretches) == 1 or size <= 3600) else None

    def label(self, at: int) -> str:
        """Return a moment as the zone's clocks show it, with their offset to UTC: `2026-11-28 00:00+03:30`."""
        return datetime.fromtimestamp(at, ZoneInfo(self.zone)).isoformat(" ", "minutes")

    def day(self, at: int) -> str:
        """Return the day of a moment in the zone, by the calendar."""
        local = datetime.fromtimestamp(at, ZoneInfo(self.zone)).date()
        return "{:04}-{:02}-{:02}".format(*_date_of(self.calendar, local))

    def _short(self, since: int, until: int) -> list[int]:
        size = self.count * 60
        found: list[int] = []
        for begin, end, offset, before in clock_of(self.zone).stretches(max(0, since - _DAY), until + _DAY):
            if (begin + offset) // size != (begin - 1 + before) // size:
                found.append(_whole_minute(begin))
            first = -(-(begin + offset) // size) * size - offset
            found += [_whole_minute(at) for at in range(first, end, size)]
        return _rising([0, *found] if since < _DAY else found)

    def _long(self, since: int, until: int) -> list[int]:
        clock = clock_of(self.zone)
        index, local_of = self._numbered()
        number = index(clock.local(since))
        found = [clock.reached(local_of(number))]
        while found[0] > since:
            number -= 1
            found.insert(0, clock.reached(local_of(number)))
        number += len(found)
        while found[-1] < until:
            found.append(clock.reached(local_of(number)))
            number += 1
        return _rising(found)

    def _numbered(self) -> tuple[Callable[[int], int], Callable[[int], int]]:
        """Return the number of the step in which a local time lies, and the local time at which one begins."""
        if self.unit == "month":
            months = self.count

            def number(local: int) -> int:
                year, month, _ = _date_of(self.calendar, _EPOCH + timedelta(days=local // _DAY))
                return (year * 12 + month - 1) // months

            def begin(step: int) -> int:
                year, month = divmod(step * months, 12)
                return (_day_of(self.calendar, year, month + 1) - _EPOCH).days * _DAY

            return number, begin
        size = self.count * {"minute": 60, "day": _DAY, "week": 7 * _DAY}[self.unit]
        first = self.first
        return (lambda local: (local - first) // size), (lambda step: step * size + first)


def _rising(found: Sequence[int]) -> list[int]:
    """Return each moment once, in order: of steps that clocks left out nothing is there."""
    return sorted(set(found))


def _date_of(calendar: CalendarName, day: date) -> tuple[int, int, int]:
    """Return year, month and day by a calendar."""
    if calendar == "gregorian":
        return day.year, day.month, day.day
    # Only who asks for this calendar needs it.
    from persiantools.jdatetime import JalaliDate  # noqa: PLC0415

    found = JalaliDate.to_jalali(day)
    return found.year, found.month, found.day


def _day_of(calendar: CalendarName, year: int, month: int) -> date:
    """Return the day on which a month of a calendar begins."""
    if calendar == "gregorian":
        return date(year, month, 1)
    from persiantools.jdatetime import JalaliDate  # noqa: PLC0415

    found: date = JalaliDate(year, month, 1).to_gregorian()
    return found
