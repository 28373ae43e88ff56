"""
How soon all is well again: `python -m bench.recovery`.

A worker that remembers something is killed by SIGKILL again and again under steady traffic, and started anew at once, as
a supervisor does it. Measured is how long it takes until an event that was sent after the kill shows in a KPI. At the end
every record must be accounted for, and every KPI equal to its recomputation from the stored events.

Then ClickHouse is stopped and an hour of events comes. KPIs go on; ClickHouse is started again, and measured is how long
it takes until all of the hour is stored.
"""

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.__main__ import say
from bench.latency import send, watch_topic
from bench.pool import pool
from bench.stand import Stand, Worker
from streams.local.run import SESSION_S
from streams.producers.simulator import recycled
from streams.storage.verify import verify

APART_S = 12.0
"""Between two kills: so long that the worker has caught up and committed."""

PATIENCE_S = 300.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--kills", type=int, default=8, help="0: none (%(default)s)")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events per second, live (%(default)s)")
    parser.add_argument("--before", type=int, default=200_000, help="events read before the first kill (%(default)s)")
    parser.add_argument("--hour", type=int, default=720_000, help="events without ClickHouse; 0: none (%(default)s)")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="cx-recovery-") as folder,
        Stand(chosen.broker, Path(folder), chosen.partitions) as stand,
    ):
        if chosen.kills:
            _killed(stand, chosen.before, chosen.rate, chosen.kills)
        if chosen.hour:
            _without_store(stand, chosen.hour)


def _killed(stand: Stand, before: int, rate: float, kills: int) -> None:
    """Kill a worker again and again, and print after how many seconds a new event shows in a KPI."""
    events = pool(before, 1_000.0, 1, say)
    budget = stand.budget("cxkilled", _membership(stand))
    filled = stand.fill(budget, recycled(events, before), 500)
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}
    waits: list[float] = []
    stop, stop_watching = threading.Event(), threading.Event()
    with stand.worker(budget) as worker, ThreadPoolExecutor(2) as threads:
        worker.finish(filled, say)
        watching = threads.submit(watch_topic, stand, budget, seen, stop_watching)
        live = pool(before, 1_000.0, 2, say)
        sending = threads.submit(send, stand, budget, live, rate, lambda: not stop.is_set(), sent)
        try:
            for number in range(1, kills + 1):
                time.sleep(APART_S)
                moment = time.time()
                _kill(worker)
                _wait(lambda moment=moment: _first_seen(sent, seen, moment) is not None, worker)
                waits.append((_first_seen(sent, seen, moment) or 0.0) - moment)
                say(f"kill {number} of {kills}: a new event in a KPI after {waits[-1]:.1f} s")
        finally:
            stop.set()
            total = filled + sending.result()
            stop_watching.set()
            watching.result()
        worker.finish(total, say)
        report = verify(worker.client, stand.catalogue)
        repeated = worker.client.query("SELECT sum(duplicate) FROM outcomes").first_row[0]
    if report.differences:
        raise RuntimeError(f"{len(report.differences)} differences after {kills} kills, first: {report.differences[0]}")
    print(
        f"\nworker killed {kills} times at {rate:,.0f} events per second, {stand.kind} broker: a new event in a KPI after"
    )
    print(f"{statistics.median(waits):.1f} s (median), {max(waits):.1f} s (longest); {total:,} records accounted for,")
    print(f"{repeated:,} of them duplicates, 0 differences between KPIs and stored events.")


def _membership(stand: Stand) -> dict[str, str]:
    """Return the settings that let a new process take over at once from one that is dead: those of `cx up`, and ours."""
    if stand.kind == "embedded":
        return {"CX_BROKER_SESSION_S": str(SESSION_S), "CX_SOLE_WORKER": "true", "CX_CHANGELOG_COPY": "true"}
    return {"CX_INSTANCE": "recovery"}


def _first_seen(sent: dict[str, float], seen: dict[str, float], moment: float) -> float | None:
    """Return when the first probe that was sent after a moment was seen, if any was (Unix s)."""
    return min((at for name, at in list(seen.items()) if sent[name] >= moment), default=None)


def _kill(worker: Worker) -> None:
    pid = worker.child.pid
    if pid is None:
        raise RuntimeError(f"the worker ended by itself:\n{worker.child.tail()}")
    os.kill(pid, signal.SIGKILL)
    while worker.child.exit_code is None:
        time.sleep(0.01)
    worker.child.start()


def _without_store(stand: Stand, count: int) -> None:
    """Send an hour of events while ClickHouse is away, and print how long it takes to store them."""
    rate = count / 3600
    events = pool(count, rate, 1, say)
    budget = stand.budget("cxaway", {})
    with stand.worker(budget) as worker:
        stand.clickhouse.stop()
        sent = stand.fill(budget, recycled(events, count), 500)
        _wait(lambda: worker.metric("cx_records_read_total") >= sent, worker)
        resident = worker.usage().resident
        say(f"without ClickHouse: KPIs of {sent:,} events, worker at {resident / 2**20:.0f} MiB")
        stand.clickhouse.start()
        began = time.monotonic()
        _, ended = worker.finish(sent, say)
        report = verify(worker.client, stand.catalogue)
    if report.differences:
        raise RuntimeError(f"{len(report.differences)} differences, first: {report.differences[0]}")
    print(
        f"\nan hour without ClickHouse, {sent:,} events of {rate:,.0f} per second: the worker counted all of them and took"
    )
    print(f"{resident / 2**20:.0f} MiB; all was stored {ended - began:.0f} s after ClickHouse was back, ", end="")
    print(f"{3600 / (ended - began):,.0f} x real time; 0 differences.")


def _wait(condition: Callable[[], bool], worker: Worker) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if worker.child.exit_code is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not come to pass in {PATIENCE_S:.0f} s:\n{worker.child.tail()}")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
