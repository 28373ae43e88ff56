"""What the store knows of products: what was sold of each in a day, and what showed a defect."""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

from streams.kpis.language.series import sent_label
from streams.products.defects import ProductDay
from streams.storage.connection import FAILURES, PermanentStorageError, explain
from streams.storage.overflow import counted_events, has_set_aside

MOST_DAYS: Final = 2_000_000
"""Days of products that one answer is made of, at most."""

_SAID: Final = (
    "JSONExtract(data, 'Tuple(product String, category String, quantity Nullable(UInt32), reason String)') AS said"
)
_DAYS: Final = """
    SELECT said.product, toDate(time, {zone:String}) AS day,
        sumIf(coalesce(said.quantity, 1), type = 'cx.product.sold'),
        countIf(type != 'cx.product.sold'),
        maxIf(said.category, type != 'cx.review.published')
    FROM counted_events
    WHERE said.product != '' AND time >= {since:DateTime64(3, 'UTC')} AND time < {until:DateTime64(3, 'UTC')}
        AND (type = 'cx.product.sold'
            OR type = 'cx.order.return_requested' AND lower(said.reason) IN {reasons:Array(String)}
            OR type = 'cx.review.published' AND 5 * score <= 2 * JSONExtractUInt(data, 'scale'))
    GROUP BY said.product, day
    LIMIT {most:UInt32}"""


class ProductDays(NamedTuple):
    """Days of products, and the units sold and defects whose product is a text that says nothing."""

    days: list[ProductDay]
    nameless: int


def product_days(client: Client, since: datetime, until: datetime, zone: str, reasons: Collection[str]) -> ProductDays:
    """
    Return days of products from `since` until `until` (not included): units sold, and defects.

    A defect is a return for one of the `reasons`, in lower case, or a review of two fifths of its scale or less. Events
    that came late are among them, those of tests are not.

    Raises:
        PermanentStorageError: There are more than `MOST_DAYS`, or the store refuses.
        UnreachableError: No answer.
    """
    try:
        events = counted_events(aside=has_set_aside(client), late=True)
        rows = client.query(
            f"WITH {_SAID}, {events}{_DAYS}",
            parameters={
                "zone": zone, "since": since, "until": until, "reasons": sorted(reasons), "most": MOST_DAYS + 1,
            },
        ).result_rows  # fmt: skip
    except FAILURES as error:
        raise explain(error, "products") from error
    if len(rows) > MOST_DAYS:
        raise PermanentStorageError(
            f"more than {MOST_DAYS:,} days of products are stored: look back less far with --from"
        )
    return by_product((str(row[0]), row[1], int(row[2]), int(row[3]), str(row[4])) for row in rows)


def by_product(rows: Iterable[tuple[str, date, int, int, str]]) -> ProductDays:
    """Put rows together by the label that KPIs know a product by; the category is the last of them by its name."""
    found: dict[tuple[str, date], ProductDay] = {}
    nameless = 0
    for sent, day, sold, defects, category in rows:
        product = sent_label(sent)
        if not product:
            nameless += sold + defects
            continue
        former = found.get((product, day), ProductDay(product, day, 0.0, 0))
        found[product, day] = ProductDay(
            product, day, former.sold + sold, former.defects + defects, max(former.category, category)
        )
    return ProductDays([*found.values()], nameless)
