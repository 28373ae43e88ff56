"""How long rows are kept, by table: settings that can be changed at any time, not part of the migrations."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.settings import Settings
from streams.storage.cluster import stored_in
from streams.storage.connection import FAILURES, explain

ARRIVAL: Final[Mapping[str, str]] = {
    "events": "ingested_at",
    "dead_letters": "ingested_at",
    "kpi_minutes": "updated_at",
    "kpi_hours": "rolled_at",
    "kpi_days": "rolled_at",
    "kpi_values": "updated_at",
    "alerts": "updated_at",
}
"""
The column that says since when a row is there. Rows are kept by their arrival: by event time, a replay of old events
would be deleted as it comes.
"""

MARGIN: Final = timedelta(hours=1)
"""Rows so close to their end are taken for gone: events may be minutes ahead of their arrival, questions take time."""

TEXT: Final = "text"
"""Stands for payloads and free text among the tables: how long they are kept within rows that stay longer."""

TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dead_letters": ("payload", "got", "message", "reading"),
    "alerts": ("verbatims",),
    "cases": ("story",),
    "events": ("payload", "data"),
}
"""Columns that hold them, by table; what is read from them at an insert has columns of its own, which stay."""

_TEXT_ARRIVAL: Final = {**ARRIVAL, "cases": "updated_at"}
_DAYS: Final = re.compile(r"\bTTL \w+ \+ toIntervalDay\((\d+)\)")
_TEXT_DAYS: Final = re.compile(r"\+ toIntervalDay\((\d+)\) GROUP BY")
_KEY: Final = "type, time, topic, partition, offset"


def wanted(settings: Settings) -> dict[str, int]:
    """Return the days that the rows of each table are kept by these settings."""
    return {
        "events": settings.keep_events_days,
        "dead_letters": settings.keep_dead_letters_days,
        "kpi_minutes": settings.keep_minutes_days,
        "kpi_hours": settings.keep_hours_days,
        "kpi_days": settings.keep_daily_days,
        "kpi_values": settings.keep_values_days,
        "alerts": settings.keep_alerts_days,
        TEXT: settings.keep_text_days,
    }


def current(client: Client) -> dict[str, int]:
    """
    Return the days that rows are kept now, by table; tables that keep theirs for good are left out.

    Of `TEXT` they are 0 if it stays as long as its rows.
    """
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ).result_rows
    engines = {name.removesuffix("_local"): engine for name, engine in rows}
    found = {name: _DAYS.search(engine) for name, engine in engines.items()}
    text = _TEXT_DAYS.search(engines.get("events", ""))
    return {name: int(days[1]) for name, days in found.items() if days} | {TEXT: int(text[1]) if text else 0}


def horizon(client: Client, *tables: str) -> datetime | None:
    """
    Return the event time before which rows of some tables, or payloads of events, may have left the store; None while
    none can have.

    What was stored since then is there, hence all that happened since then. Raises clickhouse_connect's errors.
    """
    now_kept = current(client)
    days = [number for table, number in now_kept.items() if table in tables]
    if "events" in tables and now_kept[TEXT]:
        days.append(now_kept[TEXT])
    [(ranges, oldest, now)] = client.query("SELECT count(), min(ingested_at), now() FROM outcomes").result_rows
    if not days or not ranges:
        return None
    since: datetime = now - timedelta(days=min(days)) + MARGIN
    return since.replace(tzinfo=UTC, second=0, microsecond=0) if oldest < since else None


def sql_time(at: datetime) -> str:
    """Write a time in SQL, in whole seconds."""
    return f"toDateTime({int(at.timestamp())}, 'UTC')"


def keep(client: Client, days: Mapping[str, int], cluster: str = "") -> list[str]:
    """
    Bring the retention of tables to so many days; return what was changed, e.g. `kpi_values: 400 => 90 days`.

    Rows that are too old leave with the next merges, not at once.

    Raises:
        PermanentStorageError, UnreachableError: The server refuses, or does not answer.
        ValueError: A table has no time by which rows could expire.
    """
    changed = []
    now = current(client)
    for table, number in days.items():
        if table not in ARRIVAL and table != TEXT:
            raise ValueError(f"retention of {table!r}: expected one of {', '.join(ARRIVAL)}, {TEXT}")
        if now.get(table) == number:
            continue
        try:
            if table == TEXT:
                _keep_text(client, number, {**now, **days}["events"], cluster)
            else:
                _alter(client, table, f"MODIFY TTL {_ttl(table, number, now[TEXT])}", cluster)
        except FAILURES as error:
            raise explain(error, f"setting the retention of {table}") from error
        changed.append(f"{table}: {now.get(table) or 'for good'} => {number or 'for good'}{' days' if number else ''}")
    return changed


def _ttl(table: str, days: int, text_days: int) -> str:
    """
    Write until when rows of a table stay, and of events, what is emptied before.

    What columns of events hold is read from others at an insert, which the time to live of a column cannot be: a row
    is its own group here.
    """
    arrival = ARRIVAL[table]
    rows = f"{arrival} + INTERVAL {days} DAY"
    if table != "events" or not text_days:
        return rows
    emptied = ", ".join(f"{column} = left(any({column}), 0)" for column in TEXTS[table])
    return f"{rows}, {arrival} + INTERVAL {text_days} DAY GROUP BY {_KEY} SET {emptied}"


def _keep_text(client: Client, days: int, events_days: int, cluster: str) -> None:
    """Have payloads and free text emptied after so many days; events come last: by them it is known what was set."""
    asked = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    made = {name: str(statement) for name, statement in client.query(asked).result_rows}
    for table, columns in TEXTS.items():
        if table == "events":
            _alter(client, table, f"MODIFY TTL {_ttl(table, events_days, days)}", cluster)
            continue
        for column in columns:
            limited = re.search(rf"`{column}` [^`]*\bTTL ", made[stored_in(table, cluster)])
            if days:
                _alter(
                    client, table, f"MODIFY COLUMN {column} TTL {_TEXT_ARRIVAL[table]} + INTERVAL {days} DAY", cluster
                )
            elif limited:
                _alter(client, table, f"MODIFY COLUMN {column} REMOVE TTL", cluster)


def _alter(client: Client, table: str, change: str, cluster: str) -> None:
    name = f"{stored_in(table, cluster)} ON CLUSTER {cluster}" if cluster else table
    # Rewriting all parts at once could take hours; merges come by all of them.
    client.command(f"ALTER TABLE {name} {change}", settings={"materialize_ttl_after_modify": 0})
