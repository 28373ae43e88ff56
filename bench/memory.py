"""
How much memory a worker takes for what it remembers: `python -m bench.memory`.

Some hours of a simulated company are read by a worker, which then stops. A second one restores the state, takes part in
a minute of live traffic, and is measured, beside a worker that has nothing to remember. So it is the memory of state:
series, their minutes, windows and ids; not what a backlog holds for moments, which is shown apart.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.__main__ import say
from bench.pool import pool
from bench.stand import Stand
from streams.producers.simulator import Emission, recycled

SETTLED_S = 20.0
_NAMES = re.compile(rb'("(?:agentid|unitid|queue|region|segment)":"[^"\\]*)"')


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of event time (%(default)s)")
    parser.add_argument("--rate", type=float, default=5.0, help="events per second of event time (%(default)s)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--copies", type=int, default=1, help="of every agent, shop, queue, region and segment (%(default)s)"
    )
    chosen = parser.parse_args()
    count = int(chosen.hours * 3600 * chosen.rate)
    events = pool(count, chosen.rate, 1, say)
    with (
        tempfile.TemporaryDirectory(prefix="cx-memory-") as folder,
        Stand("embedded", Path(folder), chosen.partitions) as stand,
    ):
        with stand.worker(stand.budget("cxempty", {})) as worker:
            time.sleep(SETTLED_S)
            empty = worker.usage().resident
        # Named, so that the second one takes over at once what the first one has left.
        budget = stand.budget("cxmemory", {"CX_INSTANCE": "memory"})
        sent = stand.fill(budget, _copied(recycled(events, count), chosen.copies), 500)
        with stand.worker(budget) as worker:
            after, _ = worker.finish(sent, say)
        with stand.worker(budget.seat(1)) as worker:
            time.sleep(SETTLED_S)
            restored, series = worker.usage().resident, int(worker.metric("cx_series"))
    print("| worker | resident MiB |")
    print("|---|---:|")
    print(f"| nothing to remember | {empty / 2**20:.0f} |")
    print(f"| just read {sent:,} events of {chosen.hours:g} hours | {after.resident / 2**20:.0f} |")
    print(f"| the same state restored, {series:,} series | {restored / 2**20:.0f} |")
    print(f"\n{(restored - empty) / 2**20 / series * 1000:.1f} MiB for 1,000 series with their minutes.")


def _copied(events: Iterable[Emission], copies: int) -> Iterator[Emission]:
    """Give names by which KPIs are grouped to so many in turn, so that there are more series of the same traffic."""
    for number, emission in enumerate(events):
        suffix = b"-%d" % (number % copies)
        payload = _NAMES.sub(rb"\1" + suffix + b'"', emission.payload) if copies > 1 else emission.payload
        yield emission._replace(payload=payload)


if __name__ == "__main__":
    main()
