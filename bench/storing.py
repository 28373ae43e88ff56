"""
What storing events costs ClickHouse: `python -m bench.storing`.

The events of the other benchmarks are taken in and packed as a worker does it, and sent in inserts of so many rows, into
a database of its own each time. Told are CPU microseconds of the server's process for an event, user and system, until
the last insert is answered, and until all merges that follow from it have ended; the median of the rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from bench.pool import START, pool
from streams.agents.records import block_of
from streams.events.intake import Intake
from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.connection import connect
from streams.storage.rows import ALIKE_COLUMNS, ALIKE_SETTINGS, EVENT_COLUMNS, Events, in_inserts
from tests.harness.clickhouse import TOPIC, Database, fresh_database, running_server

RANGE: Final = 2_500
QUIET_S: Final = 1.0
_TO_MICROSECONDS: Final = 1e6 / os.sysconf("SC_CLK_TCK")


class StoringCost(NamedTuple):
    """CPU microseconds for an event until inserts were answered, and until merges had ended; bytes that it takes."""

    user: float
    system: float
    merged: float
    stored: float


def ranges(payloads: Sequence[bytes]) -> Iterator[Events]:
    """Take records in, and yield each range as it is packed for the store."""
    intake = Intake(f"{TOPIC}/0", retention_s=86_400.0, dedup_ids=1_000_000)
    for start in range(0, len(payloads), RANGE):
        part = payloads[start : start + RANGE]
        intake.add(part, range(start, start + len(part)), START.timestamp() + 86_400)
        outcome = intake.close()
        if outcome is None:
            raise RuntimeError("a range was not closed")
        yield block_of(outcome, TOPIC, 0, 0).events


def ticks(server: EmbeddedClickHouse) -> tuple[int, int]:
    """Return the clock ticks that the server has used, user and system."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def cost(server: EmbeddedClickHouse, database: Database, packed: Sequence[Events], rows: int) -> StoringCost:
    """Store all of it in inserts of so many rows, and wait until the server rests."""
    at_once = max(1, rows // RANGE)
    events = sum(one.rows for one in packed)
    begun = ticks(server)
    with closing(connect(database.writer)) as client:
        for start in range(0, len(packed), at_once):
            alike, others = in_inserts(packed[start : start + at_once])
            ways = (ALIKE_COLUMNS, alike, ALIKE_SETTINGS), (EVENT_COLUMNS, others, {})
            for columns, frames, beside in ways:
                if frames:
                    # Without a token the server would name the insert by all that is in it.
                    settings = {"async_insert": 0, "insert_deduplication_token": f"{start}-{len(columns)}", **beside}
                    client.raw_insert(
                        "events", columns, b"".join(frames), settings=settings, fmt="Native", compression="zstd"
                    )
    answered = ticks(server)
    quiet = time.monotonic()
    while time.monotonic() - quiet < QUIET_S:
        if database.value("SELECT count() FROM system.merges"):
            quiet = time.monotonic()
        time.sleep(0.1)
    merged = ticks(server)
    stored = database.value(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'events' AND database = currentDatabase()"
    )
    user, system = ((after - before) * _TO_MICROSECONDS / events for before, after in zip(begun, answered, strict=True))
    return StoringCost(user, system, (sum(merged) - sum(begun)) * _TO_MICROSECONDS / events, stored / events)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.storing", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="events of a round (%(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 60_000], help="of an insert (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, after one that warms up (%(default)s)")
    chosen = parser.parse_args()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)

    packed = list(ranges([emission.payload for emission in pool(chosen.events, 20_000, 1, say)]))
    found: dict[int, list[StoringCost]] = {}
    with tempfile.TemporaryDirectory(prefix="cx-bench-storing-") as folder, running_server(Path(folder)) as server:
        with fresh_database(server) as database:
            cost(server, database, packed[: max(chosen.rows) // RANGE], max(chosen.rows))
        for number in range(chosen.rounds):
            for rows in chosen.rows:
                with fresh_database(server) as database:
                    found.setdefault(rows, []).append(cost(server, database, packed, rows))
                say(f"round {number + 1}, {rows:,} rows an insert: {found[rows][-1]}")
    print(
        "| rows an insert | user µs | system µs | together | range | with merges | bytes |\n|---:|---:|---:|---:|---:|---:|---:|"
    )
    for rows, costs in found.items():
        user, system, merged, stored = (statistics.median(values) for values in zip(*costs, strict=True))
        both = [one.user + one.system for one in costs]
        print(
            f"| {rows:,} | {user:.2f} | {system:.2f} | {statistics.median(both):.2f} | {min(both):.2f} to {max(both):.2f} "
            f"| {merged:.2f} | {stored:.0f} |"
        )
    print(
        f"\n{sum(one.rows for one in packed):,} events, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"
    )


if __name__ == "__main__":
    main()
