"""Answers of the store, beside what their customers had lived through: the view `experience`, as drivers read it."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
from clickhouse_connect.driver.client import Client

from streams.drivers.definition import OUTCOMES, worth
from streams.drivers.model import Answers
from streams.storage.connection import FAILURES, explain

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
    """

    answers: Answers
    scale: int
    other_scales: int
    drawn: int


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
            f"""SELECT score, scale, sipHash64(customer), {", ".join(LABELS)}, {lived} {chosen}
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
    scores, scales, customers, *rest = rows
    values, scale = worth(outcome, scores, scales)
    answers = Answers(
        np.nan_to_num(values),
        dict(zip(COLUMNS, rest[len(LABELS) :], strict=True)),
        dict(zip(LABELS, rest, strict=False)),
        np.asarray(customers, dtype=np.uint64),
    )
    same = ~np.isnan(values)
    return StoredAnswers(answers.only(same), scale, int((~same).sum()), drawn)
