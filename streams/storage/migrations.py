"""
Migrations: numbered SQL files for tables and data, each applied once and never changed afterwards; then views.

Views are repeatable files (`streams.storage.views`), applied after the numbered ones whenever they have changed.
ClickHouse has no transactions over statements. What stands in for them: all statements of a file are parsed before the
first one is run; a file is recorded after its last statement; one that failed half-way is run again from its start, so
every statement must be harmless when repeated (IF NOT EXISTS, OR REPLACE); and only one migrator runs at a time.
`{db}` in a file stands for the database.
"""

import dataclasses
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams import shipped
from streams.steady import steady
from streams.storage.cluster import for_cluster
from streams.storage.connection import FAILURES, Address, StorageError, UnreachableError, connect, explain
from streams.storage.statements import split_statements
from streams.storage.views import APPLIED_VIEWS, ViewFile, ViewFileError, load_views, stale_views, views_applied

__all__ = ["SQL_DIR", "Migration", "MigrationError", "load", "migrate", "pending", "split_statements", "views"]

SQL_DIR: Final = shipped.SQL

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_STATEMENT_S: Final = 600.0
_STALE_S: Final = 3 * _STATEMENT_S
_TOUCH_S: Final = 30.0
_ALREADY_THERE: Final = 57
_LEDGER: Final = """
    CREATE TABLE IF NOT EXISTS migrations
    (
        number UInt32 COMMENT 'number of the file',
        name String COMMENT 'name of the file',
        checksum String COMMENT 'SHA-256 of its text',
        applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was applied'
    )
    ENGINE = MergeTree ORDER BY number
    SETTINGS non_replicated_deduplication_window = 1000
    COMMENT 'Migrations that were applied'
"""


class MigrationError(StorageError):
    """Migrations cannot be applied; names the file, and the statement where one failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(folder: Path = SQL_DIR) -> list[Migration]:
    """
    Read the migrations of a folder in their order.

    Raises:
        MigrationError: There are none, a file is named unlike NNNN_name.sql, or a number is missing or taken twice.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        name = _FILE_NAME.fullmatch(path.name)
        if name is None:
            raise MigrationError(f"{path.name}: migrations are named NNNN_name.sql, e.g. 0004_add_cases.sql")
        found.append(Migration(int(name[1]), path.name, path.read_text(encoding="utf-8")))
    if not found:
        raise MigrationError(f"no migrations in {folder}")
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationError(f"{migration.name}: expected number {expected:04d} here")
    return found


def views(folder: Path = SQL_DIR / "views") -> list[ViewFile]:
    """
    Read the views of a folder, each after those that it reads.

    Raises:
        MigrationError: A file is not what its name says, or some read each other.
    """
    try:
        return load_views(folder)
    except ViewFileError as error:
        raise MigrationError(str(error)) from error


def migrate(
    address: Address,
    migrations: Sequence[Migration] | None = None,
    repeatable: Sequence[ViewFile] | None = None,
    *,
    cluster: str = "",
    wait_s: float = 900.0,
) -> list[str]:
    """
    Bring a database up to date, creating it if need be; return the names of the files applied now.

    Args:
        address: A user that may create tables.
        migrations: Those of this version, when not given.
        repeatable: Views; those of this version when not given, none when only `migrations` are given.
        cluster: Cluster on whose machines to create replicated and sharded tables; empty: one server.
        wait_s: How long to wait while somebody else migrates the same database.

    Raises:
        MigrationError: An applied file has changed or is gone, or a statement failed.
        PermanentStorageError, UnreachableError: No connection, or another migrator does not end.
    """
    migrations, repeatable = _wanted(migrations, repeatable)
    on_cluster = f" ON CLUSTER {cluster}" if cluster else ""
    with closing(connect(address, database="")) as server:
        try:
            server.command(f"CREATE DATABASE IF NOT EXISTS `{address.database}`{on_cluster}")
        except FAILURES as error:
            raise explain(error, f"creating the database {address.database}") from error
    done = []
    with closing(connect(address, timeout_s=_STATEMENT_S)) as client:
        try:
            with _alone(client, address.database, wait_s) as still_here:
                for ledger in (_LEDGER, APPLIED_VIEWS):
                    for statement in _written(ledger.strip(), address.database, cluster):
                        client.command(statement)
                applied = {
                    number: (name, checksum)
                    for number, name, checksum in client.query(
                        "SELECT number, name, checksum FROM migrations"
                    ).result_rows
                }
                for migration in _waiting(migrations, applied):
                    _run_file(client, migration.name, migration.text, address.database, cluster, still_here)
                    still_here()
                    _record(client, migration)
                    done.append(migration.name)
                stale = stale_views(client, repeatable)
                waiting = [view for view in repeatable if view.name in stale]
                for view in waiting:
                    _run_file(client, view.file, view.text, address.database, cluster, still_here)
                still_here()
                # Noted once all are made: who is interrupted makes them again.
                if gone := views_applied(client, waiting):
                    raise MigrationError(
                        f"{', '.join(view.file for view in gone)}: made, and gone again by now: somebody else changes"
                        f" {address.database}; migrate again once nobody does"
                    )
                done += [view.file for view in waiting]
        except FAILURES as error:
            raise explain(error, f"migrating {address.database}") from error
    return done


def _wanted(
    migrations: Sequence[Migration] | None, repeatable: Sequence[ViewFile] | None
) -> tuple[Sequence[Migration], Sequence[ViewFile]]:
    """Fill in what this version has."""
    if repeatable is None:
        repeatable = views() if migrations is None else ()
    return load() if migrations is None else migrations, repeatable


