"""
How long honest events take beside a hostile sender on the same topics: `python -m bench.beside`.

One sender writes ordinary events at a steady rate, with probes whose way into a KPI is measured, on the topic and in
ClickHouse. Beside it another writes what `bench.hostile` knows, a third of the records of the honest one, or
invents labels ten times as fast as the honest one sends, floods its channel with garbage, or sends what it held back
for hours. `python -m bench.door` measures the same at the HTTP door.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from bench.latency import measure_latency
from bench.pool import pool
from bench.stand import QUIET_S, MemoryBudget, Stand
from streams.local.observe import worker_state
from streams.producers.client import topic_of
from streams.producers.simulator import Emission
from streams.storage.connection import connect
from streams.storage.verify import verify
from tests.harness.hostile import SHAPES, survey

LABELS: Final = ("unitid", "agentid", "segment", "region", "experiment", "variant")
TICK_S: Final = 0.05
FLOOD_S: Final = 10.0


def poison(rate: float) -> Iterator[list[bytes]]:
    """Give what is written each tick: every kind of hostile record in turn."""
    chance, number = random.Random(1), itertools.count(1)
    kinds = itertools.cycle(SHAPES.values())
    due = 0.0
    while True:
        due += rate * TICK_S
        yield [next(kinds)(next(number), chance) for _ in range(int(due))]
        due %= 1


def labels(rate: float) -> Iterator[list[bytes]]:
    """Give events whose labels nobody has seen before, for ten seconds of each minute."""
    chance, number = random.Random(2), itertools.count(1)
    for tick in itertools.count():
        if tick * TICK_S % 60 > FLOOD_S:
            yield []
            continue
        stamp = datetime.now(UTC).isoformat()
        yield [
            json.dumps(survey(n, chance, id=f"flood-{n}", source="/flood", time=stamp,
                              **{label: f"{label}-{n}" for label in LABELS})).encode()
            for n in itertools.islice(number, int(rate * TICK_S))
        ]  # fmt: skip


def garbage(rate: float) -> Iterator[list[bytes]]:
    """Give records that are no events, until the breaker stops the channel."""
    while True:
        yield [b"no event"] * int(rate * TICK_S)


def backlog(rate: float) -> Iterator[list[bytes]]:
    """Give good events of hours ago, as a channel sends them that was cut off."""
    chance, number = random.Random(3), itertools.count(1)
    began = time.time()
    for tick in itertools.count():
        # A minute of event time passes with each second.
        stamp = datetime.fromtimestamp(began - 6 * 3_600 + 60 * tick * TICK_S, UTC).isoformat()
        yield [
            json.dumps(survey(n, chance, id=f"late-{n}", source="/backlog", time=stamp)).encode()
            for n in itertools.islice(number, int(rate * TICK_S))
        ]


@contextmanager
def beside(stand: Stand, budget: MemoryBudget, ticks: Iterator[list[bytes]]) -> Iterator[None]:
    """Write to the topic of `web` for as long as the block runs; then wait until all is finished."""
    producer = Producer({"bootstrap.servers": stand.broker.bootstrap, "linger.ms": 5})
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(TICK_S):
            for value in next(ticks):
                producer.produce(topic_of("web", budget.name), value, str(random.random()).encode())
            producer.poll(0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        producer.flush(30)
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        state = worker_state(budget.metrics_port)
        # A source that the breaker has stopped is not read further.
        if state is None or not (state.idle or state.stopped):
            quiet_since = time.monotonic()
        time.sleep(0.2)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="honest events per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="time to measure for (%(default)s)")
    parser.add_argument("--only", default="", help="senders whose name holds this")
    chosen = parser.parse_args()
    senders = {
        "nobody": itertools.repeat([]),
        "all hostile shapes": poison(chosen.rate / 3),
        "invented labels": labels(10 * chosen.rate),
        "garbage": garbage(50 * chosen.rate),
        "backlog": backlog(30 * chosen.rate),
    }

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)

    events = pool(20_000, chosen.rate, 1, say)
    print(
        "| beside | on the topic, p50 and p99 | in ClickHouse, p50 and p99 | of a core | counted, bad |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="cx-bench-beside-") as folder, Stand("embedded", Path(folder), 2) as stand:
        for name, ticks in senders.items():
            if chosen.only in name:
                print(measured(stand, name, ticks, events, chosen, say), flush=True)


def measured(
    stand: Stand,
    name: str,
    ticks: Iterator[list[bytes]],
    events: Sequence[Emission],
    chosen: argparse.Namespace,
    say: Callable[[str], None],
) -> str:
    """Return the row of one sender."""
    rooms: list[MemoryBudget] = []

    def hostile(budget: MemoryBudget) -> AbstractContextManager[None]:
        rooms.append(budget)
        return beside(stand, budget, ticks)

    database = f"cxbeside{name.replace(' ', '')}"
    found = measure_latency(stand, {}, events, chosen.rate, chosen.seconds, say, database, hostile)
    with closing(connect(rooms[0].address)) as client:
        differences = verify(client, stand.catalogue).differences
        counted, bad = client.query("SELECT sum(counted), sum(bad) FROM outcomes").first_row
    if differences:
        raise RuntimeError(f"{len(differences)} differences, e.g. {differences[0]}")
    latencies = " | ".join(f"{p50:.2f} s, {p99:.2f} s" for p50, p99 in (found.topic, found.store))
    return f"| {name} | {latencies} | {100 * found.cpu_share:.0f} % | {counted:,}, {bad:,} |"


if __name__ == "__main__":
    main()
