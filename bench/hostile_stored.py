"""
What a hostile record costs the store, verifying and the live page: `python -m bench.hostile_stored`.

As `bench.hostile`, which measures the stages of a worker: the same shapes, each in a database of its own, beside
good records of the same size. CPU seconds are those of this process and of ClickHouse together: to store what becomes of
a shape's records, to recompute and compare them (`cx verify`), and to bring the page up to date once.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from streams.board.poller import Poller
from streams.board.store import BoardStore
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import CREDIT
from streams.kpis.rolling.admission import SeriesLimits
from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.connection import connect
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, fresh_database, running_server
from tests.harness.hostile import MOST, NOW, SHAPES, padded
from tests.harness.pipeline import Pipeline

STAGES: Final = ("store", "verify", "page")


def cpu_s(server: EmbeddedClickHouse) -> float:
    """Return the CPU seconds that this process and the server have used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def costs(server: EmbeddedClickHouse, catalogue: Catalogue, values: Sequence[bytes]) -> dict[str, float]:
    """Return CPU seconds per record by stage."""
    took: dict[str, float] = {}

    @contextmanager
    def measured(stage: str) -> Iterator[None]:
        begun = cpu_s(server)
        yield
        took[stage] = (cpu_s(server) - begun) / len(values)

    with fresh_database(server) as database:
        with measured("store"):
            _store(database, catalogue, values)
        with measured("verify"), closing(connect(database.reader)) as client:
            differences = verify(client, catalogue).differences
        if differences:
            raise RuntimeError(f"{len(differences)} differences, e.g. {differences[0]}")
        with measured("page"):
            poller = Poller(BoardStore(database.reader))
            poller.want("5m", "csat")
            for step in (poller._essentials, poller._rest, poller._trends):
                step()
            poller.store.close()
    return took


def _store(database: Database, catalogue: Catalogue, values: Sequence[bytes]) -> None:
    writer = Writer(database.writer)
    limits = SeriesLimits(lambda _kpi: 2_000, 1 << 27, 0.5, 0.5)
    pipeline = Pipeline(writer, catalogue, limits=limits, credit=CREDIT, now=NOW, retention_s=86_400.0)
    pipeline._folder._credits["web"] = 0.0  # as after the first second of a flood
    pipeline.feed(values)
    pipeline.finish()
    writer.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile_stored", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000, help="records of each shape (%(default)s)")
    parser.add_argument("--only", default="", help="shapes whose name holds this")
    chosen = parser.parse_args()
    catalogue = Catalogue.load()
    measures: dict[int, dict[str, float]] = {}
    print(f"| shape | bytes | {' | '.join(STAGES)} |\n|---|---:|{'---:|' * len(STAGES)}")

    def made(make: Callable[[int, random.Random], bytes]) -> list[bytes]:
        chance = random.Random(2)
        return [make(n, chance) for n in range(chosen.records)]

    with tempfile.TemporaryDirectory(prefix="cx-bench-hostile-") as folder, running_server(Path(folder)) as server:
        costs(server, catalogue, made(lambda n, chance: padded(n, chance, 400)))
        for name, make in SHAPES.items():
            if chosen.only not in name:
                continue
            values = made(make)
            size = sum(map(len, values)) // len(values)
            scale = max(400, 1 << max(1, size.bit_length()) - 1)
            if scale not in measures:
                measures[scale] = costs(server, catalogue, made(lambda n, chance, to=scale: padded(n, chance, to)))
            found, usual = costs(server, catalogue, values), measures[scale]
            shown = " | ".join(
                f"{1e6 * found[stage]:.0f} µs ({found[stage] / usual[stage]:.1f}×)"
                + (" !" if found[stage] > MOST * usual[stage] else "")
                for stage in STAGES
            )
            print(f"| {name} | {size} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
