"""Verification: silent on a right store, and telling of every single thing that is made wrong in it."""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from streams.events.decode import encode
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.rolling.admission import SeriesLimits
from streams.local.clickhouse import EmbeddedClickHouse
from streams.producers.simulator import Plan, simulated
from streams.storage import retention
from streams.storage.connection import UnreachableError, connect
from streams.storage.rows import DeadLetter, ValueRow
from streams.storage.verify import VerifyReport, verify
from streams.storage.verify_again import events_are_coming
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event, fresh_database
from tests.harness.pipeline import Pipeline

START = datetime(2026, 11, 22, 6, tzinfo=UTC)
LETTER = DeadLetter(0, "not_json", "", "", "", "no JSON", b"{", 0.0)

CATALOGUE = Catalogue.load()
TRICKY = Catalogue.parse(
    """
- {id: answers, name: a, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s, owner: o,
   groupings: [[], [score], [resolved], [unitid, channel], [type]], of: {events: [cx.survey.answered]}}
- {id: happy, name: a, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s, owner: o,
   groupings: [[], [unitid]], of: {events: [cx.survey.answered]}, hits: {where: "score >= top_box(scale)"}}
- {id: orders_per_answer, name: a, question: q, unit: per_100, direction: up, class: A, aggregator: ratio, formula: f, source: s, owner: o,
   groupings: [[], [channel]], of: {events: [cx.survey.answered]}, hits: {events: [cx.order.placed]}}
- {id: wait_mean, name: a, question: q, unit: seconds, direction: down, class: B, aggregator: mean, formula: f, source: s, owner: o,
   groupings: [[], [channel]], of: {events: [cx.survey.answered], value: wait_s}}
- {id: wait_sum, name: a, question: q, unit: seconds, direction: down, class: B, aggregator: sum, formula: f, source: s, owner: o,
   groupings: [[]], of: {events: [cx.survey.answered], value: "coalesce(wait_s, 2) * 1000000"}}
- {id: wait, name: a, question: q, unit: seconds, direction: down, class: B, aggregator: quantile, formula: f, source: s, owner: o,
   groupings: [[], [unitid]], quantiles: [0.5, 0.95, 0.999], of: {events: [cx.survey.answered], value: wait_s}}
- {id: recommend, name: a, question: q, unit: points, direction: up, class: A, aggregator: nps, formula: f, source: s, owner: o,
   groupings: [[], [channel]], of: {events: [cx.survey.answered], where: "metric == 'nps'", value: score}}
- {id: people, name: a, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f, source: s, owner: o,
   groupings: [[], [unitid], [channel]], of: {events: '*', value: subject}}
- {id: places, name: a, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f, source: s, owner: o,
   groupings: [[], [type]], of: {events: [cx.survey.answered, cx.order.placed], value: "coalesce(unitid, type)"}}
- {id: wait_share, name: a, question: q, unit: percent, direction: up, class: B, aggregator: share, formula: f, source: s, owner: o,
   groupings: [[], [unitid]], scale: 10, of: {events: [cx.survey.answered], value: wait_s}, hits: {where: resolved}}
- {id: wait_by_points, name: a, question: q, unit: seconds, direction: up, class: B, aggregator: share, formula: f, source: s,
   owner: o, groupings: [[], [channel]], scale: 100,
   of: {events: [cx.survey.answered], value: score}, hits: {where: metric == 'csat', value: wait_s * 1000000}}
- {id: amount_by_answer, name: a, question: q, unit: currency, direction: up, class: A, aggregator: share, formula: f, source: s,
   owner: o, groupings: [[], [channel]], scale: 2,
   of: {events: [cx.survey.answered, cx.order.placed], value: 1}, hits: {events: [cx.order.placed], value: amount / items}}
- {id: later, name: a, question: q, unit: per_100, direction: up, class: B, aggregator: ratio, formula: f, source: s, owner: o,
   groupings: [[], [unitid]], params: {t: 20.5},
   of: {events: [cx.survey.answered, cx.order.placed], delay_s: t}, hits: {events: [cx.survey.answered], delay_s: t - wait_s}}
- {id: matured, name: a, question: q, unit: per_100, direction: up, class: C, aggregator: ratio, formula: f., source: s, owner: o,
   maturity: matured, wait: 3d, groupings: [[], [channel]], of: {events: [cx.order.placed]},
   hits: {events: [cx.survey.answered], age_s: wait_s * 10000}}
- {id: gap_of_people, name: a, question: q, unit: points, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[]], derive: {how: gap, of: people, over: channel}}
- {id: people_by_wait, name: a, question: q, unit: fraction, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[], [channel]], derive: {how: quotient, of: people, by: wait_mean}}
- {id: later_sum, name: a, question: q, unit: seconds, direction: up, class: B, aggregator: sum, formula: f, source: s, owner: o,
   groupings: [[], [channel]], of: {events: [cx.survey.answered], value: score, delay_s: "coalesce(wait_s, 0.0004) + 59.9995"}}
"""
)


