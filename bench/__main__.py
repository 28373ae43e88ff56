"""
Benchmark of the whole job: `make bench`, or `python -m bench`.

The topics are filled before the worker starts. Measured are the CPU seconds of the worker's process, all its threads,
from the moment it owns its partitions until every record is stored, every KPI published and stored. In the same run,
turn by turn, bare readers read the same records. Medians of all rounds count; the machine may be busy with others.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path

from bench.latency import Latency, measure_latency
from bench.pool import pool
from bench.readers import KINDS
from bench.stand import Stand
from streams.producers.simulator import Emission, recycled

PACKAGES = ("aiokafka", "faust-streaming", "msgspec", "numpy", "clickhouse-connect", "chdb-core", "confluent-kafka")


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, default=1_200_000, help="records per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which medians are shown (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="events per second of event time (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--partitions", type=int, default=4, help="partitions of every topic (%(default)s)")
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="embedded")
    parser.add_argument("--pool", type=int, default=400_000, help="simulated events; more are told with new ids")
    parser.add_argument("--record-batch", type=int, default=500, help="records per Kafka record batch (%(default)s)")
    parser.add_argument("--profile", metavar="FILE", help="write a py-spy profile of each round to FILE.<round>")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the worker")
    parser.add_argument("--latency-rate", type=float, help="events per second; 0: none; default: half of the rate read")
    parser.add_argument("--latency-s", type=float, default=30.0, help="seconds to measure latency for (%(default)s)")
    parser.add_argument("--no-readers", action="store_true", help="without the bare readers")
    return parser.parse_args()


def main() -> None:
    """Run all rounds and print the tables."""
    chosen = options()
    settings = {f"CX_{name.upper()}": value for name, _, value in (text.partition("=") for text in chosen.set)}
    events = pool(min(chosen.pool, chosen.events), chosen.rate, chosen.seed, say)
    readers = [] if chosen.no_readers else KINDS
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("worker", *readers)}
    threads: list[dict[str, float]] = []
    servers: list[dict[str, float]] = []
    resident = 0
    latency: Latency | None = None
    with (
        tempfile.TemporaryDirectory(prefix="cx-bench-") as folder,
        Stand(chosen.broker, Path(folder), chosen.partitions) as stand,
    ):
        say(f"{chosen.broker} broker and ClickHouse run")
        for number in range(1, chosen.rounds + 1):
            budget = stand.budget(f"cx{number}", settings)
            say(f"round {number} of {chosen.rounds}: filling topics with {chosen.events:,} records")
            count = stand.fill(budget, recycled(events, chosen.events), chosen.record_batch)
            for kind in readers:
                read = stand.read_barely(kind, budget, count)
                rounds[kind].append((read["cpu_s"], read["wall_s"]))
                say(f"bare {kind}: {count / read['cpu_s']:,.0f} events per CPU second")
            with stand.worker(budget) as worker:
                before, began, beside = worker.usage(), time.monotonic(), stand.servers()
                with worker.profiled(f"{chosen.profile}.{number}") if chosen.profile else nullcontext():
                    after, ended = worker.finish(count, say)
                cpu_s, wall_s = after.cpu_s - before.cpu_s, ended - began
                servers.append({name: used - beside[name] for name, used in stand.servers().items()})
                rounds["worker"].append((cpu_s, wall_s))
                threads.append({name: used - before.threads.get(name, 0.0) for name, used in after.threads.items()})
                resident = max(resident, after.resident)
                say(f"worker: {count / cpu_s:,.0f} events per CPU second ({cpu_s:.2f} s CPU, {wall_s:.1f} s)")
                say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
                say(_stages(worker.budget.metrics_port))
        if chosen.latency_rate != 0:
            wall = statistics.median(wall_s for _, wall_s in rounds["worker"])
            rate = chosen.latency_rate or chosen.events / wall / 2
            latency = measure_latency(stand, settings, events, rate, chosen.latency_s, say)
    _print(chosen, rounds, threads, servers, resident, latency, events)


def _stages(port: int) -> str:
    """Tell the worker's own account of its wall-clock time."""
    import urllib.request

    from prometheus_client.parser import text_string_to_metric_families

    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        return "no metrics"
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    rows = {sample.labels["table"]: sample.value for sample in samples if sample.name == "cx_rows_stored_total"}
    ranges = sum(sample.value for sample in samples if sample.name == "cx_range_records_count")
    series = sum(sample.value for sample in samples if sample.name == "cx_series")
    seconds = {
        f"{sample.labels['stage']}/{sample.labels['step']}": sample.value
        for sample in samples
        if sample.name == "cx_stage_seconds_sum"
    }
    counts = "  ".join(f"{name} {count:,.0f}" for name, count in rows.items())
    return f"{ranges:,.0f} ranges, {series:,.0f} series, rows stored: {counts}\nwall clock by stage: " + "  ".join(
        f"{name} {value:.2f} s" for name, value in seconds.items()
    )


