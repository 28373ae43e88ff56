"""REES46: the first minutes of a shop's month, second by second, in UTC. No currency is stated."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from streams.events.envelope import Data
from streams.events.families.digital import CartAdded, OrderPlaced, ProductViewed
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

_ORIGIN = Origin("rees46")
_ZONE = ZoneInfo("UTC")
_NEEDED = ("event_time", "event_type", "product_id", "category_code", "price", "user_id", "user_session")


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    alike: Counter[tuple[str, ...]] = Counter()
    orders: dict[tuple[str, ...], _Purchases] = {}
    for number, row in rows_of(path, _NEEDED, report):
        if not row["user_id"] or not row["product_id"]:
            report.drop("no user or product", number)
            continue
        try:
            at = local_time(row["event_time"], _ZONE, "event_time", "%Y-%m-%d %H:%M:%S UTC")
            price = number_of(row["price"], "price")
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        # Two views of a product within a second are two views: their order tells them apart.
        key = (row["event_time"], row["event_type"], row["product_id"], row["user_id"], row["user_session"])
        alike[key] += 1
        if row["event_type"] == "purchase":
            session: tuple[str, ...] = (
                (row["user_id"], row["user_session"]) if row["user_session"] else (*key, str(alike[key]))
            )
            orders.setdefault(session, _Purchases(row, number, at)).take(number, at, price)
            continue
        done = _act(row, price)
        if done is None:
            report.drop("event_type unknown", number)
            continue
        act, touchpoint = done
        yield _made(number, (*key, alike[key]), act, at, row, touchpoint)
    for session, order in orders.items():
        placed = OrderPlaced(amount=round(order.amount, 2), items=order.items)
        yield _made(order.row, session, placed, order.at, order.of, "checkout")


@dataclass(slots=True)
class _Purchases:
    """The purchases of one session: one row a product, and one order, placed with the last of them."""

    of: dict[str, str]
    row: int
    at: datetime
    amount: float = 0.0
    items: int = 0

    def take(self, row: int, at: datetime, price: float) -> None:
        """Add one product."""
        self.row, self.at = max((self.row, self.at), (row, at), key=lambda newest: newest[1])
        self.amount += price
        self.items += 1


def _made(row: int, key: Sequence[object], data: Data, at: datetime, of: dict[str, str], touchpoint: str) -> Made:
    """Make an event of a visitor."""
    return _ORIGIN.made(
        row, key, data, at, subject=of["user_id"], channel="web", sessionid=of["user_session"], touchpoint=touchpoint
    )


def _act(row: dict[str, str], price: float) -> tuple[Data, str] | None:
    product, category = row["product_id"], row["category_code"] or None
    match row["event_type"]:
        case "view":
            return ProductViewed(product=product, category=category, price=price), "product_page"
        case "cart":
            return CartAdded(product=product, category=category, quantity=1, price=price), "cart"
    return None


REES46 = DataSet(
    name="rees46",
    title="REES46: a shop's views, carts and purchases (October 2019)",
    folder="web_rees46",
    files=("2019-Oct-sample.csv",),
    events=_events,
)
