"""Working time: clocks that run in opening hours only, by the weeks, time zones and holidays of a place."""

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.expressions import suggest
from streams.kpis.language.steps import WEEKDAYS, known_zones

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST_DAYS: Final = 1_000
"""The longest time a relation may wait or remember."""
_LONGEST_MS: Final = LONGEST_DAYS * 86_400_000
_HOURS: Final = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_FURTHEST_DAYS: Final = 20 * LONGEST_DAYS
"""How far ahead a deadline in working time is looked for: a clock that runs an hour a day needs that many days."""

Times = tuple[time, time | None]
"""From and until; None: the end of the day."""


def read_duration(block: YamlBlock, key: str, default: int = 0) -> int:
    """Read a length of time such as `60m`, `24h` or `7d`; give milliseconds."""
    if key not in block:
        return default
    text = str(block.plain(key))
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if found is None:
        block.problem(key, f"{key!r} cannot be {text!r}: expected a length of time such as 90s, 60m, 24h or 7d")
        return default
    length = int(found[1]) * _UNITS[found[2]] * 1000
    if not 0 < length <= _LONGEST_MS:
        block.problem(key, f"{key!r} must be more than nothing and at most {LONGEST_DAYS}d, not {text}")
        return default
    return length


@dataclass(frozen=True)
class WorkingClock:
    """
    A clock that runs in opening hours only.

    Attributes:
        hours: Opening hours by weekday, Monday being 0; in order, without overlaps.
        country: ISO code of the country on whose public holidays it stands still; empty: of none.
        holidays: Further days on which it stands still.
    """

    name: str
    zone: ZoneInfo
    hours: tuple[tuple[Times, ...], ...]
    country: str = ""
    holidays: frozenset[date] = frozenset()

    def elapsed(self, start: int, end: int) -> int:
        """Return how much working time lies between two moments; all in milliseconds."""
        if end <= start:
            return 0
        total, day, last = 0, self._day(start), self._day(end)
        while day <= last:
            total += sum(max(0, min(end, until) - max(start, since)) for since, until in self._open(day))
            day += timedelta(days=1)
        return total

    def add(self, start: int, length: int) -> int:
        """
        Return the first moment by which so much working time has passed; all in milliseconds.

        Raises:
            ValueError: It never has: the clock hardly runs.
        """
        day = self._day(start)
        for _ in range(_FURTHEST_DAYS):
            for since, until in self._open(day):
                since = max(since, start)  # noqa: PLW2901 - what is before the start does not count
                if since + length <= until:
                    return since + length
                length -= max(0, until - since)
            day += timedelta(days=1)
        raise ValueError(f"clock {self.name!r} does not run for {length} ms in {_FURTHEST_DAYS} days")

    def _day(self, moment: int) -> date:
        return datetime.fromtimestamp(moment / 1000, self.zone).date()

    def _open(self, day: date) -> tuple[tuple[int, int], ...]:
        return _open_hours(self, day)

    def _shut(self, day: date) -> bool:
        return day in self.holidays or (bool(self.country) and day in _holidays_of(self.country))

    def __hash__(self) -> int:
        return hash(self.name)


@lru_cache(maxsize=4096)
def _open_hours(clock: WorkingClock, day: date) -> tuple[tuple[int, int], ...]:
    """Return the opening hours of a local day as moments: wall clocks decide, whatever the offset is."""
    if clock._shut(day):  # noqa: SLF001 - same module
        return ()

    def moment(at: date, clock_time: time) -> int:
        return _first_shown(datetime.combine(at, clock_time, clock.zone)) * 1000

    return tuple(
        (moment(day, since), moment(day + timedelta(days=1), time()) if until is None else moment(day, until))
        for since, until in clock.hours[day.weekday()]
    )


def _first_shown(local: datetime) -> int:
    """Return when clocks first show a time, in whole Unix seconds; one that they skip is over when they go forward."""
    found, earlier = round(local.timestamp()), round(local.replace(fold=1).timestamp())
    after = datetime.fromtimestamp(found, local.tzinfo).utcoffset()
    skipped = range(earlier, found)  # empty, unless clocks skip it

    def is_over(at: int) -> bool:
        return datetime.fromtimestamp(at, local.tzinfo).utcoffset() == after

    return earlier + bisect_left(skipped, True, key=is_over) if skipped else found


