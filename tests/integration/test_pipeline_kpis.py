"""KPIs over ranges of records and over refused records: streamed, stored and recomputed, they are the same."""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.ranges import RangeTimes
from streams.local.values import totals
from streams.producers.readers.base import Touch
from streams.producers.simulator import Flaws, Plan, emissions
from streams.storage import retention
from streams.storage.connection import connect
from streams.storage.migrations import load, migrate, views
from streams.storage.repair import repair
from streams.storage.rows import DeadLetter
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event
from tests.harness.pipeline import Pipeline
from tests.harness.wholejob import Pipeline as WholeJob

OWN = """
- {id: r_useful, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [channel]], params: {most: 300},
   of: {events: pipeline.range, where: bad <= most, value: read * 2 - bad}, hits: {value: counted + (late if late > 0 else 0)}}
- {id: r_ranges, name: n, question: q, unit: count, direction: none, class: A, aggregator: count, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: pipeline.range, where: age_s is not None and not synthetic}}
- {id: r_size, name: n, question: q, unit: count, direction: none, class: A, aggregator: mean, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: pipeline.range, value: read / (1 + bad)}}
- {id: r_age, name: n, question: q, unit: seconds, direction: down, class: B, aggregator: quantile, formula: f, source: s,
   owner: o, groupings: [[], [channel]], quantiles: [0.99], of: {events: pipeline.range, value: age_s / 2}}
- {id: r_reasons, name: n, question: q, unit: count, direction: down, class: A, aggregator: distinct, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: pipeline.refused, where: path is None or path != 'type', value: reason}}
- {id: r_refused_by_order, name: n, question: q, unit: per_100, direction: down, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[], [channel]],
   of: {events: cx.survey.answered}, hits: {events: pipeline.refused}}
- {id: r_items, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [channel]],
   of: {events: cx.survey.answered, value: 'scale - coalesce(wait_s, 0)'}, hits: {value: score - 1}}
"""
LETTER = DeadLetter(0, "not_json", "", "", "", "no JSON", b"{", 0.0)


def mixed(count: int, seed: int = 5) -> list[bytes]:
    """Records of which some are repeated, refused for several reasons, or an hour late."""
    r = random.Random(seed)
    broken = [b"{", b"\xff", b"", b'{"type": "cx.no.such"}', event(0, subject=7)]
    made: list[bytes] = []
    for n in range(count):
        at = f"2026-03-01T10:{n * 20 // count:02}:{r.randrange(60):02}.{r.randrange(1000):03}Z"
        good = event(n, time=at, channel=r.choice(["web", "app"]), data={"wait_s": r.random() * 6})
        late = event(n, time="2026-03-01T09:00:00Z")
        made.append(r.choices([good, r.choice(made or [good]), r.choice(broken), late], [80, 10, 10, 5])[0])
    return made


def test_records_of_all_outcomes_are_recomputed(database: Database, tmp_path: Path) -> None:
    """Also under definitions of the user's, with conditions and calculations; a changed balance is found."""
    (tmp_path / "own.yaml").write_text(OWN, encoding="utf-8")
    catalogue = Catalogue.load([tmp_path / "own.yaml"])
    writer = Writer(database.writer)
    now = datetime(2026, 3, 1, 10, 12, 7, 123456, UTC).timestamp()
    pipeline = Pipeline(writer, catalogue, now=now, retention_s=1800)
    payloads = mixed(1_200)
    for start in range(0, len(payloads), 35):
        pipeline.feed(payloads[start : start + 35])
    pipeline.finish()
    writer.close()

    report = verify(database.client, catalogue)
    assert list(map(str, report.differences)) == []
    [[read, bad, duplicate, late]] = database.rows(
        "SELECT sum(read), sum(bad), sum(duplicate), sum(late) FROM outcomes"
    )
    assert min(bad, duplicate, late) > 30
    stored = {
        (row["kpi"], *row["labels"].values()): (row["value"], row["n"])
        for row in totals(database.reader)
        if not row["stat"]
    }
    assert stored["violation_rate",] == (100 * bad / read, read)
    assert stored["duplicate_rate",] == (100 * duplicate / read, read)
    assert stored["violations",] == (bad, bad)
    assert {kpi.id for kpi in Catalogue.parse(OWN)} <= {row["kpi"] for row in totals(database.reader)}

    database.client.command(
        "ALTER TABLE outcomes UPDATE bad = bad + 1, read = read + 1 WHERE first = 0", settings={"mutations_sync": 2}
    )
    database.client.command(
        "ALTER TABLE dead_letters DELETE WHERE reason = 'unknown_type'", settings={"mutations_sync": 2}
    )
    wrong = {one.series for one in verify(database.client, catalogue).differences if one.check == "minute"}
    assert wrong >= {"violation_rate", "validated_rate", "violations", "r_useful", "r_size"}
    assert wrong.isdisjoint({"csat", "volume", "r_age", "r_items"})
    part = (7 << 40) - 1
    assert {*repair(database.client, catalogue, part)} >= {"violation_rate", "violations"}
    assert [one for one in verify(database.client, catalogue).differences if one.check == "minute"] == []


