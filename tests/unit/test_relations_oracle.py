"""A second way of working out the shipped spans, which shares nothing with the product, comes to the same."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations.catalogue import load
from streams.relations.facts import milliseconds
from streams.relations.machine import name_of
from streams.relations.timelines import Arrival, disordered, duplicated, play, stopped
from tests.harness.spans_oracle import SPECS, shipped

ROOT = Path(__file__).resolve().parents[2]
RELATIONS = load([ROOT / "deploy" / "relations"]).only(SPECS)
START = 1_777_000_000_000
WHAT: list[tuple[str, dict[str, Any]]] = [
    ("cx.page.viewed", {"page": "home"}),
    ("cx.product.viewed", {"product": "p"}),
    ("cx.ad.clicked", {"campaign": "spring"}),
    ("cx.ad.clicked", {"campaign": "summer"}),
    ("cx.search.performed", {}),
    ("cx.cart.added", {}),
    ("cx.cart.removed", {}),
    ("cx.checkout.step", {"step": "address"}),
    ("cx.payment.attempted", {}),
    ("cx.payment.failed", {"code": "no"}),
    ("cx.payment.succeeded", {}),
    ("cx.order.placed", {}),
    ("cx.store.pos_transaction", {}),
    ("cx.store.pos_transaction", {"refund": True}),
    ("cx.promise.made", {"due": ""}),
    ("cx.order.delivered", {"late": False}),
    ("cx.order.delivered", {"late": False, "complete": False}),
    ("cx.contact.opened", {"topic": "billing"}),
    ("cx.contact.closed", {"topic": "billing"}),
    ("cx.contact.reopened", {}),
    ("cx.contact.handed_off", {}),
    ("cx.contact.message_sent", {"by": "human"}),
    ("cx.contact.message_sent", {"by": "bot"}),
    ("cx.contact.queue_entered", {"queue": "a"}),
    ("cx.contact.ivr_exited", {"outcome": "contained", "duration_s": 3}),
    ("cx.survey.sent", {"survey_id": "q"}),
    ("cx.survey.answered", {"survey_id": "q", "metric": "csat", "scale": 5, "score": 4}),
    ("cx.survey.dismissed", {"survey_id": "q"}),
]


def history(seed: int) -> list[str]:
    """Some customers' events of a day, often in the same second."""
    chance = random.Random(seed)
    lines = []
    for number in range(400):
        kind, data = chance.choice(WHAT)
        time = START + chance.randrange(24 * 60) * 60_000
        iso = datetime.fromtimestamp(time / 1000, UTC).isoformat()
        due = datetime.fromtimestamp(time / 1000 + chance.randrange(20_000), UTC).isoformat()
        raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": kind, "time": iso}
        raw |= {"subject": f"c-{chance.randrange(12)}", "channel": chance.choice(["web", "app", "store"])}
        raw |= {"orderid": f"o-{chance.randrange(2)}", "contactid": f"k-{chance.randrange(2)}"}
        lines.append(json.dumps({**raw, "data": {k: due if k == "due" else v for k, v in data.items()}}))
    return lines


@pytest.mark.parametrize("seed", range(6))
def test_shipped_spans_are_what_another_way_gives(seed: int) -> None:
    lines = history(seed)
    events = [event for line in lines if isinstance(event := decode_one(line.encode()), Envelope)]
    assert len(events) == len(lines)
    arrivals = [Arrival(event, milliseconds(event.time)) for event in events]
    stops = stopped(arrivals, seed)
    played = play(RELATIONS, duplicated(disordered(arrivals, 60_000, seed), seed), 60_000, stops=stops)
    facts = [fact for event in events if (fact := RELATIONS.reader.fact(event))]
    ids = {name_of(name, fact): fact.id for name in SPECS for fact in facts}
    found = {
        (one.relation, ids[one.span], one.data["outcome"], one.at, one.data["duration_s"])
        for one in played.standing().values()
    }
    wanted = shipped(lines)
    assert found == wanted
    assert {name for name, *_ in found} == set(SPECS)
