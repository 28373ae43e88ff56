"""
Airbnb: sessions of visitors who move between app, mobile web and desktop.

No zone is stated: times are taken as UTC. A session says that its visitor searched, wrote to a host or asked to book,
not when: these are placed at a quarter, half and three quarters of it, and marked `timeimputed`.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from streams.events.envelope import Data
from streams.events.families.digital import FeatureUsed, OrderPlaced, SearchPerformed, SessionEnded, SessionStarted
from streams.events.scalars import Channel
from streams.producers.readers.base import BadRowError, DataSet, Made, Origin, ReadReport, local_time, rows_of

_ORIGIN = Origin("airbnb")
_ZONE = ZoneInfo("UTC")
_FLAGS = ("did_search", "sent_message", "sent_booking_request")
_NEEDED = ("id_visitor", "id_session", "dim_session_number", "dim_device_app_combo", "ts_min", "ts_max", *_FLAGS)
_APPS = ("iOS", "Android")
_ENGAGED_S = 10

# What a flag says was done; at which share of the session it is placed; where it was done.
_ACTS: dict[str, tuple[Data, float, str]] = {
    "did_search": (SearchPerformed(), 0.25, "search"),
    "sent_message": (FeatureUsed(feature="message_to_host"), 0.5, "product_page"),
    "sent_booking_request": (OrderPlaced(), 0.75, "checkout"),
}


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    seen: set[str] = set()
    for number, row in rows_of(path, _NEEDED, report, delimiter="|"):
        session = row["id_session"]
        if session in seen:
            report.drop("session repeated", number)
            continue
        device, found, platform = row["dim_device_app_combo"].partition(" - ")
        if not found:
            report.drop("device and app not told apart", number)
            continue
        if any(row[flag] not in ("0", "1") for flag in _FLAGS):
            report.drop("a flag is neither 0 nor 1", number)
            continue
        try:
            start = local_time(row["ts_min"], _ZONE, "ts_min")
            end = local_time(row["ts_max"], _ZONE, "ts_max")
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        length = end - start
        if length < timedelta(0):
            report.drop("session ends before it starts", number)
            continue
        seen.add(session)
        channel: Channel = "app" if platform in _APPS else "web"
        shared: dict[str, Any] = {"subject": row["id_visitor"], "channel": channel, "sessionid": session}
        done = [flag for flag in _FLAGS if row[flag] == "1"]
        started = SessionStarted(device=device, platform=platform, returning=row["dim_session_number"] != "1")
        yield _ORIGIN.made(number, (session,), started, start, touchpoint="session", **shared)
        for flag in done:
            act, share, touchpoint = _ACTS[flag]
            yield _ORIGIN.made(
                number,
                (session, flag),
                act,
                start + length * share,
                touchpoint=touchpoint,
                timeimputed=True,
                **shared,
            )
        booked = "sent_booking_request" in done
        ended = SessionEnded(
            duration_s=length.total_seconds(),
            device=device,
            engaged=bool(done) or length >= timedelta(seconds=_ENGAGED_S),
            converted=booked,
        )
        yield _ORIGIN.made(number, (session,), ended, end, touchpoint="session", **shared)


AIRBNB = DataSet(
    name="airbnb",
    title="Airbnb: sessions across app and web (2014-2015)",
    folder="web_app_airbnb_sessions",
    files=("airbnb-session-data.txt",),
    events=_events,
)
