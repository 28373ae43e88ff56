"""
Sums per hour and day, and newest values: what keeps them right when rows are taken out of the tables they come from.

Inserts keep them right by themselves, see sql/0005. Only deletions must be told.
"""

# ruff: noqa: S608 - KPI ids are escaped

from collections.abc import Iterable
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.language.writing import sql_literal

_SETTINGS: Final = {"insert_deduplicate": 0, "async_insert": 0, "lightweight_deletes_sync": 2}

_NEWNESS: Final = "bitOr(bitShiftLeft(toUInt128(toUInt32(at)), 64), toUInt128(revision))"


def changed(client: Client, kpis: Iterable[str]) -> None:
    """Have all hours and days of KPIs summed up again; until then they are read from the minutes. Raises FAILURES."""
    own = ", ".join(map(sql_literal, kpis))
    client.command(
        f"""
        INSERT INTO kpi_spans
        SELECT kpi, piece.1 AS span, piece.2 AS start, count() AS changes, now() AS changed_at, 0 AS rolled
        FROM kpi_minutes ARRAY JOIN [('hour', toStartOfHour(minute)), ('day', toStartOfDay(minute))] AS piece
        WHERE kpi IN ({own})
        GROUP BY kpi, span, start
        UNION ALL
        SELECT kpi, span, start, 1, now(), 0 FROM kpi_spans WHERE kpi IN ({own}) GROUP BY kpi, span, start""",
        settings=_SETTINGS,
    )


def newest_again(client: Client, kpi: str) -> None:
    """Take the newest closed values of a KPI from what is left of them. Raises FAILURES."""
    own = sql_literal(kpi)
    client.command(f"DELETE FROM kpi_newest WHERE kpi = {own}", settings=_SETTINGS)
    client.command(
        f"""
        INSERT INTO kpi_newest
        SELECT kpi, by, labels, window, stat, at, value, n, lo, hi, definition, {_NEWNESS} AS newness
        FROM kpi_values FINAL WHERE kpi = {own} AND maturity = 'closed'
        ORDER BY newness DESC LIMIT 1 BY kpi, by, labels, window, stat""",
        settings=_SETTINGS,
    )
