"""Golden values of KPIs on what relations say: from events to relations to KPIs, with no broker."""

import random
from collections.abc import Iterator, Sequence

import pytest

from streams.events.types import Envelope
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.language.blocks import CatalogueError
from streams.relations.timelinefiles import load_timelines
from streams.relations.timelines import play
from tests.harness.derived import DEPLOY, catalogue, derived_of, events_of, relations, sent, sums_of, value

TIMELINES = load_timelines([DEPLOY / "relations" / "tests"], relations())
DAY = "2026-05-{:02}T{}:00Z"


def said() -> Iterator[list[Envelope]]:
    """Yield what is said in each timeline of the shipped relations."""
    for timeline in TIMELINES:
        if all(name in relations() for name in timeline.relations):
            played = play(timeline.relations, timeline.arrivals, timeline.lateness_ms, stops=timeline.stops)
            yield events_of((one for _, one in played.results), timeline.relations)


def holding(events: Sequence[Envelope]) -> list[Envelope]:
    """What holds in the end: what is said and was not withdrawn."""
    back = {event.id.removesuffix("-") for event in events if event.data.withdrawn}
    return [event for event in events if not event.data.withdrawn and event.id not in back]


RESULTS = [event for events in said() for event in events]
HOLDING = [event for events in said() for event in holding(events)]


def at(day: int, time: str) -> str:
    return DAY.format(day, time)


def test_golden_first_response_after_reopening_is_ten_minutes() -> None:
    """Created Monday 09:00, the bot resolves 09:05, reopened Friday 14:00, a person answers 14:10."""
    events = [
        sent(1, at(4, "09:00"), "cx.contact.opened", contactid="k"),
        sent(2, at(4, "09:03"), "cx.contact.message_sent", contactid="k", by="bot"),
        sent(3, at(4, "09:05"), "cx.contact.resolved", contactid="k"),
        sent(4, at(8, "14:00"), "cx.contact.reopened", contactid="k"),
        sent(5, at(8, "14:10"), "cx.contact.message_sent", contactid="k", by="human"),
    ]
    found = value(derived_of(events), "reply_time")
    assert found.n == 1
    assert found.value == pytest.approx(600, rel=0.01)


def test_golden_first_response_after_a_hand_over_counts_from_it() -> None:
    """Message t0, bot t1, hand-over t2, person t3: t3 less t2."""
    events = [
        sent(1, at(4, "09:00"), "cx.contact.opened", contactid="k"),
        sent(2, at(4, "09:01"), "cx.contact.message_sent", contactid="k", by="bot"),
        sent(3, at(4, "09:20"), "cx.contact.handed_off", contactid="k"),
        sent(4, at(4, "09:23"), "cx.contact.message_sent", contactid="k", by="human"),
    ]
    found = value(derived_of(events), "reply_time")
    assert found.n == 1
    assert found.value == pytest.approx(180, rel=0.01)


def test_golden_first_contact_resolution_by_contacts_and_by_matters() -> None:
    """Three customers, one calls twice: 2 of 4 contacts, 2 of 3 matters, once everybody's week is over."""
    calls = [("a", 1), ("b", 1), ("c", 1), ("c", 3)]
    events = [
        sent(2 * n + step, at(day, time), kind, who, "call_center", contactid=f"{who}-{day}", topic="billing")
        for n, (who, day) in enumerate(calls)
        for step, (time, kind) in enumerate([("10:00", "cx.contact.opened"), ("10:05", "cx.contact.closed")])
    ]
    judged = derived_of(events)
    contacts, matters = value(judged, "first_contact_resolution"), value(judged, "first_issue_resolution")
    assert (contacts.value, contacts.n) == (50, 4)
    assert (matters.value, matters.n) == (pytest.approx(200 / 3), 3)
    assert value(judged, "repeat_contacts")[:2] == (25, 4)

    early = derived_of(events, until=at(7, "10:00"))
    assert value(early, "first_contact_resolution_provisional").n == 1, "the repeat alone is known"
    assert value(early, "first_contact_resolution_provisional").value == 0


