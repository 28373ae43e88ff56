"""Folding: order, batches and memory never show in a result, and each event adds what a plain reading says."""

import ast
import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from math import floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.families import agent, awareness, contact, digital, feedback, fulfilment, inferred, loop, store
from streams.events.types import Event, new_event
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.arithmetic.coupons import coupon_of
from streams.kpis.arithmetic.sketch import bin_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.series import series_key
from tests.unit.test_kpi_expressions import evaluate

# Beside the built-in KPIs, such as exercise what those do not.
ODD = Catalogue.parse("""
- {id: odd_choice, name: n, question: q, unit: fraction, direction: up, class: A, aggregator: mean, formula: f,
   source: s, owner: o, groupings: [[], [page], [failed], [page, segment, channel]], params: {t: 100},
   of: {events: cx.perf.sampled, value: 0 if failed else (1 if duration_ms <= t else 0.5 if duration_ms <= 4 * t else 0)}}
- {id: odd_shares, name: n, question: q, unit: currency, direction: up, class: A, aggregator: sum, formula: f,
   source: s, owner: o, groupings: [[], [items], [first, region]], scale: 7,
   of: {events: cx.order.placed, where: not first or region == 'r1', value: amount / items}}
- {id: odd_bins, name: n, question: q, unit: score, direction: up, class: A, aggregator: quantile, formula: f,
   source: s, owner: o, groupings: [[], [score], [unitid, scale]], scale: 3,
   of: {events: [cx.survey.answered, cx.review.published], value: 'score * 2 - coalesce(scale, 1)'}}
- {id: odd_huge, name: n, question: q, unit: score, direction: up, class: A, aggregator: mean, formula: f,
   source: s, owner: o, groupings: [[], [scale]], scale: 1,
   of: {events: cx.survey.answered, value: score * 1000000000}}
- {id: odd_both, name: n, question: q, unit: per_100, direction: up, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[], [type], [unitid]],
   of: {events: 'cx.store.*', where: segment is not None},
   hits: {events: [cx.store.queue_left, cx.order.placed], where: type == 'cx.order.placed' or wait_s > 2}}
- {id: odd_people, name: n, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f,
   source: s, owner: o, groupings: [[], [channel], [segment, channel]],
   of: {events: '*', where: region is None or region == 'r1', value: subject}}
- {id: odd_kinds, name: n, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f,
   source: s, owner: o, groupings: [[], [unitid]], of: {events: [cx.contact.queue_left], value: reason}}
- {id: odd_weight, name: n, question: q, unit: percent, direction: up, class: B, aggregator: share, formula: f,
   source: s, owner: o, groupings: [[], [unitid], [previous]], scale: 10,
   of: {events: cx.agent.state_changed, value: duration_s}, hits: {where: "previous in ['busy', 'wrapup']"}}
- {id: odd_pair, name: n, question: q, unit: seconds, direction: up, class: B, aggregator: share, formula: f,
   source: s, owner: o, groupings: [[], [queue], [channel]], scale: 1,
   of: {events: cx.contact.handled, value: talk_s + hold_s},
   hits: {where: queue is not None, value: hold_s / (talk_s - 5)}}
- {id: odd_apart, name: n, question: q, unit: currency, direction: up, class: A, aggregator: share, formula: f,
   source: s, owner: o, groupings: [[], [channel]], scale: 1,
   of: {events: [cx.session.started, cx.order.placed], value: 1}, hits: {events: cx.order.placed, value: amount / items}}
- {id: odd_trials, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[], [channel], [unitid]],
   of: {events: [cx.order.placed, cx.store.queue_left], value: items / 2 if type == 'cx.order.placed' else wait_s - 2},
   hits: {value: (1 if first else 0) if type == 'cx.order.placed' else wait_s / 2}}
- {id: odd_facts, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f,
   source: s, owner: o, groupings: [[], [queue], [channel, topic]],
   of: {events: cx.contact.queue_left,
        where: 'coalesce(wait_s / (wait_s - 5), wait_s / -0.0) > 1 or (wait_s if topic is None else 1 / wait_s) is None'}}
- {id: odd_later, name: n, question: q, unit: per_100, direction: up, class: B, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[], [queue], [topic]], params: {t: 20},
   of: {events: [cx.contact.queue_left, cx.contact.handled], delay_s: t},
   hits: {events: cx.contact.queue_left, where: wait_s <= t, delay_s: t - wait_s}}
- {id: odd_inside, name: n, question: q, unit: count, direction: up, class: A, aggregator: level, formula: f,
   source: s, owner: o, groupings: [[], [unitid], [channel, region]], scale: 10,
   of: {events: cx.store.visitor_entered, value: people / 2},
   minus: {events: [cx.store.queue_left, cx.store.queue_served], value: wait_s / 4}}
- {id: odd_backlog, name: n, question: q, unit: count, direction: up, class: A, aggregator: level, formula: f,
   source: s, owner: o, groupings: [[], [reason], [channel]], scale: 1,
   of: {events: cx.store.queue_left}, minus: {events: cx.store.queue_left, where: reason is not None, delay_s: 60}}
- {id: odd_open, name: n, question: q, unit: count, direction: up, class: B, aggregator: sum, formula: f, scale: 1,
   source: s, owner: o, groupings: [[], [channel]],
   of: {events: [cx.contact.queue_left, cx.contact.handled], value: 1 if type == 'cx.contact.handled' else -1,
        delay_s: 20 if type == 'cx.contact.handled' else 20 - wait_s}}
""")
KPIS = [*Catalogue.load(), *ODD]
START = datetime(2026, 3, 20, 23, 58, tzinfo=UTC)
TEHRAN = timezone(timedelta(hours=3, minutes=30))

