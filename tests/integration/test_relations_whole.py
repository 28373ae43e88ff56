"""Relations in the whole job: what channels send becomes derived events, KPIs on them, and rows that verify to zero."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.definitions import catalogue_of
from streams.producers.readers.base import Touch
from streams.settings import Settings
from tests.harness.wholejob import Pipeline

CUSTOMERS = 40
CHANNELS = ("web", "app", "store", "call_center")


def touches(now: datetime) -> list[Touch]:
    """Carts of two hours ago: every fourth is bought, every eighth an hour and a half later; all channels go on."""
    made: list[Touch] = []

    def add(subject: str, minutes_ago: float, kind: str, channel: str = "web", **data: Any) -> None:
        at = now - timedelta(minutes=minutes_ago)
        record = {"specversion": "1.0", "id": f"e{len(made)}", "source": "/test", "type": kind, "time": at.isoformat()}
        value = json.dumps({**record, "subject": subject, "channel": channel, "data": data}).encode()
        made.append(Touch(at.timestamp(), channel, subject, value))

    for n in range(CUSTOMERS):
        add(f"c-{n}", 120, "cx.cart.added", product="p", price=10, quantity=2)
        if n % 4 == 0:
            add(f"c-{n}", 110, "cx.order.placed")
        elif n % 8 == 1:
            add(f"c-{n}", 30, "cx.order.placed")
    for minutes_ago in (20, 10, 5, 3):
        for channel in CHANNELS:
            for n in range(CUSTOMERS):
                add(f"c-{n}", minutes_ago, "cx.client.errored", channel, message="m")
    return sorted(made, key=lambda touch: touch.time)


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_what_is_derived_is_counted_taken_back_stored_and_verified(pipelines: Callable[..., Pipeline]) -> None:
    pipeline = pipelines(relations="cart,survey", partitions=2)
    pipeline.catalogue = catalogue_of(Settings(relations="cart,survey"))
    assert "cart_abandonment" in pipeline.catalogue
    assert "promise_kept" not in pipeline.catalogue
    pipeline.start_alone()
    sent = touches(datetime.now(UTC))
    pipeline.send(sent)

    def derived() -> Counter[tuple[str, bool]]:
        rows = pipeline.database.rows(
            "SELECT JSONExtractString(data, 'outcome'), JSONExtractBool(data, 'withdrawn') FROM events"
            " WHERE type = 'cx.cart.ended'"
        )
        return Counter((outcome, bool(withdrawn)) for outcome, withdrawn in rows)

    late = sum(1 for n in range(CUSTOMERS) if n % 8 == 1)
    bought = sum(1 for n in range(CUSTOMERS) if n % 4 == 0)
    wanted = {
        ("ordered", False): bought + late,
        ("abandoned", False): CUSTOMERS - bought,
        ("abandoned", True): late,
    }
    pipeline.wait(lambda: derived() == wanted, f"what becomes of carts: {wanted}")
    pipeline.wait_stored(len(sent) + sum(wanted.values()))

    left = CUSTOMERS - bought - late
    assert pipeline.total("cart_abandonment", channel="web")[1] == CUSTOMERS
    value, n = pipeline.total("cart_abandonment")
    assert (round(value or 0, 3), n) == (round(100 * left / CUSTOMERS, 3), CUSTOMERS)
    report = pipeline.verify()
    assert list(map(str, report.differences)) == []