def test_golden_funnel_who_is_inside_the_waiting_time_is_pending_and_not_dropped() -> None:
    """Started two days ago, 31 days to go, not converted: pending."""
    events = [
        sent(1, at(1, "10:00"), "cx.subscription.started", "a", plan="monthly", trial=True),
        sent(2, at(2, "10:00"), "cx.subscription.renewed", "a", plan="monthly"),
        sent(3, at(1, "10:00"), "cx.subscription.started", "b", plan="monthly", trial=True),
    ]
    assert value(derived_of(events, until=at(3, "10:00")), "trial_conversion_provisional")[:2] == (100, 1)
    in_the_end = value(derived_of(events), "trial_conversion", plan="monthly")
    assert in_the_end[:2] == (50, 2)


def test_golden_matured_counts_all_of_a_cohort_when_its_time_is_up() -> None:
    """Who converted on the second day counts in the same hour as who never did."""
    events = [
        sent(1, at(1, "10:00"), "cx.subscription.started", "a", plan="monthly", trial=True),
        sent(2, at(2, "10:00"), "cx.subscription.renewed", "a", plan="monthly"),
        sent(3, at(1, "10:00"), "cx.subscription.started", "b", plan="monthly", trial=True),
    ]
    judged = derived_of(events)
    [(minute, series)] = Folder([catalogue()["trial_conversion"]]).fold(judged).items()
    assert minute * 60 == events[0].at // 1000 + 31 * 86_400
    assert series["trial_conversion"] == [2, 1]
    assert len(Folder([catalogue()["trial_conversion_provisional"]]).fold(judged)) == 2


def test_golden_containment_needs_a_day_without_a_person() -> None:
    events = [
        sent(1, at(1, "10:00"), "cx.contact.ivr_exited", "a", "call_center", outcome="contained", menu="main"),
        sent(2, at(1, "10:00"), "cx.contact.ivr_exited", "b", "call_center", outcome="contained", menu="main"),
        sent(3, at(2, "09:00"), "cx.contact.queue_entered", "b", "call_center", queue="orders"),
        sent(4, at(1, "10:00"), "cx.contact.ivr_exited", "c", "call_center", outcome="hangup", menu="main"),
    ]
    assert value(derived_of(events, until=at(1, "22:00")), "menu_containment_strict").n == 0
    assert value(derived_of(events), "menu_containment_strict", menu="main")[:2] == (50, 2)


def test_golden_abandonment_is_taken_back_when_the_cart_is_bought_in_the_morning() -> None:
    events = [
        sent(1, at(1, "22:00"), "cx.cart.added", product="p"),
        sent(2, at(1, "22:05"), "cx.checkout.step", step="address", position=1),
    ]
    evening = derived_of(events)
    assert value(evening, "cart_abandonment", last_step="address")[:2] == (100, 1)
    morning = derived_of([*events, sent(3, at(2, "09:00"), "cx.order.placed", orderid="o")])
    assert value(morning, "cart_abandonment")[:2] == (0, 1)


def test_golden_on_time_is_against_the_first_promise_and_counts_when_it_passes() -> None:
    due = at(3, "12:00")
    events = [
        sent(1, at(1, "10:00"), "cx.promise.made", "a", orderid="1", due=due, items=2),
        sent(2, at(3, "12:00"), "cx.order.delivered", "a", orderid="1", items=2),
        sent(3, at(1, "10:00"), "cx.promise.made", "b", orderid="2", due=due, items=2),
        sent(4, at(3, "11:00"), "cx.order.delivered", "b", orderid="2", items=1),
        sent(5, at(1, "10:00"), "cx.promise.made", "c", orderid="3", due=due),
        sent(6, at(2, "10:00"), "cx.promise.changed", "c", orderid="3", due=at(5, "12:00"), by="company"),
        sent(7, at(4, "10:00"), "cx.order.delivered", "c", orderid="3"),
    ]
    known = derived_of(events, until=at(3, "13:00"))
    assert value(known, "promise_kept")[:2] == (pytest.approx(200 / 3), 3)
    assert value(known, "on_time_in_full")[:2] == (pytest.approx(100 / 3), 3)
    assert value(known, "misses_announced")[:2] == (100, 1)


