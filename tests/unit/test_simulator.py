"""The simulated company: events that keep the contract, follow from their causes, and repeat for a seed."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from statistics import mean
from typing import Any, get_args

import pytest

from streams.events.decode import decode_batch, encode
from streams.events.scalars import CHANNELS, Stage
from streams.events.touchpoints import load_touchpoints
from streams.events.types import Event
from streams.producers.incidents import IncidentError
from streams.producers.simulator import (
    Emission,
    Flaws,
    Plan,
    RunProgress,
    emissions,
    pregenerate,
    recycled,
    run,
    simulate,
    simulated,
)

pytestmark = pytest.mark.slow

START = datetime(2026, 11, 22, 6, tzinfo=UTC)


def plan(**changes: Any) -> Plan:
    return Plan(**{"start": START, "rate": 100.0, "flat": True, "seed": 7, **changes})


@cache
def a_day() -> list[Event]:
    """About a quarter of an hour at 100 events per second, as a reader sees it."""
    events, refusals = decode_batch([encode(event) for event in simulated(plan(), 90_000)])
    assert refusals == []
    return [event for event in events if event is not None]


def data(events: list[Event], kind: str) -> list[Any]:
    return [event.data for event in events if type(event).type == kind]


def satisfied(answers: list[Any]) -> float:
    return mean(answer.score >= 4 for answer in answers)


def csat(events: list[Event], suits: Callable[[Any], bool] = lambda answer: True) -> list[Any]:
    return [a for a in data(events, "cx.survey.answered") if a.metric == "csat" and suits(a)]


def test_every_event_keeps_the_contract_and_has_its_own_id() -> None:
    events = a_day()
    assert len({event.id for event in events}) == len(events) == 90_000


def test_events_come_in_the_order_of_their_time_from_the_start_on() -> None:
    times = [event.time for event in a_day()]
    assert times[0] >= START
    assert all(before <= after for before, after in pairwise(times))


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    first, second = (simulated(plan(rate=50), 3000) for _ in range(2))
    assert first == second
    other = simulated(plan(rate=50, seed=8), 3000)
    assert not {event.id for event in first} & {event.id for event in other}


@pytest.mark.parametrize("rate", [5, 100, 1500])
def test_the_rate_is_met(rate: float) -> None:
    events = simulated(plan(rate=rate), max(4_000, int(rate * 40)))
    assert len(events) / (events[-1].time - START).total_seconds() == pytest.approx(rate, rel=0.2)


def test_all_channels_and_stages_are_there_and_touchpoints_are_where_the_dictionary_says() -> None:
    touchpoints = load_touchpoints()
    assert {event.channel for event in a_day()} == set(CHANNELS)
    assert {event.stage for event in a_day()} - {None} == set(get_args(Stage))
    for event in a_day():
        if event.touchpoint is not None:
            place = touchpoints[event.touchpoint]
            assert event.channel in place.channels, (event.touchpoint, event.channel)
            assert event.stage == place.stage


def test_a_warm_start_tells_of_all_channels_within_twenty_seconds() -> None:
    early = [event for event in simulated(plan(rate=80), 4000) if event.time < START + timedelta(seconds=20)]
    kinds = Counter(type(event).type for event in early)
    for kind in (
        "cx.survey.answered", "cx.contact.answered", "cx.contact.handled", "cx.session.ended", "cx.order.delivered",
        "cx.store.queue_served", "cx.store.pos_transaction", "cx.payment.attempted", "cx.perf.sampled",
    ):  # fmt: skip
        assert kinds[kind] > 0, kind
    assert len({event.channel for event in early if type(event).type == "cx.survey.answered"}) >= 3


def test_a_cold_start_has_nothing_that_began_before() -> None:
    early = simulated(plan(warm_start=False), 2000)
    kinds = {type(event).type for event in early}
    assert "cx.session.started" in kinds
    assert not kinds & {"cx.order.delivered", "cx.order.refund_completed", "cx.case.contacted"}


def test_satisfaction_follows_from_what_customers_lived_through() -> None:
    events = simulated(plan(rate=150, incidents=("queue-overload@+1m+1h,severity=1",)), 130_000)
    events = [event for event in decode_batch([encode(e) for e in events])[0] if event is not None]
    calls = csat(events, lambda a: a.object == "call" and a.resolved)
    short, long = ([a for a in calls if (a.wait_s < 20) is short] for short in (True, False))
    longest = [a for a in calls if a.wait_s > 120]
    assert satisfied(short) > satisfied(long) + 0.1 > satisfied(longest)
    solved, open_ = (csat(events, lambda a, r=r: a.resolved is r) for r in (True, False))
    assert satisfied(solved) > satisfied(open_) + 0.3


def test_unhappy_customers_write_about_what_went_wrong() -> None:
    texts = [a.text for a in data(a_day(), "cx.survey.answered") if a.text and a.lang == "fa" and a.score <= 3]
    assert len(texts) > 15
    assert any("\u200c" in text for text in texts)
    assert any("منتظر" in text or "صف" in text or "حل نشد" in text for text in texts)


def test_some_ratings_arrive_as_text_in_three_alphabets_and_mean_the_same() -> None:
    sent = [e for e in pregenerate(60_000, plan()) if b"cx.survey.answered" in e.payload]
    texts = {match for e in sent for match in re.findall(r'"score":"(.)"', e.payload.decode())}
    assert texts & set("۱۲۳۴۵۶۷۸۹")
    assert texts & set("٤٥٦")
    assert texts & set("123456789")
    scores = [event.data.score for event in decode_batch([e.payload for e in sent])[0] if event is not None]
    assert scores == [a.score for a in data(simulated(plan(), 60_000), "cx.survey.answered")]


def test_waits_are_the_time_between_entering_and_leaving_the_queue() -> None:
    entered: dict[str | None, float] = {}
    checked = 0
    for event in a_day():
        if type(event).type == "cx.contact.queue_entered":
            entered[event.contactid] = event.time.timestamp()
        elif type(event).type == "cx.contact.queue_left" and event.contactid in entered:
            lasted = event.time.timestamp() - entered.pop(event.contactid)
            assert lasted == pytest.approx(event.data.wait_s, abs=0.06)
            checked += 1
    assert checked > 500


def test_an_agent_talks_to_one_caller_at_a_time() -> None:
    busy: dict[str, float] = {}
    for event in a_day():
        if type(event).type != "cx.contact.answered":
            continue
        assert event.agentid is not None
        at = event.time.timestamp()
        assert at - busy.get(event.agentid, 0.0) > 10, event.agentid
        busy[event.agentid] = at


def test_robots_are_marked() -> None:
    share = mean(event.synthetic for event in simulated(plan(synthetic_share=0.3), 20_000))
    assert 0.15 < share < 0.35
    assert not any(event.synthetic for event in simulated(plan(synthetic_share=0.0), 5_000))


def test_the_day_has_a_rhythm_unless_flat() -> None:
    night, noon = (
        len(list(islice_time(plan(flat=False, rate=20, start=START.replace(hour=hour)), 600))) for hour in (23, 8)
    )
    assert noon > 3 * night  # 02:30 and 11:30 in Tehran


def islice_time(a_plan: Plan, seconds: float) -> list[Event]:
    found = []
    for event in simulate(a_plan):
        if (event.time - a_plan.start).total_seconds() > seconds:
            break
        found.append(event)
    return found


def in_trouble(kind: str) -> tuple[list[Event], list[Event]]:
    """The events of the first four minutes, and those of an incident after it had time to bite."""
    calm_until, bitten = START + timedelta(minutes=4), START + timedelta(minutes=6)
    events = islice_time(plan(rate=80, incidents=(f"{kind}@+4m+8m",)), 12 * 60)
    return [e for e in events if e.time < calm_until], [e for e in events if e.time > bitten]


def ratio(events: list[Event], part: str, whole: str) -> float:
    return len(data(events, part)) / len(data(events, whole))


def mean_of(events: list[Event], kind: str, field: str) -> float:
    return mean(getattr(d, field) for d in data(events, kind))


@pytest.mark.parametrize(
    ("kind", "measure", "factor"),
    [
        ("payment-outage", lambda ev: ratio(ev, "cx.payment.failed", "cx.payment.attempted"), 5),
        ("queue-overload", lambda ev: mean_of(ev, "cx.contact.answered", "wait_s"), 3),
        ("app-crash-release", lambda ev: 0.002 + ratio(ev, "cx.app.crashed", "cx.session.started"), 8),
        ("late-deliveries", lambda ev: 0.01 + mean_of(ev, "cx.order.delivered", "late"), 4),
        ("slow-site", lambda ev: mean_of(ev, "cx.perf.sampled", "duration_ms"), 4),
        ("store-staff-shortage", lambda ev: mean_of(ev, "cx.store.queue_served", "wait_s"), 3),
    ],
)
def test_an_incident_shows_in_its_kpi(kind: str, measure: Callable[[list[Event]], float], factor: float) -> None:
    calm, bitten = in_trouble(kind)
    assert measure(bitten) > factor * measure(calm)


def test_a_dead_collector_silences_its_channel_only() -> None:
    sent = list(islice(emissions(plan(incidents=("collector-dead:web@+10s+20s",))), 6000))
    within = Counter(e.channel for e in sent if START.timestamp() + 10 <= e.due < START.timestamp() + 30)
    assert within["web"] == 0
    assert min(within[channel] for channel in CHANNELS if channel != "web") > 50
    assert sum(e.channel == "web" for e in sent if e.due >= START.timestamp() + 30) > 50


def test_a_bad_schema_breaks_most_records_of_its_channel_only() -> None:
    sent = list(islice(emissions(plan(incidents=("bad-schema:app@+0s+1m",))), 4000))
    bad = {refusal.index for refusal in decode_batch([e.payload for e in sent])[1]}
    shares = {c: mean(n in bad for n, e in enumerate(sent) if e.channel == c) for c in CHANNELS}
    assert shares.pop("app") == pytest.approx(0.85, abs=0.05)
    assert set(shares.values()) == {0}


def test_flaws_come_in_the_shares_asked_for() -> None:
    flaws = Flaws(bad=0.02, duplicate=0.05, late=0.03)
    sent = list(islice(emissions(plan(), flaws), 60_000))
    events, refusals = decode_batch([e.payload for e in sent])
    future = [e for e in events if e is not None and e.time.year == 2099]
    assert (len(refusals) + len(future)) / len(sent) == pytest.approx(0.02, abs=0.004)
    assert len({refusal.reason for refusal in refusals}) >= 6
    ids = Counter(e.id for e in events if e is not None)
    assert sum(n - 1 for n in ids.values()) / len(sent) == pytest.approx(0.05, abs=0.006)
    behind = [
        s.due - e.time.timestamp() for s, e in zip(sent, events, strict=True) if e is not None and e.time.year < 2099
    ]
    assert mean(lag > 60 for lag in behind) == pytest.approx(0.03, abs=0.012)
    assert max(behind) > 25 * 3600
    assert all(a.due <= b.due for a, b in pairwise(sent))


def test_without_flaws_records_are_the_events() -> None:
    sent = list(islice(emissions(plan()), 3000))
    events = simulated(plan(), 3000)
    assert decode_batch([e.payload for e in sent]) == (events, [])
    assert [(e.channel, e.subject) for e in sent] == [(event.channel, event.subject) for event in events]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": datetime(2026, 1, 1)}, "no offset"),  # noqa: DTZ001
        ({"rate": 0.0}, "rate is 0"),
        ({"population": -1}, "population is -1"),
    ],
)
def test_an_impossible_plan_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(**changes)


def test_wrong_shares_speeds_and_incidents_are_refused() -> None:
    with pytest.raises(ValueError, match="bad rate is 2"):
        Flaws(bad=2)
    with pytest.raises(ValueError, match="speed is -1"):
        run(plan(), Sink(), speed=-1)
    with pytest.raises(IncidentError, match="did you mean slow-site"):
        run(plan(incidents=("slow-sight@+1m+1m",)), Sink())


class Sink:
    def __init__(self) -> None:
        self.sent: list[tuple[float, str, bytes]] = []

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        assert subject
        self.sent.append((time.monotonic(), channel, payload))


def test_a_run_stops_after_a_count_and_after_event_time() -> None:
    sink = Sink()
    done = run(plan(), sink, speed=None, count=700)
    assert done.sent == len(sink.sent) == sum(done.by_channel.values()) == 700
    done = run(plan(), Sink(), speed=None, duration_s=10)
    assert 0 < done.event_time - START.timestamp() < 10


def test_a_run_keeps_the_pace_of_the_clock() -> None:
    sink = Sink()
    began = time.monotonic()
    run(plan(rate=50), sink, speed=10.0, duration_s=15)
    took = time.monotonic() - began
    # Never ahead of the clock; a busy machine may be behind it.
    assert took > 1.3
    assert sink.sent[-1][0] - began > 1.3
    assert len(sink.sent) > 500


def test_a_run_reports_and_stops_when_told() -> None:
    stop, seen = threading.Event(), []

    def watch(progress: RunProgress) -> None:
        seen.append(progress)
        if progress.sent:  # on a busy machine the first look may be earlier than the first event
            stop.set()

    sink = Sink()
    done = run(plan(rate=20), sink, stop=stop, on_progress=watch)
    assert done.sent == len(sink.sent) > 0
    assert seen[0].sent <= done.sent
    assert done.per_second == pytest.approx(done.sent / done.elapsed_s)


def test_a_pool_is_recycled_with_new_ids() -> None:
    pool = pregenerate(200, plan())
    records = list(recycled(pool, 650))
    events, refusals = decode_batch([record.payload for record in records])
    assert refusals == []
    assert len({event.id for event in events if event is not None}) == 650
    assert records[:200] == pool


def test_an_empty_or_foreign_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        list(recycled([], 1))
    with pytest.raises(ValueError, match="has no"):
        list(recycled([Emission(0.0, "web", "c", b"{}")], 2))


def test_generation_is_fast_enough_to_load_a_worker() -> None:
    sent = emissions(plan())
    next(sent)  # the warm-up is over
    began = time.process_time()
    for _ in islice(sent, 40_000):
        pass
    took = time.process_time() - began
    # A tenth of what a usual machine does: a busy one shares its cores and caches.
    assert 40_000 / took > 7_000
