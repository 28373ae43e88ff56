"""
Every KPI of the catalogue, fed with whatever its events may hold: streamed and recomputed numbers are the same.

Simulated customers never do some of what the KPIs are about; here every type of event comes with every field.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from streams.events.decode import encode
from streams.events.types import DATA_TYPES, EVENT_TYPES, FieldInfo, data_fields, new_event
from streams.kpis.catalogue.catalogue import Catalogue
from streams.storage.connection import connect
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline

EACH = 60
START = datetime(2026, 3, 20, 23, 58, tzinfo=UTC)
CHANNELS = ("web", "app", "store", "call_center")


def some_value(r: random.Random, field: FieldInfo) -> Any:
    """A value the field may hold, often one at an edge."""
    if field.values:
        return r.choice(field.values)
    match field.kind:
        case "bool":
            return r.random() < 0.5
        case "time":
            return START
        case "text":
            return "IRR" if field.pattern else r.choice(["fa", "ب ت", "t\x1f\n3"])
    low, high = max(field.low or 0, -50) if field.low is not None else -50, min(field.high or 5000, 5000)
    if field.integer:
        return r.choice([int(low), int(low) + 1, r.randint(int(low), int(high))])
    return r.choice([float(low), float(high), 0.05, 0.5, r.uniform(low, high)])


def some_data(r: random.Random, kind: str) -> Any:
    """The content of an event: what is required, and most of what is optional."""
    fields = data_fields(kind)
    made = {name: some_value(r, field) for name, field in fields.items() if field.required or r.random() < 0.7}
    if made.get("metric") in {"nps", "enps"} and "scale" in fields:
        made["scale"] = 10
    if "score" in fields:
        made["score"] = r.randint(1, made["scale"])
    return DATA_TYPES[kind](**made)


def test_every_kpi_of_the_catalogue_verifies_to_zero(database: Database) -> None:
    """None is left without a number, and none has a wrong one."""
    r = random.Random(5)
    catalogue = Catalogue.load()
    payloads = [
        encode(
            new_event(
                some_data(r, kind), id=f"{kind}/{n}", source="/test", subject=f"c{n % 5}",
                time=START + timedelta(seconds=r.uniform(0, 240)), channel=r.choice(CHANNELS),
                touchpoint=r.choice([None, "search", "delivery"]), unitid=r.choice([None, "u1", "شعبه ۲"]),
                agentid=r.choice([None, "a1"]), segment=r.choice([None, "vip"]), region=r.choice([None, "r1"]),
                experiment=r.choice([None, "x"]), variant=r.choice([None, "a"]), synthetic=r.random() < 0.1,
            )
        )
        for kind in EVENT_TYPES
        for n in range(EACH)
    ]  # fmt: skip
    payloads += [
        *payloads[: len(payloads) // 10],
        *(b"{" for _ in range(EACH)),
        *(b'{"type": "cx.no.such"}' for _ in range(EACH)),
    ]
    r.shuffle(payloads)
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, catalogue)
    for start in range(0, len(payloads), 2000):
        pipeline.feed(payloads[start : start + 2000])
    pipeline.finish()
    writer.close()

    client = connect(database.reader)
    try:
        report = verify(client, catalogue)
    finally:
        client.close()
    assert list(map(str, report.differences)) == []
    assert report.checked["records"] == len(payloads)
    counted = {kpi for (kpi,) in database.rows("SELECT DISTINCT kpi FROM kpi_minutes WHERE by = '' AND n > 0")}
    assert counted == {kpi.id for kpi in catalogue if kpi.derive is None and () in kpi.groupings}
    derived = {kpi for (kpi,) in database.rows("SELECT DISTINCT kpi FROM kpi_values")}
    assert derived >= {kpi.id for kpi in catalogue if kpi.derive is not None}
