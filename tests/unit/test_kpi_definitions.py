"""Built-in KPIs at the edges of their definitions: what counts, what does not, and by what it is divided."""

from datetime import timedelta
from itertools import accumulate
from typing import Literal

import pytest
from msgspec.structs import replace

from streams.events.families.agent import AgentEvaluationScored, AgentStateChanged
from streams.events.families.contact import (
    ContactAnswered,
    ContactCallBlocked,
    ContactHandled,
    ContactOpened,
    ContactQueueEntered,
    ContactQueueLeft,
    ContactResolved,
    ContactRinging,
    ContactRingMissed,
    ContactTransferred,
)
from streams.events.families.digital import (
    AppCrashed,
    ClickFrustrated,
    OrderPlaced,
    PaymentAttempted,
    PaymentFailed,
    PaymentSucceeded,
    SearchPerformed,
    SessionEnded,
    SessionStarted,
)
from streams.events.families.feedback import FeedbackGiven, KanoAnswer, KanoAnswered, SurveyAnswered
from streams.events.families.fulfilment import OrderDelayNotified, OrderDelivered
from streams.events.families.inferred import SentimentScored
from streams.events.families.loop import CaseClosed, CaseOpened, CaseReopened
from streams.events.families.store import StorePosTransaction, StoreVisitorEntered
from streams.events.types import Data, Event
from streams.kpis.aggregators import measure
from streams.kpis.folding.fold import Folder
from streams.kpis.language.series import series_key
from tests.unit.test_kpi_golden import CATALOGUE, DISMISSED, MINUTE, NOON, NPS, answers, events, shown

AgentState = Literal["busy", "wrapup", "idle", "break"]


@pytest.mark.parametrize(
    ("session", "bounced"),
    [
        (SessionEnded(duration_s=9.9, views=1), True),
        (SessionEnded(duration_s=9.9), True),
        (SessionEnded(duration_s=10.0, views=1), False),
        (SessionEnded(duration_s=0.0, views=2), False),
        (SessionEnded(duration_s=1.0, views=1, converted=True), False),
        (SessionEnded(duration_s=1.0, views=1, engaged=True), False),
        (SessionEnded(duration_s=60.0, views=5, engaged=False), True),
    ],
)
def test_bounce(session: SessionEnded, *, bounced: bool) -> None:
    """Ten seconds, two pages or an order engage; the channel's own judgement comes first."""
    assert shown("bounce", [session]).value == (100.0 if bounced else 0.0)


def test_bounce_of_one_page_is_another_number() -> None:
    """An hour on one page is engagement, and a bounce to who counts pages; unknown pages are neither."""
    ended: list[Data] = [SessionEnded(duration_s=3600.0, views=1), SessionEnded(duration_s=5.0)]
    assert shown("bounce", ended).value == 50.0
    assert shown("bounce_one_page", ended) == shown("bounce_one_page", ended[:1])
    assert shown("bounce_one_page", ended).value == 100.0


def test_receipts_by_visitors() -> None:
    """150 receipts by 1,000 entrances: 15 per 100; a refund is no receipt, a group that enters buys as one."""
    entered: list[Data] = [StoreVisitorEntered() for _ in range(990)] + [StoreVisitorEntered(people=3)] * 10
    receipts: list[Data] = [StorePosTransaction() for _ in range(150)] + [StorePosTransaction(refund=True)] * 20
    got = shown("footfall_conversion", entered + receipts)
    assert got.value == 15.0
    assert got.n == 1000
    assert shown("store_visitors", entered).value == 1020.0
    assert shown("store_transactions", receipts).value == 150.0


def test_crashes_count_by_started_sessions_of_the_app() -> None:
    """A crash at launch counts; sessions of the web do not dilute it."""
    started = [replace(one, channel="app") for one in events([SessionStarted(version="5") for _ in range(200)])]
    crashed = [replace(one, channel="app") for one in events([AppCrashed(version="5", at_launch=True)])]
    series = Folder(CATALOGUE).fold(started + crashed + events([SessionStarted() for _ in range(300)]))[MINUTE]
    assert series["crash_rate"] == [200, 1]
    assert series[series_key("crash_rate", (("version", "5"),))] == [200, 1]


