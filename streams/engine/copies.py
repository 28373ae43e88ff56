"""A copy of what changelogs hold, in a file beside the worker, so that a restart reads only what came since.

Apache Kafka compacts changelogs, and a restart reads little more than the state. The embedded broker keeps every
record for as long as it runs, and a restart would read more of them each hour. A copy is what the records up to some
offset say: whoever takes it goes on behind that offset as if those had been read. It is written in one transaction,
together with that offset and with who owned the changelog there, so it is whole whenever the process is killed.

It belongs to one topic, by the broker's own id. It is of use only where a changelog never loses what it had.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from streams.engine.fence import Fence, PartitionLog

_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, id TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS logs (
        topic TEXT, partition INTEGER, next INTEGER NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entries (
        topic TEXT, partition INTEGER, key BLOB, value BLOB NOT NULL, PRIMARY KEY (topic, partition, key)
    ) WITHOUT ROWID;
"""
_VERSION: Final = crc32(_SCHEMA.encode()) >> 1
"""Of the tables, as SQLite keeps it: a signed number."""
_LOCKED_S: Final = 5.0


class LogChange(NamedTuple):
    """What is new of one partition of a changelog: up to which offset, by whom, and the keys that are not as before."""

    topic: str
    partition: int
    next: int
    fence: Fence
    entries: Sequence[tuple[bytes, bytes | None]]


class ChangelogCopies:
    """
    The file. May be used by several threads of one process, one after the other.

    Args:
        file: Where it is; it is made, or made anew if it cannot be read.
        ids: Changelogs with the ids that the broker has given them; what is held of others, or of one without an id,
            is forgotten.

    Raises:
        sqlite3.OperationalError: Another process has it, or it cannot be written.
    """

    def __init__(self, file: Path, ids: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        try:
            self._database = _opened(file, ids)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            for leftover in (file, file.with_name(f"{file.name}-journal")):
                leftover.unlink(missing_ok=True)
            self._database = _opened(file, ids)

    def load(self, topic: str, partition: int) -> PartitionLog | None:
        """Return what is held of a partition; None if nothing is."""
        with self._lock, closing(self._database.cursor()) as cursor:
            cursor.execute("SELECT next, number, at_ms FROM logs WHERE topic = ? AND partition = ?", (topic, partition))
            if (found := cursor.fetchone()) is None:
                return None
            upto, *fence = found
            cursor.execute("SELECT key, value FROM entries WHERE topic = ? AND partition = ?", (topic, partition))
            return PartitionLog(dict(cursor), upto, Fence(*fence))

    def keep(self, changes: Iterable[LogChange]) -> None:
        """
        Bring the copy up to date; all of it or nothing.

        Raises:
            sqlite3.Error: It cannot be written.
        """
        with self._lock, self._database as database:
            for topic, partition, upto, fence, entries in changes:
                place = topic, partition
                database.executemany(
                    "DELETE FROM entries WHERE topic = ? AND partition = ? AND key = ?",
                    ((*place, key) for key, value in entries if value is None),
                )
                database.executemany(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
                    ((*place, key, value) for key, value in entries if value is not None),
                )
                database.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?, ?, ?)", (*place, upto, *fence))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def _opened(file: Path, ids: Mapping[str, str]) -> sqlite3.Connection:
    file.touch(mode=0o600)
    database = sqlite3.connect(file, timeout=_LOCKED_S, check_same_thread=False)
    try:
        # A machine that fails takes the broker with it, and the next one has other topics: nothing is waited for.
        # What is deleted is overwritten, and no journal keeps it: it may be what somebody asked to be forgotten. Two
        # processes that wrote what is new to each of them would make a state that never was.
        database.executescript(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = OFF;"
            " PRAGMA secure_delete = ON;"
        )
        _refuse_others(database)
        database.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
        _refuse_damage(database)
        with database:
            for name, known in database.execute("SELECT name, id FROM topics").fetchall():
                if not known or ids.get(name) != known:
                    for table, column in (("entries", "topic"), ("logs", "topic"), ("topics", "name")):
                        database.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608 - our names
            database.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?)", ids.items())
    except BaseException:
        database.close()
        raise
    return database


def _refuse_others(database: sqlite3.Connection) -> None:
    """
    Raises:
        sqlite3.DatabaseError: It holds tables that are not those of today.
    """
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables and version != _VERSION:
        raise sqlite3.DatabaseError(f"tables of version {version}, not {_VERSION}")


def _refuse_damage(database: sqlite3.Connection) -> None:
    """
    Raises:
        sqlite3.DatabaseError: A page is not what it should be.
    """
    (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)
