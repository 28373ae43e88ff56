"""
Make the stored KPIs say what the stored events say.

Needed after an end that was not clean, when events and KPIs had come differently far, and when a definition is new or
has changed: what was counted by the old one, or not at all, is counted again by the one that holds now.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.definition import Kpi
from streams.kpis.series import SEPARATOR
from streams.kpis.writing import sql_literal
from streams.storage.connection import FAILURES, explain
from streams.storage.overflow import COLLAPSED, collapsed, names
from streams.storage.recompute import recomputed, tables_of, whole_since
from streams.storage.retention import horizon
from streams.storage.rollups import changed, newest_again

_SETTINGS: Final = {"insert_deduplicate": 0, "async_insert": 0, "lightweight_deletes_sync": 2}


def redefined(client: Client, kpis: Iterable[Kpi]) -> list[Kpi]:
    """Return the KPIs whose newest values were made by another definition, and those that have none."""
    sql = "SELECT kpi, argMax(definition, (at, revision)) FROM kpi_values GROUP BY kpi"
    known = {row[0]: row[1] for row in client.query(sql).result_rows}
    return [kpi for kpi in kpis if known.get(kpi.id) != kpi.definition_id]


def repair(client: Client, kpis: Iterable[Kpi], part: int) -> list[str]:
    """
    Recompute KPIs from the stored events; where minutes differ, replace all of the KPI's; return the ids of those.

    Values of windows that the difference reached are deleted: whoever goes on with the state publishes them anew.
    Done again after it was interrupted, it ends the same. Nothing else may write meanwhile.

    Args:
        client: May insert and delete.
        kpis: Which.
        part: Of the minutes written; above every part and revision in the store.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked, or refuses.
    """
    try:
        since = cache(lambda tables: _since(client, tables))
        counted = [
            kpi.id for kpi in kpis if kpi.derive is None and _repair_one(client, kpi, since(tables_of(kpi)), part)
        ]
        return counted + [kpi.id for kpi in kpis if kpi.derive is not None and _drop(client, kpi, {*counted})]
    except FAILURES as error:
        raise explain(error, "recomputing KPIs") from error


def _since(client: Client, tables: tuple[str, ...]) -> str:
    """Write the time before which something may have left these tables."""
    gone = horizon(client, *tables, "kpi_minutes")
    return f"toDateTime({int(gone.timestamp()) if gone else 0}, 'UTC')"


def _repair_one(client: Client, kpi: Kpi, since: str, part: int) -> bool:
    own = sql_literal(kpi.id)
    given = names(kpi, since)
    difference = f"""
        {given}
        SELECT count(), min(minute) FROM (
            SELECT key, minute FROM (
                SELECT key, minute, fields, bins, 1 AS side FROM ({collapsed(kpi, whole_since(kpi))})
                UNION ALL SELECT key, minute, fields, bins, 2 AS side FROM ({recomputed(kpi, COLLAPSED)})
            )
            GROUP BY key, minute
            HAVING groupArrayIf((fields, bins), side = 1) != groupArrayIf((fields, bins), side = 2)
        )"""
    [(differing, first)] = client.query(difference).result_rows
    stale = f"definition != {sql_literal(kpi.definition_id)}"
    if differing:
        # New ones first: the recomputation looks at which series there are.
        client.command(
            f"""
            INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins)
            {given}
            SELECT {own}, {_LABELS}, minute, {part}, {part}, fields, bins FROM ({recomputed(kpi)})""",
            settings=_SETTINGS,
        )
        client.command(
            f"DELETE FROM kpi_minutes WHERE kpi = {own} AND part != {part} AND minute >= {whole_since(kpi, since)}",
            settings=_SETTINGS,
        )
        stale = f"({stale} OR at > toDateTime({int(_seconds(first))}, 'UTC'))"
    # Sums per hour and day do not hear of what is deleted, nor of rows whose insert was cut off.
    changed(client, kpi.id)
    [(there,)] = client.query(f"SELECT count() FROM kpi_values WHERE kpi = {own} AND {stale}").result_rows
    if there:
        client.command(f"DELETE FROM kpi_values WHERE kpi = {own} AND {stale}", settings=_SETTINGS)
        newest_again(client, kpi.id)
    return bool(differing or there)


def _drop(client: Client, kpi: Kpi, repaired: set[str]) -> bool:
    """Delete values of a derived KPI that another definition made, or inputs that were wrong; they are made again."""
    assert kpi.derive is not None
    wrong = any(part.kpi in repaired for part in kpi.derive.parts)
    stale = f"kpi = {sql_literal(kpi.id)}" + ("" if wrong else f" AND definition != {sql_literal(kpi.definition_id)}")
    [(there,)] = client.query(f"SELECT count() FROM kpi_values WHERE {stale}").result_rows
    if there:
        client.command(f"DELETE FROM kpi_values WHERE {stale}", settings=_SETTINGS)
        newest_again(client, kpi.id)
    return bool(there)


# A key is names and values in turn.
_LABELS: Final = (
    f"CAST(mapFromArrays("
    f"arrayFilter((part, place) -> key != '' AND place % 2 = 1, splitByString({sql_literal(SEPARATOR)}, key) AS parts,"
    f" arrayEnumerate(parts)),"
    f" arrayFilter((part, place) -> place % 2 = 0, parts, arrayEnumerate(parts))),"
    f" 'Map(LowCardinality(String), String)')"
)


def _seconds(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()