def test_clicks_of_frustration_are_told_apart() -> None:
    sessions: list[Data] = [SessionStarted() for _ in range(50)]
    clicks: list[Data] = [ClickFrustrated(kind="rage")] * 3 + [ClickFrustrated(kind="dead")] * 2
    deltas = Folder(CATALOGUE).fold(events(sessions + clicks))[MINUTE]
    assert [deltas[kpi] for kpi in ("rage_clicks", "dead_clicks", "error_clicks")] == [[50, 3], [50, 2], [50, 0]]
    assert deltas["frustrated_clicks"] == [5]


def test_payment_failure_is_by_attempt() -> None:
    """Who pays at the second try has failed once in two attempts; tries without an outcome yet are none."""
    paying: list[Data] = [PaymentAttempted(), PaymentFailed(code="51"), PaymentAttempted(), PaymentSucceeded()]
    assert shown("payment_failure", [*paying, PaymentAttempted()]).value == 50.0
    assert shown("payment_failures", paying, code="51").n == 1


def test_outcomes_whose_attempts_lie_in_other_minutes_are_no_share_above_all() -> None:
    """Slow failures of an outage come after their attempts: still 100 % at most, with its interval."""
    late = shown("payment_failure", [PaymentAttempted()] * 15 + [PaymentFailed(code="timeout")] * 16)
    assert (late.value, late.n, late.hi) == (100.0, 16, 100.0)


def test_conversion_is_by_ended_session() -> None:
    """Two of four that are known to have brought an order or not; orders of any number do not count."""
    ended: list[Data] = [SessionEnded(converted=True)] * 2 + [SessionEnded(converted=False)] * 2 + [SessionEnded()]
    got = shown("conversion", [*ended, *[OrderPlaced(amount=1.0)] * 9])
    assert (got.value, got.n) == (50.0, 4)


def test_offers_are_taken_or_missed() -> None:
    """Two of three offers; the ringing itself has no outcome yet."""
    offered: list[Data] = [ContactRinging()] * 4 + [ContactAnswered()] * 2 + [ContactRingMissed()]
    assert shown("agent_answer_rate", offered).value == pytest.approx(200 / 3)


def test_a_search_nobody_counted_is_no_search_without_result() -> None:
    searches: list[Data] = [SearchPerformed(), SearchPerformed(results=0), SearchPerformed(results=3)]
    assert shown("zero_result_searches", searches).value == 50.0


def test_hold_and_transfers() -> None:
    handled: list[Data] = [
        ContactHandled(talk_s=60, hold_s=30, wrapup_s=5, transfers=2),
        ContactHandled(talk_s=60, hold_s=0, wrapup_s=5, transfers=0),
        ContactHandled(talk_s=60, hold_s=0, wrapup_s=5),
    ]
    moved: list[Data] = [ContactTransferred(kind="queue"), ContactTransferred(kind="agent"), ContactTransferred()]
    deltas = Folder(CATALOGUE).fold(events(handled + moved))[MINUTE]
    assert shown("hold_time", handled).value == 10.0
    assert deltas["hold_rate"] == [3, 1]
    assert deltas["transfer_rate"] == [2, 1]
    assert deltas["transfers_to_queue"] == deltas["transfers_to_agent"] == [3, 1]


def test_a_critical_failure_makes_the_quality_nil() -> None:
    assessed: list[Data] = [
        AgentEvaluationScored(quality=90.0, critical_failed=False),
        AgentEvaluationScored(quality=80.0, critical_failed=True),
    ]
    assert shown("qa_score", assessed).value == 45.0
    assert shown("qa_critical_failures", assessed).value == 50.0


def test_busy_and_idle_time_make_the_occupancy() -> None:
    """Breaks are neither."""
    left: list[tuple[AgentState, float]] = [("busy", 240.0), ("wrapup", 60.0), ("idle", 100.0), ("break", 900.0)]
    states: list[Data] = [AgentStateChanged(state="offline", previous=state, duration_s=s) for state, s in left]
    assert (shown("agent_busy_time", states).value, shown("agent_idle_time", states).value) == (300.0, 100.0)