def test_golden_satisfaction_by_wait_and_recommendation_by_delay() -> None:
    def asked(number: int, who: str, metric: str, score: int) -> object:
        scale = 10 if metric == "nps" else 5
        return sent(
            number, at(2, "10:00"), "cx.survey.answered", who, survey_id="q", metric=metric, scale=scale, score=score
        )

    left = {"channel": "call_center", "queue": "a", "reason": "answered"}
    events = [
        sent(1, at(1, "10:00"), "cx.contact.queue_left", "a", **left, wait_s=30),
        sent(2, at(1, "10:00"), "cx.contact.queue_left", "b", **left, wait_s=400),
        sent(3, at(1, "10:00"), "cx.order.delivered", "a", orderid="1", delay_h=30),
        sent(4, at(1, "10:00"), "cx.order.delivered", "b", orderid="2", delay_h=-1),
        *(asked(10 + n, *one) for n, one in enumerate([("a", "csat", 5), ("b", "csat", 2), ("c", "csat", 4)])),
        *(asked(20 + n, *one) for n, one in enumerate([("a", "nps", 3), ("b", "nps", 10)])),
    ]
    joined = derived_of(events)  # type: ignore[arg-type]
    assert value(joined, "csat_after_wait", wait="up to 1 min")[:2] == (100, 1)
    assert value(joined, "csat_after_wait", wait="over 5 min")[:2] == (0, 1)
    assert value(joined, "nps_after_delivery", delay="up to 3 days")[:2] == (-100, 1)
    assert value(joined, "nps_after_delivery", delay="on time")[:2] == (100, 1)
    assert value(joined, "experience_join")[:2] == (80, 5)


@pytest.mark.parametrize("kpi", [kpi.id for kpi in catalogue()])
def test_every_kpi_counts_something_in_the_timelines_of_the_shipped_relations(kpi: str) -> None:
    assert value(RESULTS, kpi).n > 0


def test_no_kpi_of_relations_has_the_id_of_another() -> None:
    assert not {kpi.id for kpi in catalogue()} & {kpi.id for kpi in Catalogue.load()}
    assert all(kpi.aggregator in AGGREGATORS for kpi in catalogue())


@pytest.mark.parametrize("seed", range(5))
def test_what_is_withdrawn_leaves_nothing_however_ranges_are_cut(seed: int) -> None:
    """Sums over any ranges are those of what holds in the end."""
    chance = random.Random(seed)
    cut = sorted(chance.sample(range(1, len(RESULTS)), 12))
    pieces = [RESULTS[a:b] for a, b in zip([0, *cut], [*cut, len(RESULTS)], strict=True)]
    folder, whole = Folder(catalogue()), dict[int, dict[str, object]]()
    for piece in pieces:
        whole = folder.fold(piece, whole)  # type: ignore[arg-type,assignment]
    assert held(whole) == held(Folder(catalogue()).fold(HOLDING))  # type: ignore[arg-type]
    assert any(event.data.withdrawn for event in RESULTS)


def held(deltas: Deltas) -> dict[tuple[int, str], object]:
    return {
        (minute, key): acc
        for minute, series in deltas.items()
        for key, acc in series.items()
        if (any(acc) if isinstance(acc, list) else acc)
    }


def test_sums_over_all_are_those_of_what_holds() -> None:
    assert sums_of(RESULTS) == sums_of(HOLDING)


def test_a_wait_needs_the_time_since_its_trial_in_the_right_place() -> None:
    text = (DEPLOY / "kpis" / "contacts.yaml").read_text()
    with pytest.raises(CatalogueError, match="needs 'age_s'"):
        Catalogue.parse(
            text.replace("{events: cx.first_contact.judged, age_s: duration_s}", "{events: cx.first_contact.judged}")
        )
    with pytest.raises(CatalogueError, match="age_s: "):
        Catalogue.parse(
            text.replace(
                "{events: cx.first_contact.judged, age_s: duration_s}",
                "{events: cx.first_contact.judged, age_s: duration}",
            )
        )
