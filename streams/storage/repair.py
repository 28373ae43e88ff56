"""
Make the stored KPIs say what the stored events say.

Needed after an end that was not clean, when events and KPIs had come differently far, and when a definition is new or
has changed: what was counted by the old one, or not at all, is counted again by the one that holds now.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.language.definition import Kpi
from streams.kpis.language.writing import sql_literal
from streams.storage.connection import DELETED_AT_ONCE, FAILURES, explain, never_a_repeat
from streams.storage.overflow import (
    COLLAPSED,
    KEY,
    collapsed,
    counted_events,
    filled,
    has_set_aside,
    names,
    overflowing,
)
from streams.storage.recompute import recomputed, tables_of, whole_since
from streams.storage.relabel import LABELS, name_anew, named_otherwise
from streams.storage.retention import horizon, sql_time
from streams.storage.rollups import changed, newest_again, whole_days_since


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
        counted = _repair(client, [kpi for kpi in kpis if kpi.derive is None], part)
        return counted + [kpi.id for kpi in kpis if kpi.derive is not None and _drop(client, kpi, {*counted})]
    except FAILURES as error:
        raise explain(error, "recomputing KPIs") from error


def _repair(client: Client, kpis: Sequence[Kpi], part: int) -> list[str]:
    if not kpis:
        return []
    since, aside = cache(lambda tables: _since(client, tables)), has_set_aside(client)
    given = {kpi.id: _Given(kpi, since(tables_of(kpi)), aside) for kpi in kpis}
    renamed: dict[str, datetime] = {}
    for id_ in named_otherwise(client).keys() & given.keys():
        one = given[id_]
        if (first := name_anew(client, id_, whole_since(one.kpi, one.since), part)) is not None:
            renamed[id_] = first
    differing = {
        one.kpi.id for one in _in_doubt(client, given.values()) if _replaced(client, one, part, renamed.get(one.kpi.id))
    }
    # Sums per hour and day do not hear of what is deleted, nor of rows whose insert was cut off.
    changed(client, given)
    others = " OR ".join(
        f"(kpi = {sql_literal(kpi.id)} AND definition != {sql_literal(kpi.definition_id)})" for kpi in kpis
    )
    dropped = {kpi for (kpi,) in client.query(f"SELECT DISTINCT kpi FROM kpi_values WHERE {others}").result_rows}
    for kpi in kpis:
        if kpi.id in dropped:
            _delete_values(client, kpi, f"definition != {sql_literal(kpi.definition_id)}")
    return [kpi.id for kpi in kpis if kpi.id in differing | dropped | renamed.keys()]


@dataclass(frozen=True, slots=True)
class _Given:
    """
    A KPI and what its queries are given.

    Attributes:
        since: The time before which something may have left its tables, in SQL.
        aside: Whether the store refuses rows of some events.
    """

    kpi: Kpi
    since: str
    aside: bool

    @property
    def names(self) -> str:
        return names(self.kpi, self.since, aside=self.aside)


_PRINT: Final = "(count(), sum(sipHash64(key, minute, fields, bins)))"


def _in_doubt(client: Client, kpis: Collection[_Given]) -> Iterator[_Given]:
    """
    Return the KPIs of which something differs, or may: those in which labels had no room are all to be looked at.

    Others are compared by a checksum of their minutes. What is stored is read in one query for all of them, for it is
    the planning of a query that takes the time.
    """
    overflown, stored = overflowing(client), dict[str, tuple[int, int]]()
    reaches: dict[str, list[str]] = {}
    for one in kpis:
        reaches.setdefault(whole_since(one.kpi, one.since), []).append(sql_literal(one.kpi.id))
    for whole, ids in reaches.items():
        sql = f"""
            SELECT kpi, {_PRINT} FROM (
                SELECT kpi, {KEY} AS key, minute, sumForEach(kpi_minutes.fields) AS fields,
                    mapSort(sumMap(kpi_minutes.bins)) AS bins
                FROM kpi_minutes FINAL WHERE kpi IN ({", ".join(ids)}) AND minute >= {whole}
                GROUP BY kpi, key, minute
            )
            GROUP BY kpi"""
        stored |= {row[0]: row[1] for row in client.query(sql).result_rows}
    there = {aside: filled(client, aside=aside) for aside in {one.aside for one in kpis}}
    for one in kpis:
        if not {one.kpi.id, *one.kpi.event_types} & there[one.aside]:
            continue
        if one.kpi.id not in overflown:
            head = f"WITH {one.since} AS since, {counted_events(aside=one.aside)}"
            sql = f"{head} SELECT {_PRINT} FROM ({recomputed(one.kpi, 'own')})"
            if client.query(sql).result_rows == [(stored.get(one.kpi.id, (0, 0)),)]:
                continue
        yield one


def _since(client: Client, tables: tuple[str, ...]) -> str:
    """Write the time before which something may have left these tables, or their sums per day."""
    whole, gone = whole_days_since(client), horizon(client, *tables)
    return sql_time(max(whole, gone) if gone else whole)


def _replaced(client: Client, one: _Given, part: int, renamed: datetime | None) -> bool:
    """
    Replace all minutes of a KPI if some of them differ, and delete the values that had them in their windows.

    Those of series that were `renamed` from some minute on differ where groupings are compared as a whole, too.
    """
    kpi, own = one.kpi, sql_literal(one.kpi.id)
    difference = f"""
        {one.names}
        SELECT count(), min(minute) FROM (
            SELECT key, minute FROM (
                SELECT key, minute, fields, bins, 1 AS side FROM ({collapsed(kpi, whole_since(kpi))})
                UNION ALL SELECT key, minute, fields, bins, 2 AS side FROM ({recomputed(kpi, COLLAPSED)})
            )
            GROUP BY key, minute
            HAVING groupArrayIf((fields, bins), side = 1) != groupArrayIf((fields, bins), side = 2)
        )"""
    [(differing, first)] = client.query(difference).result_rows
    if renamed is not None:
        first = min(first, renamed) if differing else renamed
    elif not differing:
        return False
    # New ones first: the recomputation looks at which series there are.
    client.command(
        f"""
        INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins)
        {one.names}
        SELECT {own}, {LABELS}, minute, {part}, {part}, fields, bins FROM ({recomputed(kpi)})""",
        settings=never_a_repeat(),
    )
    client.command(
        f"DELETE FROM kpi_minutes WHERE kpi = {own} AND part != {part} AND minute >= {whole_since(kpi, one.since)}",
        settings=DELETED_AT_ONCE,
    )
    changed(client, [kpi.id])
    reached = f"at > {sql_time(first.replace(tzinfo=UTC))}"
    _delete_values(client, kpi, f"(definition != {sql_literal(kpi.definition_id)} OR {reached})")
    return True


def _delete_values(client: Client, kpi: Kpi, which: str) -> bool:
    """Delete published values of a KPI; tell whether there were any."""
    chosen = f"kpi = {sql_literal(kpi.id)} AND {which}"
    [(there,)] = client.query(f"SELECT count() FROM kpi_values WHERE {chosen}").result_rows
    if there:
        client.command(f"DELETE FROM kpi_values WHERE {chosen}", settings=DELETED_AT_ONCE)
        newest_again(client, kpi.id)
    return bool(there)


def _drop(client: Client, kpi: Kpi, repaired: set[str]) -> bool:
    """Delete values of a derived KPI that another definition made, or inputs that were wrong; they are made again."""
    assert kpi.derive is not None
    wrong = any(part.kpi in repaired for part in kpi.derive.parts)
    return _delete_values(client, kpi, "true" if wrong else f"definition != {sql_literal(kpi.definition_id)}")
