"""
Online Shoppers: sessions of a web shop, each with its pages, its length and whether it bought.

The set knows only the month (of an unknown year) and whether it was a weekend. A session is placed on a day of its
month in 2017 that fits, between 08:00 and 23:00 UTC, by its row, and marked `timeimputed`; its length is real.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from streams.events.envelope import Data
from streams.events.families.digital import OrderPlaced, SessionEnded, SessionStarted
from streams.producers.readers.base import (
    BadRowError,
    DataSet,
    Made,
    Origin,
    ReadReport,
    number_of,
    rows_of,
    spread,
    whole_of,
)

T = TypeVar("T")

_NAME = "online_shoppers"
_ORIGIN = Origin(_NAME)
_YEAR = 2017
_FROM_HOUR, _HOURS = 8, 15
_KINDS = ("Administrative", "Informational", "ProductRelated")
_MONTHS = {name: month for month, name in enumerate(calendar.month_abbr) if name} | {"June": 6}
_VISITORS = {"Returning_Visitor": True, "New_Visitor": False, "Other": None}
_BOOL = {"TRUE": True, "FALSE": False}
_NEEDED = (
    *_KINDS,
    *(f"{kind}_Duration" for kind in _KINDS),
    "Month",
    "Region",
    "TrafficType",
    "VisitorType",
    "Weekend",
    "Revenue",
)


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    for number, row in rows_of(path, _NEEDED, report):
        try:
            views = sum(whole_of(row[kind], kind) for kind in _KINDS)
            length_s = sum(number_of(row[f"{kind}_Duration"], f"{kind}_Duration", most=1e8) for kind in _KINDS)
            weekend, bought = _choice(_BOOL, row, "Weekend"), _choice(_BOOL, row, "Revenue")
            returning = _choice(_VISITORS, row, "VisitorType")
            month = _choice(_MONTHS, row, "Month")
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        start = _moment(month, weekend, number)
        session = f"session-{number}"
        end = start + timedelta(seconds=length_s)
        steps: list[tuple[Data, datetime, str]] = [
            (SessionStarted(referrer=f"traffic-{row['TrafficType']}", returning=returning), start, "session"),
            (SessionEnded(duration_s=round(length_s, 3), views=views, converted=bought), end, "session"),
        ]
        if bought:
            steps.insert(1, (OrderPlaced(), end, "checkout"))
        for data, at, touchpoint in steps:
            # Rows that are alike are sessions that were alike: only the row tells them apart.
            yield _ORIGIN.made(
                number,
                (number,),
                data,
                at,
                subject=session,
                channel="web",
                sessionid=session,
                region=row["Region"],
                touchpoint=touchpoint,
                timeimputed=True,
            )


def _choice(choices: dict[str, T], row: dict[str, str], name: str) -> T:
    """
    Look a cell up.

    Raises:
        BadRowError: It is none of the choices.
    """
    if row[name] not in choices:
        raise BadRowError(f"{name} unknown")
    return choices[row[name]]


def _moment(month: int, weekend: bool, row: int) -> datetime:
    """Choose a day of the month that is, or is not, a Saturday or Sunday, and a second of it; always the same."""
    days = [day for day in calendar.Calendar().itermonthdates(_YEAR, month) if day.month == month]
    fitting = [day for day in days if (day.weekday() >= calendar.SATURDAY) == weekend]
    day = fitting[int(spread(_NAME, row, "day") * len(fitting))]
    second = int(spread(_NAME, row, "second") * _HOURS * 3600)
    return datetime(day.year, day.month, day.day, _FROM_HOUR, tzinfo=UTC) + timedelta(seconds=second)


ONLINE_SHOPPERS = DataSet(
    name=_NAME,
    title="Online Shoppers: sessions of a web shop (one year, months only)",
    folder="web_online_shoppers",
    files=("online_shoppers_intention.csv",),
    events=_events,
)
