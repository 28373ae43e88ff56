"""Migrations on the real server."""

from dataclasses import replace

import pytest

from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.ports import free_port
from streams.storage.connection import PermanentStorageError, UnreachableError
from streams.storage.migrations import Migration, MigrationError, load, migrate
from tests.harness.clickhouse import Database, address_of, elsewhere


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


def test_a_failing_statement_is_told_with_file_and_number(clickhouse: EmbeddedClickHouse, database: Database) -> None:
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


def test_every_table_and_column_is_explained(database: Database) -> None:
    """Whoever opens the database finds out what a number means."""
    tables = database.rows("SELECT name, comment FROM system.tables WHERE database = currentDatabase()")
    assert len(tables) >= 13
    assert [name for name, comment in tables if not comment] == []
    columns = database.rows("SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = ''"
                            " AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')")  # fmt: skip
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
    assert migrate(other) == [m.name for m in load()]
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