def _run_file(
    client: Client, file: str, text: str, database: str, cluster: str, still_here: Callable[[], object]
) -> None:
    """Run the statements of a file."""
    numbered = [
        (place, written)
        for place, statement in enumerate(split_statements(text), start=1)
        for written in _written(statement, database, cluster)
    ]
    # A misspelt statement is found before anything has changed: all are looked at together, and one by one to name it.
    statements = [written for _, written in numbered]
    try:
        client.query("SELECT formatQuery(arrayJoin({sql:Array(String)}))", {"sql": statements})
    except FAILURES:
        for place, written in numbered:
            _run(file, place, partial(client.query, "SELECT formatQuery({sql:String})", {"sql": written}))
    for place, written in numbered:
        still_here()
        _run(file, place, partial(client.command, written))


def _record(client: Client, migration: Migration) -> None:
    client.command(
        "INSERT INTO migrations (number, name, checksum) SELECT {number:UInt32}, {name:String}, {checksum:String}",
        {"number": migration.number, "name": migration.name, "checksum": migration.checksum},
        settings={"async_insert": 0, "insert_deduplication_token": f"migration-{migration.number}"},
    )


def _run(file: str, place: int, send: Callable[[], object]) -> None:
    try:
        send()
    except FAILURES as error:
        raise MigrationError(str(explain(error, f"{file}, statement {place}"))) from error


def _written(statement: str, database: str, cluster: str) -> list[str]:
    """Fill in the database, and rewrite for a cluster."""
    statement = statement.replace("{db}", f"`{database}`")
    return for_cluster(statement, cluster, database) if cluster else [statement]


@contextmanager
def _alone(client: Client, database: str, wait_s: float) -> Iterator[Callable[[], object]]:
    """
    Keep other migrators of the database out meanwhile; gives what to call before each statement.

    Of several that create a table at the same time, one succeeds. The table of one that died is removed by the next,
    once it was not touched for longer than any statement may take. Who was taken for dead and is not, as after a sleep
    of the machine, stops before its next statement.

    Raises UnreachableError when another one is at work for longer than `wait_s`, MigrationError when another one has
    taken over.
    """
    who = f"held by {socket.gethostname()}, process {os.getpid()}, {secrets.token_hex(4)}"
    until = time.monotonic() + wait_s
    while True:
        try:
            client.command(f"CREATE TABLE migrating (x UInt8) ENGINE = Memory COMMENT '{who}'")
            break
        except FAILURES as error:
            if getattr(error, "code", None) != _ALREADY_THERE:
                raise
        for comment, age_s in _holders(client, database):
            if age_s > _STALE_S:
                client.command("DROP TABLE IF EXISTS migrating SYNC")
            elif time.monotonic() > until:
                raise UnreachableError(f"the schema of {database} has been changing for {age_s} s, {comment}")
        time.sleep(0.2)
    try:
        touched = steady()

        def still_here() -> None:
            nonlocal touched
            if steady() - touched > _TOUCH_S:
                if (others := [comment for comment, _ in _holders(client, database)]) != [who]:
                    raise MigrationError(
                        f"another migrator has taken {database} over, {', '.join(others) or 'and is done'}: this one"
                        " stood still for too long; migrate again to see what is left to do"
                    )
                client.command(f"ALTER TABLE migrating MODIFY COMMENT '{who}'")
                touched = steady()

        yield still_here
    finally:
        if [comment for comment, _ in _holders(client, database)] == [who]:
            client.command("DROP TABLE IF EXISTS migrating SYNC")


def _holders(client: Client, database: str) -> Sequence[Sequence[Any]]:
    """Return who migrates a database, if anybody does, and how many seconds ago that was last said."""
    return client.query(
        "SELECT comment, dateDiff('second', metadata_modification_time, now()) FROM system.tables"
        " WHERE database = {database:String} AND name = 'migrating'",
        {"database": database},
    ).result_rows


def pending(
    address: Address, migrations: Sequence[Migration] | None = None, repeatable: Sequence[ViewFile] | None = None
) -> list[str]:
    """
    Return the names of the files that `migrate` would apply; changes nothing.

    A view that the server has otherwise than it was applied has `(drifted)` behind its name.

    Raises:
        MigrationError: An applied file has changed or is gone.
        PermanentStorageError, UnreachableError: No connection.
    """
    migrations, repeatable = _wanted(migrations, repeatable)
    try:
        with closing(connect(address, database="")) as server:
            there = server.query(
                "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
                parameters={"database": address.database},
            ).result_rows[0][0]
        if not there:
            return [one.name for one in migrations] + [view.file for view in repeatable]
        with closing(connect(address)) as client:
            rows = client.query("SELECT number, name, checksum FROM migrations").result_rows
            stale = stale_views(client, repeatable)
    except FAILURES as error:
        raise explain(error, f"reading the migrations of {address.database}") from error
    waiting = _waiting(migrations, {number: (name, checksum) for number, name, checksum in rows})
    drifted = {"drifted": " (drifted)"}
    return [one.name for one in waiting] + [
        view.file + drifted.get(stale[view.name], "") for view in repeatable if view.name in stale
    ]


def _waiting(migrations: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Return those not applied yet, once it is sure that the applied ones are still the same."""
    known = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise MigrationError(
                f"{name} was applied, but is not among the migrations: this code is older than the data"
            )
        if known[number].checksum != checksum:
            raise MigrationError(f"{known[number].name} was changed after it was applied as {name}: add a new file")
    return [migration for migration in migrations if migration.number not in applied]