@cache
def simulated_payloads() -> list[bytes]:
    return [encode(made) for made in simulated(Plan(start=START, rate=20.0, flat=True, seed=3), 6_000)]


def tricky_payloads() -> list[bytes]:
    """Everything in which two readers of an event could differ."""
    ratings = [1, 5, 5.0, "5", "۵", "٥", "۴", 3]
    units = ["شعبه ۱", "a" * 128, "x\u0001y\u007f", "\u200cنیم‌فاصله", "tab\tsep", "", 'q"uote\\', None]
    waits = [0, 0.0005, 0.0004999, -0.0, 12.3456789, 1e9, None, 7]
    times = [
        "2026-03-01T10:00:00Z",
        "2026-03-01T13:30:59.9999999+03:30",
        "2026-03-01t10:02:59.9999994z",
        "2026-03-01T09:59:59.999-00:00",
    ]
    made = []
    for n in range(160):
        data = {"score": ratings[n % 8], "resolved": [True, False, None][n % 3], "delivery": None}
        if waits[n // 3 % 8] is not None:
            data["wait_s"] = waits[n // 3 % 8]
        if n % 5 == 0:
            data |= {"metric": "nps", "scale": 10, "score": ["۱۰", 9, 6, "0", 7][n // 5 % 5]}
        changes = {"time": times[n % 4], "channel": ["web", "app"][n % 2], "synthetic": n % 17 == 0}
        if units[n // 7 % 8]:
            changes["unitid"] = units[n // 7 % 8]
        if n % 11 == 0:
            order = {"amount": 10.5, "currency": "IRR", "items": 2, "score": 5, "metric": "nps"}
            made.append(
                json.dumps({**json.loads(event(n, **changes)), "type": "cx.order.placed", "data": order}).encode()
            )
        else:
            made.append(event(n, data=data, **changes))
    return made


@pytest.fixture(scope="module")
def stored(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    """A right store, shared: tests change it and change it back."""
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        pipeline = Pipeline(writer, CATALOGUE)
        payloads = simulated_payloads()
        for start in range(0, len(payloads), 1500):
            pipeline.feed(payloads[start : start + 1500])
        pipeline.finish()
        writer.close()
        yield database


def check(database: Database, catalogue: Catalogue = CATALOGUE, windows: Collection[str] = WINDOWS) -> VerifyReport:
    client = connect(database.reader)
    try:
        return verify(client, catalogue, windows)
    finally:
        client.close()


def told(report: VerifyReport) -> list[str]:
    return [str(difference) for difference in report.differences]


def test_a_right_store_has_no_difference(stored: Database) -> None:
    """And much was compared."""
    report = check(stored)
    assert told(report) == []
    assert report.ok
    assert report.notes == []
    checked = report.checked
    assert (checked["records"], checked["sources"], checked["kpis"]) == (6_000, 4, len(list(CATALOGUE)))
    assert checked["minutes"] > 1_000
    assert checked["values"] > 2_000


@pytest.mark.parametrize("cap", [10_000, 2])
def test_both_readings_of_tricky_events_agree(database: Database, cap: int) -> None:
    """Digits, rounding, unknown fields, odd labels, missing values, offsets, synthetic events, and the rest as `(other)`."""
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, TRICKY, limits=SeriesLimits(lambda _kpi: cap))
    payloads = tricky_payloads()
    for start in range(0, len(payloads), 40):
        pipeline.feed(payloads[start : start + 40])
    pipeline.finish()
    writer.close()

    report = check(database, TRICKY)
    assert told(report) == []
    assert report.checked["minutes"] > 40
    others = database.value("SELECT countIf(labels['unitid'] = '(other)') FROM kpi_minutes")
    assert (others > 0) is (cap == 2)


def test_late_events_are_not_expected_in_kpis(database: Database) -> None:
    """Stored, balanced, and in no minute; and what is stored just now is known to be."""
    assert not events_are_coming(database.client)
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, TRICKY)
    pipeline.feed([event(n) for n in range(10)])
    pipeline.finish()
    writer.insert_block(block_of([event(99)], first=10, late_offsets={10}, duplicates=3))
    writer.close()
    assert told(check(database, TRICKY)) == []
    assert events_are_coming(database.client)


WRONG = [
    ("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields) VALUES ('csat', {}, '2026-11-22 03:00:00', 0, 1, [1, 1])",
     "minute csat 2026-11-22 03:00: [1, 1] stored, nothing recomputed"),
    (("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins) SELECT kpi, labels, minute, part, 1e9, [1, 7, 7], bins FROM"
     " kpi_minutes FINAL WHERE kpi = 'aht' AND by = '' ORDER BY minute LIMIT 1"), "minute aht 2026-11-22 06:0"),
    (("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins) SELECT kpi, labels, minute, part + 1000, 1, [], map(5, 1) FROM"
     " kpi_minutes FINAL WHERE length(bins) > 0 AND by = '' ORDER BY kpi, minute LIMIT 1"), "{5: 1"),
    (("INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, lo, hi, definition, maturity, revision) SELECT kpi, labels, window, stat,"
     " at, value + 1e-12, n, lo, hi, definition, maturity, 1e9 FROM kpi_values FINAL WHERE kpi = 'csat' AND window = 'total' AND maturity ="
     " 'closed' AND by = '' ORDER BY at DESC LIMIT 1"), "value csat total 2026-11-22 06"),
    (("INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, lo, hi, definition, maturity, revision) SELECT kpi, labels, window, stat,"
     " at, value, n, lo, NULL, definition, maturity, 1e9 FROM kpi_values FINAL WHERE kpi = 'csat' AND window = '1h' AND maturity ="
     " 'closed' AND by = 'channel' ORDER BY at DESC LIMIT 1"), "value csat{channel="),
    (("INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, lo, hi, definition, maturity, revision) SELECT kpi, labels, window, stat,"
     " at, value, n, lo, hi, 'csat@old', maturity, 1e9 FROM kpi_values FINAL WHERE kpi = 'csat' AND window = '5m' AND maturity ="
     " 'closed' AND by = '' ORDER BY at DESC LIMIT 1"), "definition csat 5m"),
    (("INSERT INTO outcomes (topic, partition, first, last, read, counted, duplicate, late, bad) VALUES"
     " ('cx.touchpoints.web', 0, 100000, 100009, 10, 8, 0, 1, 0)"), "sum cx.touchpoints.web/0 100000-100009: 10 stored, 9 by outcome recomputed"),
    ("INSERT INTO outcomes (topic, partition, first, last, read, counted) VALUES ('cx.touchpoints.web', 0, 0, 0, 0, 0)",
     "overlap with"),
    (("INSERT INTO outcomes (topic, partition, first, last, read, counted) SELECT topic, partition, max(last) + 2, max(last) + 2, 1, 1 FROM outcomes"
     " WHERE topic = 'cx.touchpoints.app' GROUP BY topic, partition"), "offsets cx.touchpoints.app/0"),
    (("INSERT INTO outcomes (topic, partition, first, last, read, counted) SELECT topic, partition, max(last) + 1, max(last) + 1, 1, 1 FROM outcomes"
     " WHERE topic = 'cx.touchpoints.app' GROUP BY topic, partition"), "records cx.touchpoints.app/0 counted"),
    ("INSERT INTO dead_letters (topic, partition, offset) VALUES ('cx.touchpoints.store', 0, 999999)",
     "records cx.touchpoints.store/0 bad: 1 stored, 0 by balance recomputed"),
    ("INSERT INTO events (topic, partition, offset, outcome, payload) SELECT topic, partition, offset, 'counted', payload FROM events ORDER BY id LIMIT 1",
     "twice cx.touchpoints."),
    (("INSERT INTO events (topic, partition, offset, outcome, payload) SELECT topic, partition, offset + 1000000, 'counted', payload FROM events"
     " ORDER BY id LIMIT 1"), "id cx.touchpoints."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "difference"), WRONG)
def test_every_single_wrong_row_is_told(stored: Database, change: str, difference: str) -> None:
    """One row is added that makes the store wrong; verification names it, and is silent once it is gone."""
    tables = ("kpi_minutes", "kpi_values", "outcomes", "dead_letters", "events")
    for table in tables:
        stored.client.command(f"CREATE TABLE backup_{table} CLONE AS {table}")
    try:
        stored.client.command(change)
        found = told(check(stored))
        assert any(difference in line for line in found), found[:5]
    finally:
        for table in tables:
            stored.client.command(f"EXCHANGE TABLES {table} AND backup_{table}")
            stored.client.command(f"DROP TABLE backup_{table} SYNC")


@pytest.mark.parametrize(
    ("table", "condition", "check_name"),
    [
        ("kpi_minutes", "kpi = 'csat' AND by = 'channel'", "minute"),
        ("kpi_values", "kpi = 'csat' AND by = '' AND window = 'total'", "missing"),
        ("kpi_values", "kpi = 'csat' AND by = '' AND window = '1m' AND maturity = 'closed' AND at >= (SELECT max(at) - 60 FROM kpi_values)", "stale"),
        ("outcomes", "topic = 'cx.touchpoints.web' AND first = 0", "records"),
        ("events", "topic = 'cx.touchpoints.web' AND offset = 5", "records"),
        ("events", "type = 'cx.contact.handled' AND offset % 3 = 0", "minute"),
    ],
)  # fmt: skip
def test_everything_that_is_taken_away_is_told(stored: Database, table: str, condition: str, check_name: str) -> None:
    """Lost rows are differences, too."""
    stored.client.command(f"CREATE TABLE backup_{table} CLONE AS {table}")
    try:
        stored.client.command(f"DELETE FROM {table} WHERE {condition}")
        assert check_name in {difference.check for difference in check(stored).differences}
    finally:
        stored.client.command(f"EXCHANGE TABLES {table} AND backup_{table}")
        stored.client.command(f"DROP TABLE backup_{table} SYNC")


def test_a_wrong_minute_is_verified_against_events_not_against_itself(stored: Database) -> None:
    """Where minutes are wrong, right values stay right: they are held against the events."""
    stored.client.command("CREATE TABLE backup_kpi_minutes CLONE AS kpi_minutes")
    try:
        stored.client.command("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields) SELECT kpi, labels, minute, part, 1e9, [500, 1]"
                              " FROM kpi_minutes FINAL WHERE kpi = 'csat' AND by = '' ORDER BY minute LIMIT 1")  # fmt: skip
        assert [difference.check for difference in check(stored).differences] == ["minute"]
    finally:
        stored.client.command("EXCHANGE TABLES kpi_minutes AND backup_kpi_minutes")
        stored.client.command("DROP TABLE backup_kpi_minutes SYNC")


def test_a_new_epoch_is_no_gap(database: Database) -> None:
    """Offsets that start again in a higher epoch are as contiguous as can be."""
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(1), event(2)]))
    writer.insert_block(block_of([event(3)], first=1 << 40))
    writer.insert_block(block_of([event(4)], first=(1 << 40) + 2))
    writer.close()
    offsets = [str(d) for d in check(database, Catalogue.parse("[]")).differences if d.check == "offsets"]
    assert offsets == [
        f"offsets cx.touchpoints.web/0 {(1 << 40) + 2}-{(1 << 40) + 2}: first {(1 << 40) + 2} stored, gap after {1 << 40} recomputed"
    ]


def stored_before(database: Database, days: int, *, events: int = 0, letters: int = 0) -> datetime:
    """A range whose events and dead letters have left the store, and a minute that held the events."""
    at = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=days)
    database.client.command("INSERT INTO outcomes (topic, partition, first, last, read, counted, bad, ingested_at) VALUES"
                            f" ('cx.touchpoints.web', 0, 0, 9, {events + letters}, {events}, {letters}, {int(at.timestamp())})")  # fmt: skip
    if events:
        database.client.command("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields) VALUES"
                                f" ('answers', {{}}, {int(at.timestamp())}, 0, 1, [{events}])")  # fmt: skip
    return at


@pytest.mark.parametrize(("kept", "expected"), [(400, True), (30, True), (41, False)])
def test_what_may_have_expired_is_left_out_and_said(database: Database, kept: int, expected: bool) -> None:
    """As long as the store keeps raw events, whatever that is; older minutes cannot be recomputed, younger ones are."""
    retention.keep(database.client, {"events": kept})
    stored_before(database, 401 if kept == 400 else 40, events=10)
    report = check(database, TRICKY)
    checks = {difference.check for difference in report.differences}
    assert checks == (set() if expected else {"records", "minute"})
    assert any("may have expired" in note for note in report.notes) is expected


def test_dead_letters_are_balanced_for_as_long_as_they_are_kept(database: Database) -> None:
    """Which need not be as long as events."""
    stored_before(database, 40, letters=3)
    assert [str(one) for one in check(database, TRICKY).differences] == [
        "records cx.touchpoints.web/0 bad: 0 stored, 3 by balance recomputed"
    ]
    retention.keep(database.client, {"dead_letters": 30})
    assert check(database, TRICKY).differences == []


def test_minutes_that_left_before_their_events_are_not_missed(database: Database) -> None:
    """Sums may be kept for less time than events, and payloads for less time than their rows."""
    at = datetime.now(UTC) - timedelta(days=40)
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(1, time=f"{at:%Y-%m-%dT%H:%M:%SZ}")]))
    writer.close()
    database.client.command(
        f"ALTER TABLE outcomes UPDATE ingested_at = {int(at.timestamp())} WHERE 1 SETTINGS mutations_sync = 2"
    )
    assert {difference.check for difference in check(database, TRICKY).differences} == {"minute"}
    retention.keep(database.client, {"text": 30})
    assert check(database, TRICKY).differences == []
    retention.keep(database.client, {"text": 0})
    assert {difference.check for difference in check(database, TRICKY).differences} == {"minute"}
    retention.keep(database.client, {"kpi_minutes": 30})
    assert check(database, TRICKY).differences == []


