"""
What relations say of the public data sets is what was published of them.

Run where the data is: in the folder CX_DATA names, or in shared/data beside the repository. Each customer takes one step,
which is how the pure core is asked when everything has been read.
"""

import csv
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from streams.drivers.definition import DRIVERS
from streams.drivers.model import Answers
from streams.drivers.ranking import rank
from streams.events.decode import decode_batch
from streams.events.types import Envelope
from streams.producers.readers import DATA_SETS, DataSetError, read
from streams.relations.customer import advance
from streams.relations.facts import Fact
from streams.relations.results import DerivedEvent
from streams.storage.drivers import COLUMNS
from tests.harness.derived import events_of, relations, value

ROOT = Path(os.environ.get("CX_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
LATER_MS = 400 * 86_400_000


@cache
def events(name: str) -> list[Envelope]:
    try:
        DATA_SETS[name].locate(ROOT)
    except DataSetError as absent:
        pytest.skip(f"data not present: {absent}")
    found, refused = decode_batch([touch.value for touch in read(name, ROOT)])
    assert not refused
    return [event for event in found if event is not None]


def results(name: str, *chosen: str, later_ms: int = LATER_MS) -> list[DerivedEvent]:
    """What relations say so long after the last event; by default all waiting is over."""
    some = relations().only(chosen)
    by_customer: dict[str, list[Fact]] = defaultdict(list)
    for event in events(name):
        if (fact := some.reader.fact(event)) is not None:
            by_customer[event.subject].append(fact)
    until = max(fact.time for facts in by_customer.values() for fact in facts) + later_ms
    found: list[DerivedEvent] = []
    for subject, facts in by_customer.items():
        found += advance(some, subject, b"", facts, min(fact.time for fact in facts) - 1, until).results
    assert not any(one.withdrawn for one in found)
    return found


def test_olist_is_on_time_against_the_promise_in_92_percent() -> None:
    """
    4,750 of the 5,164 that were delivered, and at a known time.

    Beside them are 8 deliveries at no known time, which are placed at the promise, and 6 orders that were delivered and
    yet cancelled, of which one was cancelled first.
    """
    found = results("olist", "delivery", "promise")
    cancelled = {event.orderid for event in events("olist") if event.type == "cx.order.cancelled"}
    delivered = [one for one in found if one.relation == "delivery" and one.data["outcome"] == "delivered"]
    assert Counter((one.data["imputed"], one.origin["orderid"] in cancelled) for one in delivered) == {
        (False, False): 5_164,
        (True, False): 8,
        (False, True): 5,
    }
    known = [one for one in delivered if not one.data["imputed"] and one.origin["orderid"] not in cancelled]
    on_time = {one.origin["orderid"] for one in known if one.data["left_s"] >= 0}
    assert (len(on_time), round(100 * len(on_time) / len(known), 1)) == (4_750, 92.0)
    kept = {one.origin["orderid"] for one in found if one.relation == "promise" and one.data["outcome"] == "kept"}
    assert on_time <= kept
    assert len(kept - on_time) == 8 + 5


def test_olist_scores_fall_with_every_day_of_delay() -> None:
    found = [one for one in results("olist", "experience") if "delay" in one.data]
    scores = defaultdict(list)
    for one in found:
        scores[one.data["delay"]].append(one.data["score"])
    means = [statistics.mean(scores[bucket]) for bucket in ("on time", "up to 1 day", "up to 3 days", "over 3 days")]
    assert [round(mean, 2) for mean in means] == [4.28, 4.03, 3.71, 3.69]
    joined = events_of(found, relations())
    assert value(joined, "csat_after_delivery", delay="on time").n == len(scores["on time"])


def test_olist_delay_is_the_first_driver_with_the_size_of_a_direct_regression() -> None:
    """
    Directly from the tables: reviews after the delivery of their order, by how late that was.

    Of customers with one order, as with two the newer delivery counts. Who is late mostly answers before anything has
    come, and is in no level of delay: answers without a delivery are beside them.
    """
    found = results("olist", "experience")
    orders = Counter(one.subject for one in found)
    said = [one for one in found if orders[one.subject] == 1]
    lived = {name: [one.data.get(column) for one in said] for name, column in COLUMNS.items()}
    first, *others = rank(Answers([one.data["score"] for one in said], lived), DRIVERS).drivers
    assert (first.driver, first.verdict) == ("delay_h", "goes with lower scores")
    assert not any(one.kept for one in others)

    delivered = {row["order_id"]: row for row in table("orders") if row["order_delivered_customer_date"]}
    alone = {one.origin["orderid"] for one in said}
    rows = []
    for review in table("order_reviews"):
        order = delivered.get(review["order_id"])
        if order is None or review["order_id"] not in alone:
            continue
        due, at = (
            datetime.fromisoformat(order[f"order_{name}_date"]) for name in ("estimated_delivery", "delivered_customer")
        )
        if at <= datetime.fromisoformat(review["review_answer_timestamp"]) <= at + timedelta(days=30):
            rows.append((int(review["review_score"]), (at - due) / timedelta(hours=1)))
    score, hours = np.array(rows).T
    flags = [np.ones(len(rows)), (hours > 0) & (hours <= 24), (hours > 24) & (hours <= 72), hours > 72]
    direct, *_ = np.linalg.lstsq(np.column_stack(flags), score, rcond=None)
    assert first.by_level is not None
    by_level = [first.by_level[level.name] for level in first.levels[1:]]
    assert [effect and effect.value for effect in by_level] == pytest.approx([*direct[1:]], abs=1e-9)
    assert first.not_met is not None
    assert first.not_met.mean < first.levels[-1].mean - 1


def table(name: str) -> Iterator[dict[str, str]]:
    with (ROOT / "cross_olist" / f"olist_{name}_dataset.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def test_boston_requests_pass_their_due_time_as_published_by_channel() -> None:
    """
    Of all requests with a due time, as of the end of the data.

    Then 189 are open that are due later, some in 2017: they are neither in time nor overdue, and no share of those that
    are known has them. Published is of all.
    """
    said = results("boston311", "ticket", later_ms=0)
    found = Counter((one.origin["channel"], one.data["outcome"]) for one in said)
    asked = Counter(e.channel for e in events("boston311") if e.type == "cx.ticket.opened" and e.data.due is not None)
    channels = ("call_center", "app", "web")
    overdue = {channel: (found[channel, "overdue"], asked[channel]) for channel in channels}
    assert overdue == {"call_center": (3_219, 8_520), "app": (795, 2_799), "web": (521, 1_711)}
    assert sum(asked[channel] - found[channel, "overdue"] - found[channel, "in_time"] for channel in channels) == 189
    judged = value(events_of(said, relations()), "requests_overdue", channel="app")
    assert judged.n == found["app", "overdue"] + found["app", "in_time"]
    assert round(100 * 3_219 / 8_520, 1) == 37.8


def test_technion_waits_from_raw_events_are_those_that_were_sent() -> None:
    sent = Counter(
        event.data.wait_s
        for event in events("technion")
        if event.type == "cx.contact.queue_left" and event.data.wait_s is not None
    )
    assert sum(sent.values()) > 1_000
    assert Counter(float(one.data["duration_s"]) for one in results("technion", "queue_wait")) == sent
