"""
Public data sets as touchpoint events.

`read("olist", Path("data"))` gives the events of a set in event-time order, encoded and checked against the contract.
Ids come from the rows' natural keys: reading again gives the same bytes, so a second replay is all duplicates.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from streams.events.decode import decode_batch
from streams.producers.readers import jsonl
from streams.producers.readers.airbnb import AIRBNB
from streams.producers.readers.base import DataSet, DataSetError, Made, ReadReport, Touch
from streams.producers.readers.boston311 import BOSTON311
from streams.producers.readers.breadbasket import BREADBASKET
from streams.producers.readers.cafebazaar import CAFEBAZAAR
from streams.producers.readers.olist import OLIST
from streams.producers.readers.online_shoppers import ONLINE_SHOPPERS
from streams.producers.readers.rees46 import REES46
from streams.producers.readers.rmv import RMV
from streams.producers.readers.technion import TECHNION

__all__ = ["DATA_SETS", "DataSet", "DataSetError", "Made", "ReadReport", "Touch", "read"]

DATA_SETS: dict[str, DataSet] = {
    dataset.name: dataset
    for dataset in (
        OLIST,
        TECHNION,
        AIRBNB,
        BREADBASKET,
        RMV,
        CAFEBAZAAR,
        BOSTON311,
        REES46,
        ONLINE_SHOPPERS,
    )
}


def read(name: str, path: Path, report: ReadReport | None = None) -> Iterator[Touch]:
    """
    Read a data set, or a file of events (name `jsonl`), in event-time order.

    The whole set is read and sorted in memory before the first event comes.
    Events of one moment keep the order in which the set tells them.

    Args:
        name: A key of `DATA_SETS`, or `jsonl`.
        path: The set's file, its folder, or a root that holds the set's folder.
        report: Filled with what was read, made and left out; complete when the first event comes.

    Raises:
        DataSetError: The name is unknown, the file is absent, or it is not of this set.
    """
    if report is None:
        report = ReadReport(name)
    if name == jsonl.JSONL:
        touches = list(jsonl.touches(path, report))
    elif name in DATA_SETS:
        touches = _checked(DATA_SETS[name].events(DATA_SETS[name].locate(path), report), report)
    else:
        raise DataSetError(f"no data set {name!r}; there are {', '.join([*DATA_SETS, jsonl.JSONL])}")
    touches.sort(key=lambda touch: touch.time)
    report.events = len(touches)
    if not touches and not report.nothing:
        report.nothing = f"{path.name} holds no event: {report.rows:,} rows were read, {report.dropped_rows:,} left out"
    return iter(touches)


def _checked(events: Iterator[Made], report: ReadReport) -> list[Touch]:
    """Encode events, and leave out, with a reason, what the contract refuses."""
    made = list(events)
    encode = msgspec.json.Encoder().encode
    values = [encode(event) for _, event in made]
    _, refusals = decode_batch(values)
    for refusal in refusals:
        report.drop(f"refused by the contract: {refusal.path} {refusal.reason}", made[refusal.index].row)
    refused = {refusal.index for refusal in refusals}
    return [
        Touch(event.time.timestamp(), event.channel, event.subject, value)
        for index, ((_, event), value) in enumerate(zip(made, values, strict=True))
        if index not in refused
    ]
