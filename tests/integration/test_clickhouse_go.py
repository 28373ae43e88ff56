"""
The store as Grafana's plugin meets it: through clickhouse-go, natively and over HTTP, as the user who can only read.

Needs Go, and its module proxy the first time. Skipped without; CX_REQUIRE_GO=1 (in CI) makes that a failure.
"""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import DASHBOARDS
from streams.storage.writer import Writer
from tests.harness import grafana
from tests.harness.clickhouse import Database, event
from tests.harness.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "tests" / "go"
FETCH_S, RUN_S = 600, 900
# 2026-03-01 10:00 UTC, which the Go test expects.
PERIOD = grafana.Period.over(datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC))
# The boards whose queries differ most: scores and graphs of any KPI, words, the arrays of the alerts' table.
BOARDS = ("explorer", "alerts")


def absent(reason: str) -> None:
    """Skip, or fail where CX_REQUIRE_GO=1 says that Go must be there."""
    if os.environ.get("CX_REQUIRE_GO") == "1":
        pytest.fail(f"CX_REQUIRE_GO=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    go = shutil.which("go")
    if go is None:
        absent("no `go` on PATH: clickhouse-go is not tried")
    built = tmp_path_factory.mktemp("go") / "client"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    command = [str(go), "test", "-c", "-o", str(built), "."]
    try:
        fetched = subprocess.run(
            [str(go), "mod", "download"],
            check=False,
            cwd=MODULE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=FETCH_S,
        )
    except subprocess.TimeoutExpired:
        absent(f"the Go modules did not come within {FETCH_S} s")
    if fetched.returncode:
        absent(f"the Go modules cannot be had: {fetched.stderr.strip()[-500:]}")
    made = subprocess.run(
        command, check=False, cwd=MODULE, env=environment, capture_output=True, text=True, timeout=RUN_S
    )
    assert made.returncode == 0, made.stderr
    return built


@pytest.mark.timeout(FETCH_S + 2 * RUN_S)
def test_the_library_of_grafanas_plugin_reads_the_store(go_client: Path, database: Database, tmp_path: Path) -> None:
    """Hello, schema, types, parameters, panels, many blocks, and refusals; each over both protocols."""
    catalogue = Catalogue.load()
    writer = Writer(database.writer)
    writer.store_catalogue(catalogue)
    pipeline = Pipeline(writer, catalogue)
    pipeline.feed([event(n, segment="vip", time="2026-03-01T10:00:30Z", data={"score": 1 + n % 5}) for n in range(40)])
    pipeline.finish()
    writer.close()

    queries = {
        "view": "SELECT by, labels, time, value, n, if(n > 1000, lo, NULL) AS missing FROM kpi_series(kpi = 'csat',"
        " from = toDateTime(1772359200), to = toDateTime(1772362800), step = 3600) WHERE by = ''"
    }
    for slug in BOARDS:
        board = grafana.load(DASHBOARDS)[slug]
        choices = grafana.choose(board, lambda sql: database.client.query(sql).result_rows, PERIOD)
        for where, query in grafana.queries(board):
            queries[f"maybe {where}"] = grafana.expand(query["rawSql"], choices, PERIOD)
    order = tmp_path / "order.json"
    order.write_text(
        json.dumps({
            "http": f"127.0.0.1:{database.server.http_port}",
            "native": f"127.0.0.1:{database.server.tcp_port}",
            "database": database.name,
            "user": database.reader.user,
            "password": database.reader.password,
            "queries": queries,
            "level": 40.0,
            "answers": 40,
        }),
        encoding="utf-8",
    )  # fmt: skip
    ran = subprocess.run(
        [str(go_client), "-test.v", "-test.count=1", f"-test.timeout={RUN_S}s"],
        check=False, cwd=MODULE, env={**os.environ, "CX_CLICKHOUSE_GO": str(order)}, capture_output=True, text=True, timeout=RUN_S + 10,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[:6000] + ran.stderr[-2000:]
    assert ran.stdout.count("\n--- PASS: Test") == 6, ran.stdout[-3000:]
    assert ran.stdout.count("/native") >= 6
    assert ran.stdout.count("/http") >= 6
