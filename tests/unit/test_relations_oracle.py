"""A second way of working out every shipped relation, which shares nothing with the product, comes to the same."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streams.events.decode import decode_derived, decode_one
from streams.events.derived import declare
from streams.events.types import EVENT_TYPES, PIPELINE_TYPES, Envelope, FieldInfo, data_fields
from streams.producers.simulator import Flaws, Plan, emissions
from streams.relations.catalogue import Relations, load
from streams.relations.events import types_of
from streams.relations.facts import milliseconds
from streams.relations.machine import name_of
from streams.relations.results import DerivedEvent, event_of
from streams.relations.timelines import Arrival, Stop, disordered, duplicated, play, stopped
from streams.shipped import RELATIONS as SHIPPED
from tests.harness.relations_at_random import relations_at_random
from tests.harness.relations_oracle import Holding, holding, standing

pytestmark = pytest.mark.slow

Come = Callable[[Sequence[str], int], tuple[list[Arrival], list[Stop]]]
FILES = sorted(SHIPPED.glob("*.yaml"))
LATENESS = 60_000

START = 1_777_000_000_000
TYPES = EVENT_TYPES.keys() - PIPELINE_TYPES
HOUR = 3_600_000
ATTRIBUTES = {
    "orderid": ["o-1", "o-2"], "contactid": ["k-1", "k-2"], "sessionid": ["s-1", "s-2"], "unitid": ["shop"],
    "traceid": ["t-1", "t-2"], "stage": ["awareness", "support"], "region": ["تهران"],
}  # fmt: skip


def some_value(chance: random.Random, field: FieldInfo, time: int) -> Any:
    if field.values:
        return chance.choice(field.values)
    match field.kind:
        case "bool":
            return chance.random() < 0.5
        case "time":
            return iso(time + chance.randrange(-3, 300) * 600_000)
        case "text":
            return chance.choice(["a", "ب"])
    return chance.randrange(1, 4) if field.integer else chance.choice([0.0, 1.5, 30.125, 400.0])


def iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat()


def history(relations: Relations, seed: int, *, events: int = 1_500, customers: int = 12, days: int = 2) -> list[str]:
    """Some customers' events of all types that are read, often in the same minute."""
    chance = random.Random(seed)
    kinds = sorted(kind for relation in relations.values() if len(relation.events) < 24 for kind in relation.events)
    lines = []
    for number in range(events):
        time, kind = START + chance.randrange(days * 24 * 60) * 60_000, chance.choice(kinds)
        data = {
            name: some_value(chance, field, time)
            for name, field in data_fields(kind).items()
            if field.required or (chance.random() < 0.6 and name not in {"currency", "lang"})
        }
        data |= {"score": chance.randint(1, data["scale"])} if {"score", "scale"} <= data.keys() else {}
        raw = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": kind, "time": iso(time)}
        raw |= {"subject": f"c-{chance.randrange(customers)}", "channel": chance.choice(["web", "app", "store"])}
        raw |= {"synthetic": True} if number % 19 == 4 else {}
        raw |= {name: chance.choice(values) for name, values in ATTRIBUTES.items() if chance.random() < 0.8}
        line = json.dumps({**raw, "data": data})
        if isinstance(decode_one(line.encode()), Envelope):
            lines.append(line)
    assert len(lines) > events * 0.85, "events of all but few kinds are valid"
    return lines


def simulated(seed: int, count: int) -> list[str]:
    plan = Plan(start=datetime.fromtimestamp(START / 1000, UTC), rate=300.0, flat=True, seed=seed)
    return [one.payload.decode() for one in islice(emissions(plan, Flaws()), count)]


def names_of(relations: Relations, lines: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return source and id of the event that each matter may be named by."""
    events = [event for line in lines if isinstance(event := decode_one(line.encode()), Envelope)]
    facts = [fact for event in events if (fact := relations.reader.fact(event))]
    return {name_of(one.id, fact): (fact.source, fact.id) for one in relations.values() for fact in facts}


def found_by(relations: Relations, lines: Sequence[str], results: Iterable[DerivedEvent]) -> Holding:
    """Return what the product says, as the oracle says it."""
    sent = [json.dumps(event_of(relations[one.relation], one)) for one in results]
    for line in sent:
        assert isinstance(derived := decode_derived(line.encode()), Envelope), derived
    return standing(sent, names_of(relations, lines))


def arrivals_of(lines: Sequence[str]) -> list[Arrival]:
    """Return events as they come if each is read when it happens."""
    events = [event for line in lines if isinstance(event := decode_one(line.encode()), Envelope)]
    return [Arrival(event, milliseconds(event.time)) for event in events]


def in_time(lines: Sequence[str], seed: int) -> tuple[list[Arrival], list[Stop]]:
    """Return events in disorder with repeats, and stops."""
    arrivals = arrivals_of(lines)
    return duplicated(disordered(arrivals, LATENESS, seed), seed), stopped(arrivals, seed)


def late(lines: Sequence[str], seed: int) -> tuple[list[Arrival], list[Stop]]:
    """Return events a fourth of which is up to 20 hours late, and stops."""
    chance = random.Random(seed)
    arrivals = [
        Arrival(one.event, one.at + chance.choice([0, 0, 0, chance.randrange(20 * HOUR)])) for one in arrivals_of(lines)
    ]
    return duplicated(arrivals, seed), stopped(arrivals, seed)


def check(paths: Sequence[Path], lines: Sequence[str], come: tuple[list[Arrival], list[Stop]]) -> Holding:
    """Hold what the product says against the oracle; return it."""
    relations = load(paths)
    declare(types_of(relations.values()))
    arrivals, stops = come
    found = found_by(relations, lines, [one for _, one in play(relations, arrivals, LATENESS, stops=stops).results])
    wanted = holding(paths, lines, TYPES)
    assert [
        f"{key}: {found.get(key)}, not {wanted.get(key)}" for key in found | wanted if found.get(key) != wanted.get(key)
    ] == []
    return found


@pytest.mark.parametrize("way", [in_time, late])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_shipped_relation_is_what_another_way_gives(seed: int, way: Come) -> None:
    lines = history(load(FILES), seed)
    found = check(FILES, lines, way(lines, seed))
    assert {name for name, *_ in found} == set(load(FILES)), "each of them says something"


@pytest.mark.parametrize("seed", [11, 12])
def test_relations_of_simulated_customers_are_what_another_way_gives(seed: int) -> None:
    lines = simulated(seed, 3_000)
    assert len(check(FILES, lines, in_time(lines, seed))) > 1_000


@pytest.mark.parametrize("way", [in_time, late])
@pytest.mark.parametrize("seed", range(2))
def test_relations_that_nobody_thought_of_are_what_another_way_gives(seed: int, way: Come, tmp_path: Path) -> None:
    file = tmp_path / "relations.yaml"
    file.write_text(relations_at_random(seed, 20), encoding="utf-8")
    lines = history(load([file]), seed, events=800)
    found = check([file], lines, way(lines, seed))
    assert len({name for name, *_ in found}) > 15
