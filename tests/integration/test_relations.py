"""Relations live: what is derived is exact, whatever happens to the worker, and KPIs of what channels send do not wait."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.producers.readers.base import Touch
from streams.relations.catalogue import load
from streams.shipped import RELATIONS as SHIPPED
from tests.harness.relations_oracle import A_TIME, Holding, holding, standing
from tests.unit.test_relations_oracle import FILES, START, TYPES, history, names_of

RELATIONS = load([SHIPPED])
KILLS = 2


def recent(seed: int) -> list[str]:
    """A day's events of some customers, the last of them two hours ago."""
    shift = datetime.now(UTC) - timedelta(hours=26) - datetime.fromtimestamp(START / 1000, UTC)

    def moved(value: Any) -> Any:
        if not (isinstance(value, str) and A_TIME.fullmatch(value)):
            return value
        return (datetime.fromisoformat(value) + shift).isoformat(timespec="milliseconds")

    lines = []
    for raw in map(json.loads, history(RELATIONS, seed, days=1)):
        data = {name: moved(value) for name, value in raw["data"].items()}
        lines.append(json.dumps({**raw, "time": moved(raw["time"]), "data": data}))
    return lines


LINKS = [
    ("x-0", "x-1", 6),
    ("x-2", "x-3", 4),
    ("x-6", "x-7", 7),
    ("x-8", "x-6", 5),
    ("x-9", "x-10", 6),
    ("x-11", "x-10", 3),
]
"""Person, alias, and how many hours ago that is known."""


def linked(seed: int) -> list[str]:
    """Others whose keys, in several partitions, turn out to belong together: what revisions reach."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=10)
    found = [raw for raw in map(json.loads, recent(seed + 1)) if datetime.fromisoformat(raw["time"]) > since]
    lines = [json.dumps({**raw, "id": f"x-{raw['id']}", "subject": raw["subject"].replace("c", "x")}) for raw in found]
    for number, (subject, alias, hours) in enumerate(LINKS):
        raw = {"specversion": "1.0", "id": f"link-{number}", "source": "s", "subject": subject, "channel": "web"}
        raw |= {"type": "cx.identity.linked", "time": (now - timedelta(hours=hours)).isoformat()}
        lines.append(json.dumps({**raw, "data": {"alias": alias}}))
    # Clocks of all partitions go on from one moment.
    for number in range(24):
        raw = {"specversion": "1.0", "id": f"end-{number}", "source": "s", "subject": f"y-{number}", "channel": "web"}
        raw |= {"type": "cx.page.viewed", "time": (now - timedelta(hours=2)).isoformat()}
        lines.append(json.dumps({**raw, "data": {"page": "home"}}))
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


@pytest.mark.parametrize("seed", [1])
def test_derived_events_are_exact_through_kills(pipelines, seed):
    """A worker is killed while it derives, twice: what holds in topic and store is what the events say."""
    pipeline = pipelines(relations="all", idle_s=2, dedup_ids=5_000)
    lines = recent(seed) + linked(seed)
    touches = in_disorder(lines, seed)
    part = len(touches) // (KILLS + 1)
    for number in range(KILLS):
        worker = pipeline.start_alone()
        pipeline.send(touches[number * part : (number + 1) * part])
        more = 20 * (number + 1)
        pipeline.wait(lambda more=more: len(pipeline.consume(pipeline.topics.derived)) > more, "derived events")
        worker.kill()
    pipeline.send(touches[KILLS * part :])
    worker = pipeline.start_alone()
    names, until = names_of(RELATIONS, lines), int(reached(pipeline) * 1000)

    def found() -> Holding:
        sent = [record.value.decode() for record in pipeline.consume(pipeline.topics.derived)]
        return {key: one for key, one in standing(sent, names).items() if one[0] <= until}

    wanted = holding(FILES, lines, TYPES, until)
    assert len(wanted) > 500
    assert wanted != holding(FILES, lines, TYPES, until, linked=False)
    pipeline.wait(lambda: found() == wanted, f"{len(wanted)} results")
    ids_sent = {json.loads(record.value)["id"] for record in pipeline.consume(pipeline.topics.derived)}
    derived = "FROM events WHERE topic LIKE '%.derived'"
    pipeline.wait(
        lambda: pipeline.database.value(f"SELECT uniqExact(id) {derived}") >= len(ids_sent), "derived events stored"
    )
    assert pipeline.database.value(f"SELECT count() - uniqExact(id) {derived}") == 0, (
        "what was sent again is no new event"
    )
    assert pipeline.database.value("SELECT count() FROM dead_letters") == 0
