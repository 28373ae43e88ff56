"""
Boston 311: requests to the city over telephone, app, web, social network and front desk; times are Boston's.

Whether a request missed its due time is taken from the city's own verdict, since due times follow its working hours.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from streams.events.envelope import Data
from streams.events.families.ticket import TicketOpened, TicketResolved, TicketSlaBreached
from streams.events.scalars import Channel, Subchannel
from streams.producers.readers.base import BadRowError, DataSet, Made, Origin, ReadReport, local_time, rows_of

_ORIGIN = Origin("boston311")
_ZONE = ZoneInfo("America/New_York")
_NEEDED = ("case_enquiry_id", "open_dt", "target_dt", "closed_dt", "ontime_status", "type", "source")
_INTERNAL = ("Employee Generated", "City Worker App", "Maximo Integration")
_FRONT_DESK = "OCR Front Desk Interactions"
_CHANNELS: dict[str, tuple[Channel, Subchannel | None]] = {
    "Constituent Call": ("call_center", None),
    "Citizens Connect App": ("app", None),
    "Self Service": ("web", None),
    "Twitter": ("web", "social"),
}


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    seen: set[str] = set()
    for number, row in rows_of(path, _NEEDED, report):
        case = row["case_enquiry_id"]
        if case in seen:
            report.drop("case repeated", number)
            continue
        if row["source"] in _INTERNAL:
            report.drop(f"{row['source']}: filed by the city itself", number)
            continue
        if row["source"] not in _CHANNELS:
            report.drop("source unknown", number)
            continue
        if not row["type"]:
            report.drop("no type", number)
            continue
        try:
            opened = local_time(row["open_dt"], _ZONE, "open_dt")
            due = _maybe(row, "target_dt")
            closed = _maybe(row, "closed_dt")
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        seen.add(case)
        yield from _lifecycle(number, row, report, opened=opened, due=due, closed=closed)


def _maybe(row: dict[str, str], name: str) -> datetime | None:
    return local_time(row[name], _ZONE, name) if row[name] else None


def _lifecycle(
    number: int,
    row: dict[str, str],
    report: ReadReport,
    *,
    opened: datetime,
    due: datetime | None,
    closed: datetime | None,
) -> Iterator[Made]:
    """Make the events of one request that a citizen filed."""
    case, verdict = row["case_enquiry_id"], row["ontime_status"]
    channel, subchannel = _CHANNELS[row["source"]]
    if row["type"] == _FRONT_DESK:
        # The source calls these calls; the type says that the citizen stood at the counter.
        channel, subchannel = "store", None
    area = row.get("neighborhood") or None
    about: dict[str, Any] = {"topic": row["type"], "area": area, "department": row.get("department") or None}

    def made(data: Data, at: datetime) -> Made:
        return _ORIGIN.made(
            number,
            (case,),
            data,
            at,
            subject=f"case-{case}",
            channel=channel,
            contactid=case,
            region=area,
            touchpoint="city_request",
        )

    yield made(TicketOpened(**about, due=due, subchannel=subchannel), opened)
    if verdict == "OVERDUE":
        if due is None:
            report.note("overdue without a due time: no breach event", number)
        else:
            yield made(TicketSlaBreached(**about, due=due), max(due, opened))
    elif verdict == "ONTIME" and due and closed and closed > due:
        report.note("closed after its due time, on time by the city's verdict", number)
    if closed is None:
        return
    if closed < opened:
        report.note("closed before it was opened: no resolution event", number)
        return
    # The city calls requests without a due time in time: there was nothing that they could have missed.
    on_time = {"ONTIME": True, "OVERDUE": False}.get(verdict) if due is not None else None
    resolved = TicketResolved(**about, duration_s=(closed - opened).total_seconds(), on_time=on_time)
    yield made(resolved, closed)


BOSTON311 = DataSet(
    name="boston311",
    title="Boston 311: requests to the city on all channels (2015)",
    folder="cross_boston311",
    files=("boston311_2015_may_jun.csv", "boston311_2015_all_compact.csv.gz"),
    events=_events,
)
