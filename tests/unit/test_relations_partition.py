"""The relations of a partition, killed at random moments, come to what the events say when all are known."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations import customer, customers, partition
from streams.relations.catalogue import Relations, load
from streams.relations.facts import Fact, customer_of, milliseconds
from streams.relations.journal import RelationStep
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange, decode_range, encode_range
from streams.relations.results import DerivedEvent
from streams.shipped import RELATIONS as SHIPPED
from tests.harness.relations_oracle import holding
from tests.unit.test_relations_oracle import FILES, TYPES, found_by, history

RELATIONS = load([SHIPPED])
LATENESS_MS = 60_000


class KilledError(Exception):
    """The process ends here."""


@dataclass
class World:
    """What outlives the process: the topic of facts, the changelog, what was sent, and how far it is acknowledged."""

    chance: random.Random
    kill: float
    topic: list[bytes] = field(default_factory=list)
    changelog: dict[bytes, bytes] = field(default_factory=dict)
    sent: list[DerivedEvent] = field(default_factory=list)
    acknowledged: int = -1
    kills: int = 0
    longest_s: float = 43_200.0

    def may_die(self) -> None:
        if self.chance.random() < self.kill:
            self.kills += 1
            raise KilledError

    def write(self, records: list[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            self.may_die()
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value


def flush(state: RelationsPartition, world: World, now: float) -> None:
    """Do what the stage does, in its order."""
    while state.begin(now) is not None:
        world.write([state.step_record()])
        for advance in state.advances():
            world.may_die()
            for result in advance.results:
                world.sent.append(result)
                world.may_die()
            state.confirm([len(world.sent)])
            world.write([state.save(advance)])
        world.write([state.end()])
        world.write(state.compaction())
        world.write(state.superseded())
    world.may_die()
    world.acknowledged = max(world.acknowledged, state.complete)


def ranges(lines: list[str], chance: random.Random) -> Iterator[FactRange]:
    """Two sources, each a little out of order, some ranges sent twice; then silence until all deadlines are over."""
    events = [event for line in lines if isinstance(event := decode_one(line.encode()), Envelope)]
    arrivals = sorted((milliseconds(event.time) + chance.randrange(LATENESS_MS), event.id, event) for event in events)
    offsets, newest = {"web": 0, "store": 0}, dict.fromkeys(("web", "store"), 0)
    while arrivals:
        size = chance.randrange(1, 12)
        lot, arrivals = [event for *_, event in arrivals[:size]], arrivals[size:]
        for source, offset in offsets.items():
            facts = [
                (customer_of(event.subject, synthetic=event.synthetic), fact)
                for event in lot
                if (fact := RELATIONS.reader.fact(event)) and (event.channel == "store") == (source == "store")
            ]
            newest[source] = max([newest[source], *(fact.time for _, fact in facts)])
            watermark = (newest[source] - LATENESS_MS) / 1000 if newest[source] else None
            offsets[source] = offset + len(facts)
            one = FactRange(f"{source}/0", offset, offset + len(facts) - 1, watermark, True, facts)
            yield one
            if one.active and chance.random() < 0.2:
                yield one
    end = max(newest.values()) / 1000 + 400 * 86_400
    yield from (FactRange(f"{source}/0", 1, 0, end, True) for source in offsets)


def run(world: World, now: float) -> bool:
    """Run a process over what there is; False when it was killed."""
    state = RelationsPartition(RELATIONS, idle_s=1e12, grace_s=0.0, longest_s=world.longest_s)
    try:
        for changes in state.restoring([*world.changelog.items()], rewrites=world.chance.random() < 0.7):
            world.write(changes)
        world.write(state.superseded())
        for position in range(world.acknowledged + 1, len(world.topic)):
            state.take(decode_range(world.topic[position]), position)
            if world.chance.random() < 0.5:
                flush(state, world, now)
        flush(state, world, now)
    except KilledError:
        return False
    assert state.held == 0
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kill", "held"), [(0, 0.0, 1_000), (1, 0.02, 1_000), (2, 0.05, 1_000), (3, 0.03, 20)])
def test_what_holds_in_the_end_is_what_the_events_say(
    seed: int, kill: float, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "MOST_HELD", held)
    monkeypatch.setattr(partition, "AT_ONCE", 3)
    monkeypatch.setattr(customers, "MOST_BYTES", 3_000 * seed)
    monkeypatch.setattr(customers, "LEAST", 500)
    monkeypatch.setattr(partition, "MOST_TAKEN", 7)
    monkeypatch.setattr(partition, "MOST_OF_ONE", 4)
    chance, lines = random.Random(seed), history(RELATIONS, seed, events=400, days=1)
    world = World(chance, kill, longest_s=chance.choice([1_800.0, 43_200.0]))
    world.topic = [encode_range(one) for one in ranges(lines, chance)]
    while not run(world, 2e9):
        assert world.kills < 2_000
    assert found_by(RELATIONS, lines, world.sent) == holding(FILES, lines, TYPES)
    contents: dict[str, DerivedEvent] = {}
    for one in world.sent:
        assert contents.setdefault(one.id, one) == one, "what is sent again says the same"
    assert bool(kill) == (world.kills > 3)
    assert len(world.changelog) < 300, "what is not needed any more is deleted"


def test_what_a_short_step_left_is_waited_for() -> None:
    """Of history a step takes a part; after a restart the next one begins when all before is read again."""
    facts = [("c", Fact(1_000_000 + 10 * n, "s", f"e{n}", "cx.cart.added", {})) for n in range(4)]
    topic = [FactRange("web/0", n, n, 2_000.0, True, [fact]) for n, fact in enumerate(facts)]
    state = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12, longest_s=0.005)
    world = World(random.Random(0), 0.0)
    for position, one in enumerate(topic):
        state.take(one, position)
    assert state.begin(2_000.0)
    world.write([state.step_record(), *(state.save(advance) for advance in state.advances()), state.end()])
    state = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12, longest_s=0.005)
    state.restore(world.changelog.items())
    for position, one in enumerate(topic):
        assert state.begin(2_000.0) is None
        state.take(one, position)
    assert state.held == 3
    assert state.begin(2_000.0)


def test_a_customer_with_many_events_takes_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is advanced without a pause, and must not keep the worker from saying that it lives."""
    taken: list[int] = []
    advance = customer.advance

    def counted(*args: Any) -> customer.CustomerStep:
        taken.append(len(args[3]))
        return advance(*args)

    monkeypatch.setattr(customer, "advance", counted)
    monkeypatch.setattr(partition, "MOST_OF_ONE", 20)
    state = RelationsPartition(RELATIONS, grace_s=0.0, idle_s=1e12)
    kinds = ("cx.cart.added", "cx.order.placed")
    facts = [("c", Fact(1_000_000 + 10 * n, "s", f"e{n}", kinds[n % 2], {})) for n in range(200)]
    state.take(FactRange("web/0", 0, 199, 1_004.0, True, facts), 0)
    world = World(random.Random(0), 0.0)
    flush(state, world, 2_000.0)
    assert max(taken) == 20
    assert sum(taken) == 200
    assert len([one for one in world.sent if one.relation == "cart"]) == 100


