"""
How long it takes until what relations derive shows in a KPI, once it can be known: `python -m bench.visible`.

Under a steady load of all channels customers enter and leave queues of their own. What is derived of that can be known
when the watermark passes the moment of leaving: when all sources may have told what is a lateness newer. From then on
it is counted until the wait shows in a KPI, on the topic and in ClickHouse; sources that have nothing to tell at that
moment are part of it.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.__main__ import say
from bench.latency import SETTLE_S, probe_event, quantiles, send, watch_store, watch_topic
from bench.pool import pool
from bench.stand import Stand
from streams.settings import load
from streams.storage.connection import connect

KPI: Final = "queue_wait_measured"
PATIENCE_S: Final = 60.0
_IN_STORE: Final = (
    f"SELECT DISTINCT labels['queue'] FROM kpi_minutes WHERE kpi = '{KPI}' AND mapContains(labels, 'queue')"
)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.visible", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--partitions", type=int, default=4, help="of each topic (%(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="events per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="time to measure for (%(default)s)")
    parser.add_argument("--relations", default="all", help="ids with commas between (%(default)s)")
    chosen = parser.parse_args()
    events, lateness_s = pool(100_000, 200.0, 1, say), load(environ={}).lateness_s
    asked, on_topic, in_store = dict[str, float](), dict[str, float](), dict[str, float]()
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="cx-visible-") as folder,
        Stand(chosen.broker, Path(folder), chosen.partitions) as stand,
    ):
        budget = stand.budget("cxvisible", {"CX_RELATIONS": chosen.relations})
        with stand.worker(budget) as worker:
            watchers = [
                threading.Thread(target=watch_topic, args=(stand, budget, on_topic, stop, KPI)),
                threading.Thread(target=watch_store, args=(connect(budget.address), _IN_STORE, in_store, stop)),
            ]
            for watcher in watchers:
                watcher.start()
            try:
                began, before = time.monotonic(), worker.usage().cpu_s
                probed = SETTLE_S + chosen.seconds

                def goes_on() -> bool:
                    """Whether probes are sent, or some of them are not seen and it may still be that they come."""
                    since = time.monotonic() - began - probed - lateness_s
                    return since < 0 or (len(in_store) < len(asked) and since < PATIENCE_S)

                def probe(name: str, stamp: bytes) -> Sequence[bytes]:
                    if time.monotonic() > began + probed:
                        return ()
                    asked[name] = time.time()
                    return _probe(name, stamp)

                total = send(stand, budget, events, chosen.rate, goes_on, {}, probe)
                wall_s, cpu_s = time.monotonic() - began, worker.usage().cpu_s - before
            finally:
                stop.set()
                for watcher in watchers:
                    watcher.join()
    if asked.keys() - (on_topic.keys() & in_store.keys()):
        raise RuntimeError(f"of {len(asked)} waits {len(on_topic)} came on the topic, {len(in_store)} into the store")
    print("| from the moment at which it can be known | p50 s | p99 s |\n|---|---:|---:|")
    for name, seen in (("in a KPI on the topic", on_topic), ("in ClickHouse", in_store)):
        p50, p99 = quantiles([seen[one] - at - lateness_s for one, at in asked.items()])
        print(f"| {name} | {p50:.2f} | {p99:.2f} |")
    print(
        f"\n{total / wall_s:,.0f} events per second, {len(asked)} waits, worker at {cpu_s / wall_s:.0%} of a CPU, load average"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()}"
    )


def _probe(name: str, stamp: bytes) -> Sequence[bytes]:
    """Return a wait in a queue nobody else stands in."""
    queue = {"queue": name}
    return [
        probe_event(name, stamp, "cx.contact.queue_entered", queue, contactid=name),
        probe_event(
            name, stamp, "cx.contact.queue_left", {**queue, "reason": "answered", "wait_s": 1.0}, contactid=name
        ),
    ]


if __name__ == "__main__":
    main()