CHANNELS = ("web", "app", "store", "call_center")


def some_event(r: random.Random, number: int) -> Event:
    """Any event the KPIs look at, and one they do not, with fields missing here and there."""
    wait = r.choice([0.0, 0.04, 4.99, 5.0, 20.0, 20.01, 3600.5, 1e9])
    maybe = lambda *values: r.choice([None, *values])  # noqa: E731
    data = r.choice([
        lambda: feedback.SurveyAnswered(
            survey_id="s", metric=r.choice(["csat", "ces", "stars"]), scale=r.choice([3, 4, 5, 6, 7, 10]),
            score=r.randint(1, 3), delivery=maybe("on_time", "late"),
        ),
        lambda: feedback.SurveyAnswered(
            survey_id="s", metric=r.choice(["nps", "enps"]), scale=10, score=r.randint(0, 10),
            kind=maybe("transactional", "relational"),
        ),
        lambda: feedback.SurveySent(survey_id="s", metric=maybe("csat")),
        lambda: awareness.ReviewPublished(scale=r.choice([5, 10]), score=r.randint(1, 5), product=maybe("a", "b")),
        lambda: contact.ContactQueueLeft(
            queue=maybe("q1", "q\x1f\n2", "ق" * 90), wait_s=maybe(wait), topic=maybe("t"),
            reason=r.choice(["answered", "abandoned", "callback", "flow_out", "transfer"]),
        ),
        lambda: contact.ContactHandled(
            talk_s=maybe(wait), hold_s=maybe(0, 0.1), wrapup_s=maybe(0.2), queue=maybe("q1"),
        ),
        lambda: contact.ContactOpened(direction=maybe("inbound", "outbound")),
        lambda: digital.SessionStarted(device="phone"),
        lambda: digital.OrderPlaced(
            amount=r.choice([0.0, 0.005, 19.99, 1e13]), items=maybe(0, 1, 3), first=maybe(True, False),
            currency=maybe("IRR", "EUR"),
        ),
        lambda: digital.PerfSampled(duration_ms=r.choice([1.0, 100.0, 101.0, 400.0, 500.0]), failed=r.random() < 0.2),
        lambda: fulfilment.OrderDelivered(late=maybe(True, False), condition=maybe("intact", "damaged")),
        lambda: digital.SessionEnded(
            duration_s=maybe(wait), views=maybe(0, 1, 2), engaged=maybe(True, False), bounced=maybe(True, False),
            converted=maybe(True, False), errors=maybe(0, 2), device=maybe("phone"),
        ),
        lambda: digital.ClickFrustrated(kind=r.choice(["rage", "dead", "error"]), page=maybe("p")),
        lambda: agent.AgentStateChanged(
            state="idle", previous=maybe("busy", "idle", "break"), duration_s=maybe(wait, 0.05)
        ),
        lambda: agent.AgentEvaluationScored(quality=r.choice([0.0, 99.95]), critical_failed=maybe(True, False)),
        lambda: inferred.SentimentScored(
            polarity=r.choice([-1.0, -0.05, 0.0, 0.05, 0.051]), label=maybe("positive", "neutral", "negative"),
            start=maybe(-0.5, 0.25), end=maybe(0.3),
        ),
        lambda: feedback.KanoAnswered(
            feature="f", functional=r.choice(["like", "neutral", "dislike"]),
            dysfunctional=r.choice(["like", "neutral", "dislike"]),
        ),
        lambda: loop.CaseOpened(case_id="k", reason=maybe("late")),
        lambda: loop.CaseClosed(case_id="k", duration_s=maybe(wait), outcome=maybe("lost")),
        lambda: store.StoreVisitorEntered(people=maybe(0, 1, 4)),
        lambda: store.StoreQueueServed(wait_s=maybe(wait), queue=maybe("till")),
        lambda: store.StoreQueueObserved(wait_s=wait),
        lambda: store.StoreQueueLeft(wait_s=maybe(1.0, 3.0), reason=maybe("abandoned", "closed")),
    ])()  # fmt: skip
    time = START + timedelta(seconds=r.choice([0, 59.999999, 60, 119, 120, 86400 * 3, -86400 * 9000.5]))
    return new_event(
        data,
        id=f"e{number}",
        source="test",
        time=time.astimezone(TEHRAN) if r.random() < 0.3 else time,
        subject=f"c{r.randint(1, 9)}",
        channel=r.choice(CHANNELS),
        touchpoint=maybe("search", "checkout"),
        unitid=maybe("u1", "u2", "u3"),
        segment=maybe("gold"),
        region=maybe("r1", "r2"),
        experiment=maybe("x"),
        variant=maybe("a", "b"),
        synthetic=r.random() < 0.1,
    )