def test_what_is_read_again_is_taken_once() -> None:
    """A range is known by its place, and of it only the facts that no step has taken."""
    step = RelationStep(number=3, fence=10, until=1_000, whole=4)
    taken = {(position, time): step.has(position, time) for position in (4, 10, 11) for time in (900, 1_000, 1_100)}
    assert [key for key, had in taken.items() if not had] == [(10, 1_100), (11, 900), (11, 1_000), (11, 1_100)]
    state = RelationsPartition(RELATIONS, grace_s=0.0)
    one = FactRange("web/0", 0, 0, 10.0, True, [("c", Fact(5_000, "s", "e", "cx.cart.added", {}))])
    assert state.take(one, 0)
    assert not state.take(one, 1)
    assert state.held == 1


def test_each_step_takes_its_own_of_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """History in half days: out of order, some of it read while a step is under way, each event taken once."""
    went = customer.advance
    taken: list[tuple[int, str]] = []

    def advance(relations: Relations, subject: str, old: bytes, facts: list[Fact], since: int, until: int) -> Any:
        taken.extend((until, fact.id) for fact in facts)
        return went(relations, subject, old, facts, since, until)

    monkeypatch.setattr(customer, "advance", advance)

    def happened(*hours: int) -> list[tuple[str, Fact]]:
        return [("c", Fact(hour * 3_600_000, "s", f"at {hour}", "cx.cart.added", {})) for hour in hours]

    state = RelationsPartition(RELATIONS, grace_s=0.0, longest_s=43_200)
    first = FactRange("web/0", 0, 5, 60 * 3600.0, True, happened(30, 2, 70, 1, 13, 50))
    state.take(first, 0)
    during = [FactRange("web/0", 6, 7, 60 * 3600.0, True, happened(80, 3))]
    while (step := state.begin(2e9)) is not None:
        while during:
            state.take(during.pop(), 1)
            assert state.complete == -1
        for advanced in state.advances():
            state.save(advanced)
        marker = state.end()
        assert step.until - taken[-1][0] <= 43_200_000
    assert [name for _, name in taken] == ["at 1", "at 2", "at 13", "at 3", "at 30", "at 50"]
    assert (state.held, state.complete) == (2, -1)
    successor = RelationsPartition(RELATIONS)
    successor.restore([marker])
    successor.take(first, 0)
    assert (successor.held, successor.complete) == (1, -1), "before it has begun anything, too"
    state.take(FactRange("web/0", 8, 7, 90 * 3600.0, True), 2)
    while state.begin(2e9) is not None:
        for advanced in state.advances():
            state.save(advanced)
        state.end()
    assert [name for _, name in taken[6:]] == ["at 70", "at 80"]
    assert (state.held, state.complete) == (0, 2)
