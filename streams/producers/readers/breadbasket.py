"""Bread Basket: receipts of a bakery in Edinburgh; till times are London wall-clock times."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from streams.events.families.store import StorePosTransaction
from streams.producers.readers.base import BadRowError, DataSet, Made, Origin, ReadReport, local_time, rows_of

_ORIGIN = Origin("breadbasket")
_ZONE = ZoneInfo("Europe/London")
_TILL_ARTEFACTS = ("NONE", "Adjustment")


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    items: Counter[str] = Counter()
    receipts: dict[str, tuple[int, datetime]] = {}
    empty: dict[str, int] = {}
    for number, row in rows_of(path, ("Date", "Time", "Transaction", "Item"), report):
        receipt = row["Transaction"]
        if not receipt:
            report.drop("no transaction number", number)
            continue
        try:
            at = local_time(f"{row['Date']} {row['Time']}", _ZONE, "Date and Time")
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        if row["Item"] in _TILL_ARTEFACTS:
            report.drop(f"{row['Item']}: made by the till, not bought", number)
            empty.setdefault(receipt, number)
            continue
        # Lines that repeat are quantities.
        items[receipt] += 1
        receipts.setdefault(receipt, (number, at))
    for receipt, number in empty.items():
        if receipt not in receipts:
            report.drop("receipt without anything bought", number)
    for receipt, (number, at) in receipts.items():
        yield _ORIGIN.made(
            number,
            (receipt,),
            StorePosTransaction(items=items[receipt]),
            at,
            subject=f"receipt-{receipt}",
            channel="store",
            unitid="bread-basket-edinburgh",
            touchpoint="store_checkout",
        )


BREADBASKET = DataSet(
    name="breadbasket",
    title="The Bread Basket: receipts of a bakery (Edinburgh, 2016-2017)",
    folder="store_breadbasket",
    files=("BreadBasket_DMS.csv",),
    events=_events,
)
