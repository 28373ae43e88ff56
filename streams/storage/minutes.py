"""History by the minute, in order: what each minute held of KPI series, and what sources sent."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.alerts.facts import Expected, length_of
from streams.alerts.rules.calendars import Calendar
from streams.alerts.rules.rules import Rule, RuleBook
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import series_key
from streams.storage.baselines import BaselineQuery, Learnt, baseline_query, learn_kpi
from streams.storage.connection import FAILURES, explain

_DAY: Final = 1440
# A day at a time: the table is sorted by KPI, so that the server must sort what it gives back by minute.
_MINUTES: Final = """
    SELECT toUnixTimestamp(minute) AS at, kpi, labels, sumForEach(kpi_minutes.fields) AS fields,
        %s AS bins
    FROM kpi_minutes FINAL
    WHERE kpi IN {kpis:Array(String)} AND minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')} %s
    GROUP BY kpi, labels, minute
    ORDER BY minute"""
_BINS: Final = "sumMap(kpi_minutes.bins)"
_NO_BINS: Final = "map()"
_BY: Final = "AND by IN {groupings:Array(String)}"

_SOURCES: Final = """
    SELECT toUnixTimestamp(toStartOfMinute(time)) AS at, topic, partition, count() AS read
    FROM events
    WHERE time >= {since:DateTime('UTC')} AND time < {until:DateTime('UTC')}
    GROUP BY at, topic, partition
    ORDER BY at"""

_REACH: Final = """
    SELECT count(), min(minute), max(minute)
    FROM kpi_minutes
    WHERE kpi IN {kpis:Array(String)} AND minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}"""


def stored_minutes(
    client: Client,
    kpis: Collection[Kpi],
    since: int,
    until: int,
    groupings: Collection[tuple[str, ...]] | None = None,
) -> Iterator[tuple[int, dict[str, Acc]]]:
    """
    Yield minutes with what they hold of all series of some KPIs, in order; those that hold nothing are left out.

    Rows of another kind than the definition makes now are passed over.

    Args:
        client: Of a user who may read.
        kpis: Which KPIs.
        since: First minute, unix seconds // 60.
        until: Last minute.
        groupings: Label names, in order, of the series; None: all. What no rule looks at is most of what is stored.

    Raises:
        StorageError: ClickHouse cannot answer.
    """
    known = {kpi.id: AGGREGATORS[kpi.aggregator] for kpi in kpis}
    asked: dict[str, Any] = {"kpis": sorted(known)}
    if groupings is not None:
        asked["groupings"] = [",".join(names) for names in groupings]
    bins = _BINS if any(aggregator.binned for aggregator in known.values()) else _NO_BINS
    sql = _MINUTES % (bins, "" if groupings is None else _BY)
    rows = _by_day(client, sql, asked, since, until)
    keys: dict[tuple[str, ...], str] = {}
    for at, together in groupby(rows, key=itemgetter(0)):
        found: dict[str, Acc] = {}
        for _, name, labels, fields, bins in together:
            acc = known[name].stored(fields, bins)
            if acc is None:
                continue
            pairs = tuple(labels.items())
            key = keys.get(named := (name, *chain.from_iterable(pairs)))
            if key is None:
                key = keys[named] = series_key(name, pairs)
            found[key] = acc
        if found:
            yield int(at) // 60, found


def stored_sources(
    client: Client, channel_of: Callable[[str], str], since: int, until: int
) -> dict[int, dict[str, tuple[int, int]]]:
    """
    Return how many records each source sent by minute, as (read, refused): `web/0`.

    Only events have a time of their own; of refused records nobody knows it, so none is returned.

    Raises:
        StorageError: ClickHouse cannot answer.
    """
    found: dict[int, dict[str, tuple[int, int]]] = {}
    for at, topic, partition, read in _by_day(client, _SOURCES, {}, since, until):
        found.setdefault(at // 60, {})[f"{channel_of(topic)}/{partition}"] = (read, 0)
    return found


def stored_span(client: Client, kpis: Collection[Kpi], since: int, until: int) -> tuple[int, int] | None:
    """
    Return the first and the last minute with any of some KPIs; None if there is none.

    Raises:
        StorageError: ClickHouse cannot answer.
    """
    parameters = {"kpis": sorted(kpi.id for kpi in kpis), **_span(since, until)}
    try:
        [(rows, first, last)] = client.query(_REACH, parameters=parameters).result_rows
    except FAILURES as error:
        raise explain(error, "reading which minutes there are") from error
    return (_minute(first), _minute(last)) if rows else None


class PastBaselines:
    """What was usual, as a worker would have known it at the time: learnt anew with each local day."""

    def __init__(self, client: Client, rules: RuleBook) -> None:
        """Read nothing yet."""
        self._client = client
        self._queries: dict[str, BaselineQuery] = {}
        self._groupings: dict[_Place, set[tuple[str, ...]]] = {}
        self._learnt: dict[_Place, Learnt] = {}
        for rule in rules:
            query = baseline_query(rule, rules.calendars)
            if query is not None:
                self._queries[rule.alert] = query
                self._groupings.setdefault(_place(query), set()).add(rule.by)

    def expected(self, rule: Rule, series: str, window: str, minute: int) -> Expected | None:
        """
        Return what a window of a series that ends with a minute usually had; None while too little was known.

        Raises:
            StorageError: ClickHouse cannot answer.
        """
        query = self._queries.get(rule.alert)
        if query is None:
            return None
        place = _place(query)
        learnt = self._learnt.get(place)
        if learnt is None or minute >= learnt.until // 60 + _DAY:
            learnt = learn_kpi(self._client, query, sorted(self._groupings[place]), minute * 60)
            self._learnt[place] = learnt
        baseline = learnt.series.get(series)
        return None if baseline is None else baseline.expected(minute, length_of(window))


_Place = tuple[str, int, int, str]


def _place(query: BaselineQuery) -> _Place:
    calendar: Calendar | None = query.calendar
    return query.kpi.id, query.weeks, query.min_weeks, "" if calendar is None else calendar.name


def _by_day(
    client: Client, sql: str, parameters: Mapping[str, Any], since: int, until: int
) -> Iterator[tuple[Any, ...]]:
    for start in range(since, until + 1, _DAY):
        span = _span(start, min(until, start + _DAY - 1))
        try:
            with client.query_rows_stream(sql, parameters={**parameters, **span}) as rows:
                yield from rows
        except FAILURES as error:
            raise explain(error, "reading minutes") from error


def _span(since: int, until: int) -> dict[str, datetime]:
    return {
        "since": datetime.fromtimestamp(since * 60, UTC),
        "until": datetime.fromtimestamp((until + 1) * 60, UTC),
    }


def _minute(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp()) // 60
