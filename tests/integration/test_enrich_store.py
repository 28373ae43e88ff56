"""What an alert that begins to fire learns from the real store: whose words, which cause, what was released."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from streams.agents.enrich import Enricher
from streams.alerts.types import Contribution, Evidence, Transition
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

END = int(datetime(2026, 3, 8, 12, tzinfo=UTC).timestamp())
MINUTE = END // 60 - 1


@pytest.fixture
def store(database: Database) -> Any:
    prepare(database.admin, Catalogue.load(), lambda _: None)
    writer = Writer(database.writer)
    yield writer
    writer.close()


def at(minutes_before: int) -> str:
    return datetime.fromtimestamp(END - 60 * minutes_before, UTC).isoformat()


def said(number: int, text: str, minutes_before: int, **envelope: Any) -> bytes:
    data = {"text": text, "score": 1, "scale": 5}
    return event(number, time=at(minutes_before), data=data, **envelope)


def other(number: int, kind: str, minutes_before: int, data: dict[str, Any], **envelope: Any) -> bytes:
    whole = json.loads(event(number, time=at(minutes_before), type=kind, **envelope))
    return json.dumps({**whole, "data": data}).encode()


def fires(**evidence: Any) -> Transition:
    alike = Contribution(
        labels={}, value=80.0, baseline=5.0, n=600, baseline_n=900, rate_effect=75.0, share_effect=0.0, explained=1.0
    )
    return Transition(
        seq=1, rule="PaymentsFail", kpi="payment_failure", labels={}, old="pending", new="firing", minute=MINUTE, why="",
        severity="page", owner="digital", episode=f"PaymentsFail-0-{MINUTE - 5}",
        evidence=Evidence(window="15m", contributors=[alike], links={"runbook": "docs/RUNBOOK.md#paymentsfail"}, **evidence),
    )  # fmt: skip


async def enriched(database: Database, transition: Transition) -> Transition:
    made = Enricher(database.writer, Catalogue.load(), board_url="http://page/", timeout_s=30.0)
    await made.enrich([transition])
    made.close()
    assert "incomplete" not in transition.annotations
    return transition


async def test_the_cause_is_found_in_another_kpi_of_the_same_events(database: Database, store: Writer) -> None:
    """Failures by code, which the judged share does not have; its reference is as long as there is one."""
    rows = []
    for minutes, codes in ((40, {"51": 20, "timeout": 9}), (3, {"51": 19, "timeout": 515})):
        minute = MINUTE - minutes
        rows += [(series_key("payment_failures", (("code", code),)), minute, 0, [n], 1) for code, n in codes.items()]
        rows.append(("payment_failures", minute, 0, [sum(codes.values())], 1))
    store.insert_kpi_minutes(rows, "t-0-0-0")
    found = await enriched(database, fires())
    first, second = found.evidence.contributors
    assert (first.kpi, first.labels) == ("payment_failures", {"code": "timeout"})
    assert first.explained > 0.9
    assert second.labels == {}


async def test_words_are_of_those_who_met_it_and_masked(database: Database, store: Writer) -> None:
    """Not of whoever was displeased by anything else meanwhile, and nobody's telephone number."""
    store.insert_blocks(
        [block_of([
            other(1, "cx.payment.failed", 4, {"code": "timeout", "method": "card"}, subject="payer", touchpoint="payment"),
            said(2, "The parcel came late", 2, subject="waiter", touchpoint="delivery"),
            said(3, "پرداخت نشد، با 09120000111 تماس بگیرید", 3, subject="payer", touchpoint="post_purchase_survey"),
            said(4, "The payment page hangs", 1, subject="onlooker", touchpoint="payment"),
            said(5, "Could not pay yesterday", 1_500, subject="payer", touchpoint="payment"),
        ])])  # fmt: skip
    found = await enriched(database, fires())
    assert found.evidence.verbatims == ["پرداخت نشد، با ••• تماس بگیرید", "The payment page hangs"]


async def test_what_was_released_just_before_is_a_suspect(database: Database, store: Writer) -> None:
    store.insert_blocks(
        [block_of([
            other(1, "cx.change.deployed", 8, {"what": "app", "version": "5.3.0"}, channel="app"),
            other(2, "cx.campaign.started", 60, {"campaign": "nowruz"}),
            other(3, "cx.change.deployed", 400, {"what": "shop", "version": "1"}),
            other(4, "cx.change.deployed", 1, {"what": "repair", "version": "2"}),
        ])])  # fmt: skip
    found = await enriched(database, fires())
    assert found.annotations["suspects"] == (
        "app 5.3.0 was deployed 3 min before it; nowruz (campaign) began 55 min before it"
    )


async def test_nothing_is_compared_with_a_reference_that_was_not_there(database: Database, store: Writer) -> None:
    """Seven minutes are no reference for an hour; where something came before it, the hour was there."""

    def rows(kpi: str, first: int) -> list[Any]:
        minutes = range(MINUTE - first, MINUTE + 1)
        return [(kpi, m, 0, [900 if m > MINUTE - 15 else 100], 1) for m in minutes]

    store.insert_kpi_minutes([*rows("volume", 22), *rows("orders", 90)], "t-0-0-0")
    found = await enriched(database, fires())
    assert [(moved.kpi, moved.baseline, moved.value) for moved in found.evidence.movements] == [
        ("orders", 1_500, 13_500)
    ]


async def test_the_runbook_is_an_address(database: Database, store: Writer) -> None:
    found = await enriched(database, fires())
    assert found.evidence.links["runbook"] == "http://page/runbook#paymentsfail"
