"""
Benchmark of every panel: `python -m bench.panels --data DIR`, on a store that `bench.queries --data DIR` filled.

All queries of all dashboards are asked as they open, with their variables on All, over the last day and over everything
there is, as the read-only user. The store holds KPIs only: panels of events, words and alerts answer with nothing.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench.queries import Found, cpu_ms
from streams.local.clickhouse import EmbeddedClickHouse
from streams.shipped import DASHBOARDS
from streams.storage.connection import Address, connect
from tests.harness import grafana
from tests.harness.filled import say

GOAL_MS = 1_000


def measure(reader: Client, pid: int, period: grafana.Period, times: int) -> Iterator[Found]:
    """Ask what each panel asks, once to warm up, then several times."""
    for board in grafana.load(DASHBOARDS).values():
        choices = grafana.choose(board, lambda sql: reader.query(sql).result_rows, period)
        for where, query in grafana.queries(board):
            sql = grafana.expand(query["rawSql"], choices, period)
            rows = len(reader.query(sql).result_rows)
            took, worked = [], []
            for _ in range(times):
                started, before = time.perf_counter(), cpu_ms(pid)
                reader.query(sql)
                took.append(1000 * (time.perf_counter() - started))
                worked.append(cpu_ms(pid) - before)
            yield Found(where, rows, statistics.median(took), max(took), statistics.median(worked))
        say(f"{board['title']}")


def main() -> None:
    """Ask, and print how long all took, and the slowest one by one."""
    parser = argparse.ArgumentParser(prog="python -m bench.panels", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a store that is filled")
    parser.add_argument("--times", type=int, default=3, help="times that each question is asked (%(default)s)")
    parser.add_argument("--slowest", type=int, default=15, help="questions that are listed (%(default)s)")
    options = parser.parse_args()
    with EmbeddedClickHouse(options.data, memory_mb=6144) as server:
        address = Address(server.url, "cx", server.reader_user, server.credentials.reader)
        with closing(connect(address, timeout_s=300)) as reader:
            [(first, last)] = reader.query("SELECT min(hour), max(hour) FROM kpi_hours").result_rows
            start, end = first.replace(tzinfo=UTC), last.replace(tzinfo=UTC) + timedelta(hours=1)
            assert server.pid is not None
            for name, since in (("all there is", start), ("the last day", max(start, end - timedelta(days=1)))):
                found = list(measure(reader, server.pid, grafana.Period.over(since, end), options.times))
                _print(f"{name}, {_length(since, end)}", found, options.slowest)
    print(f"\nload of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _length(start: datetime, end: datetime) -> str:
    return f"{(end - start).total_seconds() / 86_400:g} days"


def _print(title: str, found: list[Found], slowest: int) -> None:
    late = sum(one.p50 > GOAL_MS for one in found)
    print(
        f"\n{title}: {len(found)} queries, median {statistics.median(one.p50 for one in found):.0f} ms, {late} over 1 s"
    )
    print("\n| panel | rows | p50 ms | max ms | CPU ms |\n|---|---|---|---|---|")
    for one in sorted(found, key=lambda one: -one.p50)[:slowest]:
        print(f"| {one.question} | {one.rows:,} | {one.p50:.0f} | {one.longest:.0f} | {one.cpu:.0f} |")


if __name__ == "__main__":
    main()
