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

from streams.events.decode import decode_batch
from streams.events.touchpoints import CHANNELS, load_touchpoints
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.producers.readers import DATA_SETS, DataSetError, ReadReport, read
from tests.harness.reading import quantile

ROOT = Path(os.environ.get("CX_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


CATALOGUE = Catalogue.load()


@cache
def load(name: str) -> tuple[list[dict], ReadReport]:
    try:
        DATA_SETS[name].locate(ROOT)
    except DataSetError as absent:
        pytest.skip(f"data not present: {absent}")
    report = ReadReport(name)
    return [json.loads(touch.value) for touch in read(name, ROOT, report)], report


@cache
def totals(name: str) -> dict[str, Acc]:
    """What the KPIs come to over the whole set: each series' accumulator."""
    load(name)
    events, refusals = decode_batch([touch.value for touch in read(name, ROOT)])
    assert not refusals
    found: dict[str, Acc] = {}
    for series in Folder(CATALOGUE).fold([event for event in events if event is not None]).values():
        for key, acc in series.items():
            merge_acc(found.setdefault(key, {} if isinstance(acc, dict) else [0] * len(acc)), acc)
    return found


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


@pytest.mark.parametrize("name", DATA_SETS)
def test_touchpoints_are_met_where_and_at_the_stage_the_dictionary_says(name):
    known = load_touchpoints()
    met = {(event["touchpoint"], event["channel"], event["stage"]) for event in load(name)[0]}
    assert met
    for touchpoint, channel, stage in met:
        assert channel in known[touchpoint].channels, (touchpoint, channel)
        assert stage == known[touchpoint].stage


def test_technion_kpis_are_as_published():
    """1,987 had to wait, half of them no more than 89 s; 36.5 % of them hung up; 27 % of the answered within 20 s."""
    series = totals("technion")
    waits = series["queue_wait"]
    assert sum(waits.values()) == 1_987
    assert quantile(waits, 0.5, CATALOGUE["queue_wait"].scale) == pytest.approx(89, rel=0.01)
    assert series["abandonment_of_waiting"] == [1_987, 726]
    assert shown("abandonment_of_waiting", series) == 36.5
    assert series["service_level_answered_only"] == [1_511, 404]
    assert round(shown("service_level_answered_only", series)) == 27
    # Offered are the answered, the abandoned and those that flowed out.
    assert series["service_level_all_offered"] == [2_255, 404]
    assert series["contacts_offered"] == [2_255]
    assert series["abandonment"] == [2_255, 726]
    # Holds and after-contact work are not in the set: they are unknown, not 0.
    assert (series["talk_time"][0], series["contacts_handled"]) == (1_510, [1_510])
    assert (series["holds_known"], series["handle_time_known"]) == ([1_510, 0], [1_510, 0])
    assert not {"aht", "hold_time", "hold_rate"} & series.keys()


def test_conversion_of_the_sets_that_know_of_visits_and_orders():
    assert totals("airbnb")["conversion"] == [7_756, 145]
    assert shown("conversion", totals("airbnb")) == 1.9
    assert totals("online_shoppers")["conversion"] == [12_330, 1_908]
    assert shown("conversion", totals("online_shoppers")) == 15.5
    known = {key.partition("\x1f")[0] for name in ("airbnb", "online_shoppers") for key in totals(name)}
    assert {kpi for kpi in known if kpi.startswith("revenue")} == {"revenue_per_visit"}, "visits, and no amounts"


def shown(kpi_id: str, series: dict[str, Acc]) -> float:
    kpi = CATALOGUE[kpi_id]
    value = measure(kpi.aggregator, series[kpi_id], kpi.scale, unit=kpi.unit).value
    assert value is not None
    return round(value, 1)


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_page_of_data_sets_states_what_a_set_comes_to(name):
    page = (Path(__file__).parents[2] / "docs" / "DATASETS.md").read_text(encoding="utf-8")
    [row] = [line.split("|") for line in page.splitlines() if line.startswith(f"| [{name}](#{name}) |")]
    made, report = load(name)
    channels = {event["channel"] for event in made}
    assert channels == (set(CHANNELS) if row[2] == " all four " else set(row[2].strip().split(", ")))
    assert (row[3].strip(), row[4].strip()) == (f"{report.rows:,}", f"{len(made):,}")


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


def test_technion_waits():
    left = [event["data"] for event in of_type("technion", "cx.contact.queue_left")]
    waits = [data["wait_s"] for data in left if data["wait_s"] > 0]
    assert (len(left), len(waits), statistics.median(waits)) == (2_255, 1_987, 89)
    # The published figures hold with the virtual calls only.
    people = [data["wait_s"] for data in left if data["wait_s"] > 0 and data["reason"] != "flow_out"]
    assert (len(people), statistics.median(people)) == (1_969, 88)
    virtual = load("technion")[1].noted["PHANTOM: a virtual call, told only as it passed the queue"]
    assert len(virtual) == 18
    assert left_out("technion") == {}


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
        "cx.contact.queue_entered": 2_255,
        "cx.contact.queue_left": 2_255,
        "cx.contact.answered": 1_511,
        "cx.contact.handled": 1_510,
    }
    outcomes = Counter(event["data"]["outcome"] for event in of_type("technion", "cx.contact.ivr_exited"))
    assert outcomes["hangup"] == 120
    reasons = Counter(event["data"]["reason"] for event in of_type("technion", "cx.contact.queue_left"))
    assert reasons == {"answered": 1_511, "abandoned": 726, "flow_out": 18}
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
        "cx.search.performed": 1_236,
        "cx.feature.used": 1_279,
        "cx.order.placed": 145,
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


def test_boston_timeliness_leaves_out_what_had_no_due_time():
    """As the formula of `ticket_timeliness` says; with them it would be 77.7 %."""
    resolved = of_type("boston311", "cx.ticket.resolved")
    verdicts = Counter(event["data"].get("on_time") for event in resolved)
    assert verdicts == {True: 8_306, False: 3_042, None: 2_312}
    due = {event["contactid"] for event in of_type("boston311", "cx.ticket.opened") if event["data"].get("due")}
    assert all(event["contactid"] in due for event in resolved if event["data"].get("on_time") is not None)


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
    assert counts("rees46") == {"cx.product.viewed": 987, "cx.cart.added": 3, "cx.order.placed": 9}


def test_online_shoppers_counts():
    ended = of_type("online_shoppers", "cx.session.ended")
    assert (len(ended), sum(event["data"]["converted"] for event in ended)) == (12_330, 1_908)
    ordered = {event["sessionid"] for event in of_type("online_shoppers", "cx.order.placed")}
    assert ordered == {event["sessionid"] for event in ended if event["data"]["converted"]}
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