def elapsed(clock: WorkingClock | None, start: int, end: int) -> int:
    """Return the time between two moments in milliseconds, by a clock or plainly."""
    return clock.elapsed(start, end) if clock else max(0, end - start)


def after(clock: WorkingClock | None, start: int, length: int) -> int:
    """Return the moment a length of time after another, by a clock or plainly."""
    return clock.add(start, length) if clock else start + length


def read_clock(block: YamlBlock) -> WorkingClock:
    """Read a block of kind `clock`; if problems were noted on the way, what it returns means nothing."""
    block.expect(("id", "kind", "zone", "hours"), ("country", "holidays"))
    zone, known = block.text("zone"), known_zones()
    if zone and zone not in known:
        block.problem("zone", f"unknown time zone {zone!r}{suggest(zone, known) or '; e.g. Asia/Tehran'}")
        zone = ""
    country = block.text("country")
    if country and not _is_country(country):
        block.problem("country", f"no public holidays are known of {country!r}: give the ISO code, e.g. IR")
        country = ""
    return WorkingClock(block.text("id"), ZoneInfo(zone or "UTC"), _week(block), country, frozenset(_days(block)))


def _week(block: YamlBlock) -> tuple[tuple[Times, ...], ...]:
    week: list[list[Times]] = [[] for _ in WEEKDAYS]
    hours = block.block("hours")
    for days in hours or ():
        assert hours is not None
        for item in hours.list(days):
            times = _times(hours, days, str(item))
            for day in _weekdays(hours, days):
                week[day] += [times] if times else []
    for day, listed in enumerate(week):
        listed.sort(key=lambda times: times[0])
        if any(former[1] is None or former[1] > latter[0] for former, latter in pairwise(listed)):
            block.problem("hours", f"the hours of {WEEKDAYS[day]} overlap")
    if "hours" in block and not any(week):
        block.problem("hours", "'hours' opens on no day: the clock would never run")
    return tuple(map(tuple, week))


def _times(block: YamlBlock, key: str, text: str) -> Times | None:
    found = _HOURS.fullmatch(text.replace(" ", ""))
    if found:
        start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if start < end <= 24 * 60 and int(found[2]) < 60 and int(found[4]) < 60:
            until = None if end == 24 * 60 else time(end // 60, end % 60)
            return time(start // 60, start % 60), until
    block.problem(key, f"hours {text!r}: expected from and until on one day, e.g. 08:00-16:00 or 00:00-24:00")
    return None


def _weekdays(block: YamlBlock, key: str) -> list[int]:
    """Read `friday` or `saturday-wednesday`; three letters of a day suffice."""
    ends = [_weekday(part.strip()) for part in key.split("-")]
    first, last = ends[0], ends[-1]
    if len(ends) > 2 or first is None or last is None:
        hint = suggest(key, WEEKDAYS) or "; e.g. friday or saturday-wednesday"
        block.problem(key, f"{key!r} is no day of the week{hint}")
        return []
    return [(first + step) % 7 for step in range((last - first) % 7 + 1)]


def _weekday(text: str) -> int | None:
    return next((at for at, name in enumerate(WEEKDAYS) if text.lower() in {name, name[:3]}), None)


def _days(block: YamlBlock) -> list[date]:
    found = []
    for item in block.list("holidays"):
        try:
            found.append(item if isinstance(item, date) else date.fromisoformat(str(item)))
        except ValueError:
            block.problem("holidays", f"holiday {item!r}: expected a day such as 2026-03-21")
    return found


@lru_cache(maxsize=32)
def _holidays_of(country: str) -> Any:
    # Hundreds of modules: only who asks for a country pays for them.
    from holidays import country_holidays  # noqa: PLC0415

    return country_holidays(country)


def _is_country(code: str) -> bool:
    from holidays.registry import EntityLoader  # noqa: PLC0415

    return code in EntityLoader.get_country_codes(include_aliases=True)