def test_solved_as_customers_say_and_as_agents_note() -> None:
    """Who was not asked, or not noted, is no trial."""
    answered: list[Data] = [
        SurveyAnswered(survey_id="s", metric="csat", scale=5, score=3, resolved=resolved)
        for resolved in (True, True, False, None)
    ]
    noted: list[Data] = [ContactResolved(first_contact=first) for first in (True, False, None)]
    deltas = Folder(CATALOGUE).fold(events(answered + noted))[MINUTE]
    assert deltas["fcr_survey"] == [3, 2]
    assert deltas["fcr_disposition"] == [2, 1]


def test_net_sentiment() -> None:
    """Labels decide, polarity where there is none; neutral counts, unscored does not."""
    scored: list[Data] = [
        SentimentScored(polarity=0.9, label="neutral"), SentimentScored(polarity=-0.9, label="positive"),
        SentimentScored(polarity=0.06), SentimentScored(polarity=0.05), SentimentScored(polarity=-0.06),
        SentimentScored(polarity=0.5),
    ]  # fmt: skip
    got = shown("net_sentiment", [*scored, FeedbackGiven(text="…")])
    assert got.value == pytest.approx(100 * (3 - 1) / 6)
    assert got.n == 6


def test_sentiment_shift_needs_both_ends() -> None:
    turns: list[Data] = [SentimentScored(polarity=0, start=-0.5, end=0.25), SentimentScored(polarity=0, start=0.9)]
    assert shown("sentiment_shift", turns).value == 0.75
    assert shown("sentiment_shift", turns).n == 1


# One answer pair for each cell of the table: Attractive, One-dimensional, Must-be, Indifferent, Reverse, Questionable.
KANO = {"like": "QAAAO", "expect": "RIIIM", "neutral": "RIIIM", "tolerate": "RIIIM", "dislike": "RRRRQ"}


@pytest.mark.parametrize("functional", KANO)
@pytest.mark.parametrize("dysfunctional", KANO)
def test_kano(functional: KanoAnswer, dysfunctional: KanoAnswer) -> None:
    """Better is (A + O), worse (O + M), both by (A + O + M + I)."""
    kind = KANO[functional][list(KANO).index(dysfunctional)]
    pair = KanoAnswered(feature="f", functional=functional, dysfunctional=dysfunctional)
    deltas = Folder(CATALOGUE).fold(events([pair]))[MINUTE]
    assert deltas.get("kano_better") == (None if kind in "RQ" else [1, int(kind in "AO")])
    assert deltas.get("kano_worse") == (None if kind in "RQ" else [1, int(kind in "OM")])


def test_the_backlog_grows_by_what_is_opened_and_not_closed() -> None:
    cases: list[Data] = [CaseOpened(case_id=str(n)) for n in range(5)]
    cases += [CaseClosed(case_id="0"), CaseClosed(case_id="1"), CaseReopened(case_id="0")]
    assert shown("case_backlog", cases).value == 4.0


def test_dismissed_surveys() -> None:
    """25 dismissed beside 100 answers: a fifth, and no part of the score itself."""
    assert shown("survey_dismissal", answers("nps", 10, NPS) + DISMISSED).value == 20.0


def test_calls_blocked_are_by_calls() -> None:
    """Chats have no busy line, and who we call does not meet ours."""
    opened: list[Data] = [ContactOpened() for _ in range(9)] + [ContactOpened(direction="inbound")]
    others: list[Data] = [ContactOpened(subchannel="chat"), ContactOpened(direction="outbound")]
    assert shown("blocked_rate", [*opened, *others, ContactCallBlocked()]).value == 10.0


def test_proactive_delay_notices_are_by_late_deliveries() -> None:
    told: list[Data] = [OrderDelivered(late=True)] * 4 + [OrderDelivered(late=False)] * 6
    told += [OrderDelayNotified(before_due=True), OrderDelayNotified(before_due=False)]
    assert shown("proactive_delay_notices", told).value == 25.0


def spells(*parts: tuple[AgentState, float]) -> list[Data]:
    return [AgentStateChanged(state="idle", previous=state, duration_s=seconds) for state, seconds in parts]


def test_occupancy() -> None:
    """300 s of talk and 100 s of wrap-up beside 100 s idle: 80 %; a break is in neither."""
    day = spells(("busy", 300), ("wrapup", 100), ("idle", 100), ("break", 900))
    got = shown("occupancy", day)
    assert (got.value, got.n) == (80.0, 3)


