"""A whole job that a hostile sender floods with invented labels and every kind of poison, beside honest senders."""

import random
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.board.pages import PageRenderer, PageView
from streams.board.poller import Poller
from streams.board.store import BoardStore
from streams.producers.readers.base import Touch
from tests.conftest import Broker
from tests.harness.clickhouse import Database, event
from tests.harness.hostile import SHAPES
from tests.harness.wholejob import Pipeline, Worker

MEMORY_MB = 32
SHOPS = 10
FLOOD = 20_000
OF_EACH_KIND = 20
LABELS = ("touchpoint", "unitid", "agentid", "segment", "region", "experiment", "variant")


def honest(first: int, count: int, now: datetime) -> list[bytes]:
    return [
        event(n, id=f"honest-{n}", source="/shop", unitid=f"shop-{n % SHOPS}", channel="web",
              time=(now - timedelta(seconds=n % 90)).isoformat())
        for n in range(first, first + count)
    ]  # fmt: skip


def flood(now: datetime) -> Iterator[bytes]:
    for n in range(FLOOD):
        labels = {name: f"{name}-{n}" for name in LABELS}
        at = (now - timedelta(seconds=n % 90)).isoformat()
        # Every second one under a name of its own.
        source = f"/evil/{n}" if n % 2 else "/evil"
        own = {"plan": f"plan-{n}"}
        yield event(n, id=f"evil-{n}", source=source, subject=f"c-{n}", channel="web", time=at, labels=own, **labels)


def poison() -> Iterator[bytes]:
    chance = random.Random(1)
    for n in range(OF_EACH_KIND):
        for make in SHAPES.values():
            yield make(n, chance)


def mixed(now: datetime) -> Iterator[bytes]:
    """All of them together: some of each in every stretch."""
    parts = [list(flood(now)), list(poison()), honest(200, 200, now)]
    places = [(place / len(part), values) for part in parts for place, values in enumerate(part)]
    return (value for _, value in sorted(places, key=lambda pair: pair[0]))


def resident_mb(worker: Worker) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def metric(worker: Worker, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def as_touches(values: Iterator[bytes] | list[bytes]) -> Iterator[Touch]:
    for n, value in enumerate(values):
        yield Touch(0.0, "web", f"c{n % 97}", value)


@pytest.mark.slow
def test_honest_senders_keep_all_they_had(embedded_broker: Broker, database: Database, tmp_path: Path) -> None:
    """Own values, exactly; one outcome for each record; no difference anywhere; bounded memory; a page that shows it."""
    pipeline = Pipeline(embedded_broker.bootstrap, database, tmp_path, 2, series_memory_mb=MEMORY_MB)
    now = datetime.now(UTC)
    try:
        worker = pipeline.start()
        sent = pipeline.send(as_touches(honest(0, 200, now)))
        pipeline.wait_stored(sent)
        before = resident_mb(worker)
        sent += pipeline.send(as_touches(mixed(now)))
        records = pipeline.wait_stored(sent)
        assert records["read"] == sent == 400 + FLOOD + OF_EACH_KIND * len(SHAPES)
        assert records["counted"] >= 400 + FLOOD
        assert metric(worker, "cx_series_capped_total") + metric(worker, "cx_labels_overflowed_total") > 0
        assert metric(worker, "cx_breaker_open") == 0
        # The budget, what ingest remembers of labels, and the batches on their way.
        assert resident_mb(worker) - before < MEMORY_MB + 150
        assert list(map(str, pipeline.verify().differences)) == []
    finally:
        pipeline.close()
    shops = "kpi = 'csat' AND by = 'unitid' AND startsWith(labels['unitid'], 'shop-')"
    assert database.rows(
        f"SELECT labels['unitid'] AS shop, sum(n) FROM kpi_minutes FINAL WHERE {shops} GROUP BY shop ORDER BY shop"
    ) == [(f"shop-{n}", 400 // SHOPS) for n in range(SHOPS)]
    of_evil = database.value("SELECT uniqExact(labels) FROM kpi_minutes WHERE kpi = 'csat' AND by = 'unitid'")
    assert of_evil < FLOOD / 5

    poller = Poller(BoardStore(database.reader))
    poller.want("5m", "csat")
    for step in (poller._essentials, poller._rest, poller._trends):
        poller._safely(step)
    assert (poller.known.away_since, poller.known.refusal) == (None, "")
    shown = PageRenderer().whole(PageView(kpi="csat", window="5m"), poller.known, datetime.now(UTC).timestamp())
    assert len(shown) < 500_000
