"""How a customer's state is packed: what earlier versions wrote is read, and what is not asked for is left as it is."""

import msgspec

from streams.relations import customer
from streams.relations.catalogue import load
from streams.relations.facts import Fact
from streams.shipped import RELATIONS as SHIPPED

RELATIONS = load([SHIPPED]).only({"cart", "survey"})
START = 1_777_000_000_000
MINUTE = 60_000


def fact(name: str, minutes: float, kind: str = "cx.cart.added") -> Fact:
    return Fact(START + int(minutes * MINUTE), "s", name, kind, {"channel": "web"})


def test_states_that_were_packed_whole_are_read() -> None:
    """They had facts and what was given out unpacked, after the moment from which on things may change."""
    facts = [fact("e1", 0), fact("e2", 1, "cx.order.placed"), fact("e3", 2)]
    first = customer.advance(RELATIONS, "c-1", b"", facts, START - 1, START + 3 * MINUTE)
    final, newest, times, packed, kept, *_ = msgspec.msgpack.decode(first.state)
    assert (newest, times) == (START + MINUTE, [one.time for one in facts])
    former = msgspec.msgpack.encode([final, packed, kept])
    late, until = [fact("e0", 0.5), fact("e1", 0)], START + 90 * MINUTE
    steps = [
        customer.advance(RELATIONS, "c-1", state, late, START + 3 * MINUTE, until) for state in (first.state, former)
    ]
    assert steps[0] == steps[1]
    assert [one.id[-2:] for one in steps[0].results] == ["0-", ".1", ".0"], "the late one is counted, once"


def test_who_has_one_key_is_packed_as_before_there_were_links() -> None:
    step = customer.advance(RELATIONS, "c-1", b"", [fact("e1", 0)], START - 1, START + MINUTE)
    assert len(msgspec.msgpack.decode(step.state)) == 5
    linked = customer.claim(RELATIONS, step.state, START + MINUTE, START + MINUTE, 2)
    assert msgspec.msgpack.decode(linked.state)[5:] == [START + MINUTE, 2]
    assert customer.rank_of(linked.state) == (2, START + MINUTE)


def test_nothing_is_kept_of_a_relation_before_something_begins_it() -> None:
    facts = [fact("e1", 0, "cx.checkout.step"), fact("e2", 1, "cx.order.placed"), fact("e3", 2, "cx.survey.answered")]
    step = customer.advance(RELATIONS, "c-1", b"", facts, START - 1, START + 3 * MINUTE)
    assert not step.results
    assert msgspec.msgpack.decode(step.state)[4] == {}


def test_what_the_head_has_forgotten_is_in_the_base_for_what_comes_late() -> None:
    """A wait is looked back at for a day, and what is a day late still counts: it sees what had been so long before."""
    relations, hour = load([SHIPPED]).only({"attempts_before_answer"}), 60 * MINUTE
    left = Fact(START, "s", "e1", "cx.contact.queue_left", {"wait_s": 1.5, "reason": "flow_out"})
    late = Fact(START + 23 * hour, "s", "e2", "cx.contact.answered", {})
    state, since, said = b"", START - 1, []
    for hours, facts in ((1, [left]), (23.9, []), (24.1, []), (46, []), (46.5, [late])):
        until = START + int(hours * hour)
        step = customer.advance(relations, "c-1", state, facts, since, until)
        state, since, said = step.state, until, step.results
    assert [one.data["queued_s"] for one in said] == [1.5]


def test_a_late_opening_and_its_end_in_one_step() -> None:
    """The end came in time, and is of what begins only now."""
    facts = [fact("e1", -10), fact("e2", 10, "cx.order.placed")]
    found = customer.advance(RELATIONS, "c-1", b"", facts, START, START + 20 * MINUTE)
    assert [one.data["outcome"] for one in found.results if one.relation == "cart"] == ["ordered"]
