"""Lengths of windows by name, and where a window begins and ends."""

import re
from typing import Final

TOTAL: Final = "total"
"""The window since the beginning."""

WINDOWS: Final = ("1m", "5m", "15m", "1h", "24h", "7d")
"""Windows that are kept by default."""

FINE_MINUTES: Final = 1440
"""Windows up to this length are exact to the minute; longer ones begin with the full hour, up to 59 minutes earlier."""

SHORT_MINUTES: Final = 15
"""Windows up to this length are short: what comes in a second is seen in them."""

_UNIT_MINUTES = {"m": 1, "h": 60, "d": 1440}


def window_minutes(name: str) -> int:
    """
    Return the length of a window in minutes, e.g. 1440 for `24h`.

    Raises ValueError for anything but a number of minutes, hours or days.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})([mhd])", name)
    if found is None:
        raise ValueError(f"window {name!r}: expected minutes, hours or days, e.g. 5m, 24h or 7d")
    return int(found[1]) * _UNIT_MINUTES[found[2]]


def first_minute(as_of: int, length: int) -> int:
    """Return the first minute inside a window of so many minutes that ends with the minute `as_of`."""
    first = as_of - length + 1
    return first if length <= FINE_MINUTES else first // 60 * 60


def window_start_sql(end: str, length_s: str) -> str:
    """Return the ClickHouse expression for the start of a window of so many seconds that ends at a DateTime."""
    start = f"({end} - {length_s})"
    return f"if({length_s} > {FINE_MINUTES * 60}, toStartOfHour({start}), {start})"


def window_end(minute: int) -> int:
    """Return the end of a minute in unix seconds, which is the time of a window that ends with it."""
    return (minute + 1) * 60
