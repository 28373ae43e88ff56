"""`cx up --until-done`: wait until a replay is stored to its last record, verify it, and say what came of it."""

import json
import time
from collections.abc import Callable
from typing import Any

from streams.agents.records import position
from streams.local.run import EmbeddedRun
from streams.local.supervisor import ChildError
from streams.local.values import records_stored, totals
from streams.settings import window_names
from streams.storage.connection import StorageError, connect
from streams.storage.verify import verify

QUIET_S = 2.5
"""So long everything has to be finished: longer than any flush, so that nothing is between two stages."""

STALL_S = 120.0
PROGRESS_S = 5.0


def wait_until_done(run: EmbeddedRun, say: Callable[[str], None]) -> dict[str, Any]:
    """
    Return the replay's report once every record that it delivered is stored and every KPI published.

    Raises:
        ChildError: a part failed, or nothing has moved for two minutes.
    """
    quiet_since = told = None
    moved, before = time.monotonic(), -1
    while True:
        run.watch()
        now, report, stored = time.monotonic(), _report(run), _stored(run)
        state = run.state()
        if stored != before:
            moved, before = now, stored
        if told is None or now - told > PROGRESS_S:
            lag = sum(state.lag.values()) if state else 0
            say(f"{stored:,} records stored, {lag:,} on their way")
            told = now
        finished = report is not None and stored >= report["delivered"] and state is not None and state.idle
        if not finished:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= QUIET_S:
            assert report is not None
            return report
        if state is not None and state.stopped:
            raise ChildError(f"stopped, most records are bad: {', '.join(state.stopped)}; see the worker's log")
        if now - moved > STALL_S:
            raise ChildError(f"nothing was stored for {STALL_S:.0f} s, {stored:,} records are; see {run.data_dir}/logs")
        time.sleep(0.3)


def result_of(run: EmbeddedRun, data_set: str, report: dict[str, Any]) -> dict[str, Any]:
    """
    Return what came of a replay: records by outcome, KPI values by label with n, what `cx verify` found.

    Raises:
        StorageError: the store does not answer.
    """
    client = connect(run.address("reader"))
    try:
        checked = verify(client, run.catalogue, window_names(run.settings))
    finally:
        client.close()
    records = records_stored(run.address("reader"), position(run.epoch, 0))
    balanced = records["read"] == sum(count for outcome, count in records.items() if outcome != "read")
    complete = report["delivered"] == report["sent"] and records["read"] == report["delivered"]
    differences = [str(difference) for difference in checked.differences]
    return {
        "ok": balanced and complete and not differences,
        "data_set": data_set,
        "replay": report,
        "records": records,
        "kpis": totals(run.address("reader")),
        "verify": {"checked": checked.checked, "differences": differences},
        "worker": {"cpu_seconds": round(run.worker_cpu_s(), 3), "restarts": run.worker.restarts if run.worker else 0},
    }


def _report(run: EmbeddedRun) -> dict[str, Any] | None:
    producer = run.producer
    if producer is None or producer.exit_code != 0:
        return None
    report: dict[str, Any] = json.loads(producer.tail().strip().splitlines()[-1])
    return report


def _stored(run: EmbeddedRun) -> int:
    try:
        return records_stored(run.address("reader"), position(run.epoch, 0))["read"]
    except StorageError:
        return -1
