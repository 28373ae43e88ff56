"""
Benchmark of what dashboards ask: `python -m bench.queries`.

A store is filled inside ClickHouse with 30 days of 10,000 series of the whole catalogue, hours and days are summed up as
they would be by themselves, and every question is asked several times as the read-only user. Assumed is:

- every grouping of every KPI of the catalogue: the whole has 1 series, channels 4, segments 5, regions 31, agents 600,
  units 120, topics 30, queues 12, touchpoints in channels 40, all others share what is left to 10,000 evenly;
- a series has a row in that share of minutes in which something happens to it: the whole always, a channel 95 %, a
  segment 90 %, a region 50 %, a unit 35 %, an agent 15 % (an eight-hour shift, a contact every few minutes), and so on;
- each day is like the first, moved: what is asked does not notice, and it is quickly made;
- one minute in a thousand is revised after its hour was summed up, in the last day;
- rolling values are there by the hour, and by the minute for the last three hours and around a day and a week earlier.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.connection import Address, connect
from streams.storage.setup import prepare
from tests.harness.filled import FIRST_DAY, fill_minutes, fill_values, questions, say, sum_up


class Found(NamedTuple):
    """What a question took: median, longest and the server's CPU time (median), in ms."""

    question: str
    rows: int
    p50: float
    longest: float
    cpu: float


def revise(client: Client, days: int) -> None:
    """Revise one minute in a thousand of the last day; its hours and its day are not summed up any more."""
    client.command(f"""
        INSERT INTO kpi_minutes (kpi, by, labels, minute, part, revision, fields, bins)
        SELECT kpi, by, labels, minute, part, revision + 1, fields, bins FROM kpi_minutes
        WHERE minute >= toDateTime({int((FIRST_DAY + timedelta(days=days - 1)).timestamp())}, 'UTC')
            AND cityHash64(kpi, toString(labels), minute) % 1000 = 0""")


def cpu_ms(pid: int) -> float:
    """Return the CPU time of a process so far: on a shared machine, what can be compared."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(ask: Callable[[str], int], pid: int, days: int, times: int) -> list[Found]:
    """Ask everything once to warm up, then several times."""
    found = []
    for name, sql in questions(days).items():
        rows = ask(sql)
        took, worked = [], []
        for _ in range(times):
            started, before = time.perf_counter(), cpu_ms(pid)
            ask(sql)
            took.append(1000 * (time.perf_counter() - started))
            worked.append(cpu_ms(pid) - before)
        found.append(Found(name, rows, statistics.median(took), max(took), statistics.median(worked)))
        say(f"{name}: {rows} rows, {found[-1].p50:.0f} ms, at most {max(took):.0f} ms, CPU {found[-1].cpu:.0f} ms")
    return found


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description=__doc__)
    parser.add_argument("--series", type=int, default=10_000, help="series (%(default)s)")
    parser.add_argument("--days", type=int, default=30, help="days (%(default)s)")
    parser.add_argument("--times", type=int, default=7, help="times that each question is asked (%(default)s)")
    parser.add_argument("--data", type=Path, help="keep the store here; a filled one is used as it is")
    options = parser.parse_args()
    catalogue = Catalogue.load()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch)
        data.mkdir(parents=True, exist_ok=True)
        with EmbeddedClickHouse(data, memory_mb=6144) as server:
            admin = Address(server.url, "cx", server.admin_user, server.credentials.admin)
            prepare(admin, catalogue, say)
            with closing(connect(admin, timeout_s=3600)) as client:
                if not client.query("SELECT count() FROM kpi_values").result_rows[0][0]:
                    started = time.monotonic()
                    rows = fill_minutes(client, catalogue, options.series, options.days)
                    say(f"{rows:,} minutes in {time.monotonic() - started:.0f} s")
                    summed, seconds = sum_up(client)
                    say(f"{summed:,} rows summed up twice in {seconds:.0f} s, {summed / seconds:,.0f} rows a second")
                    say(f"{fill_values(client, options.days):,} values")
                revise(client, options.days)
                stored = client.query("""
                    SELECT table, sum(rows), formatReadableSize(sum(bytes_on_disk)), count() FROM system.parts
                    WHERE active AND database = 'cx' AND rows > 0 GROUP BY table ORDER BY sum(rows) DESC""").result_rows
            reader = connect(Address(server.url, "cx", server.reader_user, server.credentials.reader), timeout_s=300)
            with closing(reader):
                assert server.pid is not None
                found = measure(lambda sql: len(reader.query(sql).result_rows), server.pid, options.days, options.times)
    for table, rows, size, parts in stored:
        print(f"{table}: {rows:,} rows, {size}, {parts} parts")
    print("\n| question | rows | p50 ms | max ms | CPU ms |\n|---|---|---|---|---|")
    for one in found:
        print(f"| {one.question} | {one.rows:,} | {one.p50:.0f} | {one.longest:.0f} | {one.cpu:.0f} |")
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
