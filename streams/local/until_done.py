"""`cx up --until-done`: wait until a replay is stored to its last record, verify it, and say what came of it."""

import json
import time
from collections.abc import Callable
from typing import Any

from streams.agents.records import position
from streams.local.observe import WorkerState
from streams.local.run import EmbeddedRun
from streams.local.supervisor import ChildError
from streams.local.values import records_stored, totals
from streams.settings import window_names
from streams.storage.connection import StorageError, connect
from streams.storage.verify import verify

QUIET_S = 2.5
"""So long everything has to be finished: longer than any flush, so that nothing is between two stages."""

STALL_S = 120.0
"""So long nothing may move: nothing stored, and no stage further than before."""
PROGRESS_S = 5.0


def wait_until_done(run: EmbeddedRun, say: Callable[[str], None]) -> dict[str, Any]:
    """
    Return the replay's report once every record that it delivered is stored and every KPI published.

    Raises:
        ChildError: a part failed, or nothing has moved in any stage for two minutes.
    """
    quiet_since = reported_at = None
    rate = ProgressRate(time.monotonic())
    while True:
        now, report, stored = time.monotonic(), _report(run), _stored(run)
        state = run.state()
        still_s = rate.still_s(now, stored, state)
        if reported_at is None or now - reported_at > PROGRESS_S:
            lag = sum(state.lag.values()) if state else 0
            say(f"{stored:,} records stored, {lag:,} on their way")
            reported_at = now
        finished = report is not None and stored >= report["delivered"] and state is not None and state.idle
        if not finished:
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        elif now - quiet_since >= QUIET_S:
            assert report is not None
            return report
        if state is not None and state.stopped:
            raise ChildError("; ".join(f"{one.source} {one.text}" for one in state.stopped))
        if still_s > STALL_S:
            lag = sum(state.lag.values()) if state else 0
            raise ChildError(
                f"nothing has moved for {STALL_S:.0f} s: {stored:,} records are stored, {lag:,} are on their way;"
                f" see {run.data_dir}/logs"
            )
        run.watch_for(0.3)


class ProgressRate:
    """How long nothing has moved: a stage that works off what is behind the records moves as well."""

    def __init__(self, now: float) -> None:
        self._moved = now
        self._before: object = None

    def still_s(self, now: float, stored: int, state: WorkerState | None) -> float:
        """Take note of what is to be seen at `now` (seconds that only go forward); return since when it is the same."""
        signs = (stored, state and (state.outcomes, state.lag, state.pending, state.watermarks, state.steps))
        if signs != self._before:
            self._moved, self._before = now, signs
        return now - self._moved


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
    records = records_stored(run.address("reader"), position(run.epoch, 0), sent_only=True)
    balanced = records["read"] == sum(count for outcome, count in records.items() if outcome != "read")
    complete = report["delivered"] == report["sent"] and records["read"] == report["delivered"]
    # All refused is no success, though nothing is lost and nothing differs.
    some = records["bad"] < records["read"]
    differences = [str(difference) for difference in checked.differences]
    return {
        "ok": balanced and complete and some and not differences,
        "data_set": data_set,
        "replay": report,
        "records": records,
        "kpis": totals(run.address("reader")),
        "labels": state.labels if (state := run.state()) else {},
        "verify": {"checked": checked.checked, "differences": differences, "notes": checked.notes},
        "worker": {"cpu_seconds": round(run.worker_cpu_s(), 3), "restarts": run.worker.restarts if run.worker else 0},
    }


def _report(run: EmbeddedRun) -> dict[str, Any] | None:
    producer = run.producer
    if producer is None or producer.exit_code != 0:
        return None
    report: dict[str, Any] = json.loads(producer.said_last())
    return report


def _stored(run: EmbeddedRun) -> int:
    try:
        return records_stored(run.address("reader"), position(run.epoch, 0), sent_only=True)["read"]
    except StorageError:
        return -1
