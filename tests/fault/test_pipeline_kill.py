"""Kill things in the middle: afterwards nothing is lost, nothing counts twice, and every KPI is exact."""

import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice

import pytest

from streams.engine.app import COPY_EVERY_S
from streams.local.clickhouse import EmbeddedClickHouse
from streams.producers.readers.base import Touch
from streams.producers.simulator import Flaws, Plan, emissions
from tests.harness.clickhouse import Database, fresh_database, running_server
from tests.harness.wholejob import PATIENCE_S, Pipeline


def simulated(count, seed=11, **flaws):
    plan = Plan(start=datetime(2026, 3, 21, 6, 0, tzinfo=UTC), rate=300.0, flat=True, seed=seed)
    made = islice(emissions(plan, Flaws(**flaws)), count)
    return [Touch(0.0, one.channel, one.subject, one.payload) for one in made]


def test_worker_killed_in_the_middle(pipelines, broker):
    """SIGKILL at random moments of a replay, again and again: verify finds no difference."""
    copied = broker.kind == "embedded"
    pipeline = pipelines(changelog_copy=str(copied).lower())
    touches = simulated(24_000, bad=0.01, duplicate=0.02)
    chance = random.Random(3)
    worker = pipeline.start_alone(home="one")
    for start in range(0, 24_000, 6_000):
        pipeline.send(touches[start : start + 6_000])
        # Killed while it works: the pause is shorter than this part takes.
        pipeline.wait(lambda start=start: pipeline.records()["read"] > start - 5_000, "progress")
        time.sleep(chance.uniform(0.0, 1.5))
        # As long as a copy of the changelogs may take to be made once more.
        time.sleep(COPY_EVERY_S if copied and start == 12_000 else 0.0)
        worker.kill()
        worker = pipeline.start_alone(home="one")

    records = pipeline.wait_stored(24_000)

    assert records["read"] == 24_000
    assert records["read"] == sum(records[outcome] for outcome in ("counted", "duplicate", "late", "bad"))
    report = pipeline.verify()
    assert report.differences == []
    stored = pipeline.database.value("SELECT count() - uniqExact(topic, partition, offset) FROM events")
    assert stored == 0
    assert (": copied up to offset" in worker.said()) == copied


def test_worker_killed_while_it_joins(pipelines):
    """The embedded broker may have made it the leader of the group, and gives that up only for its own name."""
    pipeline, began = pipelines(), time.monotonic()
    worker = pipeline.start("one", home="one")
    pipeline.wait(lambda: "merge: partitions" in worker.said(), "the first worker")
    alone_s = time.monotonic() - began
    for pause_s in (0.2, 2.0):
        worker.kill()
        worker = pipeline.start("one", home="one")
        pipeline.wait(lambda worker=worker: "(Re-)joining group" in worker.said(), "the next to join")
        time.sleep(pause_s)
    worker.kill()
    worker = pipeline.start("one", home="one")
    began = time.monotonic()
    pipeline.wait(lambda: "merge: partitions" in worker.said(), "the last worker")
    assert time.monotonic() - began < 60 + 4 * alone_s


def test_clickhouse_away(embedded_broker, tmp_path):
    """While ClickHouse is down KPIs go on; when it is back, storage catches up without a gap or a double."""
    with running_server(tmp_path / "store", restart=False) as server, fresh_database(server) as database:
        pipeline = Pipeline(embedded_broker.bootstrap, database, tmp_path, embedded=True)
        try:
            _away(pipeline, server, database)
        finally:
            pipeline.close()


def _away(pipeline: Pipeline, server: EmbeddedClickHouse, database: Database) -> None:
    touches = simulated(9_000)
    pipeline.start_alone()
    pipeline.send(touches[:3_000])
    pipeline.wait(lambda: pipeline.records()["read"] >= 1_000, "some storage")
    server.stop()
    before = len(pipeline.consume(pipeline.topics.kpis))
    pipeline.send(touches[3_000:])
    pipeline.wait(lambda: len(pipeline.consume(pipeline.topics.kpis)) > before + 5, "KPIs without a store")
    pipeline.wait(lambda: "failed 1 times, again in" in pipeline.workers[0].said(), "a failed insert")
    server.start()

    records = pipeline.wait_stored(9_000)

    assert records["counted"] == 9_000
    assert pipeline.verify().differences == []
    assert database.value("SELECT count() - uniqExact(topic, partition, offset) FROM events") == 0


