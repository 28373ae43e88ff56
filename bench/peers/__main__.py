"""
The same job on other engines, side by side: `make bench-peers`, or `python -m bench.peers`.

Every peer reads the same events from the same Apache Kafka, gives each event's contributions to the KPI series by this
project's own definitions, adds them up per series and minute, and sends the sums to a topic. The sums must be equal to
those of a direct computation before the time counts. Peers do less than this project's worker: they drop no duplicates,
keep no dead letters, know no rolling windows and no intervals, and store nothing in ClickHouse.

Counted are the CPU seconds of all processes of a peer, from when it is ready to start until its last result is there.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from bench.peers.contributions import shared_kpis
from bench.pool import START, pool
from bench.stand import TICK, Stand
from streams.engine.names import CHANNELS
from streams.events.decode import decode_batch
from streams.kpis.folding.fold import Folder
from streams.producers.simulator import Flaws, Plan, pregenerate, recycled

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ("bytewax", "quix", "faust", "flink")
NAMES = {"bytewax": "Bytewax", "quix": "Quix Streams", "faust": "stock Faust", "flink": "PyFlink"}
JAR = "flink-sql-connector-kafka"
JAR_VERSION = "5.0.0-2.2"
TIMEOUT_S = 900.0


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--events", type=int, default=60_000, help="events for each peer (%(default)s)")
    parser.add_argument("--faust-events", type=int, default=10_000, help="events for stock Faust (%(default)s)")
    parser.add_argument("--own-events", type=int, default=1_200_000, help="records for the worker (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="events per second of event time (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-own", action="store_true", help="without this project's worker")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


@dataclass
class Result:
    """What a peer has used for so many events."""

    events: int
    cpu_s: float
    wall_s: float
    resident: int


def python_of(peer: str) -> Path:
    """Give the interpreter of a peer's own environment, made on first use and kept in the user's cache."""
    wanted = HERE / f"requirements-{peer}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cx-streams" / "peers"
    folder = cache / peer
    mark = folder / "installed.txt"
    if not mark.is_file() or mark.read_text() != wanted.read_text():
        say(f"installing {NAMES[peer]}")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "-r", str(wanted)], check=True)
        mark.write_text(wanted.read_text())
    return folder / "bin/python"


def flink_jar() -> Path:
    """Give Flink's Kafka connector, fetched by Maven."""
    name = f"{JAR}-{JAR_VERSION}.jar"
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cx-streams" / name
    if not kept.is_file():
        artifact = f"org.apache.flink:{JAR}:{JAR_VERSION}"
        with tempfile.TemporaryDirectory() as folder:
            target = f"-DoutputDirectory={folder}"
            subprocess.run(["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", target], check=True)
            shutil.move(Path(folder) / name, kept)
    return kept


