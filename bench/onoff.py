"""
What relations cost the whole job: `python -m bench.onoff`.

The same records are read with and without relations, turn by turn; counted are the CPU seconds of the worker until all
that follows is stored. No source counts as silent, so that what waits for time to pass is not part of it: neither is what
happened in the last minute, so that the rate should be such that there are several.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.pool import pool
from bench.stand import Stand


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and print a table: the ratio first."""
    parser = argparse.ArgumentParser(prog="python -m bench.onoff", description=__doc__)
    parser.add_argument("--events", type=int, default=150_000, help="records of a round (%(default)s)")
    parser.add_argument("--rate", type=float, default=250.0, help="events per second of event time (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which medians are shown (%(default)s)")
    parser.add_argument("--relations", default="all", help="ids with commas between (%(default)s)")
    chosen = parser.parse_args()
    events = pool(chosen.events, chosen.rate, 1, say)
    spent: dict[str, list[tuple[float, float, int, int]]] = {"": [], chosen.relations: []}
    with tempfile.TemporaryDirectory(prefix="cx-bench-") as folder, Stand("embedded", Path(folder), 4) as stand:
        for number in range(chosen.rounds):
            for place, relations in enumerate(spent):
                budget = stand.budget(f"cx{number}{place}", {"CX_RELATIONS": relations, "CX_IDLE_S": "3600"})
                count = stand.fill(budget, events, 500)
                with stand.worker(budget) as worker:
                    before, began = worker.usage(), time.monotonic()
                    after, ended = worker.finish(count, say)
                    derived = int(worker.metric("cx_relation_results_total")) if relations else 0
                found = after.cpu_s - before.cpu_s, ended - began, after.resident, derived
                spent[relations].append(found)
                say(f"{relations or 'without'}: {found[0]:.1f} s CPU, {found[1]:.1f} s, {derived:,} derived events")
    without, with_them = ([statistics.median(values) for values in zip(*runs, strict=True)] for runs in spent.values())
    print(f"throughput with relations: {without[0] / with_them[0]:.0%} of that without, by CPU; "
          f"{without[1] / with_them[1]:.0%} by the clock\n")  # fmt: skip
    print(
        "| | events per CPU second | CPU s | wall clock s | memory MiB | derived events |\n|---|---:|---:|---:|---:|---:|"
    )
    for name, (cpu_s, wall_s, resident, derived) in (("without", without), (chosen.relations, with_them)):
        rate = chosen.events / cpu_s
        print(f"| {name} | {rate:,.0f} | {cpu_s:.1f} | {wall_s:.1f} | {resident / 2**20:.0f} | {derived:,.0f} |")


if __name__ == "__main__":
    main()