def test_breaker_stops_a_partition_of_nothing_but_bad_records(broker, database, tmp_path):
    """A producer gone wrong stops its partition instead of filling the dead letters, until an operator lets it go on."""
    pipeline, began = Pipeline(broker.bootstrap, database, tmp_path, partitions=1, breaker_at_once=100), time.time()
    try:
        good = [touch for touch in simulated(2_000) if touch.channel == "web"]
        framed = b"\0\0\0\0*" + b'{"type": "cx.unknown"}'
        pipeline.send([Touch(0.0, "app", "c1", framed)] * 1_500)
        sent = pipeline.send(good)
        # Only now, so that the bad ones come together: few of them are no reason to stop.
        worker = pipeline.start()
        pipeline.wait(lambda: "app/0 stopped" in worker.said(), "the breaker")
        pipeline.wait(lambda: pipeline.records()["counted"] == sent, "the other channels to go on")
        assert pipeline.records()["bad"] == 0
        values = "SELECT count() FROM kpi_values"
        pipeline.wait(lambda: database.value(values) > 0, "values of the other channels")
        code, told = _sources(pipeline, "show", "--json")
        (standing,) = told["sources"]
        assert (code, standing["source"], standing["topic"]) == (
            1,
            "app/0",
            f"{pipeline.topics.prefix}.touchpoints.app",
        )
        details = standing["details"]
        assert (details["offset"], details["reason"]) == (0, "not_json")
        assert details["begins"].startswith("00 00 00 00 2a")
        assert "schema-registry framing (schema 42)" in details["message"]
        assert began <= details["since"] <= time.time()

        # Killed as soon as the order is there, whether it was obeyed or not.
        with ThreadPoolExecutor(1) as pool:
            skipping = pool.submit(_sources, pipeline, "skip", "app/0", "--json")
            pipeline.wait(lambda: pipeline.consume(pipeline.topics.control) or skipping.done(), "the order")
            worker.kill()
            worker = pipeline.start(port=worker.port)
            code, told = skipping.result()
        if told["ok"]:
            assert (code, told["until"]) == (0, 1_500), told
        else:  # the next worker began too late for who ordered it
            assert (code, "The order is kept, and will be obeyed" in told["error"]) == (1, True), told
        records = pipeline.wait_stored(sent + 1_500)
        assert records["bad"] == 1_500
        assert records["counted"] == sent
        # What a worker sent that was killed before it knew is sent again, under the same keys.
        assert len({letter.key for letter in pipeline.consume(pipeline.topics.dead_letters)}) == 1_500
        assert pipeline.verify().differences == []
        assert _sources(pipeline, "show", "--json") == (0, {"ok": True, "sources": [], "no_answer": []})
        code, told = _sources(pipeline, "skip", "app/0", "--json")
        assert (code, told["ok"]) == (1, False)
        assert "app/0 is not stopped" in told["error"]
    finally:
        pipeline.close()


def _sources(pipeline, *arguments):
    """Ask, and once more where a busy worker did not answer the command in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        code, told = _asked(pipeline, *arguments)
        silent = told.get("no_answer") or "no worker answers" in told.get("error", "")
        if not silent or time.monotonic() > deadline:
            return code, told


def _asked(pipeline, *arguments):
    environment = {**os.environ, **pipeline.environment, "CX_METRICS_PORT": str(pipeline.workers[-1].port)}
    ended = subprocess.run(
        [sys.executable, "-m", "streams", "sources", *arguments], env=environment, capture_output=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_a_thousand_fuzzed_records(pipelines):
    """Whatever bytes come: one dead letter each with its reason, no crash, and good ones beside them are counted."""
    pipeline = pipelines()
    worker = pipeline.start()
    good = simulated(2_000, seed=1)
    broken = list(fuzzed(good, random.Random(1), 1_000))
    mixed = good + [Touch(0.0, "web", f"c{number}", value) for number, (value, _) in enumerate(broken)]
    random.Random(1).shuffle(mixed)

    records = pipeline.wait_stored(pipeline.send(mixed))

    assert records["bad"] == 1_000
    assert records["counted"] == 2_000
    assert worker.process.poll() is None
    stored = dict(pipeline.database.rows("SELECT hex(payload), any(reason) FROM dead_letters GROUP BY payload"))
    for value, reasons in broken:
        assert stored[value.hex().upper()] in reasons, value[:200]
    assert pipeline.verify().differences == []


def fuzzed(good, chance, count):
    """Yield broken records, each with the reasons that are right for it."""
    kinds = (
        lambda value: (value[: chance.randrange(1, len(value) - 1)], {"not_json", "not_utf8"}),
        lambda value: (value.replace(b'"specversion":"1.0"', b'"specversion":1.0'), {"wrong_type"}),
        lambda value: (value.replace(b'"type":"cx.', b'"type":"cy.'), {"unknown_type"}),
        lambda value: (value.replace(b'"subject":', b'"subjekt":'), {"missing_field"}),
        lambda value: (value.replace(b'"id":"', b'"id":"' + b"x" * 200), {"bad_length"}),
        lambda value: (value[:40] + b"\xff\xfe" + value[40:], {"not_utf8"}),
        lambda _value: (b"[" * 3000 + b"]" * 3000, {"too_deep"}),
        lambda value: (b'{"pad":"' + b"p" * chance.randrange(100) + b'",' + value[1:-1], {"not_json"}),
        lambda value: (_at(value, b"2199-01-01T00:00:00Z"), {"time_in_future"}),
        lambda value: (_at(value, b"1970-01-01T00:00:00Z"), {"time_too_old"}),
        lambda value: (_at(value, b"yesterday"), {"bad_time"}),
        lambda value: (value.replace(b'"channel":"', b'"channel":"pigeon'), {"not_in_enum"}),
        lambda _value: (str(chance.random()).encode(), {"not_an_object"}),
        lambda _value: (b"", {"empty_record"}),
        lambda value: (value.replace(b'"data":{', b'"data":7,"x":{'), {"wrong_type"}),
    )
    for number in range(count):
        value = good[chance.randrange(len(good))].value
        yield kinds[number % len(kinds)](value)


def _at(value, at):
    start = value.index(b'"time":"') + 8
    return value[:start] + at + value[value.index(b'"', start) :]


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
def test_who_starts_where_a_worker_was_killed_does_not_wait_for_its_session(pipelines):
    """Its membership is given back by the next one."""
    pipeline = pipelines(broker_session_s=300)
    touches = simulated(600)
    worker = pipeline.start()
    pipeline.send(touches[:300])
    pipeline.wait_stored(300)
    worker.kill()
    after = pipeline.start(home=worker.home)
    pipeline.send(touches[300:])
    assert pipeline.wait_stored(600)["counted"] == 600
    assert "is no member of the group any more" in after.said()
    assert pipeline.verify().differences == []
