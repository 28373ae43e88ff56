"""Migrations on the real server."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from streams.events.anonymous import names_for_nobody
from streams.kpis.arithmetic.coupons import bin_of
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.ports import free_port
from streams.settings import Settings
from streams.storage import erasing, retention
from streams.storage.balance import check_balance
from streams.storage.cases import read_cases
from streams.storage.connection import Address, PermanentStorageError, UnreachableError, connect
from streams.storage.customer import history_of
from streams.storage.migrations import Migration, MigrationError, load, migrate, pending, views
from streams.storage.persons import keys_of
from streams.storage.rows import ValueRow
from streams.storage.statements import split_statements
from streams.storage.views import ViewFile
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, address_of, block_of, elsewhere, event

SCHEMA = """
    SELECT name, replaceAll(create_table_query, database, 'cx') FROM system.tables WHERE database = '{}' ORDER BY name"""
VIEWS = [view.file for view in views()]
LAST_WITH_VIEWS = 16
"""Number of the last file that holds definitions of views."""


@pytest.fixture
def another(clickhouse: EmbeddedClickHouse) -> Iterator[Address]:
    """A database that is not there yet."""
    address = replace(address_of(clickhouse), database="cx_another")
    yield address
    with closing(connect(address, database="")) as client:
        client.command("DROP DATABASE IF EXISTS cx_another SYNC")


def schema(database: Database, name: str) -> list[Any]:
    """All that was created."""
    return list(database.rows(SCHEMA.format(name)))


def insert_as_before(client: Client, payloads: list[bytes]) -> None:
    """Store events as an earlier release did, whose tables lack columns that the writer knows now."""
    for offset, payload in enumerate(payloads):
        client.command(
            "INSERT INTO events (topic, partition, offset, outcome, payload) VALUES"
            " ({topic:String}, 0, {offset:UInt64}, 'counted', {payload:String})",
            parameters={"topic": TOPIC, "offset": offset, "payload": payload.decode()},
        )


def test_the_second_run_applies_nothing(database: Database) -> None:
    """The fixture has migrated once."""
    assert migrate(database.admin) == []
    assert database.rows("SELECT name FROM migrations ORDER BY number") == [(m.name,) for m in load()]


def test_a_new_file_is_applied_alone(database: Database) -> None:
    """What was applied before is not touched."""
    more = [
        *load(),
        Migration(len(load()) + 1, "0099_more.sql", "CREATE VIEW IF NOT EXISTS more AS SELECT 'a;b' AS x;"),
    ]
    assert migrate(database.admin, more) == ["0099_more.sql"]
    assert migrate(database.admin, more) == []
    assert database.value("SELECT x FROM more") == "a;b"


def test_a_changed_file_is_refused_by_name(database: Database) -> None:
    """An applied file is history."""
    first, *rest = load()
    with pytest.raises(MigrationError, match=f"{first.name} was changed"):
        migrate(database.admin, [replace(first, text=first.text + " "), *rest])


def test_data_newer_than_the_code_is_refused(database: Database) -> None:
    """Older code must not write into a newer schema."""
    with pytest.raises(MigrationError, match=f"{load()[-1].name} was applied, but is not among"):
        migrate(database.admin, load()[:-1])


def test_a_failing_statement_is_told_with_file_and_number(database: Database) -> None:
    """And the file counts as not applied, so that its repaired form runs from the start."""
    number = len(load()) + 1
    good = "CREATE TABLE IF NOT EXISTS half (x UInt8) ENGINE = MergeTree ORDER BY x;"
    with pytest.raises(MigrationError, match=r"0042_half.sql, statement 2: .*nosuchfunction"):
        migrate(
            database.admin,
            [*load(), Migration(number, "0042_half.sql", f"-- a\n{good} SELECT nosuchfunction(1); SELECT 3")],
        )
    assert migrate(database.admin, [*load(), Migration(number, "0042_half.sql", good)]) == ["0042_half.sql"]
    assert database.value("SELECT count() FROM migrations") == number


def test_a_misspelt_statement_is_found_before_anything_has_changed(database: Database) -> None:
    """Even when it is the last one of its file."""
    good = "CREATE TABLE IF NOT EXISTS half (x UInt8) ENGINE = MergeTree ORDER BY x;"
    with pytest.raises(MigrationError, match=r"0042_half.sql, statement 2: .*Syntax error"):
        migrate(database.admin, [*load(), Migration(len(load()) + 1, "0042_half.sql", f"{good} CREATE TABEL x")])
    assert database.value("EXISTS TABLE half") == 0


def test_a_run_that_failed_anywhere_is_finished_by_the_next(database: Database, another: Address) -> None:
    """Cut off here and there in all files, each run goes on from the last one; it comes to what one run makes."""
    files = load()
    cuts = [(place, number) for place, one in enumerate(files) for number in range(len(split_statements(one.text)))]
    for place, number in cuts[1::9]:
        one, statements = files[place], split_statements(files[place].text)
        cut = ";".join([*statements[:number], "SELECT throwIf(1, 'power cut')", *statements[number:]])
        with pytest.raises(MigrationError, match=f"{one.name}, statement {number + 1}: .*power cut"):
            migrate(another, [*files[:place], replace(one, text=cut), *files[place + 1 :]])
        assert pending(another) == [file.name for file in files[place:]] + VIEWS
    assert migrate(another) == [file.name for file in files[place:]] + VIEWS
    assert migrate(another) == []
    assert schema(database, another.database) == schema(database, database.name)


def test_of_two_migrators_one_waits_for_the_other(database: Database, another: Address) -> None:
    """Between them every file is applied once, and nothing of their keeping apart stays."""
    done: list[list[str]] = []
    both = [threading.Thread(target=lambda: done.append(migrate(another))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(done) == [[], [file.name for file in load()] + VIEWS]
    assert database.rows("SELECT number, count() FROM cx_another.migrations GROUP BY number HAVING count() > 1") == []
    assert schema(database, another.database) == schema(database, database.name)


def test_a_migrator_that_does_not_end_is_named(database: Database) -> None:
    """Who waits is told for whom."""
    database.client.command("CREATE TABLE migrating (x UInt8) ENGINE = Memory COMMENT 'held by host, process 7'")
    with pytest.raises(UnreachableError, match="held by host, process 7"):
        migrate(database.admin, wait_s=0.5)


def test_an_upgrade_of_the_first_schema_keeps_what_is_in_it(database: Database, another: Address) -> None:
    """Events stay; sums and newest values are made from rows that were there before; later rows join them."""
    first = load()[:3]
    assert migrate(another, first) == [one.name for one in first]
    with closing(connect(another)) as client, closing(Writer(another)) as writer:
        insert_as_before(client, [event(1), event(2, data={"score": "۴"})])
        client.command(f"INSERT INTO dead_letters (topic, offset, reason) VALUES ('{TOPIC}', 2, 'not_json')")
        client.command(
            f"INSERT INTO outcomes (topic, first, last, read, counted, bad) VALUES ('{TOPIC}', 0, 2, 3, 2, 1)"
        )
        records = {table: client.query(f"SELECT * FROM {table} LIMIT 0").column_names
                   for table in ("events", "dead_letters", "outcomes")}  # fmt: skip
        kept = [f"SELECT {', '.join(names)} FROM {table} ORDER BY ALL" for table, names in records.items()]
        before = [client.query(sql).result_rows for sql in kept]
        assert [len(rows) for rows in before] == [2, 1, 1]
        minute = datetime(2026, 3, 1, 10, tzinfo=UTC)
        client.command(
            "INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields) SELECT 'csat', map('channel', 'web'),"
            f" toDateTime({int(minute.timestamp())}, 'UTC') + 60 * number, 0, 1, [2, 1] FROM numbers(3000)"
        )
        client.command(
            "INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, definition, maturity, revision)"
            " SELECT 'csat', map(), '1h', '', toDateTime('2026-03-01 10:00:00', 'UTC') + 60 * number, number, 5, 'csat@1',"
            " if(number < 90, 'closed', 'open'), number FROM numbers(100)"
        )
        names = client.query("SELECT * FROM kpi_latest LIMIT 0").column_names
        newest = f"SELECT {', '.join(names)} FROM kpi_latest"
        latest = client.query(newest).result_rows
        assert migrate(another) == [one.name for one in load()[3:]] + VIEWS
        assert [client.query(sql).result_rows for sql in kept] == before
        assert client.query(newest).result_rows == latest != []
        assert set(client.query("SELECT * FROM kpi_latest LIMIT 0").column_names) == {*names, "maturity"}
        assert client.query("SELECT span, count(), sum(changes) FROM kpi_spans GROUP BY span ORDER BY span").result_rows == [
            ("hour", 50, 3000), ("day", 3, 3000)
        ]  # fmt: skip
        sums = "SELECT sum(n) FROM kpi_sums(kpi = 'csat', from = '2026-03-01 00:00:00', to = '2026-03-09 00:00:00', grain = 0, bounds = [])"
        assert client.query(sums).result_rows == [(6000,)]

        writer.insert_block(block_of([event(3)], first=3))
        writer.insert_kpi_minutes([("csat", int(minute.timestamp()) // 60, 1, [4, 3], 1)], "t-0-0-0")
        later = int(minute.timestamp()) + 86_400
        writer.insert_kpi_values(
            [ValueRow("csat", "1h", "", later, 1.0, 9, None, None, "csat@1", True, 200)], "t-0-0-0"
        )
        assert client.query("SELECT offset, type, unambiguous FROM events ORDER BY offset").result_rows == [
            (offset, "cx.survey.answered", False) for offset in (0, 1, 3)
        ]
        assert client.query(sums).result_rows == [(6004,)]
        assert client.query("SELECT value, n FROM kpi_latest").result_rows == [(1.0, 9)]
    assert schema(database, another.database) == schema(database, database.name)


def test_a_store_whose_views_came_with_numbered_files_is_taken_over(database: Database, another: Address) -> None:
    """Rows are untouched, every view is as in a new store, and what is applied is noted from now on."""
    numbered = [one for one in load() if one.number <= LAST_WITH_VIEWS]
    assert migrate(another, numbered) == [one.name for one in numbered]
    with closing(connect(another)) as client, closing(Writer(another)) as writer:
        insert_as_before(client, [event(1), event(2)])
        client.command(f"INSERT INTO outcomes (topic, first, last, read, counted) VALUES ('{TOPIC}', 0, 1, 2, 2)")
        writer.insert_kpi_minutes([("csat", 29_539_800, 0, [4, 3], 1)], "t-0-0-0")
        asked = [
            "SELECT * EXCEPT (unambiguous) FROM events ORDER BY offset",
            "SELECT * FROM kpi_minutes",
            "SELECT * FROM kpi_minute_sums",
            "SELECT minute, topic, partition, read, counted, duplicate, late, bad FROM pipeline_minutes",
        ]
        before = [client.query(sql).result_rows for sql in asked]
        assert all(before)
        assert pending(another)[-len(VIEWS) :] == VIEWS
        assert migrate(another)[-len(VIEWS) :] == VIEWS
        assert [client.query(sql).result_rows for sql in asked] == before
    assert pending(another) == migrate(another) == []
    assert schema(database, another.database) == schema(database, database.name)


def test_a_view_is_applied_again_when_its_text_changes(database: Database) -> None:
    """Alone, with no new number; the newest text wins, also when it is an earlier one again."""
    first, second = (
        ViewFile("more", f"CREATE OR REPLACE VIEW more AS SELECT {n} AS x COMMENT 'more';") for n in (1, 2)
    )
    for view, found in ((first, 1), (second, 2), (first, 1)):
        assert pending(database.admin, load(), [*views(), view]) == ["views/more.sql"]
        assert migrate(database.admin, load(), [*views(), view]) == ["views/more.sql"]
        assert migrate(database.admin, load(), [*views(), view]) == []
        assert database.value("SELECT x FROM more") == found


@pytest.mark.parametrize(
    "by_hand",
    [
        "CREATE OR REPLACE VIEW kpi_latest AS SELECT 1 AS x",
        "DROP VIEW kpi_latest",
        "ALTER TABLE kpi_latest COMMENT COLUMN n 'else'",
    ],
)
def test_a_view_that_was_changed_by_hand_is_found_and_made_anew(database: Database, by_hand: str) -> None:
    """Readers see the drift, too; its columns and their comments are as before in the end."""
    before = schema(database, database.name)
    assert pending(database.reader) == pending(database.writer) == pending(database.admin) == []
    database.client.command(by_hand)
    assert pending(database.reader) == pending(database.writer) == ["views/kpi_latest.sql (drifted)"]
    assert migrate(database.admin) == ["views/kpi_latest.sql"]
    assert pending(database.reader) == []
    assert schema(database, database.name) == before


def test_a_view_that_fails_is_named_and_tried_again(database: Database) -> None:
    """It is not noted before its last statement."""
    wrong = ViewFile(
        "more", "CREATE OR REPLACE VIEW more AS SELECT 1 AS x COMMENT 'm'; ALTER TABLE more COMMENT COLUMN y '';"
    )
    with pytest.raises(MigrationError, match=r"views/more.sql, statement 2"):
        migrate(database.admin, load(), [wrong])
    assert pending(database.admin, load(), [wrong]) == ["views/more.sql"]


def test_retention_is_what_the_settings_say(database: Database) -> None:
    """Set once, changed when they change, and shown by the table itself; a second run changes nothing."""
    wanted = retention.wanted(Settings(keep_events_days=33))
    assert {*retention.ARRIVAL, retention.TEXT} == set(wanted) == set(retention.current(database.client))
    assert "events: 400 => 33 days" in retention.keep(database.client, wanted)
    assert retention.current(database.client) == wanted
    assert retention.keep(database.client, wanted) == []
    assert migrate(database.admin) == []
    database.client.command(
        "INSERT INTO events (topic, partition, offset, outcome, payload, ingested_at) SELECT 't', 0, number, 'counted',"
        ' \'{"id":"1","type":"x","time":"2026-03-01T10:00:00Z"}\', now() - 86400 * (33 + number) + 43200'
        " FROM numbers(3)"
    )
    database.client.command("OPTIMIZE TABLE events FINAL SETTINGS mutations_sync = 2")
    assert database.rows("SELECT offset FROM events") == [(0,)]
    with pytest.raises(ValueError, match="retention of 'nothing': expected one of events"):
        retention.keep(database.client, {"nothing": 1})
    text_goes_before_its_rows(database, {**wanted, "events": 400})


def text_goes_before_its_rows(database: Database, wanted: dict[str, int]) -> None:
    """Columns of their own stay, younger rows too; whoever reads what is emptied says so, and people are still forgotten."""
    database.client.command("TRUNCATE TABLE events")
    assert retention.keep(database.client, {**wanted, "text": 30}) == [
        "events: 33 => 400 days",
        "text: for good => 30 days",
    ]
    assert retention.keep(database.client, {**wanted, "text": 30}) == []
    assert retention.keep(database.client, {**wanted, "events": 300, "text": 30}) == ["events: 400 => 300 days"]
    assert retention.current(database.client)["text"] == 30
    payloads = [
        event(number, subject=f"c{number % 2}", data={"score": 4, "text": "ok"}, synthetic=True).decode()
        for number in range(4)
    ]
    for number, payload in enumerate(payloads):
        database.client.command(
            "INSERT INTO events (topic, partition, offset, outcome, payload, unambiguous, ingested_at) VALUES"
            f" ('t', 0, {number}, 'counted', {{payload:String}}, true, now() - 86400 * {(40, 40, 20, 0)[number]})",
            parameters={"payload": payload},
        )
    stored = "reason, topic, partition, offset, path, got, message, payload"
    database.client.command(
        f"INSERT INTO dead_letters ({stored}, ingested_at) SELECT 'not_json', 't', 0, number, 'p', 'g', 'm', 'x',"
        " now() - 86400 * (20 + number) FROM numbers(20)"
    )
    database.client.command(
        "INSERT INTO alerts (id, at, rule, labels, verbatims, updated_at) SELECT toString(number), now(), 'r',"
        " map('a', 'b'), ['words'], now() - 86400 * (20 + number) FROM numbers(20)"
    )
    database.client.command(
        "INSERT INTO cases (case_id, subject, cause, state, story, updated_at) VALUES"
        " ('k', 'c', 'r', 'closed', '[]', now() - 86400 * 40)"
    )
    for table in retention.TEXTS:
        database.client.command(f"OPTIMIZE TABLE {table} FINAL")
    assert database.rows("SELECT offset, payload, data != '', subject, score, synthetic FROM events ORDER BY offset") == [
        (0, "", False, "c0", 4, True), (1, "", False, "c1", 4, True),
        (2, payloads[2], True, "c0", 4, True), (3, payloads[3], True, "c1", 4, True),
    ]  # fmt: skip
    letters = "SELECT payload || got || message, min(path), count() FROM dead_letters GROUP BY 1 ORDER BY 1"
    assert database.rows(letters) == [("", "p", 10), ("xgm", "p", 10)]
    assert database.rows("SELECT verbatims, any(labels), count() FROM alerts GROUP BY 1 ORDER BY 1") == [
        ([], {"a": "b"}, 10), (["words"], {"a": "b"}, 10),
    ]  # fmt: skip
    assert [row.story for row in read_cases(database.client)] == [[]]
    assert [one.check for one in check_balance(database.client).found if one.check == "unambiguous"] == []
    history = history_of(database.client, "c0", [], 10)
    assert (len(history.sent), history.left_out, history.emptied) == (1, 0, 1)
    strangers_stay_strangers(database)
    first, second = erasing.export(database.client, ["c0"])
    assert (first.get("text"), second.get("text")) == ("past its retention", None)
    assert json.loads(first["record"]) == {
        "specversion": "1.0", "id": "e0", "source": "/test", "type": "cx.survey.answered", "subject": "c0",
        "channel": "web", "time": "2026-03-01T10:00:30.000Z", "synthetic": True, "data": {"score": 4},
    }  # fmt: skip
    names = names_for_nobody(["c0"], bin_of)
    assert erasing.erase(database.client, names).events == 2
    assert database.rows("SELECT subject, id = 'e0', score FROM events WHERE offset = 0") == [(names["c0"], False, 4)]
    assert retention.keep(database.client, {"text": 0}) == ["text: 30 => for good"]
    assert retention.current(database.client)["text"] == 0


def strangers_stay_strangers(database: Database) -> None:
    """Of links whose other key is emptied with the payload nobody knows any more whom they joined: not all with all."""
    for number in (10, 11):
        link = event(number, type="cx.identity.linked", subject=f"k{number}", data={"alias": f"a{number}"}).decode()
        database.client.command(
            "INSERT INTO events (topic, partition, offset, outcome, payload, unambiguous, ingested_at) VALUES"
            f" ('t', 0, {number}, 'counted', {{payload:String}}, true, now() - 86400 * {(40, 0)[number - 10]})",
            parameters={"payload": link},
        )
    database.client.command("OPTIMIZE TABLE events FINAL")
    assert database.rows("SELECT offset FROM events WHERE payload = '' AND subject LIKE 'k%'") == [(10,)]
    assert keys_of(database.client, "k10", 9) == ["k10"]
    assert keys_of(database.client, "k11", 9) == ["k11", "a11"]
    assert keys_of(database.client, "", 9) == [""]


def test_every_table_and_column_is_explained(database: Database) -> None:
    """Whoever opens the database finds out what a number means."""
    tables = database.rows("SELECT name, comment FROM system.tables WHERE database = currentDatabase()")
    assert len(tables) >= 13
    assert [name for name, comment in tables if not comment] == []
    columns = database.rows("SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = ''"
                            " AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND (engine LIKE '%MergeTree' OR engine = 'View'))")  # fmt: skip
    assert columns == []


def test_migrating_needs_a_server_and_rights(database: Database) -> None:
    """Both failures are typed, and name the address or the user."""
    with pytest.raises(UnreachableError, match="cannot connect to http://127"):
        migrate(elsewhere(database.admin, free_port()))
    with pytest.raises(PermanentStorageError, match="cx_reader"):
        migrate(replace(database.reader, password="wrong"))


def test_two_databases_live_side_by_side(clickhouse: EmbeddedClickHouse, database: Database) -> None:
    """The name is a parameter: nothing leaks into another database."""
    other = replace(address_of(clickhouse), database="cx_other")
    assert migrate(other) == [m.name for m in load()] + VIEWS
    assert database.value("SELECT count() FROM system.tables WHERE database = 'cx_other'") == database.value(
        "SELECT count() FROM system.tables WHERE database = currentDatabase()"
    )
    assert (
        database.rows(
            "SELECT name FROM system.tables WHERE database = 'cx_other' AND positionUTF8(create_table_query, 'cx_test') > 0"
        )
        == []
    )
    database.client.command("DROP DATABASE cx_other SYNC")
