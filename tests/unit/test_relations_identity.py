"""Keys of one person: how far their histories are joined, what is refused, and when it ends."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations import customer, partition
from streams.relations.catalogue import load
from streams.relations.facts import Fact, customer_of, moment_of
from streams.relations.identity import CLAIM, FORWARDS_MS, LINK, STATE, IdentityStep, forwards_to, is_forwarding, take
from streams.relations.journal import CustomerPart, RelationStep, StepMarker, part_record, read_back
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange, letters_of
from streams.relations.state import CustomerState, read_state
from streams.relations.timelinefiles import Timeline, load_timelines
from streams.relations.timelines import play, standing
from tests.harness.partitions import Partitions

ROOT = Path(__file__).resolve().parents[2]
RELATIONS = load([ROOT / "deploy" / "relations"])
TIMELINES = load_timelines([ROOT / "deploy" / "relations" / "tests"], RELATIONS)
T, DAY = 1_777_000_000_000, 86_400_000


def of_keys(timeline: Timeline) -> bool:
    return any(one.event.type.startswith("cx.identity") for one in timeline.arrivals)


@pytest.mark.parametrize("timeline", [*filter(of_keys, TIMELINES)], ids=lambda timeline: timeline.name)
@pytest.mark.parametrize("kill", [0.0, 0.05])
def test_partitions_play_timelines(timeline: Timeline, kill: float) -> None:
    """What is expected of a timeline holds in the end, whatever partition each key lies in."""
    expected = play(timeline.relations, timeline.arrivals, timeline.lateness_ms).standing()
    assert expected
    for partitions in (1, 3, 16):
        world = Partitions(timeline.relations, partitions, random.Random(partitions), kill)
        world.feed([one.event for one in timeline.arrivals], timeline.lateness_ms, T + 400 * DAY, live=True)
        holds = {span: (one.at, one.data) for span, one in standing(world.sent).items()}
        assert holds == {span: (one.at, one.data) for span, one in expected.items()}
        assert world.keys["moved"]


def fact(name: str, time: int = T, **values: Any) -> Fact:
    return Fact(time, "s", f"{name}-{time}", name, values)


def step(key: str, state: bytes = b"", *facts: Fact, until: int = T, room: bool = True) -> IdentityStep:
    found = take(RELATIONS, key, state, facts, until - 1_000, until, room=room)
    return found if isinstance(found, IdentityStep) else IdentityStep(found.state, found.wakes_at, found.results)


def linked(alias: str, time: int = T) -> Fact:
    return fact("cx.identity.linked", time, alias=alias)


def test_what_is_no_link_of_two_customers_is_passed_over() -> None:
    for key, one in (
        ("c", linked("c")),
        ("c", fact("cx.identity.merged", merged_into="c")),
        ("c", fact("cx.identity.unlinked", alias="a")),
        (customer_of("c", synthetic=True), linked("a")),
        (customer_of("c", synthetic=True), fact("cx.identity.merged", merged_into="a")),
        ("c", fact(CLAIM, by="c", joined=0, claimed=T)),
    ):
        assert (step(key, b"", one).letters, step(key, b"", one).state) == ([], b""), one


def test_a_key_that_was_merged_has_the_one_that_remains_claim_it() -> None:
    [(to, said)] = step("a", b"", fact("cx.identity.merged", merged_into="c")).letters
    assert (to, said.type) == ("c", LINK)
    [(alias, claim)] = step("c", b"", said).letters
    assert (alias, claim.type, claim.values["by"]) == ("a", CLAIM, "c")


def moved(key: str = "a", by: str = "c") -> IdentityStep:
    cart = customer.advance(RELATIONS, key, b"", [fact("cx.cart.added", T - 500)], T - 1_000, T)
    return step(key, cart.state, fact(CLAIM, by=by, joined=0, claimed=T))


def test_a_key_moves_once_and_then_sends_on_what_comes() -> None:
    gone = moved()
    assert is_forwarding(gone.state)
    [(to, state)] = gone.letters
    assert (to, state.type, state.time, dict(gone.keys)) == ("c", STATE, T, {"moved": 1})
    again = step("a", gone.state, fact(CLAIM, T + 5, by="c", joined=0, claimed=T + 5), until=T + 10)
    assert again.letters == [], "the same link is said twice"
    order, other = fact("cx.order.placed", T + 5), fact(CLAIM, T + 6, by="d", joined=0, claimed=T + 6)
    later = step("a", gone.state, order, other, linked("b", T + 7), until=T + 10)
    assert [(to, one.type) for to, one in later.letters] == [
        ("c", "cx.order.placed"),
        ("c", CLAIM),
        ("c", "cx.identity.linked"),
    ], "who claims the alias of a person claims the person"
    assert later.results == []


def test_what_ends_while_a_key_is_on_its_way_is_said_of_the_one_that_remains() -> None:
    """It is sent where that one lies: what the alias did is looked for elsewhere."""
    [(_, state)] = moved().letters
    kept = step("c", b"", state, until=T + 3 * DAY)
    assert [(one.relation, one.subject) for one in kept.results] == [("cart", "c")]


def test_of_two_who_claim_each_other_the_later_remains() -> None:
    first, second = step("p", b"", linked("q", T - 10)), step("q", b"", linked("p", T - 5))
    [(_, of_first)], [(_, of_second)] = first.letters, second.letters
    assert is_forwarding(step("p", first.state, of_second).state)
    kept = step("q", second.state, of_first)
    assert not is_forwarding(kept.state)
    assert [(to, one.type, one.values["by"]) for to, one in kept.letters] == [("p", CLAIM, "q")]


def test_who_logs_in_again_and_again_has_a_short_way_to_go() -> None:
    """Each visit has a key of its own, for which that of the customer is claimed: all of them lead to the first."""
    timeline = next(filter(of_keys, TIMELINES))
    keys = [f"visit-{n}" for n in range(12)]
    events = [
        decode_one(
            json.dumps(
                {
                    "specversion": "1.0",
                    "id": f"{kind}{n}",
                    "source": "s",
                    "type": kind,
                    "time": moment_of(at).isoformat(),
                }
                | {"subject": key, "channel": "web", "data": data}
            ).encode()
        )
        for n, key in enumerate(keys)
        for kind, at, data in (
            ("cx.cart.added", T + n * 60_000, {}),
            ("cx.identity.linked", T + n * 60_000 + 5_000, {"alias": "c"}),
        )
    ]
    world = Partitions(timeline.relations, 4, random.Random(0))
    world.feed([one for one in events if isinstance(one, Envelope)], 60_000, T + DAY, live=True)
    assert world.keys["moved"] == world.keys["joined"] == 12
    states = {key: world.partitions[world.home(key)].state.customers.get(key) for key in [*keys, "c"]}
    assert {forwards_to(state) for state in states.values()} == {None, keys[0]}
    assert customer.rank_of(states[keys[0]])[0] == 12


def test_when_no_more_keys_may_move_they_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = step("a", b"", fact(CLAIM, by="c", joined=0, claimed=T), room=False)
    assert (refused.letters, dict(refused.keys), is_forwarding(refused.state)) == ([], {"refused": 1}, False)
    monkeypatch.setattr(partition, "MOST_MOVED", 2)
    claims = [(f"a-{n}", fact(CLAIM, T + n, by="c", joined=0, claimed=T)) for n in range(5)]
    state, changelog = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12), dict[bytes, bytes]()
    state.take(FactRange("web/0", 0, 4, T / 1000 + 60, True, claims), 0)
    for restart in (False, True):
        if restart:
            state = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12)
            state.restore(changelog.items())
            state.take(
                FactRange(
                    "web/0", 5, 5, T / 1000 + 120, True, [("z", fact(CLAIM, T + 9, by="c", joined=0, claimed=T))]
                ),
                1,
            )
        assert state.begin(2e9)
        changelog |= dict([state.step_record(), *(state.save(one) for one in state.advances())])
        changelog |= dict(one for one in (state.end(),) if one[1] is not None)
        assert state.take_counts().keys == ({"refused": 1} if restart else {"moved": 2, "refused": 3})


def test_a_forwarding_ends_when_it_was_not_used_for_long() -> None:
    gone = moved()
    assert gone.wakes_at == T + FORWARDS_MS
    used = step("a", gone.state, fact("cx.order.placed", T + 10 * DAY), until=T + 10 * DAY)
    assert used.wakes_at == T + 10 * DAY + FORWARDS_MS
    assert is_forwarding(step("a", used.state, until=T + FORWARDS_MS).state)
    over = step("a", used.state, until=T + 10 * DAY + FORWARDS_MS)
    assert (over.state, over.wakes_at, dict(over.keys)) == (b"", None, {"forgotten": 1})


def test_a_key_whose_state_comes_back_takes_it_again() -> None:
    gone = moved()
    [(_, state)] = gone.letters
    back = step("a", gone.state, state, fact("cx.order.placed", T + 5), until=T + 10)
    assert (dict(back.keys), back.letters) == ({"parted": 1}, [])
    assert [(one.relation, one.data["outcome"]) for one in back.results if one.relation == "cart"] == [
        ("cart", "ordered")
    ]


def test_that_a_key_was_claimed_for_is_forgotten_in_the_end() -> None:
    person = step("c", b"", linked("a"))
    assert (customer.rank_of(person.state), person.wakes_at) == ((0, T), T + FORWARDS_MS)
    assert step("c", person.state, until=T + FORWARDS_MS).state == b""


def test_what_is_long_is_sent_in_several_ranges() -> None:
    letters = [(n // 6, f"c-{n}", fact(STATE, T + n, alias="a", joined=0, state="x" * 100_000)) for n in range(9)]
    sent = letters_of(letters, "5", 40)
    assert [(home, one.source, one.first, one.last, len(one.facts)) for home, one in sent] == [
        (0, "relate/5", 40, 40, 2), (0, "relate/5", 41, 41, 2), (0, "relate/5", 42, 42, 2), (1, "relate/5", 43, 43, 2),
        (1, "relate/5", 44, 44, 1),
    ]  # fmt: skip


def test_what_other_partitions_say_holds_no_watermark() -> None:
    state = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12)
    assert state.take(FactRange("relate/1", 0, 0, None, True, [("c", fact(CLAIM, by="d", joined=0, claimed=T))]), 0)
    assert not state.take(FactRange("relate/1", 0, 0, None, True, [("c", fact(CLAIM, by="d", joined=0, claimed=T))]), 1)
    assert (state.watermarks.sources, state.held, state.begin(2e9)) == ({}, 1, None)
    state.take(FactRange("web/0", 1, 0, T / 1000 + 1, True), 2)
    assert state.begin(2e9)


def test_what_was_written_before_keys_moved_is_read() -> None:
    old_step, encode = RelationStep(number=3), msgspec.msgpack.encode
    key, _ = part_record(0, CustomerPart(3, []))
    part = part_record(0, msgspec.structs.replace(CustomerPart(3, [("c", (b"x", None))], 7)))[1]
    saved = read_back([(b"m", encode([old_step, 5])), (key, part)])
    assert saved.marker == StepMarker(old_step, 5, -1, 0)
    assert read_state(encode([5, 6, [], [], {}])) == CustomerState(5, 6)


def test_synthetic_events_link_nobody() -> None:
    timeline = next(filter(of_keys, TIMELINES))
    events: list[Envelope] = [msgspec.structs.replace(one.event, synthetic=True) for one in timeline.arrivals]
    world = Partitions(timeline.relations, 3, random.Random(0))
    world.feed(events, timeline.lateness_ms, T + 400 * DAY)
    assert not world.keys
