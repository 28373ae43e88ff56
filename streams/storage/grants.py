"""
Who may do what in the store: the one list for the embedded server and for installed ones.

`deploy/clickhouse/users.xml` repeats it for servers that are installed; a test keeps the two equal.
"""

from collections.abc import Mapping
from typing import Final

ADMIN, WRITER, READER = "cx_admin", "cx_writer", "cx_reader"
"""Owns the schema (`cx migrate`); inserts from the workers; dashboards, the live page, `cx query` and analysts."""

_ENGINES: Final = (
    "Memory", "MergeTree", "ReplacingMergeTree", "AggregatingMergeTree", "ReplicatedMergeTree",
    "ReplicatedReplacingMergeTree", "ReplicatedAggregatingMergeTree", "Distributed",
)  # fmt: skip
_FILLED_BY_WORKERS: Final = (
    "events",
    "dead_letters",
    "outcomes",
    "kpi_minutes",
    "kpi_values",
    "alerts",
    "cases",
    "driver_actions",
    "starts",
    "value_measures",
)
_RECOMPUTED: Final = ("kpi_minutes", "kpi_values", "kpi_newest")
"""What is replaced when the state of workers is restored from the events."""

GRANTS: Final[Mapping[str, tuple[str, ...]]] = {
    ADMIN: (
        "CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE DICTIONARY ON cx.*",
        "DROP TABLE, DROP VIEW, DROP DICTIONARY, ALTER, TRUNCATE, SELECT, INSERT, OPTIMIZE, SHOW ON cx.*",
        "SYSTEM VIEWS, dictGet ON cx.*",
        *(f"TABLE ENGINE ON {engine}" for engine in _ENGINES),
        "SELECT ON system.replicas",
        "NAMED COLLECTION ON cx_dictionaries",
        f"SET DEFINER ON {ADMIN}",
        "CLUSTER ON *.*",
    ),
    WRITER: (
        "SELECT, dictGet ON cx.*",
        *(f"INSERT ON cx.{table}" for table in (*_FILLED_BY_WORKERS, "kpi_newest", "kpi_spans")),
        *(f"ALTER DELETE ON cx.{table}" for table in _RECOMPUTED),
        "SELECT ON system.processes",
    ),
    READER: (
        "SELECT, SHOW, dictGet ON cx.*",
        *(f"SELECT ON system.{table}" for table in ("parts", "merges", "replicas", "view_refreshes")),
    ),
}
"""What each user may do, without the word GRANT; `cx` stands for the database of the store."""


def grants(user: str, database: str) -> list[str]:
    """Return the statements that give a user what it needs of a database."""
    return [f"GRANT {text.replace(' ON cx.', f' ON {database}.')}" for text in GRANTS[user]]
