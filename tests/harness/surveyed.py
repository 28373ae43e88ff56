"""Surveys that a stage decides on as it happens: what it reads, and what has to be the same after every kill."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.agents.cases import Cases
from streams.agents.ingest import Ingest
from streams.asking.reading import load_surveys
from streams.engine.names import Topics
from streams.engine.stage import Stage
from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.definition import CaseRules
from streams.settings import load
from streams.shipped import SURVEYS
from tests.harness import twin

NOW: Final = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
DAY: Final = 86_400
PARTITIONS: Final = 2
TOPICS: Final = Topics("cx")
SETTINGS: Final = load(environ={}, partitions=PARTITIONS)
SURVEY_RULES = load_surveys([SURVEYS])


def ingest(app: Any, _broker: object, _database: object) -> Stage:
    return Ingest(app, SETTINGS, TOPICS, Catalogue.load(), survey_rules=SURVEY_RULES)


def decide(app: Any, _broker: object, _database: object) -> Stage:
    return Cases(app, SETTINGS, TOPICS, CaseRules({}), survey_rules=SURVEY_RULES)


def served(broker: twin.Broker) -> None:
    """Deliveries to some customers, orders and letters of others, over three months on two channels."""
    kinds = (("order.delivered", {}), ("order.placed", {}), ("survey.sent", {"survey_id": "letter"}))
    for number in range(40):
        kind, data = kinds[(number // 4) % 3]
        at = datetime.fromtimestamp(NOW - DAY * (90 - 2 * number), UTC).isoformat()
        channel = ("web", "call_center")[number % 2]
        raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": f"cx.{kind}", "time": at, "data": data}
        raw |= {"subject": f"c-{number % 4}", "channel": channel, "orderid": f"o-{number // 8}"}
        broker.send(f"cx.touchpoints.{channel}", number % 4 % PARTITIONS, msgspec.json.encode(raw))


def told(broker: twin.Broker, _database: object) -> Any:
    """Decisions by id, the same bytes each time that they were sent, in the partition of their customer."""
    decided: dict[Any, Any] = {}
    for tp, log in broker.topics.items():
        for _, value in log if tp.topic.startswith("cx.touchpoints.") else ():
            event = msgspec.json.decode(value or b"")
            if event["source"] == "/cx/surveys":
                assert decided.setdefault(event["id"], (tp, value)) == (tp, value)
    kinds = [msgspec.json.decode(value)["type"] for _, value in decided.values()]
    assert min(kinds.count(f"cx.survey.{what}") for what in ("eligible", "suppressed")) >= 3
    return (decided,)
