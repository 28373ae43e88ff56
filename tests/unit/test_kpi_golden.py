"""Golden vectors of the field: events in, the published numbers out."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from streams.events.families.contact import (
    ContactFirstHumanReply,
    ContactHandedOff,
    ContactMessageReceived,
    ContactMessageSent,
    ContactOpened,
    ContactQueueLeft,
    ContactReopened,
)
from streams.events.families.digital import OrderPlaced, PaymentSucceeded, PerfSampled, SessionStarted
from streams.events.families.feedback import Metric, SurveyAnswered, SurveyDismissed
from streams.events.families.loop import CaseClosed, CaseOpened
from streams.events.types import Data, Event, new_event
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language.series import series_key

CATALOGUE = Catalogue.load()
MINUTE = 28_333_334
NOON = datetime.fromtimestamp(MINUTE * 60, UTC)


def events(data: Iterable[Data]) -> list[Event]:
    return [
        new_event(one, id=f"e{n}", source="test", time=NOON, subject="c1", channel="call_center")
        for n, one in enumerate(data)
    ]


def shown(kpi_id: str, data: Iterable[Data], **labels: str) -> Measure:
    kpi = CATALOGUE[kpi_id]
    deltas = Folder(CATALOGUE).fold(events(data))
    acc = deltas[MINUTE][series_key(kpi_id, tuple(labels.items()))]
    return measure(kpi.aggregator, acc, kpi.scale, unit=kpi.unit)


def answers(metric: Metric, scale: int, counts: dict[int, int], **more: str) -> list[Data]:
    return [
        SurveyAnswered(survey_id="s", metric=metric, scale=scale, score=score, **more)
        for score, times in counts.items()
        for _ in range(times)
    ]


NPS = {10: 30, 9: 20, 8: 20, 7: 10, 6: 15, 0: 5}
CES = {7: 40, 6: 25, 5: 15, 4: 8, 3: 5, 2: 4, 1: 3}
DISMISSED: list[Data] = [SurveyDismissed(survey_id="s", metric="nps") for _ in range(25)]


def test_nps() -> None:
    """50 promoters, 30 passives, 20 detractors."""
    got = shown("nps", answers("nps", 10, NPS))
    assert got.value == 30.0
    assert got.n == 100


def test_nps_dismissed() -> None:
    """25 who closed the survey are no answers: 24.0 is the known mistake."""
    assert shown("nps", answers("nps", 10, NPS) + DISMISSED).value == 30.0


def test_nps_empty() -> None:
    """Without an answer there is no series, hence no number, and never 0."""
    deltas = Folder(CATALOGUE).fold(events(DISMISSED))
    assert not [key for key in deltas[MINUTE] if key.startswith("nps")]


def test_nps_kinds_apart() -> None:
    """Relational answers never enter the transactional score."""
    both = answers("nps", 10, NPS, kind="transactional") + answers("nps", 10, {0: 50}, kind="relational")
    assert shown("nps", both).value == 30.0
    assert shown("nps_relational", both).value == -100.0


def test_csat() -> None:
    """8 of 10 satisfied: 80 %, Wilson 49.02 to 94.33."""
    got = shown("csat", answers("csat", 5, {5: 5, 4: 3, 3: 1, 1: 1}))
    assert got.value == 80.0
    assert got.n == 10
    assert got.lo == pytest.approx(49.02, abs=0.005)
    assert got.hi == pytest.approx(94.33, abs=0.005)


@pytest.mark.parametrize(("scale", "top"), [(3, 1), (4, 2), (5, 2), (6, 2), (7, 2), (10, 3)])
def test_csat_scales(scale: int, top: int) -> None:
    """One answer at each point: only the top box is satisfied."""
    got = shown("csat", answers("csat", scale, dict.fromkeys(range(1, scale + 1), 1)))
    assert got.n == scale
    assert got.value == pytest.approx(100 * top / scale)


def test_csat_mean_never_mixes_scales() -> None:
    """Ten-point answers stay out of the five-point mean."""
    got = shown("csat_mean", answers("csat", 5, {5: 1, 2: 1}) + answers("csat", 10, {10: 8}))
    assert got.value == 3.5
    assert got.n == 2


def test_ces() -> None:
    """Share agreeing 80 %, mean 5.63 ± 0.316."""
    assert shown("ces", answers("ces", 7, CES)).value == 80.0
    mean = shown("ces_mean", answers("ces", 7, CES))
    assert mean.value == 5.63
    assert mean.lo is not None
    # The vector's margin is normal; Student's t at 99 degrees is 1.2 % wider.
    assert mean.value - mean.lo == pytest.approx(0.316, rel=0.02)


def queue_left() -> list[Data]:
    """1,000 offered: 780 answered within 20 s, 120 later; 40 abandon under 5 s, 20 until 20 s, 40 later."""
    flows = [
        ("answered", 20.0, 780), ("answered", 20.1, 120),
        ("abandoned", 4.9, 40), ("abandoned", 5.0, 10), ("abandoned", 20.0, 10), ("abandoned", 20.5, 40),
    ]  # fmt: skip
    return [
        ContactQueueLeft(queue="main", reason=reason, wait_s=wait)
        for reason, wait, times in flows
        for _ in range(times)
    ]


@pytest.mark.parametrize(
    ("variant", "k", "n", "percent"),
    [
        ("answered_only", 780, 900, 86.67),
        ("all_offered", 780, 1000, 78.00),
        ("minus_short", 780, 960, 81.25),
        ("minus_abandon_within_t", 780, 940, 82.98),
        ("removed_within_t", 840, 1000, 84.00),
        ("abandon_le_t_ok_minus_short", 800, 960, 83.33),
    ],
)
def test_service_level(variant: str, k: int, n: int, percent: float) -> None:
    """The same afternoon in six dialects, whole and by queue."""
    kpi_id = f"service_level_{variant}"
    deltas = Folder(CATALOGUE).fold(events(queue_left()))[MINUTE]
    assert deltas[series_key(kpi_id)] == [n, k]
    assert deltas[series_key(kpi_id, (("queue", "main"),))] == [n, k]
    assert shown(kpi_id, queue_left()).value == pytest.approx(percent, abs=0.005)


def test_abandonment() -> None:
    """100 of 1,000, or 60 of 960 without the short ones; a callback is neither."""
    called_back: list[Data] = [ContactQueueLeft(queue="main", reason="callback", wait_s=60) for _ in range(50)]
    deltas = Folder(CATALOGUE).fold(events(queue_left() + called_back))[MINUTE]
    assert deltas["abandonment"] == [1000, 100]
    assert deltas["abandonment_minus_short"] == [960, 60]
    assert deltas["contacts_offered"] == [1000]
    assert deltas["service_level_removed_within_t"] == [1050, 840]


@pytest.mark.parametrize(
    ("kpi_id", "k", "n"),
    [
        ("service_level_answered_only", 780, 900),
        ("service_level_all_offered", 780, 1050),
        ("service_level_minus_short", 780, 1010),
        ("service_level_minus_abandon_within_t", 780, 940),
        ("service_level_removed_within_t", 840, 1050),
        ("service_level_abandon_le_t_ok_minus_short", 800, 1010),
        ("abandonment", 100, 1050),
        ("abandonment_of_waiting", 100, 1050),
        ("abandonment_minus_short", 60, 1010),
    ],
)
def test_who_flows_out_was_offered_and_neither_answered_nor_given_up(kpi_id: str, k: int, n: int) -> None:
    flowed: list[Data] = [ContactQueueLeft(queue="main", reason="flow_out", wait_s=10) for _ in range(50)]
    deltas = Folder(CATALOGUE).fold(events(queue_left() + flowed))[MINUTE]
    assert deltas[kpi_id] == [n, k]
    assert deltas["contacts_offered"] == [1050]


def test_abandonment_of_those_who_had_to_wait() -> None:
    """Answered at once: no wait, and no part of it."""
    at_once: list[Data] = [ContactQueueLeft(queue="main", reason="answered", wait_s=0) for _ in range(500)]
    deltas = Folder(CATALOGUE).fold(events(queue_left() + at_once))[MINUTE]
    assert deltas["abandonment_of_waiting"] == [1000, 100]
    assert deltas["abandonment"] == [1500, 100]


def test_orders_without_an_amount_are_orders_and_no_revenue() -> None:
    placed: list[Data] = [OrderPlaced(), OrderPlaced(amount=2.5), OrderPlaced(amount=1.5)]
    deltas = Folder(CATALOGUE).fold(events(placed))[MINUTE]
    assert deltas["orders"] == [3]
    assert shown("revenue", placed).value == 4.0
    assert shown("revenue", placed).n == 2


def loads(satisfied: int, tolerating: int, frustrated: int, failed: int = 0) -> list[Data]:
    """Page loads at the edges of T = 500 ms and 4 T; failed ones are as fast as the best."""
    times = [(500.0, satisfied), (500.1, tolerating - 1), (2000.0, 1), (2000.1, frustrated)]
    made: list[Data] = [PerfSampled(duration_ms=ms) for ms, count in times for _ in range(count)]
    return made + [PerfSampled(duration_ms=10.0, failed=True) for _ in range(failed)]


def test_apdex() -> None:
    """60 satisfied, 30 tolerating, 10 frustrated: 0.75."""
    got = shown("apdex", loads(60, 30, 10))
    assert got.value == 0.75
    assert got.n == 100


def test_apdex_of_failed_requests() -> None:
    """A request that fails at once has satisfied nobody."""
    assert shown("apdex", loads(60, 30, 0, failed=10)).value == 0.75
    assert shown("request_failure", loads(60, 30, 0, failed=10)).value == 10.0


def test_frt_reopen() -> None:
    """Created Monday 09:00, solved by a bot 09:05, reopened Friday 14:00, a person at 14:10: 10 minutes, not 5 days."""
    story: list[Data] = [
        ContactOpened(),
        ContactMessageSent(by="bot", response_s=300.0),
        ContactReopened(after_s=4 * 86_400.0),
        ContactMessageSent(by="human", response_s=600.0),
        ContactFirstHumanReply(response_s=600.0),
    ]
    got = shown("first_response_time", story)
    assert got.n == 1, "one of each opening, and a bot's or an automatic reply is none"
    assert got.value == pytest.approx(600, rel=0.01)


def test_frt_hand_off() -> None:
    """Message at t0, bot at t1, hand-off at t2, person at t3: t3 - t2, as the reply says."""
    story: list[Data] = [
        ContactMessageReceived(),
        ContactMessageSent(by="bot", response_s=2.0),
        ContactHandedOff(turns=3),
        ContactFirstHumanReply(response_s=45.0),
    ]
    assert shown("first_response_time", story).value == pytest.approx(45, rel=0.01)


FUNNEL = """
- {id: converted, name: n, question: q, unit: per_100, direction: up, class: C, maturity: matured, wait: 31d,
   aggregator: ratio, formula: f., source: s, owner: o, groupings: [[]],
   of: {events: cx.session.started}, hits: {events: cx.payment.succeeded, age_s: duration_s}}
