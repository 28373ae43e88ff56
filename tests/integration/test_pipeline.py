"""The whole way, on the embedded broker and on Apache Kafka: records in, exact KPIs out."""

import random
import urllib.request
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.producers.readers import read
from streams.producers.readers.base import Touch
from streams.producers.simulator import Flaws, Plan, emissions

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
START = datetime(2026, 3, 21, 6, 0, tzinfo=UTC)


def simulated(count, **flaws):
    """Simulated records as touches, flat and dense."""
    made = islice(emissions(Plan(start=START, rate=200.0, flat=True, seed=7), Flaws(**flaws)), count)
    return [Touch(0.0, one.channel, one.subject, one.payload) for one in made]


def assert_exact(pipeline, *, windows=False):
    """No difference between what was streamed and a recomputation from the stored events; everything balances."""
    report = pipeline.verify()
    assert report.differences == []
    assert report.checked["minutes"] > 0
    if windows:
        assert report.checked["values"] > 0


def counted_by_metrics(port):
    """Records by channel, partition and outcome, as the worker's metrics say."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    counted = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            outcome = {"cx_records_read_total": "read"}.get(sample.name) or sample.labels.get("outcome")
            if sample.name in {"cx_records_total", "cx_records_read_total"}:
                counted[sample.labels["channel"], int(sample.labels["partition"]), outcome] = int(sample.value)
    return counted


def counted_by_store(pipeline):
    """The same, as ClickHouse has it."""
    outcomes = ("read", "counted", "duplicate", "late", "bad", "conflict")
    rows = pipeline.database.rows(
        f"SELECT topic, partition, {', '.join(f'sum({name})' for name in outcomes)} FROM outcomes GROUP BY 1, 2"
    )
    counted = {}
    for topic, partition, *sums in rows:
        assert sums[0] == sum(sums[1:]), (topic, partition)
        counted |= {(topic.rpartition(".")[2], partition, name): n for name, n in zip(outcomes, sums, strict=True)}
    return counted


def test_simulated_traffic_with_flaws(pipelines):
    """Bad, repeated and late records among good ones: all outcomes balance, all KPIs are exact."""
    # What is read again by a worker that was held up for a whole session counts twice in its metrics.
    pipeline = pipelines(broker_session_s=20)
    worker = pipeline.start()
    sent = pipeline.send(simulated(20_000, bad=0.02, duplicate=0.03, late=0.02))

    records = pipeline.wait_stored(sent)

    assert records["read"] == sent
    assert records["bad"] > 200
    assert records["duplicate"] > 300
    assert_exact(pipeline)
    assert pipeline.database.value("SELECT count() FROM dead_letters") == records["bad"]
    letters = pipeline.consume(pipeline.topics.dead_letters)
    assert len({letter.key for letter in letters}) == records["bad"]
    assert counted_by_metrics(worker.port) == counted_by_store(pipeline)


def test_the_same_events_twice_in_disorder(pipelines):
    """Disorder within the lateness and a whole second copy change no number."""
    pipeline = pipelines()
    touches = simulated(6_000)
    shuffled = sorted(enumerate(touches), key=lambda item: item[0] + random.Random(item[0]).uniform(0, 4_000))
    pipeline.start_alone()
    sent = pipeline.send(touch for _, touch in shuffled)
    sent += pipeline.send(touches)

    records = pipeline.wait_stored(sent)

    assert (records["counted"], records["duplicate"]) == (6_000, 6_000)
    assert pipeline.total("volume")[1] <= 6_000
    assert_exact(pipeline)


def test_two_workers_share_the_work(pipelines):
    """A second worker joins in the middle and one leaves: nothing is lost, nothing counts twice."""
    pipeline = pipelines()
    first = pipeline.start()
    touches = simulated(12_000)
    pipeline.send(touches[:4_000])
    pipeline.start()
    pipeline.send(touches[4_000:8_000])
    pipeline.wait(lambda: pipeline.records()["read"] >= 5_000, "some progress")
    assert first.stop() == 0
    pipeline.send(touches[8_000:])

    records = pipeline.wait_stored(12_000)

    assert records["counted"] == 12_000
    assert_exact(pipeline)


@pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not beside the repository")
class TestRealData:
    """The published figures of the data sets come out of the whole job."""

    def test_technion(self, pipelines):
        """Queue figures of the Technion call centre."""
        pipeline = pipelines()
        pipeline.start_alone()
        pipeline.wait_stored(pipeline.send(read("technion", DATA)))

        median, queued = pipeline.total("queue_wait", "p50")
        level, answered = pipeline.total("service_level_answered_only")

        assert queued == 1_987
        assert median == pytest.approx(89, rel=0.01)
        assert answered == 1_511
        assert round(level) == 27
        assert_exact(pipeline, windows=True)

    def test_cafe_bazaar(self, pipelines):
        """Persian reviews: stars as labels of one KPI."""
        pipeline = pipelines()
        pipeline.start_alone()
        pipeline.wait_stored(pipeline.send(read("cafebazaar", DATA)))

        assert pipeline.total("review_stars", score="5")[1] == 1_041
        assert pipeline.total("review_stars", score="1")[1] == 705
        assert_exact(pipeline)

    @pytest.mark.slow
    def test_olist(self, pipelines):
        """Two years of orders in seconds: lateness shows in the scores."""
        pipeline = pipelines()
        pipeline.start_alone()
        pipeline.wait_stored(pipeline.send(read("olist", DATA)))

        on_time, n_on_time = pipeline.total("csat_mean", delivery="on_time")
        late, n_late = pipeline.total("csat_mean", delivery="late")

        assert (round(on_time, 2), n_on_time) == (4.28, 4_822)
        assert (round(late, 2), n_late) == (2.50, 418)
        assert_exact(pipeline, windows=True)


def test_a_kpi_of_ones_own_needs_no_code(pipelines, tmp_path):
    """One YAML block, and the KPI is in the store, exact."""
    from streams.kpis.catalogue.catalogue import Catalogue

    own = tmp_path / "own.yaml"
    own.write_text(
        """
- id: app_share
  name: Share of the app
  question: How much of all traffic is the app's?
  unit: percent
  direction: none
  class: A
  aggregator: ratio
  formula: Sessions of the app of all sessions.
  source: Own
  owner: digital
  groupings: [[], [region]]
  of: {events: cx.session.started}
  hits: {where: channel == "app"}
""",
        encoding="utf-8",
    )
    pipeline = pipelines(kpis_path=own)
    pipeline.catalogue = Catalogue.load([own])
    pipeline.start_alone()
    pipeline.wait_stored(pipeline.send(simulated(3_000)))

    share, sessions = pipeline.total("app_share")

    assert sessions > 50
    assert 5 < share < 95
    assert_exact(pipeline)