class Results(threading.Thread):
    """Reads a peer's results, and tells when they are what they must be."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, expected: dict[tuple[str, int], object]) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        self._expected = expected
        self._right: set[tuple[str, int]] = set()
        self.done = threading.Event()
        self._stopped = threading.Event()

    @property
    def right(self) -> int:
        """How many sums are as expected."""
        return len(self._right)

    def run(self) -> None:
        """Read until all sums are right."""
        while not self._stopped.is_set():
            for message in self._consumer.consume(5_000, 0.1):
                if message.error() is not None:
                    continue
                value = json.loads(message.value())
                series, minute, acc = value if message.key() is None else (message.key().decode(), *value)
                if self._expected.get((series, minute)) == acc:
                    self._right.add((series, minute))
                else:
                    self._right.discard((series, minute))
            if len(self._right) == len(self._expected):
                self.done.set()
        self._consumer.close()

    def stop(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self.join(10)


def expected_of(payloads: list[bytes]) -> dict[tuple[str, int], object]:
    """Compute directly what must come out."""
    events, refusals = decode_batch(payloads)
    if refusals:
        raise RuntimeError(f"the traffic of the comparison must be valid: {refusals[0].message}")
    return {
        (key, minute): acc if isinstance(acc, list) else {str(bin_): n for bin_, n in acc.items()}
        for minute, series in Folder(shared_kpis()).fold(events).items()
        for key, acc in series.items()
    }


def used(session: int) -> tuple[float, int]:
    """Give CPU seconds and resident bytes of all processes of a session, those that have ended included."""
    cpu = resident = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[3]) == session:
            cpu += sum(map(int, fields[11:15]))
            resident += int(fields[21])
    return cpu / TICK, resident * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer in a session of its own, from when it says READY."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, start_new_session=True
        )
    try:
        while b"READY" not in log.read_bytes():
            if process.poll() is not None:
                raise RuntimeError(f"it did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield process
    finally:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, kind)
            except ProcessLookupError:
                break
            time.sleep(1)
        process.wait()


def measure(peer: str, stand: Stand, prefix: str, payloads: list[bytes], expected: dict, folder: Path) -> Result:
    """Run one peer over the topics of a prefix."""
    bootstrap, partitions = stand.broker.bootstrap, stand.partitions
    out = f"{prefix}-{peer}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    made = [out, f"{out}-by-series"] if peer == "faust" else [out]
    admin.create_topics([NewTopic(name, partitions, 1) for name in made])
    admin.close()
    topics = [f"{prefix}.touchpoints.{channel}" for channel in CHANNELS]
    extra = {"faust": [str(partitions)], "flink": [str(flink_jar())]}.get(peer, [])
    command = [str(python_of(peer)), str(HERE / f"{peer}_job.py"), bootstrap, out, *extra, *topics]
    results = Results(bootstrap, out, partitions, expected)
    results.start()
    log = folder / f"{out}.log"
    try:
        with running(command, log) as process:
            before, began, resident = used(process.pid)[0], time.monotonic(), 0
            while not results.done.wait(0.2):
                cpu, memory = used(process.pid)
                resident = max(resident, memory)
                ended = process.poll() is not None and not results.done.wait(5)
                if ended or time.monotonic() - began > TIMEOUT_S:
                    told = log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(f"{peer}: {results.right} of {len(expected)} sums are right\n{told}")
            cpu, memory = used(process.pid)
            return Result(len(payloads), cpu - before, time.monotonic() - began, max(resident, memory))
    finally:
        results.stop()


def main() -> None:
    """Run all rounds and print the table."""
    chosen = options()
    for peer in chosen.peers:
        python_of(peer)
    if "flink" in chosen.peers:
        flink_jar()
    plan = Plan(start=START, seed=1, rate=chosen.rate, flat=True, synthetic_share=0.0)
    clean = pregenerate(chosen.events, plan, Flaws(bad=0, duplicate=0, late=0))
    traffic = {peer: clean[: chosen.faust_events if peer == "faust" else chosen.events] for peer in chosen.peers}
    expected = {len(part): expected_of([one.payload for one in part]) for part in traffic.values()}
    own = pool(min(400_000, chosen.own_events), chosen.rate, 1, say)
    runs: dict[str, list[Result]] = {name: [] for name in [*(() if chosen.no_own else ("worker",)), *chosen.peers]}
    with (
        tempfile.TemporaryDirectory(prefix="cx-peers-") as name,
        Stand("kafka", Path(name), chosen.partitions) as stand,
        nullcontext(Path(name)) as folder,
    ):
        for number in range(1, chosen.rounds + 1):
            if not chosen.no_own:
                room = stand.room(f"cxown{number}", {})  # the name tells the writer's rights
                count = stand.fill(room, recycled(own, chosen.own_events), 500)
                with stand.worker(room) as worker:
                    before, began = worker.usage(), time.monotonic()
                    after, ended = worker.finish(count, say)
                    cpu_s = after.cpu_s - before.cpu_s
                    runs["worker"].append(Result(count, cpu_s, ended - began, after.resident))
                say(f"round {number}: worker {count / cpu_s:,.0f} events per CPU second")
            for peer in chosen.peers:
                prefix = f"p{number}{peer}"
                stand.fill(stand.room(prefix, {}), traffic[peer], 500)
                payloads = [one.payload for one in traffic[peer]]
                result = measure(peer, stand, prefix, payloads, expected[len(payloads)], folder)
                runs[peer].append(result)
                say(f"round {number}: {NAMES[peer]} {result.events / result.cpu_s:,.0f} events per CPU second")
    _print(chosen, runs, expected)


def _print(chosen: argparse.Namespace, runs: dict[str, list[Result]], expected: dict[int, dict]) -> None:
    kpis = len(shared_kpis())
    sizes = ", ".join(f"{len(sums):,} from {events:,} events" for events, sums in sorted(expected.items()))
    print(f"\nApache Kafka, {kpis} KPIs; sums per series and minute, all equal to a direct computation: {sizes}.\n")
    print("| | events | events per CPU second | range | worker is faster by | memory MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    best = statistics.median(one.events / one.cpu_s for one in runs.get("worker") or [Result(0, 1.0, 1.0, 0)])
    figures = {}
    for name, results in runs.items():
        rates = sorted(one.events / one.cpu_s for one in results)
        middle = statistics.median(rates)
        memory = max(one.resident for one in results) / 2**20
        print(
            f"| {NAMES.get(name, 'the whole job of this project')} | {results[0].events:,} | {middle:,.0f} "
            f"| {rates[0]:,.0f} to {rates[-1]:,.0f} | {best / middle:,.1f} | {memory:,.0f} |"
        )
        figures[name] = {"events_per_cpu_s": rates, "memory_mib": memory}
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
