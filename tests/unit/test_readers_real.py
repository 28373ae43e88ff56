"""
The published figures of the data sets, computed from the events we make of them.

Run where the data is: in the folder CX_DATA names, or in shared/data beside the repository.
"""

import json
import os
import statistics
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from streams.producers.readers import DATA_SETS, DataSetError, Report, read

ROOT = Path(os.environ.get("CX_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


@cache
def load(name: str) -> tuple[list[dict], Report]:
    try:
        DATA_SETS[name].locate(ROOT)
    except DataSetError as absent:
        pytest.skip(f"data not present: {absent}")
    report = Report(name)
    return [json.loads(touch.value) for touch in read(name, ROOT, report)], report


def of_type(name: str, kind: str) -> list[dict]:
    return [event for event in load(name)[0] if event["type"] == kind]


def counts(name: str) -> dict[str, int]:
    return dict(Counter(event["type"] for event in load(name)[0]))


def left_out(name: str) -> dict[str, int]:
    return {reason: len(rows) for reason, rows in load(name)[1].dropped.items()}


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_event_is_its_own_and_none_is_refused(name):
    made, report = load(name)
    assert len({event["id"] for event in made}) == len(made) == report.events > 0
    assert not [reason for reason in report.dropped if "refused" in reason]


def test_olist_on_time_and_late_deliveries_are_rated_as_published():
    scores = defaultdict(list)
    for event in of_type("olist", "cx.survey.answered"):
        scores[event["data"].get("delivery")].append(event["data"]["score"])
    assert {label: (len(given), sum(given)) for label, given in scores.items()} == {
        "on_time": (4_822, 20_638),
        "late": (418, 1_044),
        "not_delivered": (2_979, 5_215),
        None: (6, 12),
    }
    assert round(statistics.mean(scores["on_time"]), 2) == 4.28
    assert round(statistics.mean(scores["late"]), 2) == 2.50


def test_olist_counts():
    assert counts("olist") == {
        "cx.order.placed": 8_135,
        "cx.promise.made": 8_135,
        "cx.payment.succeeded": 8_763,
        "cx.order.dispatched": 6_353,
        "cx.order.delivered": 5_178,
        "cx.order.delivery_overdue": 2_143,
        "cx.order.cancelled": 1_234,
        "cx.survey.sent": 8_225,
        "cx.survey.answered": 8_225,
    }
    assert left_out("olist") == {}
    assert Counter(event["data"]["score"] for event in of_type("olist", "cx.survey.answered")) == {
        5: 3_354,
        4: 1_184,
        3: 667,
        2: 382,
        1: 2_638,
    }


def test_technion_waits_without_and_with_the_virtual_calls():
    left = [event["data"]["wait_s"] for event in of_type("technion", "cx.contact.queue_left")]
    waits = [wait for wait in left if wait > 0]
    assert (len(left), len(waits), statistics.median(waits)) == (2_237, 1_969, 88)
    # The published 1,987 and 89 s count the 18 PHANTOM rows, which the events leave out.
    phantoms = load("technion")[1].dropped["PHANTOM: a virtual call, to be ignored"]
    lines = DATA_SETS["technion"].locate(ROOT).read_text(encoding="utf-8").splitlines()
    waits += [int(lines[row - 1].split(",")[8]) for row in phantoms]
    assert (len(phantoms), len(waits), statistics.median(waits)) == (18, 1_987, 89)


def test_technion_answers_within_twenty_seconds_are_of_all_answered_calls():
    answered = [event["data"]["wait_s"] for event in of_type("technion", "cx.contact.answered")]
    within = sum(wait <= 20 for wait in answered)
    assert (within, len(answered)) == (404, 1_511)
    assert round(100 * within / len(answered)) == 27
    # The queue tells the same: calls answered at once are in it, with no wait.
    left = [event["data"] for event in of_type("technion", "cx.contact.queue_left")]
    assert sorted(data["wait_s"] for data in left if data["reason"] == "answered") == sorted(answered)


def test_technion_counts():
    assert counts("technion") == {
        "cx.contact.opened": 2_357,
        "cx.contact.ivr_entered": 2_357,
        "cx.contact.ivr_exited": 2_354,
        "cx.contact.queue_entered": 2_237,
        "cx.contact.queue_left": 2_237,
        "cx.contact.answered": 1_511,
        "cx.contact.handled": 1_510,
    }
    outcomes = Counter(event["data"]["outcome"] for event in of_type("technion", "cx.contact.ivr_exited"))
    assert outcomes["contained"] == 120
    reasons = Counter(event["data"]["reason"] for event in of_type("technion", "cx.contact.queue_left"))
    assert reasons["abandoned"] == 726
    talk = [event["data"]["talk_s"] for event in of_type("technion", "cx.contact.handled")]
    assert round(statistics.mean(talk)) == 194


def test_cafebazaar_stars():
    stars = Counter(event["data"]["score"] for event in of_type("cafebazaar", "cx.review.published"))
    assert stars == {5: 1_041, 4: 146, 3: 163, 2: 145, 1: 705}
    assert left_out("cafebazaar") == {}
    times = [event["time"] for event in load("cafebazaar")[0]]
    assert times[0][:10] == "2024-07-29"
    assert times[-1][:10] == "2025-07-20"


def test_airbnb_counts():
    assert counts("airbnb") == {
        "cx.session.started": 7_756,
        "cx.session.ended": 7_756,
        "cx.feature.used": 1_236 + 1_279,
        "cx.checkout.step": 145,
    }
    channels = Counter(event["channel"] for event in of_type("airbnb", "cx.session.started"))
    assert channels == {"app": 2_716, "web": 5_040}
    assert len({event["subject"] for event in load("airbnb")[0]}) == 630
    assert left_out("airbnb") == {}


def test_breadbasket_counts():
    receipts = of_type("breadbasket", "cx.store.pos_transaction")
    assert (len(receipts), sum(event["data"]["items"] for event in receipts)) == (9_464, 20_506)
    gone = left_out("breadbasket")
    assert gone == {
        "NONE: made by the till, not bought": 786,
        "Adjustment: made by the till, not bought": 1,
        "receipt without anything bought": 67,
    }
    assert len(receipts) + 67 == 9_531


def test_rmv_counts():
    waits = [event["data"]["wait_s"] for event in of_type("rmv", "cx.store.queue_observed")]
    assert (len(waits), max(waits)) == (49_979, 224 * 60)
    assert round(statistics.median(waits) / 60, 1) == 23.4
    assert round(statistics.mean(waits) / 60, 1) == 32.8
    assert left_out("rmv") == {
        "cell 999: closed or no data": 6_634,
        "cell empty": 87,
        "timestamp is not a time": 2,
    }
    # Every cell of every row is an event or reported; a row without a time stands for its 30 cells.
    assert len(waits) + 6_634 + 87 + 2 * 30 == 1_892 * 30


def test_boston_counts_and_shares_overdue():
    assert counts("boston311") == {
        "cx.ticket.opened": 16_088,
        "cx.ticket.resolved": 13_660,
        "cx.ticket.sla_breached": 4_512,
    }
    opened = Counter(event["channel"] for event in of_type("boston311", "cx.ticket.opened"))
    assert opened == {"call_center": 10_487 - 349, "app": 2_811, "web": 2_790, "store": 349}
    breached = Counter(event["channel"] for event in of_type("boston311", "cx.ticket.sla_breached"))
    share = {channel: round(100 * breached[channel] / opened[channel]) for channel in opened}
    assert (share["app"], share["web"]) == (28, 18)
    by_call = breached["call_center"] + breached["store"]
    assert round(100 * by_call / 10_487) == 31
    assert left_out("boston311") == {
        "Employee Generated: filed by the city itself": 2_622,
        "City Worker App: filed by the city itself": 2_026,
        "Maximo Integration: filed by the city itself": 32,
    }


def test_rees46_counts():
    assert counts("rees46") == {"cx.product.viewed": 987, "cx.cart.added": 3, "cx.order.placed": 10}


def test_online_shoppers_counts():
    ended = of_type("online_shoppers", "cx.session.ended")
    assert (len(ended), sum(event["data"]["converted"] for event in ended)) == (12_330, 1_908)
    returning = Counter()
    bought = Counter()
    converted = {event["sessionid"]: event["data"]["converted"] for event in ended}
    for event in of_type("online_shoppers", "cx.session.started"):
        kind = event["data"].get("returning")
        returning[kind] += 1
        bought[kind] += converted[event["sessionid"]]
    assert returning == {True: 10_551, False: 1_694, None: 85}
    assert round(100 * bought[False] / returning[False], 1) == 24.9
    assert round(100 * bought[True] / returning[True], 1) == 13.9
