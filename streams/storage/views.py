"""
Views and dictionaries: repeatable SQL files, one for each, applied again whenever their text changes.

They hold no rows, so the newest text is the whole truth about them, and needs no history. What is applied is noted
with the checksum of its file and with what the server says it has created: so a view that somebody changed or dropped
by hand is found, and made anew by the next migration.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, Literal, TypeAlias

from clickhouse_connect.driver.client import Client

from streams.storage.connection import never_a_repeat
from streams.storage.statements import split_statements

__all__ = ["APPLIED_VIEWS", "ViewFile", "ViewFileError", "load_views", "stale_views", "views_applied"]

State: TypeAlias = Literal["new", "changed", "drifted"]
"""Never applied here; its file has changed since; the server has something else than what was applied."""

APPLIED_VIEWS: Final = """
    CREATE TABLE IF NOT EXISTS applied_views
    (
        name String COMMENT 'name of the view or dictionary',
        checksum String COMMENT 'SHA-256 of the text of its file',
        created String COMMENT 'SHA-256 of what the server says it has created',
        applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was applied'
    )
    ENGINE = ReplacingMergeTree(applied_at) ORDER BY name
    SETTINGS non_replicated_deduplication_window = 1000
    COMMENT 'Views and dictionaries as they were applied last'
"""

_CREATES: Final = re.compile(r"CREATE OR REPLACE (?:VIEW|DICTIONARY) (\w+)\s")
_READS: Final = re.compile(r"\b(?:FROM|JOIN)\s+(?:\{db\}\.)?(\w+)")
_HERE: Final = """
    SELECT name, lower(hex(SHA256(create_table_query))) FROM system.tables
    WHERE database = currentDatabase() AND name IN {names:Array(String)}"""


class ViewFileError(ValueError):
    """A file of a view cannot be right; names it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ViewFile:
    """One file: the text that creates the view or dictionary `name`."""

    name: str
    text: str

    @property
    def file(self) -> str:
        """Name of the file, as people are shown it."""
        return f"views/{self.name}.sql"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_views(folder: Path) -> list[ViewFile]:
    """
    Read the views of a folder, each after those that it reads.

    Raises:
        ViewFileError: A file does not begin with creating what its name says, or some read each other.
    """
    found = {path.stem: ViewFile(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))}
    reads: dict[str, set[str]] = {}
    for name, view in found.items():
        statements = split_statements(view.text)
        creates = _CREATES.match(statements[0]) if statements else None
        if creates is None or creates[1] != name:
            raise ViewFileError(f"views/{name}.sql: expected CREATE OR REPLACE VIEW {name} or DICTIONARY {name} first")
        reads[name] = set(_READS.findall(statements[0])) & found.keys() - {name}
    try:
        return [found[name] for name in TopologicalSorter(reads).static_order()]
    except CycleError as error:
        raise ViewFileError(f"views that read each other: {', '.join(error.args[1])}") from error


def stale_views(client: Client, views: Sequence[ViewFile]) -> dict[str, State]:
    """Return which views have to be applied to the client's database, and why, in their order."""
    names = {"names": [view.name for view in views]}
    applied: Mapping[str, tuple[str, str]] = {}
    if client.query("EXISTS TABLE applied_views").result_rows[0][0]:
        rows = client.query("SELECT name, checksum, created FROM applied_views FINAL").result_rows
        applied = {name: (checksum, created) for name, checksum, created in rows}
    there = {str(name): str(created) for name, created in client.query(_HERE, names).result_rows}
    states: dict[str, State] = {}
    for view in views:
        if view.name not in applied:
            states[view.name] = "new"
        elif applied[view.name][0] != view.checksum:
            states[view.name] = "changed"
        elif there.get(view.name) != applied[view.name][1]:
            states[view.name] = "drifted"
    return states


def views_applied(client: Client, views: Sequence[ViewFile]) -> list[ViewFile]:
    """Note that views are now what their files say; return those that are not there, of which nothing is noted."""
    if not views:
        return []
    rows = client.query(_HERE, {"names": [view.name for view in views]}).result_rows
    created = {str(name): str(text) for name, text in rows}
    client.insert(
        "applied_views",
        [[view.name, view.checksum, created[view.name]] for view in views if view.name in created],
        column_names=["name", "checksum", "created"],
        # An earlier text may come back: the same row once more is no repetition.
        settings=never_a_repeat(),
    )
    return [view for view in views if view.name not in created]
