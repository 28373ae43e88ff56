"""Answers of the store, beside what their customers had lived through: the view `experience`, as drivers read it."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray

from streams.drivers.definition import OUTCOMES, worth
from streams.drivers.model import Answers
from streams.storage.connection import FAILURES, explain
from streams.storage.customer_value import stored_orders
from streams.value.purchases import net_of

MOST_ANSWERS: Final = 100_000
"""Answers beyond which whole customers are drawn: intervals are narrow by then, and memory stays bounded."""
COLUMNS: Final = {
    "wait_s": "longest_wait_s",
    **{
        name: name
        for name in (
            "handle_s", "transfers", "contacts", "channels", "errors", "frustrations", "payment_failures", "delay_h",
            "damaged", "returns",
        )
    },
}  # fmt: skip
"""Which column of the view each driver is."""
LABELS: Final = ("channel", "touchpoint", "segment", "region")
"""What is held equal, and by what drivers can be ranked apart."""


class StoredAnswers(NamedTuple):
    """
    Answers of a span of time.

    Attributes:
        answers: They themselves, in order of time.
        scale: The highest rating of their scale.
        other_scales: Answers of other scales, which are left out.
        drawn: Of how many customers one is in here: 1, unless there are too many answers.
        times: When each was given, Unix seconds.
    """

    answers: Answers
    scale: int
    other_scales: int
    drawn: int
    times: NDArray[np.int64]


def answers_of(client: Client, outcome: str, since: datetime, until: datetime) -> StoredAnswers:
    """
    Return the answers of an outcome from `since` until `until` (not included).

    Raises:
        ValueError: There is none.
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    chosen = """FROM experience WHERE metric = {metric:String} AND score IS NOT NULL
        AND time >= {since:DateTime64(3, 'UTC')} AND time < {until:DateTime64(3, 'UTC')}"""
    parameters = {"metric": OUTCOMES[outcome].metric, "since": since, "until": until}
    lived = ", ".join(f"toFloat64(ifNull({column}, nan))" for column in COLUMNS.values())
    try:
        [[n]] = client.query(f"SELECT count() {chosen}", parameters=parameters).result_rows
        drawn = max(1, -(-n // MOST_ANSWERS))
        rows: Any = client.query(
            f"""SELECT score, scale, sipHash64(customer), toUnixTimestamp(time), {", ".join(LABELS)}, {lived} {chosen}
                AND sipHash64(customer) % {{drawn:UInt32}} = 0 ORDER BY time, customer""",
            parameters={**parameters, "drawn": drawn},
        ).result_columns
    except FAILURES as error:
        raise explain(error, "drivers") from error
    if not n or not rows:
        raise ValueError(
            f"no answer of {OUTCOMES[outcome].metric} of that time stands beside what was lived through before it: the"
            " relation `experience` makes them of events, where CX_RELATIONS has it"
        )
    scores, scales, customers, times, *rest = rows
    values, scale = worth(outcome, scores, scales)
    answers = Answers(
        np.nan_to_num(values),
        dict(zip(COLUMNS, rest[len(LABELS) :], strict=True)),
        dict(zip(LABELS, rest, strict=False)),
        np.asarray(customers, dtype=np.uint64),
    )
    same = ~np.isnan(values)
    kept = np.asarray(times, dtype=np.int64)[same]
    return StoredAnswers(answers.only(same), scale, int((~same).sum()), drawn, kept)


def worths_of(client: Client, found: StoredAnswers) -> tuple[str, dict[int, float]] | None:
    """
    Return what customers brought from the first of some answers to the last, by the number that answers call them by.

    In one currency, that of most purchases, since currencies are never added up. None: nothing is known of money.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    first, last = (datetime.fromtimestamp(int(at), UTC) for at in (found.times.min(), found.times.max()))
    stored = stored_orders(client, first, last + timedelta(seconds=1))
    if stored is None:
        return None
    paid = [one for one in net_of(stored.orders, stored.refunds).purchases if one.net]
    if not paid:
        return None
    currency = Counter(one.currency for one in paid).most_common(1)[0][0]
    brought: dict[str, float] = defaultdict(float)
    for one in paid:
        if one.currency == currency:
            brought[one.customer] += one.net or 0.0
    people = [*brought]
    try:
        [[numbers]] = client.query(
            "SELECT arrayMap(one -> sipHash64(one), {people:Array(String)})", parameters={"people": people}
        ).result_rows
    except FAILURES as error:
        raise explain(error, "drivers") from error
    return currency, dict(zip(map(int, numbers), brought.values(), strict=True))