def _print(
    chosen: argparse.Namespace,
    rounds: dict[str, list[tuple[float, float]]],
    threads: Sequence[dict[str, float]],
    servers: Sequence[dict[str, float]],
    resident: int,
    latency: Latency | None,
    events: Sequence[Emission],
) -> None:
    size = sum(len(emission.payload) for emission in events) / len(events)
    print(
        f"\n{chosen.broker} broker, {chosen.events:,} records of {size:.0f} bytes, {chosen.partitions} partitions per topic,"
    )
    print(
        f"{chosen.record_batch} records per record batch, {chosen.rate:,.0f} events per event second, medians of {chosen.rounds} rounds\n"
    )
    whole = statistics.median(cpu_s for cpu_s, _ in rounds["worker"])
    print("| | events per CPU second | range | CPU s | wall clock s | CPU against the whole job |")
    print("|---|---:|---:|---:|---:|---:|")
    names = {"worker": "whole job", "aiokafka": "bare aiokafka + JSON", "confluent": "bare confluent-kafka + JSON"}
    for name, runs in rounds.items():
        cpu = [cpu_s for cpu_s, _ in runs]
        middle = statistics.median(cpu)
        wall = statistics.median(wall_s for _, wall_s in runs)
        low, high = chosen.events / max(cpu), chosen.events / min(cpu)
        print(
            f"| {names[name]} | {chosen.events / middle:,.0f} | {low:,.0f} to {high:,.0f} | {middle:.2f} "
            f"| {wall:.1f} | {middle / whole:.2f} |"
        )
    used: dict[str, list[float]] = {}
    for run in threads:
        for name, cpu_s in run.items():
            used.setdefault(name, []).append(cpu_s)
    shown = ", ".join(
        f"{name} {statistics.median(cpu):.2f} s" for name, cpu in sorted(used.items()) if statistics.median(cpu) >= 0.05
    )
    print(f"\nThreads of the worker: {shown}. Memory of the worker: {resident / 2**20:.0f} MiB.")
    beside = {name: statistics.median(run[name] for run in servers) for name in servers[0]}
    told = ", ".join(f"{name} {cpu_s:.2f} s ({cpu_s / whole:.2f} of the worker)" for name, cpu_s in beside.items())
    print(
        f"\nBeside the worker, until all was quiet: {told}. The whole system together:"
        f" {chosen.events / (whole + sum(beside.values())):,.0f} events per CPU second."
        f" Load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs."
    )
    if latency is not None:
        print(
            f"\nLatency at {latency.rate:,.0f} events per second, from sending to being seen, {latency.probes} probes:\n\n"
            f"| | p50 s | p99 s |\n|---|---:|---:|\n"
            f"| KPI on the topic | {latency.topic[0]:.2f} | {latency.topic[1]:.2f} |\n"
            f"| KPI in ClickHouse | {latency.store[0]:.2f} | {latency.store[1]:.2f} |\n"
            f"| event in ClickHouse | {latency.row[0]:.2f} | {latency.row[1]:.2f} |\n\n"
            f"Worker at this rate: {latency.cpu_share:.0%} of one CPU."
        )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES if _installed(name))
    print(f"\nPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs{_model()}; {versions}")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f" ({line.partition(':')[2].strip()})"
    return ""


if __name__ == "__main__":
    main()
