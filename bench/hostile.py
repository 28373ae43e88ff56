"""
What a hostile record costs beside a good one of the same size: `python -m bench.hostile`.

Each shape is a batch of records that one sender could have sent. It goes through the stages of a worker in one thread:
intake (decoding, explaining what is refused), fold, merge (partials there and back, pages, windows), rows (what is
published and the block that is stored). Shown is the CPU time per record, and how many times that of good records of
the same size it is. `--check` ends with 1 if any stage takes more than ten times as much.

The median of good records is the measure, so memory of labels is warm, as it is in a worker that runs.
"""

import argparse
import random
import statistics
import sys
from typing import NamedTuple

from streams.kpis.catalogue.catalogue import Catalogue
from tests.harness.hostile import MOST, RANGE, SHAPES, STAGES, Make, padded, warm


class Cost(NamedTuple):
    """CPU seconds per record, by stage, and the records' mean size in bytes."""

    by_stage: dict[str, float]
    size: float


def cost(catalogue: Catalogue, make: Make, ranges: int, count: int = RANGE) -> Cost:
    """Return the median cost per record of a shape."""
    worker, chance = warm(catalogue), random.Random(2)
    took: list[dict[str, float]] = []
    size = 0.0
    for round_ in range(ranges):
        values = [make(1_000_000 + round_ * count + n, chance) for n in range(count)]
        size = statistics.fmean(map(len, values))
        took.append(worker.take(values))
    return Cost({stage: statistics.median(one[stage] for one in took) / count for stage in STAGES}, size)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--ranges", type=int, default=5, help="ranges of each shape (%(default)s)")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    parser.add_argument("--check", action="store_true", help=f"fail where it is more than {MOST:g} times a good record")
    chosen = parser.parse_args()
    catalogue = Catalogue.load()
    failed = False
    print(f"| shape | bytes | {' | '.join(STAGES)} | of it |\n|---|---:|{'---:|' * len(STAGES)}---|")
    for name, make in SHAPES.items():
        if chosen.only not in name:
            continue
        found = cost(catalogue, make, chosen.ranges)
        scale = max(400, round(found.size))
        measure = cost(catalogue, lambda n, chance, scale=scale: padded(n, chance, scale), chosen.ranges)
        times = {stage: found.by_stage[stage] / measure.by_stage[stage] for stage in STAGES}
        whole = sum(found.by_stage.values()) / sum(measure.by_stage.values())
        failed |= whole > MOST
        shown = " | ".join(f"{1e6 * found.by_stage[stage]:.1f} µs ({times[stage]:.1f}×)" for stage in STAGES)
        print(f"| {name} | {found.size:.0f} | {shown} | {whole:.1f}× |", flush=True)
    sys.exit(1 if failed and chosen.check else 0)


if __name__ == "__main__":
    main()
