"""`cx up --data`: a second run goes on where the first one ended, although the broker has forgotten everything."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.producers.simulator import Plan, emissions

START = datetime(2026, 3, 21, 6, 0, 29, tzinfo=UTC)
"""What is sent first ends early in a minute: event time goes on with the clock while the next run starts."""
NEW_KPI = """
- id: visits
  name: Visits
  question: How many sessions began?
  unit: count
  direction: up
  class: A
  aggregator: count
  formula: sessions started
  source: test
  owner: test
  groupings: [[], [channel]]
  of: {events: [cx.session.started]}
"""


def up(data: Path, events: Path, **settings: str) -> dict[str, Any]:
    """Replay a file into a folder; return the report."""
    command = [sys.executable, "-m", "streams", "up", "--replay", "jsonl", "--path", str(events), "--until-done"]
    done = subprocess.run(
        [*command, "--data", str(data), "--json"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=1000,
    )
    assert done.stdout, (
        f"exit code {done.returncode}: {done.stderr}\n{(data / 'logs' / 'worker.log').read_text()[-3000:]}"
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["ok"], done.returncode) == (True, 0), report
    assert report["verify"]["differences"] == []
    return report


def total(report: dict[str, Any], kpi: str) -> int:
    return next(row["n"] for row in report["kpis"] if row["kpi"] == kpi and not row["by"])


def of_customers(report: dict[str, Any]) -> list[dict[str, Any]]:
    """All totals but those of the pipeline itself, which counts what is sent again."""
    catalogue = Catalogue.load()
    return [row for row in report["kpis"] if not catalogue[row["kpi"]].of_pipeline]


@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_runs_over_a_kept_store_are_one(tmp_path: Path) -> None:
    """Sent again, everything is a duplicate; new events add to windows and totals; a new KPI counts the old ones too."""
    payloads = [one.payload for one in islice(emissions(Plan(start=START, rate=20.0, flat=True, seed=3)), 4_000)]
    half, whole = tmp_path / "half.jsonl", tmp_path / "whole.jsonl"
    half.write_bytes(b"\n".join(payloads[:3_000]) + b"\n")
    whole.write_bytes(b"\n".join(payloads) + b"\n")
    data = tmp_path / "data"

    first = up(data, half)
    assert first["records"]["counted"] == 3_000
    assert not (data / "unfinished").exists()

    second = up(data, half)
    assert second["records"] == {"read": 3_000, "counted": 0, "duplicate": 3_000, "late": 0, "bad": 0, "conflict": 0}
    assert of_customers(second) == of_customers(first)
    assert [total(one, "duplicate_rate") for one in (first, second)] == [3_000, 6_000]
    assert second["verify"]["checked"]["records"] == 6_000

    (tmp_path / "kpis.yaml").write_text(NEW_KPI)
    (data / "unfinished").touch()
    third = up(data, whole, CX_KPIS_PATH=str(tmp_path / "kpis.yaml"))
    assert third["records"] == {"read": 4_000, "counted": 1_000, "duplicate": 3_000, "late": 0, "bad": 0, "conflict": 0}
    assert total(third, "volume") > total(first, "volume")
    started = sum(b'"cx.session.started"' in payload and b'"synthetic":true' not in payload for payload in payloads)
    assert total(third, "visits") == started

    refused = subprocess.run(
        [sys.executable, "-m", "streams", "up", "--no-simulate", "--data", str(data)],
        env={**os.environ, "CX_PARTITIONS": "8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert refused.returncode == 1
    assert "use CX_PARTITIONS=4" in refused.stderr