class Fields(dict[str, Any]):
    """The fields of one event by name; what it does not have is missing."""

    def __init__(self, event: Event) -> None:
        super().__init__({name: getattr(event, name) for name in event.__struct_fields__})
        self |= {name: getattr(event.data, name) for name in event.data.__struct_fields__ if name not in self}
        self["type"] = event.type

    def __missing__(self, _: str) -> None:
        return None


def holds(selector: Selector, fields: Fields) -> bool:
    return fields["type"] in selector.events and bool(evaluate(read(selector.where.text), fields))


@cache
def read(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def steps_of(kpi: Kpi, selector: Selector, fields: Fields) -> int | None:
    value = evaluate(read(selector.value.text), fields)
    if value is None or abs(value * kpi.scale + 0.5) > AGGREGATORS[kpi.aggregator].limit:
        return None
    return floor(value * kpi.scale + 0.5)


def counted_at(selector: Selector, event: Event, fields: Fields) -> int | None:
    """The minute an event counts in, None if it counts in none."""
    ms = (event.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if selector.delay is not None:
        delay = evaluate(read(selector.delay.seconds.text), fields)
        if delay is None or not 0 <= delay * 1000 + 0.5 <= 8_640_000_000:
            return None
        ms += floor(delay * 1000 + 0.5)
        if selector.delay.hourly:
            return -(-ms // 3_600_000) * 60
    return ms // 60_000


def effects(kpi: Kpi, event: Event, fields: Fields) -> Iterator[tuple[int | None, Acc]]:
    """What one event adds to one KPI, and in which minutes."""
    if holds(kpi.of, fields) and (added := of_effect(kpi, fields)) is not None:
        yield counted_at(kpi.of, event, fields), added
    if kpi.hits and not kpi.nested and holds(kpi.hits, fields):
        if kpi.aggregator == "ratio":
            yield counted_at(kpi.hits, event, fields), [0, 1]
        elif kpi.aggregator == "level":
            if (steps := kpi.scale if kpi.hits.value is None else steps_of(kpi, kpi.hits, fields)) is not None:
                yield counted_at(kpi.hits, event, fields), [1, -steps, 1]
        elif (part := steps_of(kpi, kpi.hits, fields)) is not None:
            yield counted_at(kpi.hits, event, fields), [0, 0, part, 0, 0, part**2]


def of_effect(kpi: Kpi, fields: Fields) -> Acc | None:
    hit = kpi.hits is not None and kpi.nested and holds(kpi.hits, fields)
    if kpi.aggregator == "ratio" and kpi.of.value is not None:
        trials, hits = steps_of(kpi, kpi.of, fields), steps_of(kpi, kpi.hits, fields)
        return None if trials is None or hits is None or not 0 <= hits <= trials else [trials, hits]
    if kpi.aggregator == "ratio":
        return [1, int(hit)]
    if kpi.aggregator == "level":
        steps = kpi.scale if kpi.of.value is None else steps_of(kpi, kpi.of, fields)
        return None if steps is None else [1, steps, 1]
    if kpi.of.value is None:
        return [1]
    value = evaluate(read(kpi.of.value.text), fields)
    if kpi.aggregator == "nps":
        return [1, int(value >= 9), int(value <= 6)]
    if kpi.aggregator == "distinct":
        return None if value is None else {coupon_of(value): 1}
    steps = steps_of(kpi, kpi.of, fields)
    if steps is None:
        return None
    if kpi.aggregator == "quantile":
        return {bin_of(steps): 1}
    if kpi.aggregator == "share":
        part: int | None = 0
        if hit:
            part = steps if kpi.hits.value is None else steps_of(kpi, kpi.hits, fields)
        return None if part is None else [1, steps, part, steps**2, steps * part, part**2]
    return [1, steps, steps**2][: 3 if kpi.aggregator == "mean" else 2]


def label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def plain_fold(events: Sequence[Event]) -> Deltas:
    """Event by event, KPI by KPI, grouping by grouping."""
    deltas: Deltas = {}
    for event in events:
        fields = Fields(event)
        if fields["synthetic"]:
            continue
        for kpi in KPIS:
            for minute, added in effects(kpi, event, fields):
                for grouping in kpi.groupings if minute is not None else ():
                    if all(fields[name] is not None for name in grouping):
                        key = series_key(kpi.id, tuple((name, label(fields[name])) for name in grouping))
                        add(deltas, {minute: {key: added}})
    return deltas


def add(into: Deltas, deltas: Deltas) -> None:
    for minute, series in deltas.items():
        for key, acc in series.items():
            found = into.setdefault(minute, {})
            if key in found:
                merge_acc(found[key], acc)
            else:
                found[key] = acc.copy()


@pytest.fixture(scope="module")
def folder() -> Folder:
    return Folder(KPIS)


@given(st.integers(0, 2**32), st.integers(0, 120))
@settings(max_examples=40, deadline=None)
def test_each_event_adds_what_a_plain_reading_says(folder: Folder, seed: int, size: int) -> None:
    """The compiled fold equals event-by-event evaluation of all definitions."""
    r = random.Random(seed)
    events = [some_event(r, n) for n in range(size)]
    assert folder.fold(events) == plain_fold(events)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=40, deadline=None)
def test_order_and_batches_do_not_show(folder: Folder, seed: int, cuts: list[int]) -> None:
    """Shuffled, cut anywhere, folded by folders with other memories, and merged: the same."""
    r = random.Random(seed)
    events = [some_event(r, n) for n in range(200)]
    whole = folder.fold(events)
    r.shuffle(events)
    places = [0, *sorted(cuts), 200]
    forgetful = Folder(KPIS, remembered=5)
    merged: Deltas = {}
    for n, (start, end) in enumerate(itertools.pairwise(places)):
        add(merged, (forgetful if n % 2 else folder).fold(events[start:end]))
    assert merged == whole


def test_a_flood_of_labels_is_forgotten() -> None:
    """Memory stays within its bound however many labels come, and nothing is lost by forgetting."""
    r = random.Random(1)
    folder = Folder(KPIS, remembered=500)
    for batch in range(30):
        events = [
            new_event(
                digital.PageViewed(page="p"), id=f"{batch}/{n}", source="s", time=START, subject="c", channel="web",
                touchpoint=f"t{r.random()}",
            )
            for n in range(100)
        ]  # fmt: skip
        series = folder.fold(events)[floor(START.timestamp()) // 60]
        assert series["volume"] == [100]
        assert folder.remembered <= 500 + 300
