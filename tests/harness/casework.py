"""Cases that a stage decides on: what it reads, and what has to be the same after every kill."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.agents.cases import Cases
from streams.agents.ingest import Ingest
from streams.engine.names import Topics
from streams.engine.stage import Stage
from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.reading import load_rules
from streams.loop.rows import decode_case
from streams.settings import load
from streams.shipped import CASES
from tests.harness import twin

NOW: Final = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
PARTITIONS: Final = 2
TOPICS: Final = Topics("cx")
SETTINGS: Final = load(environ={}, partitions=PARTITIONS)
CASE_RULES = load_rules([CASES])


def ingest(app: Any, _broker: object, _database: object) -> Stage:
    return Ingest(app, SETTINGS, TOPICS, Catalogue.load(), case_rules=CASE_RULES)


def decide(app: Any, _broker: object, _database: object) -> Stage:
    return Cases(app, load(environ={}, partitions=PARTITIONS, case_webhooks="http://127.0.0.1:1/"), TOPICS, CASE_RULES)


def unhappy(broker: twin.Broker) -> None:
    """Answers of some customers over three days, and a contact about what a ticket system has opened itself."""

    def send(number: int, kind: str, ago_s: float, **data: Any) -> None:
        at = datetime.fromtimestamp(NOW - ago_s, UTC).isoformat()
        raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": f"cx.{kind}", "time": at, "data": data}
        raw |= {"subject": f"c-{number % 4}", "channel": "web"}
        broker.send("cx.touchpoints.web", number % 4 % PARTITIONS, msgspec.json.encode(raw))

    for number in range(40):
        score = number * 7 % 11
        send(number, "survey.answered", 260_000 - 6_000 * number, survey_id="s", metric="nps", scale=10, score=score)
        if number % 8 == 3:
            tier = ("high", "low")[number % 2]
            send(200 + number, "customer.valued", 263_000 - 6_000 * number, tier=tier, churn_risk=number / 40)
    send(100, "case.opened", 3_000, case_id="t-1", reason="other")
    send(101, "case.assigned", 2_000, case_id="t-2", owner="nobody knows it yet")
    send(104, "case.contacted", 1_000, case_id="t-1")


def told(broker: twin.Broker, database: twin.Database) -> Any:
    """Decisions by id, the same bytes each time that they were sent; the newest row of each case; messages."""
    decided: dict[Any, bytes] = {}
    for channel in ("web", "call_center"):
        for value in broker.values(f"cx.touchpoints.{channel}"):
            event = msgspec.json.decode(value)
            if event["source"] == "/cx/cases":
                assert decided.setdefault(event["id"], value) == value
    rows: dict[str, Any] = {}
    for row in map(decode_case, broker.values(TOPICS.cases)):
        if row.revision >= rows.get(row.case_id, row).revision:
            rows[row.case_id] = row
    messages = {msgspec.json.decode(value)["id"] for value in broker.values(TOPICS.notifications)}
    kinds = {value["type"] for value in map(msgspec.json.decode, decided.values())}
    assert kinds >= {"cx.case.opened", "cx.case.warned", "cx.case.escalated"}
    assert len(rows) == 5
    assert {row.churn_risk for row in rows.values()} > {None}, "some are of customers whose worth is known"
    assert decided.keys() <= {name.partition(" ")[2] for name in messages}
    return decided, rows, {"messages": messages}
