"""How busy customers are, by hour and day: the Iranian week, its holidays and Nowruz."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from streams.events.scalars import CHANNELS
from streams.producers.readers.jalali import to_gregorian

TEHRAN: Final = ZoneInfo("Asia/Tehran")


# One figure per hour of the day, 0 to 23; only their proportions count.
_HOURS: Final[dict[str, tuple[float, ...]]] = {
    "web": (
        *(0.45, 0.25, 0.14, 0.08, 0.06, 0.08, 0.18, 0.38, 0.70, 1.00, 1.20, 1.25),
        *(1.20, 1.05, 0.95, 0.95, 1.05, 1.15, 1.25, 1.35, 1.50, 1.60, 1.45, 0.95),
    ),
    "app": (
        *(0.70, 0.40, 0.20, 0.10, 0.07, 0.10, 0.25, 0.50, 0.75, 0.90, 1.00, 1.05),
        *(1.10, 1.10, 1.00, 0.95, 1.00, 1.15, 1.30, 1.45, 1.65, 1.80, 1.75, 1.30),
    ),
    "store": (
        *(0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.10, 0.50, 0.95, 1.10),
        *(1.05, 0.70, 0.45, 0.50, 0.90, 1.35, 1.70, 1.85, 1.75, 1.20, 0.40, 0.05),
    ),
    "call_center": (
        *(0.10, 0.06, 0.04, 0.03, 0.03, 0.05, 0.15, 0.45, 1.20, 1.65, 1.75, 1.65),
        *(1.45, 1.25, 1.15, 1.15, 1.20, 1.20, 1.15, 1.10, 1.00, 0.80, 0.50, 0.25),
    ),
}
# Monday is 0 in Python; Saturday (5) starts the Iranian week, Thursday (3) is half, Friday (4) is rest.
_DAYS: Final[dict[str, tuple[float, ...]]] = {
    "web": (1.00, 1.00, 1.00, 1.05, 1.00, 1.02, 1.00),
    "app": (0.97, 0.97, 0.98, 1.08, 1.15, 1.00, 0.97),
    "store": (0.90, 0.90, 0.95, 1.40, 0.85, 0.95, 0.90),
    "call_center": (1.10, 1.05, 1.05, 0.60, 0.20, 1.45, 1.20),
}
_HOLIDAY: Final = {"web": 0.90, "app": 1.10, "store": 0.50, "call_center": 0.20}
_NOWRUZ_EVE: Final = {"web": 1.60, "app": 1.60, "store": 2.20, "call_center": 1.50}
_MOURNING_OR_FEAST: Final = (
    (1, 1), (1, 2), (1, 3), (1, 4), (1, 12), (1, 13), (3, 14), (3, 15), (11, 22), (12, 29),
)  # fmt: skip
"""Official holidays with a fixed day in the Persian calendar; those of the lunar one move and are given by hand."""


@cache
def fixed_holidays(year: int) -> frozenset[date]:
    """List the official holidays of a Gregorian year that have a fixed day in the Persian calendar."""
    found = (
        to_gregorian(persian, month, day) for persian in (year - 622, year - 621) for month, day in _MOURNING_OR_FEAST
    )
    return frozenset(day for day in found if day.year == year)


@cache
def _before_nowruz(year: int) -> tuple[date, date]:
    nowruz = to_gregorian(year - 621, 1, 1)
    return nowruz - timedelta(days=14), nowruz - timedelta(days=1)


class Rhythm:
    """
    The factor by which a channel is busier or calmer than on average.

    Args:
        flat: always 1, for runs that should look the same at any hour.
        holidays: further days off, such as those of the lunar calendar.
    """

    def __init__(self, *, flat: bool = False, holidays: Collection[date] = ()) -> None:
        self.flat = flat
        self._holidays = frozenset(holidays)
        self._mean: dict[str, float] = {
            channel: sum(_HOURS[channel]) * sum(_DAYS[channel]) / (24 * 7) for channel in CHANNELS
        }
        self._factor = lru_cache(maxsize=4096)(self._compute)

    def factor(self, at: float, channel: str) -> float:
        """Return the factor at a Unix time; it averages 1 over a week without holidays."""
        return 1.0 if self.flat else self._factor(int(at // 900), channel)

    def is_holiday(self, day: date) -> bool:
        """Whether a day is an official holiday (Fridays are the week's rest, not counted here)."""
        return day in self._holidays or day in fixed_holidays(day.year)

    def _compute(self, quarter: int, channel: str) -> float:
        local = datetime.fromtimestamp(quarter * 900 + 450, UTC).astimezone(TEHRAN)
        hours = _HOURS[channel]
        part = (local.minute + 0.5) / 60
        # Half an hour is the middle of an hour's figure; between two middles the line is straight.
        if part >= 0.5:
            level = hours[local.hour] * (1.5 - part) + hours[(local.hour + 1) % 24] * (part - 0.5)
        else:
            level = hours[local.hour] * (0.5 + part) + hours[local.hour - 1] * (0.5 - part)
        day = local.date()
        factor = level * _DAYS[channel][day.weekday()] / self._mean[channel]
        if self.is_holiday(day):
            return factor * _HOLIDAY[channel]
        first, last = _before_nowruz(day.year)
        return factor * _NOWRUZ_EVE[channel] if first <= day <= last else factor