def test_what_was_stored_before_is_in_none_of_them(database: Database) -> None:
    """An upgrade with data in it: old balances and dead letters have no time; new ones join them, and are counted."""
    other = replace(database.admin, database=f"{database.name}_older")
    before = [one for one in load() if one.name < "0009"]
    catalogue = Catalogue.load()
    migrate(other, before)
    with closing(connect(other)) as client:
        try:
            client.command(
                "INSERT INTO outcomes (topic, partition, first, last, read, counted, bad)"
                f" VALUES ('{TOPIC}', 0, 0, 4, 5, 0, 5)"
            )
            client.command(
                "INSERT INTO dead_letters (topic, partition, offset, reason, path, payload)"
                f" SELECT '{TOPIC}', 0, number, 'not_json', '', '{{' FROM numbers(5)"
            )
            assert migrate(other) == [one.name for one in load() if one.name >= "0009"] + [
                view.file for view in views()
            ]
            assert list(map(str, verify(client, catalogue).differences)) == []

            at = int(datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC).timestamp() * 1000)
            writer = Writer(other)
            writer.insert_block(
                block_of([event(1)], 5, dead_letters=[LETTER._replace(offset=6)], times=RangeTimes(at, at + 1500, at))
            )
            writer.close()
            part = (7 << 40) - 1
            repaired = repair(client, catalogue, part)
            assert {"violation_rate", "violations", "freshness", "csat"} <= {*repaired}
            fields = "SELECT fields FROM kpi_minute_sums WHERE kpi = {kpi:String} AND by = ''"
            for kpi, wanted in {"violation_rate": [2, 1], "validated_rate": [2, 1], "violations": [1]}.items():
                assert client.query(fields, parameters={"kpi": kpi}).result_rows == [(wanted,)]
            assert [one for one in verify(client, catalogue).differences if one.check == "minute"] == []
        finally:
            client.command(f"DROP DATABASE `{other.database}` SYNC")


def test_dead_letters_that_left_the_store_are_not_missed(database: Database) -> None:
    """They may be kept for less long than events: what was made of the others is compared all the same."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=40)
    ms = int(at.timestamp()) * 1000
    minute = ms // 60_000
    writer = Writer(database.writer)
    writer.insert_block(block_of([], 0, dead_letters=[LETTER] * 3, times=RangeTimes(ms, ms, 0)))
    writer.insert_kpi_minutes(
        [("violations", minute, 0, [3], 1), ("violations\x1freason\x1fnot_json", minute, 0, [3], 1)], "t-0-0-0"
    )
    writer.close()
    database.client.command(
        f"ALTER TABLE outcomes UPDATE ingested_at = {ms // 1000} WHERE 1", settings={"mutations_sync": 2}
    )
    database.client.command("TRUNCATE TABLE dead_letters")
    catalogue = Catalogue.load()

    def minutes_that_differ() -> set[str]:
        return {one.series for one in verify(database.client, catalogue).differences if one.check == "minute"}

    assert minutes_that_differ() == {"violation_rate", "validated_rate", "duplicate_rate", "violations"}
    retention.keep(database.client, {"dead_letters": 30})
    assert minutes_that_differ() == {"violation_rate", "validated_rate", "duplicate_rate"}
    repair(database.client, catalogue, (7 << 40) - 1)
    assert database.value("SELECT sum(n) FROM kpi_minute_sums WHERE kpi = 'violations' AND by = ''") == 3
    assert database.value("SELECT sum(n) FROM kpi_minute_sums WHERE kpi = 'violation_rate' AND by = ''") == 3


def flawed(count: int) -> Sequence[Touch]:
    plan = Plan(start=datetime(2026, 3, 21, 6, 0, tzinfo=UTC), rate=300.0, flat=True, seed=12)
    made = islice(emissions(plan, Flaws(bad=0.05, duplicate=0.05)), count)
    return [Touch(0.0, one.channel, one.subject, one.payload) for one in made]


def test_a_worker_that_is_killed_counts_each_range_once(embedded_broker, database: Database, tmp_path: Path) -> None:
    """With the definitions of a file of the user's beside the built-in ones."""
    own = tmp_path / "own.yaml"
    own.write_text(OWN, encoding="utf-8")
    pipeline = WholeJob(embedded_broker.bootstrap, database, tmp_path, embedded=True, kpis_path=own)
    pipeline.catalogue = Catalogue.load([own])
    chance = random.Random(2)
    try:
        touches = flawed(8_000)
        worker = pipeline.start_alone()
        for start in range(0, 8_000, 2_000):
            pipeline.send(touches[start : start + 2_000])
            pipeline.wait(lambda start=start: pipeline.records()["read"] > start - 1_500, "progress")
            time.sleep(chance.uniform(0.0, 0.7))
            worker.kill()
            worker = pipeline.start_alone()
        records = pipeline.wait_stored(8_000)
        assert min(records["bad"], records["duplicate"]) > 200
        assert list(map(str, pipeline.verify().differences)) == []
        assert pipeline.total("violation_rate") == (100 * records["bad"] / 8_000, 8_000)
        assert pipeline.total("duplicate_rate") == (100 * records["duplicate"] / 8_000, 8_000)
        assert pipeline.total("violations") == (records["bad"], records["bad"])
    finally:
        pipeline.close()
