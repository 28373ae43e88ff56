"""
Series that an earlier version named by labels in another form: found, and named as the workers name them now.

What can be recomputed from the stored events is (`streams.storage.repair`); older minutes are named anew and added up
here.
"""

# ruff: noqa: S608 - KPI ids and keys are escaped

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.events.text import HASH_DIGITS, MAX_LABEL, label_sql
from streams.kpis.language.series import SEPARATOR, parse_series, series_key
from streams.kpis.language.writing import sql_literal
from streams.storage.connection import DELETED_AT_ONCE, never_a_repeat
from streams.storage.overflow import KEY
from streams.storage.retention import sql_time
from streams.storage.rollups import newest_again, whole_days_since

# The first versions cut labels at the same length, without a hash: what stands there may be the beginning of several.
_OTHERWISE: Final = (
    f"arrayExists(value -> (lengthUTF8(value) >= {MAX_LABEL} AND NOT match(value, '~[0-9a-f]{{{HASH_DIGITS}}}$'))"
    f" OR ifNull({label_sql('value')}, '') != value,"
    " mapValues(labels))"
)

# Of a hash nobody sees what it was made of: under another rule the same text has another one, or none.
_HASHED: Final = f"arrayExists(value -> match(value, '~[0-9a-f]{{{HASH_DIGITS}}}$'), mapValues(labels))"


def named_otherwise(client: Client, *, by_another_rule: bool = False) -> dict[str, int]:
    """
    Return how many series are, or may be, named in another form than now, by KPI. Raises FAILURES.

    Args:
        client: May read.
        by_another_rule: Whether labels were made by another rule than now, so that those with a hash are in doubt.
    """
    doubtful = f"{_OTHERWISE} OR {_HASHED}" if by_another_rule else _OTHERWISE
    kept = f"SELECT DISTINCT kpi, labels FROM kpi_minutes WHERE minute >= {sql_time(whole_days_since(client))}"
    series = f"{kept} UNION DISTINCT SELECT DISTINCT kpi, labels FROM kpi_newest"
    rows = client.query(f"SELECT kpi, count() FROM ({series}) WHERE {doubtful} GROUP BY kpi").result_rows
    return {row[0]: row[1] for row in rows}


def name_anew(client: Client, kpi: str, before: str, part: int) -> datetime | None:
    """
    Name the series of a KPI in the form of now; return the first minute of those that had another, None if none had.

    Days of which minutes have left the store by their age stay as they are. Done again after it was interrupted, it
    ends the same. Raises FAILURES.

    Args:
        client: May insert and delete.
        kpi: Its id.
        before: SQL of a time: only older minutes are added up; later ones are recomputed by the caller.
        part: Of the minutes written; above every part and revision in the store.
    """
    own, since = sql_literal(kpi), sql_time(whole_days_since(client))
    asked = f"""
        SELECT {KEY} AS key, min(minute) FROM kpi_minutes
        WHERE kpi = {own} AND by != '' AND minute >= {since} GROUP BY key"""
    rows = client.query(asked).result_rows
    names = {key: _named(kpi, key) for key, _ in rows}
    other = {key for key, name in names.items() if name != key}
    shown = client.query(f"SELECT DISTINCT {KEY} FROM kpi_values WHERE kpi = {own} AND by != ''").result_rows
    gone = [key for (key,) in shown if _named(kpi, key) != key]
    if gone:
        client.command(
            f"DELETE FROM kpi_values WHERE kpi = {own} AND {KEY} IN ({_list(gone)})", settings=DELETED_AT_ONCE
        )
        newest_again(client, kpi)
    if not other:
        return None
    wanted = {names[key] for key in other}
    within = f"minute >= {since} AND minute < {before}"
    _add_up(client, own, {key: name for key, name in names.items() if name in wanted}, within, part)
    first: datetime = min(minute for key, minute in rows if key in other)
    return first


def _add_up(client: Client, own: str, names: Mapping[str, str], within: str, part: int) -> None:
    """Write the sums of all series that have one name now, and delete what was added up."""
    old = f"kpi = {own} AND {within} AND part != {part} AND {KEY} IN ({_list(names)})"
    name = f"transform({KEY}, [{_list(names)}], [{_list(names.values())}], '')"
    client.command(
        f"""
        INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins)
        SELECT {own}, {LABELS}, minute, {part}, {part}, sumForEach(fields), mapSort(sumMap(bins))
        FROM (SELECT {name} AS key, minute, fields, bins FROM kpi_minutes FINAL WHERE {old})
        WHERE key != '' GROUP BY key, minute""",
        settings=never_a_repeat(),
    )
    client.command(f"DELETE FROM kpi_minutes WHERE {old}", settings=DELETED_AT_ONCE)


LABELS: Final = (
    f"CAST(mapFromArrays("
    f"arrayFilter((part, place) -> key != '' AND place % 2 = 1, splitByString({sql_literal(SEPARATOR)}, key) AS parts,"
    f" arrayEnumerate(parts)),"
    f" arrayFilter((part, place) -> place % 2 = 0, parts, arrayEnumerate(parts))),"
    f" 'Map(LowCardinality(String), String)')"
)
"""The labels of a series from its `key`, which is names and values in turn."""


def _named(kpi: str, key: str) -> str:
    """Return how a series is named now, as a key without the KPI; empty if a label says nothing."""
    _, labels = parse_series(f"{kpi}{SEPARATOR}{key}")
    _, named = parse_series(series_key(kpi, labels))
    return SEPARATOR.join(part for label in named for part in label) if all(value for _, value in named) else ""


def _list(values: Iterable[str]) -> str:
    return ", ".join(map(sql_literal, values))
