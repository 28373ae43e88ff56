"""Relations live: what is derived is exact, whatever happens to the worker, and KPIs of what channels send do not wait."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from streams.events.decode import decode_derived, decode_one
from streams.events.types import Envelope
from streams.producers.readers.base import Touch
from streams.relations.catalogue import load
from streams.relations.machine import name_of
from streams.shipped import RELATIONS as SHIPPED
from tests.harness.spans_oracle import SPECS, shipped
from tests.unit.test_relations_oracle import START, history

RELATIONS = load([SHIPPED]).only(SPECS)
KILLS = 2


def recent(seed: int) -> list[str]:
    """A day's events of some customers, the last of them two hours ago."""
    shift = datetime.now(UTC) - timedelta(hours=26) - datetime.fromtimestamp(START / 1000, UTC)

    def moved(text: str) -> str:
        return (datetime.fromisoformat(text) + shift).isoformat(timespec="milliseconds")

    lines = []
    for raw in map(json.loads, history(seed)):
        data = {name: moved(value) if name == "due" else value for name, value in raw["data"].items()}
        lines.append(json.dumps({**raw, "time": moved(raw["time"]), "data": data}))
    return lines


def in_disorder(lines: list[str], seed: int) -> list[Touch]:
    """Each less than a minute out of order by its time, some repeated."""
    chance = random.Random(seed)
    events = [json.loads(line) for line in lines]
    keyed = sorted((datetime.fromisoformat(e["time"]).timestamp() + chance.uniform(0, 50), e["id"], e) for e in events)
    touches = []
    for _, _, event in keyed:
        touch = Touch(0.0, event["channel"], event["subject"], json.dumps(event).encode())
        touches += [touch, touch] if chance.random() < 0.1 else [touch]
    return touches


def reached(pipeline) -> float:
    """Up to when every partition knows what happened; from there on it goes as fast as the clock."""
    newest: dict[int, float] = {}
    for topic in pipeline.topics.sources:
        for record in pipeline.consume(topic):
            at = datetime.fromisoformat(json.loads(record.value)["time"]).timestamp()
            newest[record.partition] = max(at, newest.get(record.partition, 0.0))
    return min(newest.values()) - 61


def known(found: set[tuple[str, str, str, int, float]], until: float) -> set[tuple[str, str, str, int, float]]:
    """Those that have ended by a moment."""
    return {one for one in found if one[3] <= until * 1000}


@pytest.mark.parametrize("seed", [1])
def test_derived_events_are_exact_through_kills(pipelines, seed):
    """A worker is killed while it derives, twice: what holds in topic and store is what the events say."""
    pipeline = pipelines(relations=",".join(sorted(SPECS)), idle_s=2, dedup_ids=5_000)
    lines = recent(seed)
    touches = in_disorder(lines, seed)
    part = len(touches) // (KILLS + 1)
    for number in range(KILLS):
        worker = pipeline.start("only")
        pipeline.send(touches[number * part : (number + 1) * part])
        more = 20 * (number + 1)
        pipeline.wait(lambda more=more: len(pipeline.consume(pipeline.topics.derived)) > more, "derived events")
        worker.kill()
    pipeline.send(touches[KILLS * part :])
    worker = pipeline.start("only")
    facts = [fact for line in lines if (event := decode_one(line.encode())) and (fact := RELATIONS.reader.fact(event))]
    ids = {name_of(name, fact): fact.id for name in SPECS for fact in facts}
    until = reached(pipeline)

    def standing() -> set[tuple[str, str, str, int, float]]:
        said: dict[str, tuple[int, Envelope]] = {}
        for record in pipeline.consume(pipeline.topics.derived):
            event = decode_derived(record.value)
            assert isinstance(event, Envelope), event
            version = 2 * event.data.revision + event.data.withdrawn
            if version >= said.get(event.data.span, (-1,))[0]:
                said[event.data.span] = version, event
        return {
            (
                event.source.partition("/")[2],
                ids[event.data.span],
                event.data.outcome,
                round(event.time.timestamp() * 1000),
                event.data.duration_s,
            )
            for _, event in said.values()
            if not event.data.withdrawn
        }

    wanted = known(shipped(lines), until)
    assert len(wanted) > 100
    pipeline.wait(lambda: known(standing(), until) == wanted, f"{len(wanted)} results")
    ids_sent = {json.loads(record.value)["id"] for record in pipeline.consume(pipeline.topics.derived)}
    derived = "FROM events WHERE topic LIKE '%.derived'"
    pipeline.wait(
        lambda: pipeline.database.value(f"SELECT uniqExact(id) {derived}") >= len(ids_sent), "derived events stored"
    )
    assert pipeline.database.value(f"SELECT count() - uniqExact(id) {derived}") == 0, (
        "what was sent again is no new event"
    )
    assert pipeline.database.value("SELECT count() FROM dead_letters") == 0
