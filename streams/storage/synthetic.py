"""What the store has of runs of synthetic paths."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from streams.storage.connection import FAILURES, explain
from streams.synthetic.definition import SyntheticPath
from streams.synthetic.journey import StoredRow

_ROWS: Final = """
    SELECT id, count(), max(outcome = 'late'), any(subject) FROM events
    WHERE type IN {types:Array(String)} AND time >= {since:DateTime64(3, 'UTC')} AND source = {source:String}
        AND synthetic AND id IN {ids:Array(String)}
    GROUP BY id"""
_DERIVED: Final = """
    SELECT type, payload FROM events
    WHERE type IN {types:Array(String)} AND time >= {since:DateTime64(3, 'UTC')} AND synthetic
        AND subject = {subject:String}"""
_LETTER: Final = """
    SELECT message FROM dead_letters
    WHERE at >= {since:DateTime64(3, 'UTC')} AND position(payload, {id:String}) > 0
    ORDER BY at DESC LIMIT 1"""


class RunStore:
    """Asks the store about one run that began at a moment."""

    def __init__(self, client: Client, path: SyntheticPath, since: datetime) -> None:
        """Prepare it; `client` needs to read only."""
        self._client, self._path, self._since = client, path, since
        self._types = sorted({step.type for step in path.steps})

    def rows(self, ids: Collection[str]) -> dict[str, StoredRow]:
        """Return what is stored of events, by id. Raises StorageError."""
        rows = self._ask(_ROWS, types=self._types, source=self._path.source, ids=[*ids])
        return {name: StoredRow(copies, bool(late), subject) for name, copies, late, subject in rows}

    def derived(self, types: Collection[str], subject: str) -> dict[str, list[Mapping[str, Any]]]:
        """Return the data of derived events of a customer that hold, by type. Raises StorageError."""
        newest: dict[tuple[str, str], Mapping[str, Any]] = {}
        for kind, payload in self._ask(_DERIVED, types=sorted(types), subject=subject):
            data = msgspec.json.decode(payload)["data"]
            former = newest.get((kind, data["span"]))
            if former is None or _version(former) < _version(data):
                newest[kind, data["span"]] = data
        found: dict[str, list[Mapping[str, Any]]] = {}
        for (kind, _), data in newest.items():
            if not data["withdrawn"]:
                found.setdefault(kind, []).append(data)
        return found

    def dead_letter(self, event_id: str) -> str:
        """Return why an event was refused behind the door; empty: it was not. Raises StorageError."""
        rows = self._ask(_LETTER, id=event_id)
        return f"is a dead letter: {rows[0][0]}" if rows else ""

    def _ask(self, sql: str, **parameters: Any) -> Any:
        try:
            return self._client.query(sql, parameters={"since": self._since, **parameters}).result_rows
        except FAILURES as error:
            raise explain(error, "looking for synthetic events") from error


def _version(data: Mapping[str, Any]) -> tuple[int, bool]:
    return data["revision"], data["withdrawn"]