"""


def test_funnel_pending() -> None:
    """Started two days ago, a wait of 31 days, nothing happened yet: pending, not dropped."""
    folder = Folder(Catalogue.parse(FUNNEL))
    started = [replace(event, time=NOON - timedelta(days=2)) for event in events([SessionStarted()])]
    due = -(-(MINUTE + 29 * 1440) // 60) * 60
    assert folder.fold(started) == {
        MINUTE - 2 * 1440: {"converted_provisional": [1, 0]}, due: {"converted": [1, 0]},
    }  # fmt: skip
    paid = events([PaymentSucceeded(duration_s=2 * 86_400.0), PaymentSucceeded(duration_s=32 * 86_400.0)])
    deltas = folder.fold([*started, *paid])
    assert deltas[due]["converted"] == [1, 1], "an outcome counts where its trial does; one that came too late does not"
    assert deltas[MINUTE] == {"converted_provisional": [0, 1]}


def test_cases_closed_in_time() -> None:
    """Of two cases opened on Monday noon one is closed a day later: known on Wednesday noon, and 50 % then."""
    opened = events([CaseOpened(case_id="a"), CaseOpened(case_id="b")])
    closed = events([CaseClosed(case_id="a", duration_s=86_400.0)])
    later = [replace(event, time=NOON + timedelta(days=1)) for event in closed]
    deltas = Folder(CATALOGUE).fold([*opened, *later])
    due = -(-(MINUTE + 2 * 1440) // 60) * 60
    assert deltas[due]["cases_closed_in_time"] == [2, 1]
    assert deltas[MINUTE]["cases_closed_in_time_provisional"] == [2, 0]
    assert deltas[MINUTE + 1440]["cases_closed_in_time_provisional"] == [0, 1]
    assert CATALOGUE.variant("cases_closed_in_time", "provisional").maturity == "provisional"
    assert CATALOGUE.variant("cases_closed_in_time", "matured").id == "cases_closed_in_time"
    with pytest.raises(KeyError, match="is immediate, not matured"):
        CATALOGUE.variant("csat", "matured")
