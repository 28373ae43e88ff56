"""What the store knows of orders and of what was given back: see `streams.value`."""

# ruff: noqa: S608 - statements are made of constants

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.storage.connection import FAILURES, PermanentStorageError, explain
from streams.storage.overflow import counted_events, has_set_aside
from streams.value.purchases import PlacedOrder, Refund
from streams.value.risk import ChurnScore
from streams.value.valued import CustomerValue, SentValue

MOST_ORDERS: Final = 2_000_000
"""Orders that one answer is made of, at most."""

# As a tuple: of a key that stands twice the last value counts, as it does for KPIs.
_SAID: Final = (
    "JSONExtract(data, 'Tuple(amount Nullable(Float64), currency String, refund Bool, model String, risk Float64,"
    " horizon_d Nullable(Float64))') AS said"
)
_SAID_OF_WORTH: Final = (
    "Tuple(tier String, clv Nullable(Float64), currency String, orders UInt64, churn_risk Nullable(Float64),"
    " model String)"
)
_IS_ORDER: Final = "(type = 'cx.order.placed' OR type = 'cx.store.pos_transaction' AND NOT said.refund)"
_IN_SPAN: Final = "(time >= {since:DateTime64(3, 'UTC')} AND time < {until:DateTime64(3, 'UTC')})"
# A number below 0 is in no valid event; one from elsewhere is as good as none.
_AMOUNT: Final = "if(said.amount >= 0, said.amount, NULL)"
_EVENT: Final = "concat('event ', source, ' ', id)"

_ORDERS: Final = f"""
            unpaid AS (
                SELECT subject, orderid FROM counted_events
                WHERE type IN ('cx.payment.failed', 'cx.payment.succeeded') AND orderid != ''
                GROUP BY subject, orderid HAVING countIf(type = 'cx.payment.succeeded') = 0)
        SELECT if(orderid = '', {_EVENT}, orderid), subject, toUnixTimestamp(time), {_AMOUNT}, said.currency,
            toBool(orderid = '' OR (subject, orderid) NOT IN unpaid)
        FROM counted_events WHERE subject != '' AND {_IS_ORDER} AND {_IN_SPAN}"""
_REFUNDS: Final = f"""
        SELECT {_EVENT}, orderid, {_AMOUNT}, said.currency, subject,
            transform(toString(type), ['cx.order.cancelled', 'cx.order.refund_initiated'], ['cancelled', 'initiated'],
                'completed')
        FROM counted_events
        WHERE (type IN ('cx.order.cancelled', 'cx.order.refund_initiated', 'cx.order.refund_completed')
                OR type = 'cx.store.pos_transaction' AND said.refund)
            AND orderid NOT IN (
                SELECT orderid FROM counted_events WHERE {_IS_ORDER}
                GROUP BY orderid HAVING orderid != '' AND NOT max(subject != '' AND {_IN_SPAN}))"""


@dataclass(frozen=True, slots=True)
class StoredOrders:
    """
    Orders of known customers, and what was given back.

    Attributes:
        anonymous: Orders of which nobody knows whose they are; not among the others.
        known_until: When the newest event of any kind happened, now at most: so far orders are known.
    """

    orders: list[PlacedOrder]
    refunds: list[Refund]
    anonymous: int
    known_until: datetime


def stored_orders(client: Client, since: datetime, until: datetime) -> StoredOrders | None:
    """
    Return orders and receipts from `since` until `until` (not included), and their refunds of any time.

    Events that came late are among them. An order of which payments only failed is not paid. None: there is no order.

    Raises:
        PermanentStorageError: There are more than `MOST_ORDERS`, or the store refuses.
        UnreachableError: No answer.
    """
    span = {"since": since, "until": until}

    def ask(sql: str) -> Any:
        return client.query(f"WITH {_SAID}, {events}{sql}", parameters=span).result_rows

    try:
        events = counted_events(aside=has_set_aside(client), late=True)
        [[known, anonymous]] = ask(
            f" SELECT countIf(subject != ''), countIf(subject = '') FROM counted_events"
            f" WHERE {_IS_ORDER} AND {_IN_SPAN}"
        )
        if known > MOST_ORDERS:
            raise PermanentStorageError(
                f"{known:,} orders are stored, an answer is made of {MOST_ORDERS:,} at most: look back less far"
            )
        if not known + anonymous:
            return None
        [[newest]] = ask(" SELECT max(time) FROM counted_events WHERE time <= now64(3)")
        orders = [PlacedOrder(*row) for row in ask(f", {_ORDERS}")]
        refunds = [Refund(*row) for row in ask(_REFUNDS)]
    except FAILURES as error:
        raise explain(error, "customer value") from error
    return StoredOrders(orders, refunds, anonymous, newest.replace(tzinfo=UTC))


def stored_scores(client: Client, since: datetime, until: datetime) -> list[ChurnScore]:
    """
    Return the risks to leave that models gave to known customers (`cx.churn.scored`) from `since` until `until`.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    try:
        rows = client.query(
            f"""WITH {_SAID}, {counted_events(aside=has_set_aside(client), late=True)}
            SELECT said.model, subject, toUnixTimestamp(time), said.risk, said.horizon_d
            FROM counted_events WHERE type = 'cx.churn.scored' AND subject != '' AND {_IN_SPAN}""",
            parameters={"since": since, "until": until},
        ).result_rows
    except FAILURES as error:
        raise explain(error, "customer value") from error
    return [ChurnScore(*row) for row in rows]


def sent_values(client: Client) -> dict[str, SentValue]:
    """
    Return what was last published of each customer (`cx.customer.valued`).

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    try:
        rows = client.query(
            f"""WITH {counted_events(aside=has_set_aside(client), late=True)}
            SELECT subject, max(time) AS newest, argMax(JSONExtract(data, '{_SAID_OF_WORTH}'), (time, id))
            FROM counted_events WHERE type = 'cx.customer.valued' AND subject != '' GROUP BY subject"""
        ).result_rows
    except FAILURES as error:
        raise explain(error, "customer value") from error
    return {
        subject: SentValue(
            CustomerValue(
                value["tier"],
                value["clv"] or 0.0,
                value["currency"],
                value["orders"],
                value["churn_risk"],
                value["model"],
            ),
            round(newest.replace(tzinfo=UTC).timestamp() * 1000),
        )
        for subject, newest, value in rows
    }
