"""
How what is stored is compared with a recomputation where labels had no room.

What was counted under `OTHER` depends on who came when, which no recomputation knows. But a grouping as a whole is the
same: so in minutes in which it overflowed, its series are added up on both sides.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from typing import Final

from streams.kpis.definition import Kpi
from streams.kpis.series import OTHER, SEPARATOR
from streams.kpis.writing import sql_literal

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


def names(kpi: Kpi, since: str) -> str:
    """
    Write the WITH that a recomputation takes: `since` (the earliest time), `known` and `overflowed`.

    `known` are the series there are; `overflowed` says of which groupings, named by the series of the rest, in which
    minutes there was something without room.
    """
    own = f"FROM kpi_minutes WHERE kpi = {sql_literal(kpi.id)}"
    overflowed = f"SELECT DISTINCT {KEY}, minute {own} AND by != '' AND {KEY} = {REST}"
    return f"WITH {since} AS since, known AS (SELECT DISTINCT {KEY} {own}), overflowed AS ({overflowed})"


KEPT: Final = "if(own IN known OR (rest, minute) NOT IN overflowed, own, rest)"
"""Whose an event is, as near as the store can tell: of a series that it has, else of the rest if that has anything."""

COLLAPSED: Final = "if((rest, minute) IN overflowed, rest, own)"
"""Whose an event is where a grouping that overflowed in a minute counts as one."""


def collapsed(kpi: Kpi, whole: str) -> str:
    """Write the query for what is stored of each minute, as `recomputed` gives it by `COLLAPSED`."""
    return f"""
        SELECT if((rest, minute) IN overflowed, rest, own) AS key, minute,
            sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins
        FROM (
            SELECT {KEY} AS own, {REST} AS rest, minute, fields, bins FROM kpi_minutes FINAL
            WHERE kpi = {sql_literal(kpi.id)} AND minute >= {whole}
        )
        GROUP BY key, minute"""
