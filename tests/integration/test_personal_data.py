"""Planted identifiers, the whole job, and a look for them everywhere: none in clear, and all over if nothing masks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streams.engine.names import TABLES
from streams.local.observe import worker_state
from streams.producers.planting import Planter, PlantingSender
from streams.producers.simulator import Flaws, Plan, emissions
from tests.conftest import Broker
from tests.harness.clickhouse import Database
from tests.harness.wholejob import PATIENCE_S, ROOT, Pipeline

RECORDS = 1_200
PLAN = Plan(start=datetime(2026, 11, 22, 6, tzinfo=UTC), rate=50.0, flat=True, seed=3)
OURS = {"facts", "case_facts", "cases", "kpi.partials", "blocks", "kpis", "dead_letters", "touchpoints.derived"}


@pytest.fixture
def pipeline(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    privacy, kind = request.param
    broker: Broker = request.getfixturevalue(kind)
    made = Pipeline(
        broker.bootstrap,
        database,
        tmp_path,
        partitions=2,
        privacy=privacy,
        relations="cart,promise",
        cases="shipped",
    )
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "pipeline",
    [pytest.param(("on", "kafka_broker"), marks=pytest.mark.kafka), ("off", "embedded_broker")],
    indirect=True,
    ids=["on", "off"],
)
def test_what_was_planted_is_found_nowhere_unless_nothing_masks(pipeline: Pipeline, tmp_path: Path) -> None:
    """In no table, topic of ours, dead letter or log. Without masking, all kinds are found."""
    planter = Planter(11)
    sender = PlantingSender(pipeline.producer, planter)
    for one in islice(emissions(PLAN, Flaws(bad=0.05, duplicate=0.02)), RECORDS):
        sender.send_encoded(one.payload, one.channel, one.subject)
    assert pipeline.producer.flush(60).complete
    worker = pipeline.start()
    pipeline.wait(lambda: _is_done(pipeline), "everything to be stored")
    assert worker.stop() == 0
    planted = tmp_path / "planted.txt"
    planted.write_text("\n".join(planter.planted))
    assert len(planter.planted) > 150
    code, said = _look(pipeline, planted, worker.log)
    found: list[dict[str, Any]] = said["found"]
    looked_in: dict[str, int] = said["looked_in"]
    assert looked_in["table events"] > 700
    assert looked_in["table dead_letters"] > 30
    assert {f"topic {pipeline.topics.prefix}.{name}" for name in OURS} < looked_in.keys()
    assert all(looked_in[f"topic {pipeline.topics.prefix}.{name}"] for name in OURS - {"cases", "touchpoints.derived"})
    assert all(looked_in[f"topic {pipeline.topics.prefix}-{name}-changelog"] for name in TABLES)
    assert looked_in[f"file {worker.log}"] > 10
    if pipeline.environment["CX_PRIVACY"] == "on":
        assert (found, code) == ([], 0)
        return
    assert code == 1
    kinds = {kind: {one["where"] for one in found if one["kind"] == kind} for kind in ("planted", "email", "phone")}
    for places in kinds.values():
        assert {"table events", f"topic {pipeline.topics.blocks}"} <= places
    assert {"table dead_letters", f"topic {pipeline.topics.facts}", f"topic {pipeline.topics.dead_letters}"} <= kinds[
        "planted"
    ]
    assert {one["kind"] for one in found} == {"planted", "email", "phone", "national_id", "card", "iban"}
    fields = {one["field"] for one in found if one["where"] == "table events"}
    assert {"subject", "id", "payload.subject", "payload.labels.contact", "payload.crm.people.reach"} <= fields
    assert not any(identifier in json.dumps(found) for identifier in planter.planted)


def _is_done(pipeline: Pipeline) -> bool:
    sent = pipeline.database.value("SELECT sum(read) FROM outcomes WHERE NOT endsWith(topic, '.derived')")
    state = worker_state(pipeline.workers[0].port)
    return sent == RECORDS and state is not None and state.idle


def _look(pipeline: Pipeline, planted: Path, log: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [
            sys.executable, "-m", "streams", "doctor", "--personal-data", "--json",
            "--planted", str(planted), "--file", str(log),
        ],
        cwd=ROOT, env={"PATH": "", **pipeline.environment}, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
