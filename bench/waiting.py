"""
What many customers with something open cost a worker: `python -m bench.waiting`.

Each looks at pages, fills a cart and has a matter closed; then nothing more happens. What the stage `relate` saves of
them is put into its changelog, as compaction leaves it, and a worker takes it over. Measured are its resident memory,
beside that of one with nothing to take over, the most that it ever was, and how long it takes from its start until
relations go on, by the clock and by the CPU.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from confluent_kafka import Producer

from bench.__main__ import say
from bench.relating import DOINGS, RANGE, START_MS, facts_of
from bench.stand import MemoryBudget, Stand, Worker
from streams.engine.state import table_key
from streams.producers.wire import partition_of
from streams.relations.catalogue import Relations, load
from streams.relations.facts import Fact
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange
from streams.shipped import RELATIONS

SETTLED_S = 40.0
"""A worker gives memory back that lies free every half minute."""
PATIENCE_S = 600.0
_OWNED = re.compile(r"relate: partitions .* taken over")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


class Taken(NamedTuple):
    """What it cost a worker to take over what is there: resident bytes and the most of them, seconds and CPU seconds."""

    resident: int
    peak: int
    took_s: float
    cpu_s: float

    def cells(self) -> str:
        """Return the cells of a row."""
        return f"{self.resident / 2**20:.0f} | {self.peak / 2**20:.0f} | {self.took_s:.1f} s | {self.cpu_s:.1f} s |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.waiting", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--minutes", type=float, default=30.0, help="event time that it all takes (%(default)s)")
    chosen = parser.parse_args()
    relations = load([RELATIONS])
    with (
        tempfile.TemporaryDirectory(prefix="cx-waiting-") as folder,
        Stand("embedded", Path(folder), chosen.partitions) as stand,
    ):
        empty = _restored(stand, stand.budget("cxempty", {"CX_RELATIONS": "all"}))
        budget = stand.budget("cxwaiting", {"CX_RELATIONS": "all"})
        size = 0
        for partition in range(chosen.partitions):
            log = _log_of(relations, partition, chosen)
            size += sum(map(len, log.values()))
            _send(stand, budget, partition, log)
            say(f"partition {partition}: {len(log):,} records")
        waiting = _restored(stand, budget)
    print("| worker | resident MiB | at most | from its start until relations go on | CPU |")
    print("|---|---:|---:|---:|---:|")
    print(f"| nothing to remember | {empty.cells()}")
    print(f"| {chosen.customers:,} customers with something open | {waiting.cells()}")
    print(f"\n{size / chosen.customers:.0f} bytes of a customer in the changelog.")


def _log_of(relations: Relations, partition: int, chosen: argparse.Namespace) -> Mapping[bytes, bytes]:
    """Return what the changelog of a partition holds in the end."""
    log: dict[bytes, bytes] = {}
    state = RelationsPartition(relations, idle_s=1e9, grace_s=0.0, name=str(partition))
    facts, taken = _facts(relations, partition, chosen), 0
    while lot := [one for _, one in zip(range(RANGE), facts, strict=False)]:
        state.take(FactRange(f"web/{partition}", taken, taken + len(lot) - 1, lot[-1][1].time / 1000, True, lot), taken)
        taken += len(lot)
        if state.begin(2e9) is None:
            continue
        records = [*state.superseded(), state.step_record()]
        records += [state.save(advance) for advance in state.advances()]
        for key, value in (*records, state.end(), *state.compaction(), *state.superseded()):
            log.pop(key, None) if value is None else log.__setitem__(key, value)
    return log


def _facts(relations: Relations, partition: int, chosen: argparse.Namespace) -> Iterator[tuple[str, Fact]]:
    """Yield what the customers of a partition do, one customer after the other."""
    models = [fact for _, fact in facts_of(relations, 1, 1.0)]
    names = [f"c-{number}" for number in range(chosen.customers)]
    mine = [name for name in names if partition_of(name.encode(), chosen.partitions) == partition]
    apart_ms = chosen.minutes * 60_000 / len(mine) / len(DOINGS)
    number = 0
    for name in mine:
        for model in models:
            at = START_MS + int(number * apart_ms)
            yield name, msgspec.structs.replace(model, time=at, id=f"{partition}-{number}")
            number += 1


def _send(stand: Stand, budget: MemoryBudget, partition: int, log: Mapping[bytes, bytes]) -> None:
    producer = Producer({"bootstrap.servers": stand.broker.bootstrap, "acks": "all", "message.max.bytes": 8_000_000})
    topic = f"{budget.name}-relate-changelog"
    for key, value in log.items():
        producer.produce(topic, value, table_key(partition, key), partition)
        producer.poll(0)
        if len(producer) > 500:
            producer.flush(PATIENCE_S)
    if producer.flush(PATIENCE_S):
        raise RuntimeError("the changelog was not delivered")


def _restored(stand: Stand, budget: MemoryBudget) -> Taken:
    """Have a worker take over what is there."""
    began = time.monotonic()
    with stand.worker(budget) as worker:
        while not _OWNED.search(worker.child.log.read_text(errors="replace")):
            if worker.child.exit_code is not None or time.monotonic() > began + PATIENCE_S:
                raise RuntimeError(f"relations were not taken over:\n{worker.child.tail()}")
            time.sleep(0.05)
        took_s, cpu_s = time.monotonic() - began, worker.usage().cpu_s
        time.sleep(SETTLED_S)
        return Taken(worker.usage().resident, _peak(worker), took_s, cpu_s)


def _peak(worker: Worker) -> int:
    found = _PEAK.search(Path(f"/proc/{worker.child.pid}/status").read_text())
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
