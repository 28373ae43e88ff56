"""
Sums per hour and day, and newest values: what keeps them right when rows are taken out of the tables they come from.

Inserts keep them right by themselves, see sql/0005. Only deletions must be told.
"""

# ruff: noqa: S608 - KPI ids are escaped

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.language.writing import sql_literal
from streams.storage.connection import DELETED_AT_ONCE, never_a_repeat
from streams.storage.retention import horizon, sql_time

_DAY_S: Final = 86_400
_NEWNESS: Final = "bitOr(bitShiftLeft(toUInt128(toUInt32(at)), 64), toUInt128(revision))"


def whole_days_since(client: Client) -> datetime:
    """
    Return the start of the first day (UTC) from which on no minute has left the store by its age. Raises FAILURES.

    Sums of earlier hours and days hold what is nowhere else: nothing may have them summed up again.
    """
    gone = horizon(client, "kpi_minutes")
    return datetime.fromtimestamp(-(-gone.timestamp() // _DAY_S) * _DAY_S if gone else 0, UTC)


def changed(client: Client, kpis: Iterable[str]) -> None:
    """
    Have hours and days of KPIs summed up again, as far as their minutes are kept; until then these are read.

    Raises FAILURES.
    """
    own, since = ", ".join(map(sql_literal, kpis)), sql_time(whole_days_since(client))
    client.command(
        f"""
        INSERT INTO kpi_spans
        SELECT kpi, piece.1 AS span, piece.2 AS start, count() AS changes, now() AS changed_at, 0 AS rolled
        FROM kpi_minutes ARRAY JOIN [('hour', toStartOfHour(minute)), ('day', toStartOfDay(minute))] AS piece
        WHERE kpi IN ({own}) AND minute >= {since}
        GROUP BY kpi, span, start
        UNION ALL
        SELECT kpi, span, start, 1, now(), 0 FROM kpi_spans
        WHERE kpi IN ({own}) AND start >= {since} GROUP BY kpi, span, start""",
        settings=never_a_repeat(),
    )


def newest_again(client: Client, kpi: str) -> None:
    """Take the newest closed values of a KPI from what is left of them. Raises FAILURES."""
    own = sql_literal(kpi)
    client.command(f"DELETE FROM kpi_newest WHERE kpi = {own}", settings=DELETED_AT_ONCE)
    client.command(
        f"""
        INSERT INTO kpi_newest
        SELECT kpi, by, labels, window, stat, at, value, n, lo, hi, definition, {_NEWNESS} AS newness
        FROM kpi_values FINAL WHERE kpi = {own} AND maturity = 'closed'
        ORDER BY newness DESC LIMIT 1 BY kpi, by, labels, window, stat""",
        settings=never_a_repeat(),
    )