def test_events_that_count_later_are_not_held_against_events_that_left(database: Database) -> None:
    """A minute may hold an event from a hundred days before; it is compared once all its events must be there."""
    retention.keep(database.client, {"events": 30})
    stored_before(database, 40)
    recent = int((datetime.now(UTC) - timedelta(days=10)).timestamp()) // 60 * 60
    database.client.command("INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields) VALUES"
                            f" ('later_sum', {{}}, {recent}, 0, 1, [1, 5]), ('answers', {{}}, {recent}, 0, 1, [1])")  # fmt: skip
    assert [(one.check, one.series) for one in check(database, TRICKY).differences] == [("minute", "answers")]


def test_values_that_left_the_store_are_not_missed(database: Database) -> None:
    """A series that was touched last before the oldest value that is kept needs none; any other does."""
    now = datetime.now(UTC)
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, TRICKY)
    for number, (days, channel) in enumerate([(40, "web"), (2, "app")]):
        at = f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
        pipeline.feed([event(number, time=at, channel=channel, data={"wait_s": 3})])
    pipeline.finish()
    writer.close()
    database.client.command(
        "ALTER TABLE outcomes UPDATE ingested_at = ingested_at - 86400 * 40 WHERE 1 SETTINGS mutations_sync = 2"
    )
    assert told(check(database, TRICKY)) == []

    database.client.command("DELETE FROM kpi_values WHERE labels['channel'] = 'web'")
    missing = {("missing", "people"), ("missing", "people_by_wait")}
    assert {(one.check, one.series) for one in check(database, TRICKY).differences} >= missing
    retention.keep(database.client, {"kpi_values": 30})
    assert told(check(database, TRICKY)) == []
    database.client.command("DELETE FROM kpi_values WHERE labels['channel'] = 'app'")
    assert {(one.check, one.series) for one in check(database, TRICKY).differences} >= missing


