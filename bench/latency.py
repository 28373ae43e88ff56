"""
How long from an event's sending until it is stored, and until it shows in a KPI, on the topic and in ClickHouse.

Under a steady load: `python -m bench.latency --broker kafka --rate 5000`, or as part of `python -m bench`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from bench.pool import pool
from bench.stand import MemoryBudget, Stand
from streams.producers.client import TouchpointProducer
from streams.producers.simulator import Emission, recycled
from streams.storage.connection import connect

PROBES_PER_S = 5
SETTLE_S = 8.0
"""Time before the first probe: the worker has caught up, and publishes as it does all day."""

POLL_S = 0.05
_TIME = b'"time":"'
_IN_KPIS: Final = (
    "SELECT DISTINCT labels['queue'] FROM kpi_minutes WHERE kpi = 'contacts_offered' AND mapContains(labels, 'queue')"
)
_IN_EVENTS: Final = "SELECT subject FROM events WHERE type = 'cx.contact.queue_left' AND startsWith(subject, 'probe-')"


@dataclass(frozen=True)
class Latency:
    """Seconds at p50 and p99, and the load they were measured under."""

    rate: float
    probes: int
    topic: tuple[float, float]
    store: tuple[float, float]
    row: tuple[float, float]
    """Of the event itself, in `events`."""
    cpu_share: float


def measure_latency(
    stand: Stand,
    settings: Mapping[str, str],
    events: Sequence[Emission],
    rate: float,
    duration_s: float,
    say: Callable[[str], None],
    name: str = "cxlatency",
    beside: Callable[[MemoryBudget], AbstractContextManager[None]] = nullcontext,
) -> Latency:
    """
    Send at a steady rate, with probes in between that make series of their own, and watch for these.

    Meanwhile in the room of this `name`, which must be new, somebody else may do what `beside` does.
    """
    budget = stand.budget(name, settings)
    sent: dict[str, float] = {}
    on_topic: dict[str, float] = {}
    in_store: dict[str, float] = {}
    in_events: dict[str, float] = {}
    stop = threading.Event()
    say(f"latency: {rate:,.0f} events per second for {SETTLE_S + duration_s:.0f} s")
    with stand.worker(budget) as worker, beside(budget):
        watchers = [
            threading.Thread(target=watch_topic, args=(stand, budget, on_topic, stop)),
            threading.Thread(target=watch_store, args=(connect(budget.address), _IN_KPIS, in_store, stop)),
            threading.Thread(target=watch_store, args=(connect(budget.address), _IN_EVENTS, in_events, stop)),
        ]
        for watcher in watchers:
            watcher.start()
        try:
            began, before = time.monotonic(), worker.usage()
            end = began + SETTLE_S + duration_s
            total = send(stand, budget, events, rate, lambda: time.monotonic() < end, sent)
            wall_s, after = time.monotonic() - began, worker.usage()
            say(f"latency: {total:,} sent in {wall_s:.1f} s, waiting for {len(sent)} probes")
            deadline = time.monotonic() + 30
            while min(map(len, (on_topic, in_store, in_events))) < len(sent) and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            stop.set()
            for watcher in watchers:
                watcher.join()
    missing = sent.keys() - (on_topic.keys() & in_store.keys() & in_events.keys())
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(sent)} probes never came into a KPI")
    return Latency(
        total / wall_s,
        len(sent),
        quantiles([on_topic[name] - at for name, at in sent.items()]),
        quantiles([in_store[name] - at for name, at in sent.items()]),
        quantiles([in_events[name] - at for name, at in sent.items()]),
        (after.cpu_s - before.cpu_s) / wall_s,
    )


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Return what half of them, and 99 of a hundred, are below."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49], cuts[98]


def send(
    stand: Stand,
    budget: MemoryBudget,
    events: Sequence[Emission],
    rate: float,
    goes_on: Callable[[], bool],
    sent: dict[str, float],
    probe: Callable[[str, bytes], Sequence[bytes]] | None = None,
) -> int:
    """
    Send at a steady rate for as long as it goes on; times of events are the clock's.

    `sent` is given the probes among them by name, with the moment of each (Unix s); `probe` makes their events of a name
    and a time. Returns how many events there were.
    """
    number = 0
    names = count()
    with TouchpointProducer(stand.broker.bootstrap, topic_prefix=budget.name) as producer:
        began = time.monotonic()
        probe_at = began + SETTLE_S
        supply = recycled(list(events), 1 << 40)
        while goes_on():
            now = time.monotonic()
            due = int((now - began) * rate)
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            while number < due:
                emission = next(supply)
                producer.send_encoded(_now(emission.payload, stamp), emission.channel, emission.subject)
                number += 1
            if now >= probe_at:
                probe_at += 1 / PROBES_PER_S
                name = f"probe-{next(names)}"
                sent[name] = time.time()
                for payload in (probe or _probe)(name, stamp):
                    producer.send_encoded(payload, "call_center", name)
                    number += 1
            time.sleep(0.005)
    return number


def _now(payload: bytes, stamp: bytes) -> bytes:
    head, found, tail = payload.partition(_TIME)
    return head + found + stamp + tail[tail.index(b'"') :] if found else payload


def _probe(name: str, stamp: bytes) -> Sequence[bytes]:
    """Return a contact that left a queue nobody else stands in."""
    return [probe_event(name, stamp, "cx.contact.queue_left", {"queue": name, "reason": "answered", "wait_s": 1.0})]


def probe_event(name: str, stamp: bytes, kind: str, data: Mapping[str, Any], **attributes: str) -> bytes:
    """Return an event of a customer whom nobody else is."""
    event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/bench", "type": kind, "time": stamp.decode()}
    return msgspec.json.encode({**event, "subject": name, "channel": "call_center", **attributes, "data": data})


def watch_topic(
    stand: Stand, budget: MemoryBudget, seen: dict[str, float], stop: threading.Event, kpi: str = "contacts_offered"
) -> None:
    """Note when each probe is first seen in a KPI on the topic (Unix s), until told to stop."""
    import asyncio

    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def watch() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=stand.broker.bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(f"{budget.name}.kpis", p) for p in range(stand.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while not stop.is_set():
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    now = time.time()
                    for record in records:
                        for row in _rows(record.value, kpi):
                            queue = row["labels"].get("queue", "")
                            if queue.startswith("probe-"):
                                seen.setdefault(queue, now)
        finally:
            await consumer.stop()

    asyncio.run(watch())


def _rows(record: bytes, kpi: str) -> list[dict[str, Any]]:
    # Decoding all of them would take the CPU that is being measured.
    if b"probe-" not in record:
        return []
    content = json.loads(record)
    return [row for row in content["minutes"] if row["kpi"] == kpi]


def watch_store(client: Client, query: str, seen: dict[str, float], stop: threading.Event) -> None:
    """Note when each probe is first seen by a query (Unix s), until told to stop."""
    while not stop.wait(POLL_S):
        rows = client.query(query).result_rows
        now = time.time()
        for (queue,) in rows:
            if queue.startswith("probe-"):
                seen.setdefault(queue, now)
    client.close()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--broker", choices=("embedded", "kafka"), default="kafka")
    parser.add_argument("--partitions", type=int, default=4, help="of each topic (%(default)s)")
    parser.add_argument("--rate", type=float, default=5_000.0, help="events per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="time to measure for (%(default)s)")
    chosen = parser.parse_args()

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)

    events = pool(100_000, 20_000, 1, say)
    with (
        tempfile.TemporaryDirectory(prefix="cx-bench-latency-") as folder,
        Stand(chosen.broker, Path(folder), chosen.partitions) as stand,
    ):
        found = measure_latency(stand, {}, events, chosen.rate, chosen.seconds, say)
    print("| from sending | p50 s | p99 s |\n|---|---:|---:|")
    for name, (p50, p99) in (
        ("KPI on the topic", found.topic),
        ("KPI in ClickHouse", found.store),
        ("event in ClickHouse", found.row),
    ):
        print(f"| {name} | {p50:.2f} | {p99:.2f} |")
    print(
        f"\n{found.rate:,.0f} events per second, {found.probes} probes, worker at {found.cpu_share:.0%} of a CPU,"
        f" load average {os.getloadavg()[0]:.1f} on {os.cpu_count()}"
    )


if __name__ == "__main__":
    main()
