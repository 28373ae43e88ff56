"""Whatever the order, the edges of steps, restarts, repeats and delays: relations come to the same results."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations import customer
from streams.relations.catalogue import load
from streams.relations.facts import milliseconds, moment_of
from streams.relations.results import DerivedEvent
from streams.relations.timelines import Arrival, Played, Stop, disordered, duplicated, play

ROOT = Path(__file__).resolve().parents[2]
CHOSEN = [
    "visit",
    "cart",
    "checkout",
    "search",
    "payment",
    "promise",
    "delivery",
    "refund",
    "resolution",
    "first_contact",
    "repeat_contact",
    "handling",
    "first_reply_support_hours",
    "first_reply_target",
    "menu_containment",
    "survey",
    "before_order",
    "lifecycle",
    "experience",
]
RELATIONS = load([ROOT / "deploy" / "relations"]).only(CHOSEN)
START = 1_777_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
LATENESS = MINUTE

CHOICES: Sequence[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("cx.page.viewed", {"page": "home"}, {}),
    ("cx.product.viewed", {"product": "p"}, {}),
    ("cx.ad.clicked", {"campaign": "spring"}, {}),
    ("cx.ad.clicked", {"campaign": "summer"}, {}),
    ("cx.search.performed", {"results": 3}, {}),
    ("cx.search.clicked", {}, {}),
    ("cx.cart.added", {"price": 2.5, "quantity": 2}, {}),
    ("cx.checkout.step", {"step": "address", "position": 1}, {}),
    ("cx.checkout.step", {"step": "payment", "position": 3}, {}),
    ("cx.payment.failed", {"code": "declined"}, {}),
    ("cx.order.placed", {"items": 1}, {"orderid": "o-1"}),
    ("cx.promise.made", {"due": "DUE", "items": 2}, {"orderid": "o-1"}),
    ("cx.promise.changed", {"due": "DUE", "by": "company"}, {"orderid": "o-1"}),
    ("cx.order.delivered", {"late": False, "complete": False, "items": 1}, {"orderid": "o-1"}),
    ("cx.order.delivered", {"late": False, "items": 1}, {"orderid": "o-1"}),
    ("cx.order.return_received", {}, {"orderid": "o-1"}),
    ("cx.order.refund_initiated", {"amount": 10}, {"orderid": "o-1"}),
    ("cx.order.refund_completed", {"amount": 5}, {"orderid": "o-1"}),
    ("cx.contact.opened", {"topic": "billing"}, {"contactid": "k-1"}),
    ("cx.contact.opened", {"topic": "billing"}, {"contactid": "k-2"}),
    ("cx.contact.queue_left", {"queue": "a", "reason": "abandoned", "wait_s": 12.5}, {"contactid": "k-1"}),
    ("cx.contact.ivr_exited", {"outcome": "contained", "duration_s": 1}, {"contactid": "k-1"}),
    ("cx.contact.message_sent", {"by": "human"}, {"contactid": "k-1"}),
    ("cx.contact.resolved", {"topic": "billing"}, {"contactid": "k-1"}),
    ("cx.contact.reopened", {}, {"contactid": "k-1"}),
    ("cx.contact.closed", {"topic": "billing"}, {"contactid": "k-1"}),
    ("cx.survey.sent", {"survey_id": "q"}, {}),
    ("cx.survey.answered", {"survey_id": "q", "metric": "csat", "scale": 5, "score": 4}, {}),
]


def iso(time: int) -> str:
    return moment_of(time).isoformat()


def event(number: int, choice: int, time: int, subject: str = "c-1") -> Envelope:
    name, data, attributes = CHOICES[choice]
    data = {key: iso(time + 5 * HOUR) if value == "DUE" else value for key, value in data.items()}
    raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": name, "time": iso(time)}
    raw |= {"subject": subject, "channel": ("web", "app")[number % 2], "data": data, **attributes}
    found = decode_one(json.dumps(raw).encode())
    assert isinstance(found, Envelope), found
    return found


# Times meet often, and lie where deadlines do.
TIMES = st.one_of(st.integers(0, 20 * 60).map(lambda m: m * MINUTE), st.integers(0, 40).map(lambda n: n * 30 * MINUTE))
HISTORIES = st.lists(st.tuples(st.integers(0, len(CHOICES) - 1), TIMES), min_size=1, max_size=25)


def events_of(history: Sequence[tuple[int, int]]) -> list[Envelope]:
    return [event(number, choice, START + at) for number, (choice, at) in enumerate(history)]


def in_time(events: Sequence[Envelope]) -> list[Arrival]:
    return [Arrival(one, milliseconds(one.time)) for one in events]


def content(results: Sequence[DerivedEvent]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            one.relation,
            one.span,
            one.version,
            one.id,
            one.at,
            one.subject,
            sorted(one.origin.items()),
            sorted(one.data.items()),
        )
        for one in results
    )


def all_of(played: Played) -> list[tuple[Any, ...]]:
    return content([result for _, result in played.results])


def holding(played: Played) -> dict[str, tuple[Any, ...]]:
    return {span: (one.relation, one.at, one.data) for span, one in played.standing().items()}


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.integers(0, 1000))
def test_order_steps_restarts_and_repeats_change_nothing_at_all(history: Any, seed: int) -> None:
    arrivals = in_time(events_of(history))
    chance = random.Random(seed)
    stops = [Stop(at := START + chance.randrange(48 * HOUR), at + chance.randrange(6 * HOUR)) for _ in range(4)]
    other = duplicated(disordered(arrivals, LATENESS, seed), seed)
    assert all_of(play(RELATIONS, other, LATENESS, stops=stops)) == all_of(play(RELATIONS, arrivals, LATENESS))


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.integers(0, 1000))
def test_late_events_revise_to_what_would_have_been_said_in_time(history: Any, seed: int) -> None:
    arrivals = in_time(events_of(history))
    chance = random.Random(seed)
    late = [Arrival(one.event, one.at + chance.choice([0, chance.randrange(20 * HOUR)])) for one in arrivals]
    assert holding(play(RELATIONS, late, LATENESS)) == holding(play(RELATIONS, arrivals, LATENESS))


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.lists(st.booleans(), min_size=25, max_size=25), st.integers(0, 22 * 60))
def test_two_keys_of_a_person_come_to_what_one_key_would(history: Any, whose: list[bool], linked: int) -> None:
    whole = events_of(history)
    halves = [
        event(number, choice, START + at, "a-1" if whose[number] else "c-1")
        for number, (choice, at) in enumerate(history)
    ]
    time = START + linked * MINUTE + 1
    raw = {"specversion": "1.0", "id": "link", "source": "s", "type": "cx.identity.linked", "time": iso(time)}
    raw |= {"subject": "c-1", "channel": "web", "data": {"alias": "a-1"}}
    link = decode_one(json.dumps(raw).encode())
    assert isinstance(link, Envelope)
    joined = play(RELATIONS, in_time([*halves, link]), LATENESS)
    assert holding(joined) == holding(play(RELATIONS, in_time(whole), LATENESS))


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_a_state_ends_by_itself_and_counts_nothing_as_lost(history: Any) -> None:
    played = play(RELATIONS, in_time(events_of(history)), LATENESS)
    assert played.left == 0
    assert not played.late


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.integers(1, 48))
def test_a_step_is_the_same_whenever_it_is_worked_out(history: Any, hours: int) -> None:
    facts = [fact for one in events_of(history) if (fact := RELATIONS.reader.fact(one))]
    until = START + hours * HOUR
    first = customer.advance(RELATIONS, "c-1", b"", facts, START - 1, until)
    again = customer.advance(RELATIONS, "c-1", b"", list(reversed(facts)), START - 1, until)
    assert (first.state, first.results, first.wakes_at) == (again.state, again.results, again.wakes_at)


def test_a_customer_who_never_stops_has_a_state_of_limited_size() -> None:
    """Two thousand events in four hours: the oldest become final early, so that the state stays small."""
    sizes, state = [], b""
    for number in range(2_000):
        time = START + number * 8_000
        fact = RELATIONS.reader.fact(event(number, number % len(CHOICES), time))
        step = customer.advance(RELATIONS, "c-1", state, [fact] if fact else [], time - 8_000, time)
        state = step.state
        sizes.append(len(state))
    assert max(sizes[1_000:]) < 1.5 * max(sizes[:1_000])
