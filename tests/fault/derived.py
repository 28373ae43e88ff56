"""What is stored of relations, held against the oracle of relations."""

import hashlib
import time
import urllib.request
from collections.abc import Iterable

import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streams.events.types import EVENT_TYPES, PIPELINE_TYPES
from streams.shipped import RELATIONS
from tests.harness.relations_oracle import Holding, holding, read, standing
from tests.harness.wholejob import Pipeline

FILES = sorted(RELATIONS.glob("*.yaml"))
PATIENCE_S = 120.0
UNTIL = "cx_relation_until_timestamp_seconds"


def compare(pipeline: Pipeline, counted: dict[int, list[str]]) -> dict[str, list[str]]:
    """Hold what is stored of relations against what follows from the events that are counted; give what is wrong."""
    deadline, known = time.monotonic() + PATIENCE_S, dict[tuple[int, int], Holding]()
    while True:
        wrong: dict[str, list[str]] = {"lost": [], "doubled": [], "wrong": []}
        ends = watermarks(pipeline)
        for partition, lines in sorted(counted.items()):
            until = ends.get(partition, 0)
            if (partition, until) not in known:
                known[partition, until] = holding(
                    FILES, lines, EVENT_TYPES.keys() - PIPELINE_TYPES, until, linked=False
                )
            _differences(known[partition, until], _stored(pipeline, partition, lines), wrong)
        ids = "SELECT id, count() FROM events WHERE topic LIKE '%.derived' GROUP BY id HAVING count() > 1"
        wrong["doubled"] += [f"derived event {name} stored {n} times" for name, n in pipeline.database.rows(ids)]
        if not any(wrong.values()) or time.monotonic() > deadline:
            return wrong
        time.sleep(2)


def watermarks(pipeline: Pipeline) -> dict[int, int]:
    """Return up to when everything is derived, in milliseconds, by partition."""
    found = {}
    for worker in pipeline.workers:
        if worker.process.poll() is None:
            with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                if family.name == UNTIL:
                    found |= {int(one.labels["partition"]): round(one.value * 1000) for one in family.samples}
    return found


def _stored(pipeline: Pipeline, partition: int, lines: Iterable[str]) -> Holding:
    rows = pipeline.database.rows(
        f"SELECT payload FROM events WHERE topic LIKE '%.derived' AND partition = {partition}"
    )
    relations = [block["id"] for path in FILES for block in yaml.safe_load(path.read_text(encoding="utf-8"))]
    names = {
        hashlib.blake2b(msgspec.msgpack.encode((relation, event["source"], event["id"])), digest_size=12).hexdigest(): (
            event["source"],
            event["id"],
        )
        for event in map(read, lines)
        for relation in relations
    }
    return standing((payload for (payload,) in rows), names)


def _differences(wanted: Holding, found: Holding, wrong: dict[str, list[str]]) -> None:
    wrong["lost"] += [f"derived {key}: {wanted[key]}" for key in sorted(wanted.keys() - found.keys())]
    wrong["doubled"] += [f"derived {key}: {found[key]}, not expected" for key in sorted(found.keys() - wanted.keys())]
    wrong["wrong"] += [
        f"derived {key}: {found[key]} stored, {wanted[key]} expected"
        for key in sorted(wanted.keys() & found.keys())
        if found[key] != wanted[key]
    ]
