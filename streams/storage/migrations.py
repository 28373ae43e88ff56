"""
Migrations: numbered SQL files, each applied once, never changed afterwards.

A file is recorded after its last statement. One that failed half-way is run again from its start, so every statement
must be harmless when repeated (IF NOT EXISTS, OR REPLACE). `{db}` in a file stands for the database.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import streams
from streams.storage.connection import FAILURES, Address, StorageError, connect, explain

SQL_DIR: Final = Path(streams.__file__).parent.parent / "sql"

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_QUOTES: Final = frozenset("'\"`")
_HEREDOC: Final = re.compile(r"\$\w*\$")
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


def migrate(address: Address, migrations: Sequence[Migration] | None = None) -> list[str]:
    """
    Bring a database up to date, creating it if need be; return the names of the files applied now.

    Raises:
        MigrationError: An applied file has changed or is gone, or a statement failed.
        PermanentStorageError, UnreachableError: No connection.
    """
    migrations = load() if migrations is None else migrations
    server = connect(address, database="")
    try:
        server.command(f"CREATE DATABASE IF NOT EXISTS `{address.database}`")
    except FAILURES as error:
        raise explain(error, f"creating the database {address.database}") from error
    finally:
        server.close()
    client = connect(address, timeout_s=600.0)
    try:
        client.command(_LEDGER)
        applied = {
            number: (name, checksum)
            for number, name, checksum in client.query("SELECT number, name, checksum FROM migrations").result_rows
        }
        waiting = _waiting(migrations, applied)
        for migration in waiting:
            for place, statement in enumerate(split_statements(migration.text), start=1):
                try:
                    client.command(statement.replace("{db}", f"`{address.database}`"))
                except FAILURES as error:
                    raise MigrationError(str(explain(error, f"{migration.name}, statement {place}"))) from error
            client.insert(
                "migrations",
                [[migration.number, migration.name, migration.checksum]],
                column_names=["number", "name", "checksum"],
                settings={"async_insert": 0, "insert_deduplication_token": f"migration-{migration.number}"},
            )
    except FAILURES as error:
        raise explain(error, f"migrating {address.database}") from error
    finally:
        client.close()
    return [migration.name for migration in waiting]


def pending(address: Address, migrations: Sequence[Migration] | None = None) -> list[str]:
    """
    Return the names of the files that `migrate` would apply; changes nothing.

    Raises:
        MigrationError: An applied file has changed or is gone.
        PermanentStorageError, UnreachableError: No connection.
    """
    migrations = load() if migrations is None else migrations
    server = connect(address, database="")
    try:
        there = server.query(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'migrations'",
            parameters={"database": address.database},
        ).result_rows[0][0]
        sql = f"SELECT number, name, checksum FROM `{address.database}`.migrations"  # noqa: S608 - checked by settings
        rows = server.query(sql).result_rows if there else []
    except FAILURES as error:
        raise explain(error, f"reading the migrations of {address.database}") from error
    finally:
        server.close()
    return [one.name for one in _waiting(migrations, {number: (name, checksum) for number, name, checksum in rows})]


def _waiting(migrations: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Give those not applied yet, once it is sure that the applied ones are still the same."""
    known = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in sorted(applied.items()):
        if number not in known:
            raise MigrationError(
                f"{name} was applied, but is not among the migrations: this code is older than the data"
            )
        if known[number].checksum != checksum:
            raise MigrationError(f"{known[number].name} was changed after it was applied as {name}: add a new file")
    return [migration for migration in migrations if migration.number not in applied]


def split_statements(text: str) -> list[str]:
    """
    Split SQL at the semicolons that end statements: not those in quotes, heredocs or comments.

    Comments outside of quotes are removed; statements of nothing else are left out.
    """
    return [statement for part in _parts(text) if (statement := part.strip())]


def _parts(text: str) -> Iterable[str]:
    part: list[str] = []
    place = 0
    while place < len(text):
        here, pair = text[place], text[place : place + 2]
        if pair == "--":
            place = _after(text, "\n", place) - 1 if "\n" in text[place:] else len(text)
        elif pair == "/*":
            place = _after(text, "*/", place + 2)
            part.append(" ")
        elif here == ";":
            yield "".join(part)
            part, place = [], place + 1
        else:
            end = place + 1
            if here in _QUOTES:
                end = _end_of_quoted(text, place)
            elif here == "$" and (tag := _HEREDOC.match(text, place)):
                end = _after(text, tag[0], tag.end())
            part.append(text[place:end])
            place = end
    yield "".join(part)


def _after(text: str, mark: str, start: int) -> int:
    """Give the place behind the next mark, or the end."""
    found = text.find(mark, start)
    return len(text) if found < 0 else found + len(mark)


def _end_of_quoted(text: str, start: int) -> int:
    """Give the place behind the closing quote; a doubled quote opens a new quoted part, which is as good."""
    place = start + 1
    while place < len(text) and text[place] != text[start]:
        place += 2 if text[place] == "\\" else 1
    return place + 1
