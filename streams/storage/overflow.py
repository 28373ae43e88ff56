"""
What a recomputation reads, and how what is stored is compared with it where labels had no room.

What was counted under `OTHER` depends on who came when, which no recomputation knows. But a grouping as a whole is the
same: so in minutes in which it overflowed, its series are added up on both sides.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from typing import Final

from clickhouse_connect.driver.client import Client

from streams.events.types import ENVELOPE_FIELDS, PIPELINE_TYPES
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import OTHER, SEPARATOR
from streams.kpis.language.writing import sql_literal

KEY: Final = (
    "arrayStringConcat(arrayFlatten(arrayMap((name, text) -> [name, text], mapKeys(labels), mapValues(labels))),"
    f" {sql_literal(SEPARATOR)})"
)
"""The name of a series from its labels, in tables of KPIs."""

REST: Final = (
    f"arrayStringConcat(arrayFlatten(arrayMap(name -> [name, {sql_literal(OTHER)}], mapKeys(labels))),"
    f" {sql_literal(SEPARATOR)})"
)
"""The name of the series that takes what has no room beside it; of the whole, its own."""

FORMER_REST: Final = REST.replace(sql_literal(OTHER), "'other'")
"""What that series was once called; rows of that time stay in the store."""

_FORMERLY: Final = """(
    SELECT if(maxIf(applied_at, number = 16) > minIf(applied_at, number = 1) + INTERVAL 1 HOUR,
        toUnixTimestamp(maxIf(applied_at, number = 16) + INTERVAL 1 HOUR), 0)
    FROM migrations WHERE number IN (1, 16)
)"""
"""
Until when there may be such rows, in seconds: the sixteenth migration came with the name of now. A store that was made
with it, all of whose migrations ran at once, never had any, so that what is called `other` there was sent.
"""
_IS_REST: Final = f"({KEY} = {REST} OR ({KEY} = {FORMER_REST} AND toUnixTimestamp(minute) < {_FORMERLY}))"


_ENVELOPE: Final = tuple(name for name in ENVELOPE_FIELDS if name not in {"specversion", "dataschema"})
_COLUMNS: Final = f"{', '.join(_ENVELOPE)}, outcome, payload, data, score"


def has_set_aside(client: Client) -> bool:
    """Return whether there are counted events whose rows the store refuses. Raises FAILURES."""
    return bool(client.query("SELECT count() > 0 FROM set_aside WHERE outcome = 'counted'").result_rows[0][0])


def overflowing(client: Client) -> set[str]:
    """Return the ids of KPIs some of whose labels had no room. Raises FAILURES."""
    sql = f"SELECT DISTINCT kpi FROM kpi_minutes WHERE by != '' AND {_IS_REST}"
    return {kpi for (kpi,) in client.query(sql).result_rows}


def counted_events(*, aside: bool, late: bool = False) -> str:
    """
    Write the name in a WITH for the events that are counted; `aside`: also those whose rows the store refuses.

    With `late` also those that came after their minute was closed: they are in no KPI, and happened all the same.
    Reading what was set aside multiplies the time that planning a query takes: ask for it where there is something.
    """
    tables = ("events", "set_aside") if aside else ("events",)
    outcomes = "outcome IN ('counted', 'late')" if late else "outcome = 'counted'"
    asked = [f"SELECT {_COLUMNS} FROM {table} WHERE {outcomes} AND NOT synthetic" for table in tables]
    return f"counted_events AS ({' UNION ALL '.join(asked)})"


def filled(client: Client, *, aside: bool) -> set[str]:
    """
    Return the ids of KPIs that have minutes, and the event types of which there may be events that are counted.

    Of a KPI that is not among them, nor any of its types, there is nothing on either side. Raises FAILURES.
    """
    sql = f"""
        WITH {counted_events(aside=aside)}
        SELECT DISTINCT kpi FROM kpi_minutes UNION DISTINCT SELECT DISTINCT type FROM counted_events"""
    return {*PIPELINE_TYPES, *(name for (name,) in client.query(sql).result_rows)}


def names(kpi: Kpi, since: str, *, aside: bool = True) -> str:
    """
    Write the WITH that a recomputation takes: `since` (the earliest time), `counted_events`, `known` and `overflowed`.

    `known` are the series there are; `overflowed` says of which groupings, named by the series of the rest, in which
    minutes there was something without room; `aside` is as for `counted_events`.
    """
    own = f"FROM kpi_minutes WHERE kpi = {sql_literal(kpi.id)}"
    overflowed = f"SELECT DISTINCT {REST}, minute {own} AND by != '' AND {_IS_REST}"
    return (
        f"WITH {since} AS since, {counted_events(aside=aside)}, known AS (SELECT DISTINCT {KEY} {own}),"
        f" overflowed AS ({overflowed})"
    )


KEPT: Final = "if(own IN known OR (rest, minute) NOT IN overflowed, own, rest)"
"""Whose an event is, as near as the store can tell: of a series that it has, else of the rest if that has anything."""

COLLAPSED: Final = "if((rest, minute) IN overflowed, rest, own)"
"""Whose an event is where a grouping that overflowed in a minute counts as one."""


def collapsed(kpi: Kpi, whole: str, key: str = COLLAPSED) -> str:
    """
    Write the query for what is stored of each minute, as `recomputed` gives it by the same `key`.

    A minute of which all was withdrawn holds nothing.
    """
    return f"""
        SELECT {key} AS key, minute,
            sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins
        FROM (
            SELECT {KEY} AS own, {REST} AS rest, minute, fields, bins FROM kpi_minutes FINAL
            WHERE kpi = {sql_literal(kpi.id)} AND minute >= {whole}
        )
        GROUP BY key, minute
        HAVING arrayExists(field -> field != 0, fields) OR notEmpty(bins)"""
