"""Invented labels, by the ten thousand, beside honest ones: who is honest keeps the own values, and all adds up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.rolling.admission import SeriesLimits
from streams.storage.connection import connect
from streams.storage.overflow import overflowing
from streams.storage.verify import VerifyReport, verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline

START = datetime(2026, 11, 22, 6, tzinfo=UTC)
SHOPS = 20
COMMON = "question: q, direction: up, class: A, formula: f, source: s, owner: o"
CATALOGUE = Catalogue.parse(
    f"""
- {{id: answers, name: a, unit: count, aggregator: count, {COMMON}, groupings: [[], [unitid], [channel, touchpoint]],
   of: {{events: [cx.survey.answered]}}}}
- {{id: wait, name: a, unit: seconds, aggregator: quantile, {COMMON}, groupings: [[], [unitid]],
   of: {{events: [cx.survey.answered], value: wait_s}}}}
- {{id: people, name: a, unit: count, aggregator: distinct, {COMMON}, groupings: [[unitid]],
   of: {{events: [cx.survey.answered], value: subject}}}}
- {{id: heard, name: a, unit: percent, aggregator: derived, {COMMON}, groupings: [[]],
   derive: {{how: coverage, of: people, among: answers, over: unitid}}}}
""",
    touchpoints=["checkout"],
)


def sent(number: int, minute: int, unit: str, channel: str = "web", touchpoint: str = "checkout") -> bytes:
    """One answer to a survey."""
    return json.dumps({
        "specversion": "1.0", "id": f"{channel}-{number}", "source": "/shop", "type": "cx.survey.answered",
        "time": (START + timedelta(minutes=minute, seconds=number % 60)).isoformat(), "subject": f"c{number % 97}",
        "channel": channel, "unitid": unit, "touchpoint": touchpoint,
        "data": {"survey_id": "s", "metric": "csat", "scale": 5, "score": 4, "wait_s": number % 40},
    }).encode()  # fmt: skip


def honest(minute: int) -> list[bytes]:
    return [sent(minute * 1_000 + n, minute, f"shop-{n % SHOPS}") for n in range(60)]


def flood(minute: int, count: int) -> list[bytes]:
    base = 10_000_000 + minute * 100_000
    return [sent(base + n, minute, f"made-up-{base + n}", touchpoint=f"made-up-{base + n}") for n in range(count)]


def check(database: Database) -> VerifyReport:
    client = connect(database.reader)
    try:
        return verify(client, CATALOGUE)
    finally:
        client.close()


ORDERS: dict[str, Callable[[int], list[bytes]]] = {
    "honest first": lambda minute: honest(minute) + (flood(minute, 1_500) if 3 <= minute < 7 else []),
    "flood first": lambda minute: (flood(minute, 1_500) if minute < 4 else []) + (honest(minute) if minute > 1 else []),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("credit", [None, 300], ids=["at the merge", "at ingest"])
def test_honest_series_keep_their_values(database: Database, order: str, credit: int | None) -> None:
    """Those that were there keep them; those that come into a flood have them once it is over, or weigh more."""
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE, limits=SeriesLimits(lambda _kpi: 200, 1 << 21), credit=credit)
    for minute in range(12):
        pipeline.feed(ORDERS[order](minute))
    pipeline.finish()
    writer.close()

    report = check(database)
    assert [str(difference) for difference in report.differences] == []
    assert any("had no room" in note for note in report.notes)
    kept = database.value("SELECT uniqExact(labels) FROM kpi_minutes WHERE kpi = 'answers' AND by = 'unitid'")
    assert kept < 1_000, "of 6,000 made-up labels"
    shops = "startsWith(labels['unitid'], 'shop-')"
    last = f"kpi = 'answers' AND by = 'unitid' AND {shops} AND minute = (SELECT max(minute) FROM kpi_minutes)"
    assert database.value(f"SELECT (count(), sum(n)) FROM kpi_minutes FINAL WHERE {last}") == (SHOPS, 60)
    if order == "honest first":
        of_shops = database.value(
            f"SELECT sum(n) FROM kpi_minutes FINAL WHERE kpi = 'answers' AND by = 'unitid' AND {shops}"
        )
        assert of_shops == 12 * 60
    touchpoints = "SELECT groupUniqArray(labels['touchpoint']) FROM kpi_minutes WHERE by = 'channel,touchpoint'"
    assert set(database.value(touchpoints)) == {"checkout", "unknown"}
    assert pipeline.merge.registry.reserved <= 1 << 21


def test_a_sender_who_came_first_leaves_room_for_others_of_its_channel(database: Database) -> None:
    """Each of its labels weighs as much as an honest one, so nobody gives way: there must be room from the start."""
    writer = Writer(database.writer)
    limits = SeriesLimits(lambda _kpi: 10_000, 1 << 22, 0.5, 0.5)
    pipeline = Pipeline(writer, CATALOGUE, limits=limits, credit=1 << 14)
    for minute in range(4):
        evil = [one.replace(b'"/shop"', b'"/evil"') for one in flood(minute, 800)]
        pipeline.feed(evil)
        if minute > 1:
            pipeline.feed([sent(minute * 1_000 + n, minute, f"shop-{n % SHOPS}") for n in range(SHOPS)])
    pipeline.finish()
    writer.close()

    assert [str(difference) for difference in check(database).differences] == []
    shops = "kpi = 'answers' AND by = 'unitid' AND startsWith(labels['unitid'], 'shop-')"
    assert database.value(f"SELECT (count(), sum(n)) FROM kpi_minutes FINAL WHERE {shops}") == (2 * SHOPS, 2 * SHOPS)
    assert database.value("SELECT sum(n) FROM kpi_minutes FINAL WHERE by = 'unitid' AND labels['unitid'] = '(other)'")


def test_a_sender_who_is_alone_loses_none(database: Database) -> None:
    """A company that replays its history: a thousand labels of its own, each of them light, while nobody else sends."""
    writer = Writer(database.writer)
    limits = SeriesLimits(lambda _kpi: 10_000, 1 << 25, 0.5, 0.5)
    pipeline = Pipeline(writer, CATALOGUE, limits=limits, credit=1 << 11)
    for minute in range(6):
        pipeline.feed(flood(minute, 200))
    pipeline.finish()
    writer.close()

    assert pipeline.merge.registry.used > 0.25 * limits.budget, "more than its share beside others"
    report = check(database)
    assert report.differences == []
    assert report.notes == []
    assert database.value("SELECT uniqExact(labels) FROM kpi_minutes WHERE kpi = 'wait' AND by = 'unitid'") == 1_200
    assert not database.value("SELECT count() FROM kpi_minutes WHERE has(mapValues(labels), '(other)')")


def test_who_sends_the_name_of_the_rest_is_not_the_rest(database: Database) -> None:
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE)
    pipeline.feed([sent(n, 0, unit) for n, unit in enumerate(["(other)", "other", "(other)\u0007", "unknown"])])
    pipeline.finish()
    writer.close()
    report = check(database)
    assert report.differences == []
    assert report.notes == [], "nothing had no room"
    assert overflowing(database.client) == set()
    assert database.value("SELECT groupUniqArray(labels['unitid']) FROM kpi_minutes WHERE by = 'unitid' AND n = 2") == [
        "other"
    ]
    assert not database.value("SELECT count() FROM kpi_minutes WHERE has(mapValues(labels), '(other)')")


def test_more_than_there_is_and_loss_are_told_in_minutes_without_room(database: Database) -> None:
    """Where groupings are compared as a whole, a series must not hold more than its events, nor the whole less."""
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE, limits=SeriesLimits(lambda _kpi: 5))
    pipeline.feed(honest(0))
    pipeline.finish()
    writer.close()
    assert check(database).differences == []
    moved = """
        INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields)
        SELECT kpi, labels, minute, part, 1000000000, [fields[1] + {}] FROM kpi_minutes FINAL
        WHERE kpi = 'answers' AND by = 'unitid' AND labels['unitid'] = '{}'"""
    database.client.command(moved.format(2, "shop-0"))
    database.client.command(moved.format(-2, "(other)"))
    assert [one.labels for one in check(database).differences if one.check == "minute"] == [{"unitid": "shop-0"}]
    database.client.command(moved.format(0, "shop-0").replace("1000000000", "1000000001").replace("+ 0", "- 2"))
    assert {tuple(one.labels.values()) for one in check(database).differences if one.check == "minute"} == {
        ("(other)",)
    }


def test_what_an_earlier_version_counted_as_other_is_no_difference(database: Database) -> None:
    """It named the rest `other`, as senders may; a series that holds too much is told all the same."""
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE, limits=SeriesLimits(lambda _kpi: 5))
    pipeline.feed([*honest(0), sent(9_000, 0, "other")])
    pipeline.finish()
    writer.close()
    was = "mapApply((name, text) -> (name, replaceOne(text, '(other)', 'other')), labels)"
    rest = "WHERE has(mapValues(labels), '(other)')"
    for table in ("kpi_minutes", "kpi_values"):
        columns = database.value(
            f"SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE database = '{database.name}'"
            f" AND table = '{table}' AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') AND name != 'labels'"
        )
        assert database.value(f"SELECT count() FROM {table} {rest}")
        database.client.command(
            f"INSERT INTO {table} (labels, {columns}) SELECT {was}, {columns} FROM {table} FINAL {rest}"
        )
        database.client.command(f"ALTER TABLE {table} DELETE {rest} SETTINGS mutations_sync = 2")
    assert check(database).differences, "a store that was made by this version never had such rows"
    database.client.command(
        "ALTER TABLE migrations UPDATE applied_at = applied_at - INTERVAL 1 DAY WHERE number < 16"
        " SETTINGS mutations_sync = 2"
    )
    # How many values of a label were heard of is published with the name of today: only those KPIs count it.
    assert [one for one in check(database).differences if not one.series.startswith("heard")] == []
    database.client.command(
        "INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields)"
        " SELECT kpi, labels, minute, part, 1000000000, [fields[1] + 1] FROM kpi_minutes FINAL"
        " WHERE kpi = 'answers' AND by = 'unitid' AND labels['unitid'] = 'shop-0'"
    )
    assert {one.labels.get("unitid") for one in check(database).differences if one.check == "minute"} >= {"shop-0"}
