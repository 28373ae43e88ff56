"""Synthetic paths through real doors: all arrives and counts nowhere; whatever is down is named, in time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.door import DoorProcess
from tests.harness.wholejob import PATIENCE_S, ROOT, Pipeline

PATHS = """
- id: cart
  name: {en: A cart that is ordered}
  channel: web
  within: 2m
  steps:
    - {event: cx.cart.added, touchpoint: cart, data: {product: synthetic, price: 1}}
    - {event: cx.order.placed, times: 2, orderid: '{run}', data: {amount: 1, currency: IRR}}
    - {event: cx.page.viewed, refused: missing_field}
  derives:
    - {event: cx.cart.ended, says: {outcome: ordered}}
- id: answer
  name: {en: An answer over HTTP}
  channel: app
  door: http
  within: 2m
  steps:
    - {event: cx.survey.answered, data: {survey_id: s, metric: nps, scale: 10, score: '۲'}}
    - {event: cx.survey.answered, refused: out_of_range, data: {survey_id: s, metric: csat, scale: 5, score: 6}}
"""


def run(pipeline: Pipeline, file: Path, **settings: str) -> tuple[int, list[dict[str, Any]], str]:
    """Go the paths of a file once; the exit code, what is told of each, and what is complained of."""
    done = subprocess.run(
        [sys.executable, "-m", "streams", "synthetic", "run", "--once", "--json", "--file", str(file)],
        cwd=ROOT, env={**os.environ, **pipeline.environment, "CX_CONFIG": "", **settings},
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    lines = done.stdout.replace("}\n{", "}\0{").split("\0")
    return done.returncode, [json.loads(line) for line in lines if line.strip()], done.stderr


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_paths_arrive_count_nowhere_and_name_what_is_down(pipelines: Any, tmp_path: Path) -> None:
    pipeline = pipelines(partitions=2, relations="cart", cases="shipped", lateness_s=1, idle_s=1)
    worker = pipeline.start_alone()
    file = tmp_path / "paths.yaml"
    file.write_text(PATHS, encoding="utf-8")
    door = DoorProcess(pipeline.environment, tmp_path / "door.log")
    try:
        code, told, said = run(pipeline, file, CX_COLLECT_PORT=str(door.port))
    finally:
        door.stop()
    assert (code, said) == (0, ""), (told, pipeline.workers[0].tail())
    assert {one["path"]: (one["ok"], len(one["checks"])) for one in told} == {"cart": (True, 6), "answer": (True, 3)}
    # Three events, one of them twice; eleven that tell of it, and what the relation said.
    records = pipeline.wait_stored(4 + 11 + 1)
    assert (records["duplicate"], records["bad"], records["conflict"]) == (1, 0, 0)
    counted = dict(
        pipeline.database.rows("SELECT kpi, sum(n) FROM kpi_minutes FINAL WHERE by = '' AND n > 0 GROUP BY kpi")
    )
    of_pipeline = {kpi.id for kpi in pipeline.catalogue if kpi.of_pipeline}
    assert {kpi: n for kpi, n in counted.items() if kpi not in of_pipeline} == {
        "synthetic_success": 2, "synthetic_successes": 2, "synthetic_latency": 9,
    }  # fmt: skip
    stored = pipeline.database.rows(
        "SELECT type, synthetic FROM events WHERE type IN ('cx.order.placed', 'cx.cart.ended') ORDER BY type"
    )
    assert stored == [("cx.cart.ended", True), ("cx.order.placed", True)]
    assert pipeline.database.rows("SELECT count() FROM cases") == [(0,)]
    report = pipeline.verify()
    assert list(map(str, report.differences)) == []

    worker.kill()
    file.write_text(PATHS.replace("within: 2m", "within: 3s"), encoding="utf-8")
    code, told, _ = run(pipeline, file, CX_COLLECT_PORT=str(door.port))
    assert code == 3
    assert {one["path"]: one["failed"] for one in told} == {"cart": "step 1 stored", "answer": "step 1 accepted"}
    [reason] = {one["reason"] for one in told[0]["checks"] + told[1]["checks"] if one.get("leg") == "stored"}
    assert reason == "not_stored"
    assert all(one["duration_s"] < 100 for one in told), "less than the two minutes of before"
