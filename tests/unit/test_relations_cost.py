"""What relations do for an event is counted, so that a step does not come to cost more unnoticed."""

import sys
from types import FrameType
from typing import Any

import msgspec

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations.catalogue import Relations, load
from streams.relations.facts import Fact, moment_of
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange
from streams.shipped import RELATIONS as SHIPPED

START_MS = 1_777_000_000_000
DOINGS = (
    ("cx.page.viewed", {"page": "home"}),
    ("cx.product.viewed", {"product": "p"}),
    ("cx.cart.added", {}),
    ("cx.contact.closed", {"topic": "billing"}),
)
CUSTOMERS = 200
EVENTS = CUSTOMERS * len(DOINGS)
MOST_CALLS = 150
"""Calls of Python functions for an event; 138 when this was written."""
MOST_STATE = 1_900
"""Bytes of a customer of whom four things are known; 1,784 when this was written."""
MOST_SAVED = 210
"""Bytes written to the changelog for an event, packed; 191 when this was written."""


def facts_of(relations: Relations) -> list[tuple[str, Fact]]:
    """All customers do one thing after the other, ten times a second."""
    found = []
    for number in range(EVENTS):
        kind, data = DOINGS[number // CUSTOMERS]
        raw = {"specversion": "1.0", "id": str(number), "source": "s", "type": kind, "data": data, "channel": "web"}
        raw |= {"time": moment_of(START_MS + 100 * number).isoformat(), "subject": f"c-{number % CUSTOMERS}"}
        event = decode_one(msgspec.json.encode(raw))
        assert isinstance(event, Envelope)
        fact = relations.reader.fact(event)
        assert fact
        found.append((event.subject, fact))
    return found


def test_an_event_costs_so_many_calls_and_bytes() -> None:
    relations = load([SHIPPED])
    state = RelationsPartition(relations, idle_s=1e9, grace_s=0.0)
    facts = facts_of(relations)
    calls, saved = 0, 0

    def count(_frame: FrameType, what: str, _arg: Any) -> None:
        nonlocal calls
        calls += what == "call"

    for place in range(0, EVENTS, 20):
        lot = facts[place : place + 20]
        state.take(FactRange("web/0", place, place + 19, lot[-1][1].time / 1000 + 0.01, True, lot), place)
        sys.setprofile(count)
        try:
            assert state.begin(2e9) is not None
            written = [state.step_record(), *(state.save(advance) for advance in state.advances())]
            written += [state.end(), *state.compaction(), *state.superseded()]
        finally:
            sys.setprofile(None)
        saved += sum(len(value or b"") for _, value in written)
    states = [*state.customers.states()]
    assert len(states) == CUSTOMERS
    assert sum(map(len, states)) / CUSTOMERS < MOST_STATE
    assert saved / EVENTS < MOST_SAVED
    assert calls / EVENTS < MOST_CALLS
