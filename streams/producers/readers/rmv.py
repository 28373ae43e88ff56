"""
RMV: the waits that 30 branches of the Massachusetts vehicle registry posted, minute by minute.

Waits are decimal minutes (their fractions are sixtieths); times are those of New York's zone.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from streams.events.families.store import StoreQueueObserved
from streams.producers.readers.base import (
    BadRowError,
    DataSet,
    Made,
    Origin,
    ReadReport,
    local_time,
    number_of,
    rows_of,
)

_ORIGIN = Origin("rmv")
_ZONE = ZoneInfo("America/New_York")
_TIME = "%d/%m/%Y %I:%M %p"
_NO_DATA = 999.0


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    scrapes: Counter[str] = Counter()
    for number, row in rows_of(path, ("timestamp",), report):
        minute = row.pop("timestamp")
        try:
            at = local_time(minute, _ZONE, "timestamp", _TIME)
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        # The page was read twice in some minutes: both readings stand, kept apart by their order.
        scrapes[minute] += 1
        for branch, posted in row.items():
            if not posted:
                report.drop("cell empty", number)
                continue
            try:
                minutes = number_of(posted, "wait")
            except BadRowError as bad:
                report.drop(str(bad), number)
                continue
            if minutes == _NO_DATA:
                report.drop("cell 999: closed or no data", number)
                continue
            yield _ORIGIN.made(
                number,
                (branch, minute, scrapes[minute]),
                StoreQueueObserved(wait_s=round(minutes * 60)),
                at,
                subject=re.sub(r"[^a-z]+", "-", branch.lower()),
                channel="store",
                unitid=branch,
                region="MA",
                touchpoint="branch_queue",
            )


RMV = DataSet(
    name="rmv",
    title="RMV: posted waits of 30 branches (Massachusetts, July 2015)",
    folder="store_rmv_wait",
    files=("wait_times.csv",),
    events=_events,
)
