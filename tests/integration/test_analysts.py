"""The questions of docs/ANALYSTS.md, asked as written there, of events whose answers are known."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import CLONE
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

DOC = (CLONE / "docs" / "ANALYSTS.md").read_text("utf-8")
QUESTIONS = dict(re.findall(r"^## (.+?)\n.*?```sql\n(.+?)```", DOC, re.MULTILINE | re.DOTALL))


def happened(number: int, kind: str, data: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    whole = json.loads(event(number, **{"type": kind, **envelope}))
    return {**whole, "data": data}


def of_today(events: list[dict[str, Any]], now: datetime) -> list[bytes]:
    """Let them happen just now, or as the next day begins: it may have begun before they are asked for."""
    begun, ahead = now.replace(hour=0, minute=0, second=0), now + timedelta(minutes=30)
    at = max(now - timedelta(minutes=1), begun) if ahead.date() == now.date() else begun + timedelta(days=1)
    return [json.dumps({**one, "time": at.isoformat()}, ensure_ascii=False).encode() for one in events]


PAID = "cx.payment.succeeded"
FAILED = "cx.payment.failed"
EVENTS = [
    happened(1, FAILED, {"code": "timeout", "method": "card", "amount": 10.0}, subject="ali", region="fars"),
    happened(2, FAILED, {"code": "timeout", "method": "card", "amount": 10.0}, subject="ali", region="fars"),
    happened(3, PAID, {"method": "card", "amount": 10.0}, subject="ali", region="fars"),
    happened(4, FAILED, {"code": "51", "method": "wallet"}, subject="mina", region="gilan"),
    happened(5, PAID, {"method": "wallet"}, subject="sara", region="gilan"),
    happened(6, "cx.order.placed", {"amount": 10.0, "currency": "IRR"}, subject="ali", orderid="o1"),
    happened(7, "cx.order.placed", {"amount": 30.0, "currency": "IRR"}, subject="ali", orderid="o2"),
    happened(8, "cx.order.placed", {"amount": 5.0, "currency": "IRR"}, subject="sara", orderid="o3"),
    happened(9, "cx.order.delivered", {"late": True, "carrier": "a"}, orderid="o1", subject="ali"),
    happened(10, "cx.order.delivered", {"late": False, "carrier": "b"}, orderid="o3", subject="sara"),
    happened(11, "cx.survey.answered", {"survey_id": "s", "metric": "csat", "scale": 5, "score": 1, "text": "دیر رسید"},
             orderid="o1", subject="ali", touchpoint="delivery"),
    happened(12, "cx.survey.answered", {"survey_id": "s", "metric": "csat", "scale": 5, "score": "۴"}, orderid="o3", subject="sara"),
    happened(13, "cx.contact.queue_left", {"queue": "sales", "reason": "abandoned", "wait_s": 90.0, "topic": "payment"}, contactid="k1"),
    happened(14, "cx.contact.queue_left", {"queue": "sales", "reason": "answered", "wait_s": 30.0, "topic": "payment"}, contactid="k2"),
    happened(15, "cx.contact.queue_left", {"queue": "care", "reason": "answered", "wait_s": 10.0, "topic": "delivery"}, contactid="k3"),
    happened(16, "cx.session.ended", {"errors": 2, "converted": False, "views": 4}, sessionid="v1"),
    happened(17, "cx.session.ended", {"errors": 0, "converted": True, "views": 4}, sessionid="v2"),
    happened(18, "cx.session.ended", {"errors": 0, "converted": False, "views": 4}, sessionid="v3"),
]  # fmt: skip
MADE_UP = [{**one, "id": f"test-{one['id']}", "synthetic": True} for one in EVENTS]
"""The same once more, sent by tests: no answer is another one."""
ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "Why do payments fail today, and with which method?": [("timeout", "card", 2, 1), ("51", "wallet", 1, 1)],
    "Which share of payments fails, by region?": [("fars", 66.7, 3), ("gilan", 50.0, 2)],
    "How satisfied are customers whose delivery was late?": [(False, 100.0, 1), (True, 0.0, 1)],
    "Who ordered more than once, and how much is that?": [("again", 1, 40.0), ("once", 1, 5.0)],
    "Which topics keep callers waiting, and how many give up?": [("payment", 60.0, 1, 2), ("delivery", 10.0, 0, 1)],
    "Do visits with errors still end in an order?": [(0, 50.0, 2), (1, 0.0, 1)],
    "Which customers had a failed payment and came back to buy?": [(2, 1)],
}


@pytest.fixture
def filled(database: Database) -> Database:
    prepare(database.admin, Catalogue.load(), lambda _: None)
    writer = Writer(database.writer)
    writer.insert_blocks([block_of(of_today([*EVENTS, *MADE_UP], datetime.now(UTC)))])
    writer.close()
    return database


def test_the_eight_questions_have_their_answers(filled: Database) -> None:
    assert len(QUESTIONS) == 8
    answers = {question: filled.rows(sql) for question, sql in QUESTIONS.items()}
    [(_, touchpoint, text)] = answers.pop("What do customers write who gave the lowest score?")
    assert (touchpoint, text) == ("delivery", "دیر رسید")
    assert {question: [tuple(row) for row in rows] for question, rows in answers.items()} == ANSWERS


def test_every_column_of_the_views_has_a_type_and_a_comment(filled: Database) -> None:
    """And no question needs a function of JSON."""
    assert "JSON" not in "".join(QUESTIONS.values())
    views = ("surveys", "orders", "sessions", "payments", "deliveries", "contacts", "customers")
    for view in views:
        columns = filled.rows(f"DESCRIBE TABLE {view}")
        assert len(columns) > 10
        assert [row[0] for row in columns if not row[4]] == []
        assert filled.rows(f"SELECT count() > 0 FROM {view}") == [(1,)], view