def test_windows_that_are_not_kept_are_no_differences(stored: Database) -> None:
    """Their last values stay as they were; of those that are kept, nothing is let through."""
    stored.client.command("CREATE TABLE backup_kpi_values CLONE AS kpi_values")
    stored.client.command("CREATE TABLE backup_kpi_newest CLONE AS kpi_newest")
    try:
        stored.client.command(
            "INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, lo, hi, definition, maturity, revision)"
            " SELECT kpi, labels, '2h', stat, at, value + 1, n, lo, hi, definition, maturity, revision FROM kpi_values FINAL"
            " WHERE window = '1h' AND maturity = 'closed' AND (kpi = 'csat' OR kpi LIKE '%gap%')")  # fmt: skip
        report = check(stored)
        assert told(report) == []
        assert report.notes == ["window 2h: stored, but not kept any more"]
        kept = check(stored, windows=["1h", "2h"])
        assert {(one.check, one.when[:2]) for one in kept.differences} == {("value", "2h")}
        assert "csat" in {one.series for one in kept.differences}
    finally:
        for table in ("kpi_values", "kpi_newest"):
            stored.client.command(f"EXCHANGE TABLES {table} AND backup_{table}")
            stored.client.command(f"DROP TABLE backup_{table} SYNC")


def test_kpis_without_a_definition_are_noted(stored: Database) -> None:
    """A definition that was taken away leaves its numbers, which cannot be checked."""
    report = check(stored, TRICKY)
    assert "csat: stored, but not in the catalogue" in report.notes


def test_an_empty_store_is_right(database: Database) -> None:
    """Nothing was read, nothing is missing."""
    report = check(database)
    assert (report.ok, report.checked["records"], report.checked["minutes"]) == (True, 0, 0)


def test_values_of_a_series_that_fell_silent_are_checked(database: Database) -> None:
    """A value of an emptied window is nothing, and a stale one is told."""
    writer = Writer(database.writer)
    row = ValueRow(
        "answers", "5m", "", 1_772_359_500, 3.0, 3, None, None, TRICKY["answers"].definition_id, closed=True, revision=1
    )
    writer.insert_kpi_values([row], "cx.kpis-0-0-0")
    writer.close()
    assert told(check(database, TRICKY)) == [
        "value answers 5m 2026-03-01 10:05: (3.0, 3, None, None) stored, (None, 0, None, None) recomputed"
    ]


def test_a_store_that_is_away_is_told() -> None:
    """As a typed error."""
    from streams.local.ports import free_port
    from streams.storage.connection import Address

    with pytest.raises(UnreachableError):
        connect(Address(f"http://127.0.0.1:{free_port()}"))
