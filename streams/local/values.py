"""The newest KPI values of a run, for the screen and for scripts."""

from collections.abc import Mapping
from typing import Any

from streams.events.scalars import DERIVED
from streams.local.view import ShownValue
from streams.storage.connection import Address, StorageError
from streams.storage.queries import run_query

_CELLS = """
    SELECT kpi, if(by = '', 'all', labels['channel']) AS channel,
        argMax(value, (at, revision)) AS value, argMax(n, (at, revision)) AS n,
        argMax(lo, (at, revision)) AS lo, argMax(hi, (at, revision)) AS hi, stat
    FROM kpi_values
    WHERE window = {window:String} AND by IN ('', 'channel') AND at > now() - INTERVAL 1 DAY - INTERVAL {ago:UInt32} DAY
    GROUP BY kpi, by, labels, stat
    ORDER BY stat
"""

_TOTALS = """
    SELECT kpi, by, labels, stat, argMax(value, (at, revision)) AS value, argMax(n, (at, revision)) AS n,
        argMax(lo, (at, revision)) AS lo, argMax(hi, (at, revision)) AS hi,
        argMax(definition, (at, revision)) AS definition
    FROM kpi_values WHERE window = 'total'
    GROUP BY kpi, by, labels, stat
    ORDER BY kpi, by, labels, stat
"""

_RECORDS = """
    SELECT sum(read) AS read, sum(counted) AS counted, sum(duplicate) AS duplicate, sum(late) AS late, sum(bad) AS bad,
        sum(conflict) AS conflict
    FROM outcomes WHERE first >= {since:UInt64} AND NOT (endsWith(topic, {derived:String}) AND {sent_only:Bool})
"""

_ANY_AGE_DAYS = 30_000


def cells(reader: Address, window: str, *, live: bool) -> Mapping[tuple[str, str], ShownValue]:
    """
    Return the newest value of each KPI, as a whole and by channel; empty while the store does not answer.

    A live run shows nothing that is older than a day; a replay shows what it has.
    """
    try:
        answer = run_query(_CELLS, {"window": window, "ago": 0 if live else _ANY_AGE_DAYS}, reader, timeout_s=5)
    except StorageError:
        return {}
    found: dict[tuple[str, str], ShownValue] = {}
    for kpi, channel, value, n, lo, hi, _ in answer.rows:
        # Sorted by quantile, so the median comes before the tail: the first one is shown.
        found.setdefault((kpi, channel), ShownValue(value, int(n), lo, hi))
    return found


def totals(reader: Address) -> list[dict[str, Any]]:
    """
    Return the values since the beginning of every KPI series.

    Raises:
        StorageError: the store does not answer.
    """
    answer = run_query(_TOTALS, {}, reader)
    return [{**dict(zip(answer.columns, row, strict=True)), "n": int(row[5])} for row in answer.rows]


def records_stored(reader: Address, since: int = 0, *, sent_only: bool = False) -> dict[str, int]:
    """
    Return the records by outcome whose balance is stored, from position `since` on.

    `sent_only` leaves out what relations derive of what was sent.

    Raises:
        StorageError: the store does not answer.
    """
    asked = {"since": since, "derived": f".{DERIVED}", "sent_only": sent_only}
    answer = run_query(_RECORDS, asked, reader)
    return {name: int(value) for name, value in zip(answer.columns, answer.rows[0], strict=True)}
