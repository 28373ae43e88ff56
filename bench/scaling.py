"""
What more partitions and a second worker cost: `python -m bench.scaling`.

For each number of partitions and of workers, in turn: the workers start and share the partitions, then the records are
sent, and counted are the CPU seconds of all of them until everything is stored and published. On a machine with fewer
CPUs than processes wall-clock time says nothing; CPU seconds for each event say what sharing costs, and what is left of
a worker's own speed is what a second one adds on a machine of its own.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.__main__ import say
from bench.pool import pool
from bench.stand import QUIET_S, MemoryBudget, Stand, Worker
from streams.producers.simulator import recycled

SHARED_S = 60.0


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--events", type=int, default=600_000, help="records per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, of which medians are shown (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="events per second of event time (%(default)s)")
    parser.add_argument("--partitions", type=int, nargs="+", default=[2, 4, 8], help="of every topic (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="at once (%(default)s)")
    chosen = parser.parse_args()
    events = pool(min(400_000, chosen.events), chosen.rate, 1, say)
    rates: dict[tuple[int, int], list[float]] = {}
    for partitions in chosen.partitions:
        with (
            tempfile.TemporaryDirectory(prefix="cx-scaling-") as folder,
            Stand("embedded", Path(folder), partitions) as stand,
        ):
            for number in range(chosen.rounds):
                for workers in chosen.workers:
                    budget = stand.budget(f"cx{workers}x{number}", {})
                    with _shared(stand, budget, workers) as running:
                        before = sum(worker.usage().cpu_s for worker in running)
                        count = stand.fill(budget, recycled(events, chosen.events), 500)
                        cpu_s = _used(running, count) - before
                    rates.setdefault((partitions, workers), []).append(count / cpu_s)
                    say(f"{partitions} partitions, {workers} workers: {count / cpu_s:,.0f} events per CPU second")
    print("| partitions of each topic | workers | events per CPU second, of all | against the first row |")
    print("|---:|---:|---:|---:|")
    first = statistics.median(next(iter(rates.values())))
    for (partitions, workers), found in rates.items():
        middle = statistics.median(found)
        print(f"| {partitions} | {workers} | {middle:,.0f} | {middle / first:.2f} |")


@contextmanager
def _shared(stand: Stand, budget: MemoryBudget, workers: int) -> Iterator[list[Worker]]:
    """Run so many workers, from the moment at which each has its share of the partitions."""
    with ExitStack() as stack:
        running = [stack.enter_context(stand.worker(budget.seat(number))) for number in range(workers)]
        deadline = time.monotonic() + SHARED_S
        while not all(0 < share < 4 * stand.partitions or workers == 1 for share in map(_share, running)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the workers own {[_share(worker) for worker in running]} source partitions")
            time.sleep(0.1)
        yield running


def _share(worker: Worker) -> int:
    """Return how many source partitions a worker has taken over last."""
    taken = re.findall(r"ingest: (\d+) source partitions taken over", worker.child.log.read_text(errors="replace"))
    return int(taken[-1]) if taken else 0


def _used(running: list[Worker], count: int) -> float:
    """Wait until all is stored and every worker is idle; return the CPU seconds used until then."""
    running[0].finish(count, say)
    used, idle_since = 0.0, None
    while idle_since is None or time.monotonic() - idle_since < QUIET_S:
        states = [worker.state() for worker in running]
        if not all(state is not None and state.idle for state in states):
            idle_since = None
        elif idle_since is None:
            idle_since, used = time.monotonic(), sum(worker.usage().cpu_s for worker in running)
        time.sleep(0.1)
    return used


if __name__ == "__main__":
    main()
