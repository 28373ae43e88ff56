"""
Every KPI on what relations say, fed with whatever that may hold, also with what is taken back: streamed and recomputed
numbers are the same.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streams.dashboards import files
from streams.events.derived import shipped
from streams.events.types import FieldInfo, data_fields
from streams.kpis.catalogue.catalogue import Catalogue
from streams.storage.connection import connect
from streams.storage.experience_view import TYPE, experience_view
from streams.storage.setup import prepare
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness import grafana
from tests.harness.clickhouse import Database
from tests.harness.derived import DEPLOY, catalogue
from tests.harness.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
EACH, OF_ANSWERS = 40, 300
START = datetime(2026, 3, 20, 23, 58, tzinfo=UTC)
LENGTHS_S = (0.0, 1.5, 59.0, 3_600.0, 100_000.0)
COUNTED = Catalogue.load([DEPLOY / "kpis"])
CHANNELS = ("web", "app", "store", "call_center")


def some_value(chance: random.Random, field: FieldInfo) -> Any:
    if field.values:
        return chance.choice(field.values)
    match field.kind:
        case "bool":
            return chance.random() < 0.5
        case "time":
            return START.isoformat()
        case "text":
            return chance.choice(["fa", "ب ت", "t\x1f\n3"])
    return chance.randrange(4) if field.integer else chance.choice(LENGTHS_S)


def some_data(chance: random.Random, kind: str) -> dict[str, Any]:
    fields = data_fields(kind)
    data = {name: some_value(chance, one) for name, one in fields.items() if one.required or chance.random() < 0.7}
    return data | ({"score": chance.randint(1, data.get("scale", 5))} if "score" in data else {})


def story(chance: random.Random, kind: str, number: int) -> Iterator[dict[str, Any]]:
    """What is said of one matter, in turn: often it is taken back, and often something else is said instead."""
    attributes = {
        "specversion": "1.0", "source": f"relations/{kind}", "type": kind, "subject": f"c{number % 5}",
        "channel": chance.choice(CHANNELS), "synthetic": chance.random() < 0.1,
        **({"region": "r1"} if chance.random() < 0.5 else {}), **({"unitid": "شعبه ۲"} if chance.random() < 0.5 else {}),
    }  # fmt: skip
    for revision in range(3):
        span = f"{kind}/{number}"
        time = (START + timedelta(seconds=chance.uniform(0, 240))).isoformat()
        data = {**some_data(chance, kind), "span": span, "revision": revision, "withdrawn": False}
        said = {**attributes, "id": f"{span}.{revision}", "time": time, "data": data}
        yield said
        if chance.random() < 0.5:
            return
        yield {**said, "id": f"{said['id']}-", "data": {**data, "withdrawn": True}}
        if chance.random() < 0.5:
            return


def test_every_kpi_of_relations_verifies_to_zero_also_where_matters_are_taken_back(database: Database) -> None:
    chance = random.Random(7)
    kpis = Catalogue({kpi.id: kpi for kpi in catalogue()})
    stories = [
        [*story(chance, one.name, number)]
        for one in shipped()
        for number in range(OF_ANSWERS if one.relation == "experience" else EACH)
    ]
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, kpis)
    fed = 0
    for turn in range(max(map(len, stories))):
        payloads = [json.dumps(said[turn]).encode() for said in stories if turn < len(said)]
        chance.shuffle(payloads)
        if turn == 1:
            # Within one range, too: what is said and taken back at once leaves no row.
            payloads += [json.dumps(said[turn + 1]).encode() for said in stories if turn + 1 < len(said)]
        elif turn == 2:
            continue
        pipeline.feed_derived(payloads, START.timestamp() + 300)
        fed += len(payloads)
    pipeline.finish()
    writer.close()

    client = connect(database.reader)
    try:
        report = verify(client, kpis)
    finally:
        client.close()
    assert list(map(str, report.differences)) == []
    assert report.checked["records"] == fed
    counted = {kpi for (kpi,) in database.rows("SELECT DISTINCT kpi FROM kpi_minutes WHERE by = '' AND n > 0")}
    assert counted == {kpi.id for kpi in kpis}
    [(emptied,)] = database.rows(
        "SELECT count() FROM kpi_minutes FINAL WHERE n = 0 AND NOT arrayExists(f -> f != 0, fields)"
    )
    assert emptied > 0, "some minutes held only what was taken back"

    answers = [events for events in stories if events[0]["type"] == TYPE and not events[0]["synthetic"]]
    holding = [events[-1]["data"] for events in answers if not events[-1]["data"]["withdrawn"]]
    rows = database.rows("SELECT metric, score, scale, contacts, last_wait_s, wait, delay FROM experience")
    names = ("metric", "score", "scale", "contacts", "last_wait_s", "wait", "delay")
    assert Counter(rows) == Counter(tuple(data.get(name) for name in names) for data in holding)
    assert holding
    assert (ROOT / "sql/views/experience.sql").read_text(encoding="utf-8") == experience_view()

    assert shown(database) == []


def shown(database: Database) -> list[str]:
    """Ask what both dashboards ask, as Grafana does; return the panels that show nothing."""
    prepare(database.admin, COUNTED, lambda _: None)
    # What waits is counted when its time is up: 90 days later at most.
    period = grafana.Period.over(START - timedelta(hours=1), START + timedelta(days=100))
    client = connect(database.reader)
    empty = []

    def ask(sql: str) -> list[list[Any]]:
        settings = {"max_execution_time": 60}
        return json.loads(client.raw_query(sql, settings=settings, fmt="JSONCompact"))["data"]

    try:
        texts = files.texts(COUNTED)
        for slug in ("journeys", "experience"):
            board = json.loads(texts[f"{slug}.json"])
            choices = grafana.choose(board, ask, period)
            for where, query in grafana.queries(board):
                if not ask(grafana.expand(query["rawSql"], choices, period)) and "annotation" not in where:
                    empty.append(f"{slug}: {where}")
    finally:
        client.close()
    return empty


def test_dashboards_of_relations_are_there_where_their_kpis_are_counted() -> None:
    named = {name.removesuffix(".json") for name in files.texts(COUNTED)}
    assert named - {name.removesuffix(".json") for name in files.texts(Catalogue.load())} == {"journeys", "experience"}
    one = Catalogue({**Catalogue.load().kpis, "cart_abandonment": COUNTED["cart_abandonment"]})
    assert "journeys.json" in files.texts(one)
    assert "experience.json" not in files.texts(one)
