"""How long rows are kept, by table: settings that can be changed at any time, not part of the migrations."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.settings import Settings
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

_DAYS: Final = re.compile(r"\bTTL \w+ \+ toIntervalDay\((\d+)\)")


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
    }


def current(client: Client) -> dict[str, int]:
    """Return the days that rows are kept now, by table; tables that keep theirs for good are left out."""
    rows = client.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ).result_rows
    found = {name.removesuffix("_local"): _DAYS.search(engine) for name, engine in rows}
    return {name: int(days[1]) for name, days in found.items() if days}


def horizon(client: Client, *tables: str) -> datetime | None:
    """
    Return the event time before which rows of some tables may have left the store; None while none can have.

    What was stored since then is there, hence all that happened since then. Raises clickhouse_connect's errors.
    """
    days = [number for table, number in current(client).items() if table in tables]
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
        if table not in ARRIVAL:
            raise ValueError(f"retention of {table!r}: expected one of {', '.join(ARRIVAL)}")
        if now.get(table) == number:
            continue
        name = f"{table}_local ON CLUSTER {cluster}" if cluster else table
        try:
            # Rewriting all parts at once could take hours; merges come by all of them.
            client.command(
                f"ALTER TABLE {name} MODIFY TTL {ARRIVAL[table]} + INTERVAL {number} DAY",
                settings={"materialize_ttl_after_modify": 0},
            )
        except FAILURES as error:
            raise explain(error, f"setting the retention of {table}") from error
        changed.append(f"{table}: {now.get(table, 'for good')} => {number} days")
    return changed
