"""
Olist: orders of a Brazilian marketplace, their payments, deliveries and reviews.

Times are wall-clock times of Sao Paulo: review dates, else at midnight, are at 01:00 on the day its clocks skipped it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from streams.events.envelope import Data
from streams.events.families.digital import OrderCancelled, OrderPlaced, PaymentSucceeded
from streams.events.families.feedback import SurveyAnswered, SurveySent
from streams.events.families.fulfilment import OrderDelivered, OrderDeliveryOverdue, OrderDispatched, PromiseMade
from streams.producers.readers.base import (
    BadRowError,
    DataSet,
    Made,
    Origin,
    ReadReport,
    local_time,
    number_of,
    rows_of,
    whole_of,
)

_ZONE = ZoneInfo("America/Sao_Paulo")
_SURVEY = "order_review"
_ORIGIN = Origin("olist")
_ORDERS = "olist_orders_dataset.csv"
_REVIEWS = "olist_order_reviews_dataset.csv"
_PAYMENTS = "olist_order_payments_dataset.csv"
_ITEMS = "olist_order_items_dataset.csv"
_CUSTOMERS = "olist_customers_dataset.csv"

Delivery = Literal["on_time", "late", "not_delivered"]


@dataclass(slots=True)
class _Order:
    """One order with what the other tables say about it; times are UTC, None where the source has none."""

    row: int
    id: str
    status: str
    customer: str
    state: str
    placed: datetime
    approved: datetime | None
    dispatched: datetime | None
    delivered: datetime | None
    estimate: datetime
    items: int = 0
    payments: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def late(self) -> bool:
        """Whether it was delivered after the estimate; an order without delivery time shows no lateness."""
        return self.delivered is not None and self.delivered > self.estimate

    @property
    def outcome(self) -> Delivery | None:
        """
        How the delivery ended, as a label for the review; None where an order was delivered and yet cancelled.

        Only the status `delivered` makes a delivery: this is the basis of the published 4.28 and 2.50.
        """
        if self.status == "delivered":
            return "late" if self.late else "on_time"
        return "not_delivered" if self.delivered is None else None


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    orders = _orders(path, report)
    _add_items(path.with_name(_ITEMS), orders, report)
    _add_payments(path.with_name(_PAYMENTS), orders, report)
    reviews = list(_reviews(path.with_name(_REVIEWS), orders, report))
    answered = [made.event.time for made in reviews]
    observed = [at for order in orders.values() for at in (order.placed, order.dispatched, order.delivered) if at]
    if not observed:
        return
    end = max(*observed, *answered)
    for order in orders.values():
        yield from _lifecycle(order, end, report)
    yield from reviews


def _orders(path: Path, report: ReadReport) -> dict[str, _Order]:
    customers = {
        row["customer_id"]: (row["customer_unique_id"], row["customer_state"])
        for _, row in rows_of(
            path.with_name(_CUSTOMERS), ("customer_id", "customer_unique_id", "customer_state"), report
        )
    }
    needed = (
        "order_id",
        "customer_id",
        "order_status",
        "order_purchase_timestamp",
        "order_approved_at",
        "order_delivered_carrier_date",
        "order_delivered_customer_date",
        "order_estimated_delivery_date",
    )
    orders: dict[str, _Order] = {}
    for number, row in rows_of(path, needed, report):
        if row["customer_id"] not in customers:
            report.drop(f"{path.name}: customer unknown", number)
            continue
        customer, state = customers[row["customer_id"]]
        try:
            order = _Order(
                row=number,
                id=row["order_id"],
                status=row["order_status"],
                customer=customer,
                state=state,
                placed=local_time(row["order_purchase_timestamp"], _ZONE, "order_purchase_timestamp"),
                approved=_maybe(row, "order_approved_at"),
                dispatched=_maybe(row, "order_delivered_carrier_date"),
                delivered=_maybe(row, "order_delivered_customer_date"),
                estimate=local_time(row["order_estimated_delivery_date"], _ZONE, "order_estimated_delivery_date"),
            )
        except BadRowError as bad:
            report.drop(f"{path.name}: {bad}", number)
            continue
        if order.id in orders:
            report.drop(f"{path.name}: order_id repeated", number)
            continue
        orders[order.id] = order
    return orders


def _maybe(row: dict[str, str], name: str) -> datetime | None:
    return local_time(row[name], _ZONE, name) if row[name] else None


def _add_items(path: Path, orders: dict[str, _Order], report: ReadReport) -> None:
    for number, row in rows_of(path, ("order_id",), report):
        order = orders.get(row["order_id"])
        if order is None:
            report.drop(f"{path.name}: order unknown", number)
        else:
            order.items += 1


def _add_payments(path: Path, orders: dict[str, _Order], report: ReadReport) -> None:
    needed = ("order_id", "payment_sequential", "payment_type", "payment_value")
    for number, row in rows_of(path, needed, report):
        order = orders.get(row["order_id"])
        if order is None:
            report.drop(f"{path.name}: order unknown", number)
            continue
        try:
            amount = number_of(row["payment_value"], "payment_value")
        except BadRowError as bad:
            report.drop(f"{path.name}: {bad}", number)
            continue
        order.payments.append((row["payment_sequential"], row["payment_type"], amount))


def _lifecycle(order: _Order, end: datetime, report: ReadReport) -> Iterator[Made]:
    """Make all events of an order but its reviews; `end` is the last moment the data set knows of."""

    def made(data: Data, at: datetime, touchpoint: str, *key: object, **attributes: Any) -> Made:
        return _ORIGIN.made(
            order.row,
            (order.id, *key),
            data,
            at,
            subject=order.customer,
            channel="web",
            orderid=order.id,
            region=order.state,
            touchpoint=touchpoint,
            **attributes,
        )

    items = order.items or None
    amount = round(sum(paid for _, _, paid in order.payments), 2) if order.payments else None
    if amount is None:
        report.note(f"{_ORDERS}: no payment, so the order has no amount", order.row)
    yield made(OrderPlaced(amount=amount, currency="BRL", items=items), order.placed, "checkout")
    yield made(PromiseMade(due=order.estimate, items=items), order.placed, "checkout")
    if order.approved:
        for sequence, method, paid in order.payments:
            payment = PaymentSucceeded(amount=paid, currency="BRL", method=method or None)
            yield made(payment, order.approved, "payment", sequence)
    if order.dispatched:
        wait_s = (order.dispatched - order.placed).total_seconds()
        if wait_s < 0:
            report.note(f"{_ORDERS}: given to the carrier before it was ordered", order.row)
        yield made(OrderDispatched(duration_s=wait_s if wait_s >= 0 else None), order.dispatched, "delivery")
    yield from _ending(order, end, report, made)


def _ending(order: _Order, end: datetime, report: ReadReport, made: Callable[..., Made]) -> Iterator[Made]:
    """Make the events of delivery, overdue delivery and cancellation."""
    delivered, estimate = order.delivered, order.estimate
    if delivered:
        if order.dispatched and delivered < order.dispatched:
            report.note(f"{_ORDERS}: delivered before it was given to the carrier", order.row)
        arrival = OrderDelivered(
            late=order.late,
            delay_h=round((delivered - estimate).total_seconds() / 3600, 3),
            items=order.items or None,
            duration_s=max((delivered - order.placed).total_seconds(), 0),
        )
        yield made(arrival, delivered, "delivery")
    elif order.status == "delivered":
        report.note(
            f"{_ORDERS}: delivered at an unknown time: placed at the estimate, neither late nor in time", order.row
        )
        yield made(OrderDelivered(items=order.items or None), estimate, "delivery", timeimputed=True)
    if order.status in ("canceled", "unavailable"):
        known = (at for at in (order.placed, order.approved, order.dispatched, delivered) if at)
        at = max(min(estimate, end), *known)
        yield made(OrderCancelled(reason=order.status), at, "delivery", timeimputed=True)
        if delivered:
            report.note(f"{_ORDERS}: delivered and yet cancelled, its reviews carry no delivery label", order.row)
    elif (order.late or order.status != "delivered") and estimate <= end:
        yield made(OrderDeliveryOverdue(due=estimate, items=order.items or None), estimate, "delivery")


def _reviews(path: Path, orders: dict[str, _Order], report: ReadReport) -> Iterator[Made]:
    needed = (
        "review_id",
        "order_id",
        "review_score",
        "review_comment_title",
        "review_comment_message",
        "review_creation_date",
        "review_answer_timestamp",
    )
    seen: set[tuple[str, str]] = set()
    for number, row in rows_of(path, needed, report):
        order = orders.get(row["order_id"])
        # A review id may stand for several orders of one purchase: each is an answer about its own order.
        key = (row["review_id"], row["order_id"])
        if order is None:
            report.drop(f"{path.name}: order unknown", number)
            continue
        if key in seen:
            report.drop(f"{path.name}: review of the order repeated", number)
            continue
        try:
            sent = local_time(row["review_creation_date"], _ZONE, "review_creation_date")
            answered = local_time(row["review_answer_timestamp"], _ZONE, "review_answer_timestamp")
            score = whole_of(row["review_score"], "review_score", least=1, most=5)
        except BadRowError as bad:
            report.drop(f"{path.name}: {bad}", number)
            continue
        seen.add(key)
        if sent < order.placed - timedelta(days=1):
            report.note(f"{path.name}: review asked for before the order was placed", number)
        shared: dict[str, Any] = {
            "orderid": order.id,
            "region": order.state,
            "touchpoint": "post_purchase_survey",
        }
        yield _ORIGIN.made(
            number,
            key,
            SurveySent(survey_id=_SURVEY, metric="csat", kind="transactional", subchannel="email"),
            sent,
            subject=order.customer,
            channel="web",
            timeimputed=True,
            **shared,
        )
        text = "\n".join(part for part in (row["review_comment_title"], row["review_comment_message"]) if part)
        answer = SurveyAnswered(
            survey_id=_SURVEY,
            metric="csat",
            scale=5,
            score=score,
            kind="transactional",
            object="order",
            text=text or None,
            lang="pt" if text else None,
            delivery=order.outcome,
        )
        yield _ORIGIN.made(number, key, answer, answered, subject=order.customer, channel="web", **shared)


OLIST = DataSet(
    name="olist",
    title="Olist: marketplace orders, deliveries and reviews (Brazil, 2016-2018)",
    folder="cross_olist",
    files=(_ORDERS,),
    events=_events,
)