def test_customers_are_counted_once() -> None:
    """Three visits and an order of one customer are one active customer, and four events."""
    got = shown("active_customers", [SessionStarted(), SessionStarted(), SessionStarted(), OrderPlaced()])
    assert got == (1.0, 4, 1.0, got.hi)
    assert shown("buying_customers", [OrderPlaced(amount=1.0), OrderPlaced()]).value == 1.0


def test_revenue_per_visit_divides_by_visits_without_an_order_too() -> None:
    """Two orders of 300 and 100 in eight visits: 50 each; an order by telephone is none of a visit."""
    made: list[Data] = [SessionStarted()] * 8 + [OrderPlaced(amount=300.0), OrderPlaced(amount=100.0)]
    online = [replace(event, channel="web") for event in events(made)]
    deltas = Folder(CATALOGUE).fold([*online, *events([OrderPlaced(amount=1e9)])])[MINUTE]
    acc = deltas["revenue_per_visit"]
    assert acc == [8, 8, 400, 8, 0, 300**2 + 100**2]
    assert measure("share", acc, 1, unit="currency").value == 50.0


def test_the_value_of_an_order_may_be_large() -> None:
    """Amounts whose squares need more than 64 bits; orders without an amount are left out."""
    got = shown("order_value", [OrderPlaced(amount=9e10), OrderPlaced(amount=7e10), OrderPlaced()])
    assert (got.value, got.n) == (8e10, 2)


def queue_at(seconds: dict[float, Data]) -> list[Event]:
    made = events(seconds.values())
    return [replace(event, time=NOON + timedelta(seconds=at)) for event, at in zip(made, seconds, strict=True)]


ENTERED, QUEUE = ContactQueueEntered(queue="main"), "main"


def test_who_still_waits_beyond_the_threshold_is_a_miss_at_once() -> None:
    """Four join at second 5: one is answered in time, one too late, one gives up, one waits for ever."""
    joined = {5.0 + n / 1000: ENTERED for n in range(4)}
    left: dict[float, Data] = {
        15.0: ContactQueueLeft(queue=QUEUE, reason="answered", wait_s=10.0),
        35.0: ContactQueueLeft(queue=QUEUE, reason="answered", wait_s=30.0),
        18.0: ContactQueueLeft(queue=QUEUE, reason="abandoned", wait_s=13.0),
    }
    deltas = Folder(CATALOGUE).fold(queue_at(joined | left))
    assert deltas[MINUTE]["service_level_with_waiting"] == [4, 1]
    assert deltas[MINUTE]["service_level_all_offered"] == [3, 1], "who waits is not seen by what looks at leaving"


def test_a_contact_is_decided_in_the_minute_in_which_the_threshold_passes() -> None:
    """Joined at second 50, 20 s to wait: a trial of the next minute, and so is the hit at second 55."""
    at: dict[float, Data] = {50.0: ENTERED, 55.0: ContactQueueLeft(queue=QUEUE, reason="answered", wait_s=5.0)}
    deltas = Folder(CATALOGUE).fold(queue_at(at))
    assert "service_level_with_waiting" not in deltas[MINUTE]
    assert deltas[MINUTE + 1]["service_level_with_waiting"] == [1, 1]


def test_contacts_waiting_now() -> None:
    """As of the end of each minute: who is in the queue, and who is in it for more than 20 s."""
    at: dict[float, Data] = {
        10.0: ENTERED, 20.0: ENTERED, 50.0: ENTERED, 70.0: ENTERED,
        25.0: ContactQueueLeft(queue=QUEUE, reason="answered", wait_s=15.0),
        95.0: ContactQueueLeft(queue=QUEUE, reason="answered", wait_s=75.0),
        130.0: ContactQueueLeft(queue=QUEUE, reason="abandoned", wait_s=60.0),
    }  # fmt: skip
    deltas = Folder(CATALOGUE).fold(queue_at(at))

    def now(kpi: str) -> list[int]:
        changes = [deltas.get(MINUTE + minute, {}).get(kpi, [0, 0])[1] for minute in range(3)]
        return list(accumulate(changes))

    assert now("contacts_waiting") == [2, 2, 1]
    assert now("contacts_waiting_too_long") == [1, 2, 1]
