"""Moments and lengths of time as people read them, by the clocks of a zone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from streams.kpis.language.steps import Steps
from streams.wording.numbers import digits
from streams.wording.texts import Lang

_MONTHS: Final = (
    "فروردین", "اردیبهشت", "خرداد", "تیر", "مرداد", "شهریور", "مهر", "آبان", "آذر", "دی", "بهمن", "اسفند",
)  # fmt: skip
_ZONES: Final = {"UTC": "UTC", "Asia/Tehran": "تهران"}


@dataclass(frozen=True, slots=True)
class ZoneTimes:
    """Writes moments as the clocks of a zone show them; Persian ones by the Jalali calendar."""

    zone: str = "UTC"

    def moment(self, at: int, lang: Lang) -> str:
        """Return a moment (Unix s) to the minute, with the zone."""
        return _joined(self._date(at, lang), self._clock(at, lang), lang) + self._zone(lang)

    def span(self, since: int, until: int, lang: Lang) -> str:
        """Return `from … to …`; a day that both are on is written once."""
        first, last = (self._clock(at, lang) for at in (since, until))
        days = [self._date(at, lang) for at in (since, until)]
        if days[0] != days[1]:
            first, last = _joined(days[0], first, lang), _joined(days[1], last, lang)
        elif lang == "en":
            first = _joined(days[0], first, lang)
        else:
            last = _joined(days[1], last, lang)
        text = f"from {first} to {last}" if lang == "en" else f"از {first} تا {last}"
        return text + self._zone(lang)

    def _clock(self, at: int, lang: Lang) -> str:
        return digits(f"{datetime.fromtimestamp(at, ZoneInfo(self.zone)):%H:%M}", lang)

    def _date(self, at: int, lang: Lang) -> str:
        day = Steps("day", 1, self.zone, "jalali" if lang == "fa" else "gregorian").day(at)
        if lang == "en":
            return day
        year, month, number = day.split("-")
        return digits(f"{int(number)} {_MONTHS[int(month) - 1]} {year}", lang)

    def _zone(self, lang: Lang) -> str:
        if lang == "fa":
            return f" (به وقت {_ZONES.get(self.zone, self.zone)})"
        return f" {self.zone}" if self.zone == "UTC" else f" ({self.zone})"


def _joined(date: str, clock: str, lang: Lang) -> str:
    return f"{date} {clock}" if lang == "en" else f"{clock}، {date}"


def minutes_text(count: int, lang: Lang) -> str:
    """Return a length in minutes: `5 min`, `2 h`, `1 h 30 min`, `3 d 2 h`."""
    day, hour, minute = ("d", "h", "min") if lang == "en" else ("روز", "ساعت", "دقیقه")
    days, hours, rest = count // 1440, count // 60 % 24, count % 60
    parts = [(days, day), (hours, hour), (0 if days else rest, minute)]
    joint = " " if lang == "en" else " و "
    return joint.join(f"{digits(str(n), lang)} {name}" for n, name in parts if n) or f"{digits('0', lang)} {minute}"
