"""What nobody measured is in no number: not a time, not a yes or no; how much is known is a number of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from streams.events.families.agent import AgentEvaluationScored
from streams.events.families.contact import ContactHandled, ContactQueueLeft
from streams.events.families.digital import SessionEnded
from streams.events.families.fulfilment import OrderDelivered
from streams.events.families.store import StoreQueueServed
from streams.events.types import Data, new_event
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.catalogue.counting import counted
from streams.kpis.folding.fold import Folder

if TYPE_CHECKING:
    from streams.kpis.arithmetic.accumulators import Acc

CATALOGUE = Catalogue.load()
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
SERVICE_LEVELS = [kpi.id for kpi in CATALOGUE if kpi.id.startswith("service_level_") and kpi.nested]


def sums(*data: Data) -> dict[str, Acc]:
    """Return the sums of all KPIs as a whole."""
    events = [
        new_event(one, id=f"e{n}", source="/test", time=NOON, subject="c", channel="call_center")
        for n, one in enumerate(data)
    ]
    return {key: acc for minute in Folder(CATALOGUE).fold(events).values() for key, acc in minute.items()}


def test_a_centre_that_measures_talk_alone_has_no_holds() -> None:
    found = sums(*(ContactHandled(talk_s=60) for _ in range(3)), ContactHandled(talk_s=90, hold_s=0, wrapup_s=30))
    assert found["contacts_handled"] == [4]
    assert found["talk_time"][:2] == [4, 2_700]
    assert found["aht"][:2] == [1, 1_200], "of the one of which all three are known"
    assert found["hold_rate"] == [1, 0]
    assert found["hold_time"][:2] == [1, 0]
    assert found["holds_known"] == found["handle_time_known"] == [4, 1]
    assert not {"aht", "hold_rate", "hold_time"} & sums(ContactHandled()).keys()


@pytest.mark.parametrize("kpi", SERVICE_LEVELS)
def test_a_service_level_is_of_waits_that_are_known(kpi: str) -> None:
    """Whether they were answered or gave up: those without a wait change nothing."""
    known: list[Data] = [
        ContactQueueLeft(queue="q", reason="answered", wait_s=3),
        ContactQueueLeft(queue="q", reason="answered", wait_s=50),
        ContactQueueLeft(queue="q", reason="abandoned", wait_s=40),
    ]
    unknown: list[Data] = [ContactQueueLeft(reason="answered"), ContactQueueLeft(reason="abandoned")]
    assert sums(*known, *unknown)[kpi] == sums(*known)[kpi]
    assert kpi not in sums(*unknown)


def test_waits_of_calls_and_in_the_store() -> None:
    found = sums(
        ContactQueueLeft(reason="answered", wait_s=7), ContactQueueLeft(reason="answered"),
        ContactQueueLeft(reason="abandoned"), StoreQueueServed(), StoreQueueServed(wait_s=9),
    )  # fmt: skip
    assert found["asa"][:2] == [1, 70]
    assert found["abandonment"] == [3, 1], "needs no wait"
    assert found["queue_wait_known"] == [3, 1]
    assert found["store_waits_known"] == [2, 1]


def test_yes_or_no_that_nobody_said_is_not_no() -> None:
    found = sums(
        OrderDelivered(), OrderDelivered(late=True),
        AgentEvaluationScored(quality=80), AgentEvaluationScored(quality=0, critical_failed=True),
        SessionEnded(), SessionEnded(converted=False), SessionEnded(views=1),
    )  # fmt: skip
    assert (found["delivery_lateness"], found["delivery_verdicts_known"]) == ([1, 1], [2, 1])
    assert found["qa_critical_failures"] == [1, 1]
    assert found["bounce"] == [1, 1], "of the one session of which anything is known"


def test_every_definition_says_what_it_counts() -> None:
    assert {kpi.id for kpi in CATALOGUE if not counted(kpi)} == {kpi.id for kpi in CATALOGUE if kpi.derive}
    assert counted(CATALOGUE["rage_clicks"]).startswith("bursts or clicks as the collector cuts them")
    assert counted(CATALOGUE["rage_clicks"]).endswith(" by sessions (not visitors)")
    assert counted(CATALOGUE["payment_failure"]) == "attempts to pay (not orders)"
    assert "legs" in counted(CATALOGUE["contacts_offered"])
    assert "once, however many agents" in counted(CATALOGUE["contacts_handled"])
    assert "edited counts again" in counted(CATALOGUE["review_score"])
    assert "gives anew counts again" in counted(CATALOGUE["csat"])
    assert counted(CATALOGUE["app_customers"]).startswith("each subject once in a window")
