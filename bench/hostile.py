"""
What a hostile record costs beside a good one of the same size: `python -m bench.hostile`.

Each shape is some batches of records that one sender could have sent. They go through the stages of a worker in one
thread: ingest (decoding, explaining what is refused, the block that is stored), fold, merge (partials there and back,
pages, windows, the rows that are published). Shown is the mean CPU time per record, the first ones of a flood among them,
and how many times the median of good records of the same size it is. `--check` ends with 1 if any stage takes more than
ten times as much. `python -m bench.hostile_stored` measures what comes behind a worker.

Good records are met by a worker that knows their labels, as it does when it runs.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from streams.commands.worker import calm_garbage_collector
from streams.kpis.catalogue.catalogue import Catalogue
from tests.harness.hostile import MOST, RANGE, SHAPES, STAGES, Make, padded, warm


class Cost(NamedTuple):
    """CPU seconds per record, by stage, and the records' mean size in bytes."""

    by_stage: dict[str, float]
    size: float


def cost(
    catalogue: Catalogue, make: Make, ranges: int, typical: Callable[[Iterable[float]], float], count: int = RANGE
) -> Cost:
    """Return the typical cost per record of a shape."""
    worker, chance = warm(catalogue), random.Random(2)
    took: list[dict[str, float]] = []
    size = 0.0
    for round_ in range(ranges):
        values = [make(1_000_000 + round_ * count + n, chance) for n in range(count)]
        size = statistics.fmean(map(len, values))
        took.append(worker.take(values))
    return Cost({stage: typical([one[stage] for one in took]) / count for stage in STAGES}, size)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--ranges", type=int, default=5, help="ranges of each shape (%(default)s)")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--check", action="store_true", help=f"fail where it is more than {MOST:g} times a good record")
    chosen = parser.parse_args()
    catalogue = Catalogue.load()
    calm_garbage_collector()
    failed = False
    print(f"| shape | bytes | {' | '.join(STAGES)} | of it |\n|---|---:|{'---:|' * len(STAGES)}---|")
    for name, make in SHAPES.items():
        if chosen.only not in name:
            continue
        found = cost(catalogue, make, chosen.ranges, statistics.fmean)
        scale = max(400, round(found.size))
        good = cost(catalogue, partial(padded, size=scale), chosen.ranges, statistics.median)
        times = {stage: found.by_stage[stage] / good.by_stage[stage] for stage in STAGES}
        whole = sum(found.by_stage.values()) / sum(good.by_stage.values())
        failed |= max(times.values()) > MOST
        shown = " | ".join(
            f"{1e6 * found.by_stage[stage]:.1f} µs ({times[stage]:.1f}×)" + " !" * (times[stage] > MOST)
            for stage in STAGES
        )
        print(f"| {name} | {found.size:.0f} | {shown} | {whole:.1f}× |", flush=True)
    sys.exit(1 if failed and chosen.check else 0)


if __name__ == "__main__":
    main()
