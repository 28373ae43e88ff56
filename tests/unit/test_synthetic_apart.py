"""Whatever is sent with `synthetic: true`, also under the keys of customers, changes nothing that is known of them."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from streams.agents.ingest import Ingest
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.reading import load_rules
from streams.relations.catalogue import Relations
from streams.relations.facts import customer_of, is_made_up, milliseconds, subject_of
from streams.relations.ranges import decode_range
from streams.relations.timelines import Arrival, play
from streams.settings import load
from streams.shipped import CASES
from tests.harness import twin
from tests.harness.clickhouse import event
from tests.harness.derived import LATENESS_MS, events_of, relations

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
TOPICS = Topics("cx")
Said = dict[str, list[tuple[Any, ...]]]


def arrival(
    number: int, second: int, kind: str, data: dict[str, Any], *, synthetic: bool, **attributes: Any
) -> Arrival:
    at = datetime.fromtimestamp(NOW + second, UTC).isoformat()
    record = event(
        number, **{"type": kind, "time": at, "subject": "c-1", "synthetic": synthetic, "data": data, **attributes}
    )
    found = decode_one(record)
    assert isinstance(found, Envelope), found
    return Arrival(found, milliseconds(found.time))


def said(arrivals: list[Arrival], chosen: Relations) -> Said:
    """Return what relations say of customers, and of what tests made up."""
    found: Said = {"real": [], "made up": []}
    for one in events_of((one for _, one in play(chosen, arrivals, LATENESS_MS).results), chosen):
        found["made up" if one.synthetic else "real"].append((one.type, one.time, one.subject, str(one.data)))
    return found


def journey(first: int, second: int, *, synthetic: bool, orders: bool) -> list[Arrival]:
    found = [
        arrival(first, second, "cx.cart.added", {"price": 5.0, "quantity": 1}, synthetic=synthetic),
        arrival(
            first + 1, second + 60, "cx.contact.opened", {"topic": "billing"}, synthetic=synthetic, contactid="k-1"
        ),
    ]
    if orders:
        found.append(
            arrival(first + 2, second + 90, "cx.order.placed", {"items": 1}, synthetic=synthetic, orderid="o-1")
        )
    return found


def test_relations_keep_what_tests_send_apart_from_customers() -> None:
    """A made-up order ends no cart of the customer whose key it bears, nor is a made-up contact a second one."""
    chosen = relations().only(["cart", "repeat_contact", "before_order"])
    real, made_up = journey(0, 0, synthetic=False, orders=False), journey(10, 5, synthetic=True, orders=True)
    both = said(sorted([*real, *made_up], key=lambda one: one.at), chosen)
    assert both["real"] == said(real, chosen)["real"]
    assert both["made up"] == said(made_up, chosen)["made up"]
    assert {subject for _, _, subject, _ in both["made up"]} == {"c-1"}
    assert any("'ordered'" in data for _, _, _, data in both["made up"])
    assert not any("'ordered'" in data for _, _, _, data in both["real"])


def test_a_link_that_tests_send_joins_nobody() -> None:
    chosen = relations().only(["cart"])
    cart = arrival(0, 0, "cx.cart.added", {"price": 5.0, "quantity": 1}, synthetic=False)
    link = arrival(1, 60, "cx.identity.linked", {"alias": "c-1"}, synthetic=True, subject="c-2")
    assert {subject for _, _, subject, _ in said([cart, link], chosen)["real"]} == {"c-1"}


def test_no_subject_is_taken_for_a_made_up_customer() -> None:
    made_up = customer_of("c-1", synthetic=True)
    assert (is_made_up(made_up), subject_of(made_up)) == (True, "c-1")
    longest = made_up[:128]
    assert not is_made_up(customer_of(longest, synthetic=False))
    assert subject_of(longest) == longest


def test_ingest_tells_cases_nothing_of_tests_and_relations_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    app = twin.Application(twin.Broker(), 1)
    stage = Ingest(
        app,  # type: ignore[arg-type]
        load(environ={}, partitions=1),
        TOPICS,
        Catalogue.load(),
        relations=relations(),
        case_rules=load_rules([CASES]),
    )
    answer = {"survey_id": "s", "metric": "csat", "scale": 5, "score": 1}
    case = {"case_id": "k-1", "reason": "other"}
    at = datetime.fromtimestamp(NOW - 5, UTC).isoformat()
    values = [
        event(number, type=kind, time=at, subject=f"c-{number}", synthetic=number % 2 == 1, data=data)
        for number, (kind, data) in enumerate(
            [("cx.survey.answered", answer)] * 2
            + [("cx.case.opened", case)] * 2
            + [("cx.page.viewed", {"page": "p"})] * 2
        )
    ]

    async def taken() -> None:
        await app.begin()
        await stage.take(RecordBatch(TOPICS.sources[0], 0, values, range(len(values))))
        await stage.flush()

    asyncio.run(taken())
    told = {
        topic: [(who, fact.type) for value in app.broker.values(topic) for who, fact in decode_range(value).facts]
        for topic in (TOPICS.case_facts, TOPICS.facts)
    }
    assert told[TOPICS.case_facts] == [("c-0", "cx.survey.answered"), ("c-2", "cx.case.opened")]
    assert (customer_of("c-1", synthetic=True), "cx.survey.answered") in told[TOPICS.facts]
    assert ("c-0", "cx.survey.answered") in told[TOPICS.facts]
    assert not any(subject == "c-1" for subject, _ in told[TOPICS.facts])
