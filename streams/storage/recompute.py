"""
A KPI computed anew from the raw events, in SQL and without anything the workers have computed.

Fields come from the stored payload, and sums are formed by ClickHouse. What both ways share are the definitions as they
were parsed: expressions are translated to SQL here and to Python by the workers. A third way that shares nothing with
either is in `tests/harness/plain.py`.

A series is named by its labels: names and values in turn, as in a series key without the KPI.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from streams.events import types
from streams.events.ranges import RangeEvent, RefusedEvent
from streams.kpis.aggregators import AGGREGATORS, LASTING
from streams.kpis.aggregators.base import within_sql
from streams.kpis.arithmetic.intervals import HUNDRED_UNITS
from streams.kpis.language.definition import LONGEST_DELAY_S, Delay, Kpi, Selector
from streams.kpis.language.expressions import Expression
from streams.kpis.language.fields import OWN, Field, Kind, all_fields, fields_of
from streams.kpis.language.lengths import TOTAL, window_start_sql
from streams.kpis.language.series import OTHER, SEPARATOR, UNKNOWN, sent_label_sql
from streams.kpis.language.writing import sql_literal
from streams.storage.overflow import KEPT, KEY

# What the pipeline tells of itself, from where it is stored; what was stored before it was counted has no time.
_CHANNEL: Final = "splitByChar('.', toString(topic))[-1] AS channel, false AS synthetic, counted_at AS time"
_PIPELINE: Final = {
    RangeEvent.type: f"""
        SELECT {sql_literal(RangeEvent.type)} AS type, {_CHANNEL}, read, counted, duplicate, late, bad, conflict,
            if(toUnixTimestamp64Milli(newest_at) = 0, NULL,
                greatest(0, toUnixTimestamp64Milli(taken_at) - toUnixTimestamp64Milli(newest_at)) / 1000) AS age_s
        FROM outcomes WHERE toUnixTimestamp64Milli(counted_at) > 0""",
    RefusedEvent.type: f"""
        SELECT {sql_literal(RefusedEvent.type)} AS type, {_CHANNEL}, toString(reason) AS reason,
            nullIf(path, '') AS path
        FROM dead_letters WHERE toUnixTimestamp64Milli(counted_at) > 0 AND outcome = 'bad'""",
}
# Of a key that stands twice the last value counts.
_OWN_LABELS: Final = (
    "JSONExtractKeysAndValues(arrayLast(pair -> pair.1 = 'labels', JSONExtractKeysAndValuesRaw(payload)).2,"
    " 'Nullable(String)')"
)
_WITHDRAWN: Final = "JSONExtractBool(data, 'withdrawn')"
_MATTER: Final = "(type, JSONExtractString(data, 'span'), JSONExtractUInt(data, 'revision'))"
_JSON_TYPES: Final = {Kind.NUMBER: "Float64", Kind.TEXT: "String", Kind.BOOL: "Bool"}


def whole_since(kpi: Kpi, since: str = "since") -> str:
    """Write from when on minutes hold no event from before `since`: some are counted later than they happen."""
    delayed = any(side is not None and side.delay is not None for side in (kpi.of, kpi.hits))
    return f"{since} + {LONGEST_DELAY_S}" if delayed else since


def tables_of(kpi: Kpi) -> tuple[str, ...]:
    """Name the tables that a KPI is recomputed from: what leaves them cannot be."""
    pipeline = {RangeEvent.type: "outcomes", RefusedEvent.type: "dead_letters"}
    return tuple(sorted({pipeline.get(event, "events") for event in kpi.event_types}))


def recomputed(kpi: Kpi, key: str = KEPT, only: str = "true") -> str:
    """
    Write the query for what each minute holds: key, minute, fields and bins of every series of a KPI.

    The query takes what `names` writes from its WITH, and gives minutes that are whole, see `whole_since`. `key` says
    whose an event is, `only` which events are asked for, both by `own`, `rest` and `minute`.
    """
    of = _Side(kpi, kpi.of, "of")
    hits = None if kpi.hits is None or kpi.nested else _Side(kpi, kpi.hits, "hits")
    found = AGGREGATORS[kpi.aggregator].recompute(kpi, of, hits)
    events = " UNION ALL ".join(side.query(found.columns) for side in (of, hits) if side is not None)
    having = (
        f"""
        HAVING {found.having}"""
        if found.having
        else ""
    )
    return f"""
        SELECT {key} AS key, minute, {found.sums}
        FROM ({events})
        WHERE minute >= {whole_since(kpi)} AND {only}
        GROUP BY key, minute{having}"""


class CustomerSums(NamedTuple):
    """What the events of each customer add up to."""

    sql: str
    """The query for subject, y, x, and b, which is y of before; see `Aggregator.of_customer`."""
    each: bool
    """Whether each customer counts, also those without events: x is 1."""


def of_customers(kpi: Kpi) -> CustomerSums | None:
    """
    Write how customers are compared; None: the KPI is no ratio of sums over customers.

    The query takes `since` and `until`, `counted_events` and `arms` (subject, and `at`, from when on a customer counts)
    from its WITH.
    """
    if kpi.derive or kpi.of_pipeline:
        return None
    aggregator = AGGREGATORS[kpi.aggregator]
    ratio = aggregator.of_customer(kpi.scale, 100 if kpi.unit in HUNDRED_UNITS else 1)
    if ratio is None:
        return None
    of = _Side(kpi, kpi.of, "of")
    hits = None if kpi.hits is None or kpi.nested else _Side(kpi, kpi.hits, "hits")
    found = aggregator.recompute(kpi, of, hits)
    events = " UNION ALL ".join(side.customers(found.columns) for side in (of, hits) if side is not None)
    y, x = ratio
    sql = f"""
        SELECT subject, toFloat64(sumIf({y}, NOT before)) AS y, toFloat64(sumIf({x or 1}, NOT before)) AS x,
            toFloat64(sumIf({y}, before)) AS b
        FROM (SELECT subject, before, {found.sums} FROM ({events}) GROUP BY subject, before)
        GROUP BY subject"""
    return CustomerSums(sql, not x)


class _Side:
    """The events of one selector, each with the columns that are asked for and the names of its series."""

    def __init__(self, kpi: Kpi, selector: Selector, name: str) -> None:
        self.reading = _Reading(selector.events, name)
        self.conditions = [f"({selector.where.to_sql(self.reading.column)})"]
        self.columns: dict[str, str] = {}
        self._kpi = kpi
        self._minute = "toStartOfMinute(time)"
        if selector.delay is not None:
            self._count_later(selector.delay)

    def sql(self, expression: Expression) -> str:
        """Return the Nullable expression for a value or condition."""
        return expression.to_sql(self.reading.column)

    def steps(self, expression: Expression) -> str:
        """Return the Nullable(Float64) expression for a value in steps and a half, to be rounded down."""
        return f"toFloat64({self.sql(expression)}) * {self._kpi.scale} + 0.5"

    def _count_later(self, delay: Delay) -> None:
        self.columns["delay"] = f"toFloat64({delay.seconds.to_sql(self.reading.column)}) * 1000 + 0.5"
        self.conditions.append(within_sql("delay", LONGEST_DELAY_S * 1000, 0))
        at_ms = "toUnixTimestamp64Milli(time) + toInt64(floor(assumeNotNull(delay)))"
        if delay.hourly:
            self._minute = f"toDateTime(intDiv({at_ms} + 3599999, 3600000) * 3600, 'UTC')"
        else:
            self._minute = f"toDateTime(intDiv({at_ms}, 60000) * 60, 'UTC')"

    def customers(self, columns: Iterable[str]) -> str:
        """Write the query for the events of customers of `arms`, those `before` too; columns as for `query`."""
        defined = "".join(f"{sql} AS {name}, " for name, sql in self.columns.items())
        data = self.reading.tuple()
        return f"""
            SELECT {"".join(f"{name}, " for name in columns)}subject, before
            FROM (
                SELECT {defined}{self._minute} AS minute, subject, time < at AS before
                FROM (
                    SELECT *{f", {data}" if data else ""} FROM {self.reading.table()} AND time >= since
                ) AS read INNER JOIN arms USING (subject)
                WHERE {" AND ".join(self.conditions)} AND minute < until
            )"""

    def query(self, columns: Iterable[str]) -> str:
        """Write the query for the events; of several sides the columns must be the same, in the same order."""
        kpi = self._kpi
        names = sorted({name for grouping in kpi.groupings for name in grouping})
        texts, named = self.reading.texts(names), self.reading.named(names)
        read = {**self.columns, "texts": texts, **named} if texts else {**self.columns, **named}
        defined = "".join(f"{sql} AS {name}, " for name, sql in read.items())
        labels = self.reading.labels(names, kpi.touchpoints)
        labelled = "".join(f"{sql} AS {name}, " for name, sql in labels.items())
        keys = ", ".join(map(_keys, kpi.groupings))
        data = self.reading.tuple()
        given = "".join(f"{name}, " for name in columns)
        return f"""
            SELECT {given}minute, keys.1 AS own, keys.2 AS rest
            FROM (
                SELECT {given}minute, {labelled}arrayJoin(arrayConcat({keys})) AS keys
                FROM (
                    SELECT {defined}{self._minute} AS minute
                    FROM (
                        SELECT *{f", {data}" if data else ""} FROM {self.reading.table()} AND time >= since
                    )
                    WHERE {" AND ".join(self.conditions)}
                )
            )"""


def _listed(values: Iterable[str]) -> str:
    return ", ".join(map(sql_literal, values))


class _Reading:
    """How the fields of some event types are read; those of the data are taken out of the JSON in one go."""

    def __init__(self, events: Iterable[str], name: str) -> None:
        self._name = name
        self.events = frozenset(events)
        self._events = sorted(self.events)
        self._fields = all_fields(self._events)
        self._needed: dict[str, Field] = {}
        self._own = False

    def column(self, name: str) -> str:
        """Return a Nullable expression for a field: missing on events of types that lack it, whatever they carry."""
        ways: dict[str, list[str]] = {}
        for event in self._events:
            if name in fields_of(event):
                ways.setdefault(self._read(self._fields[name], event), []).append(event)
        if len(ways) == 1 and [*ways.values()] == [list(self._events)]:
            return next(iter(ways))
        cases = "".join(f"type IN ({_listed(having)}), {way}, " for way, having in ways.items())
        return f"multiIf({cases}NULL)"

    def table(self) -> str:
        """Write where the events are, with the condition that they count."""
        if pipeline := types.PIPELINE_TYPES & self.events:
            [event] = pipeline
            return f"({_PIPELINE[event]}) WHERE NOT synthetic"
        counted = f"counted_events WHERE type IN ({_listed(self._events)})"
        if types.DERIVED_TYPES.keys() & self.events:
            # What was withdrawn is subtracted by the workers: here neither side of it is read.
            back = f"SELECT {_MATTER} FROM {counted} AND {_WITHDRAWN}"
            counted = f"{counted} AND NOT {_WITHDRAWN} AND {_MATTER} NOT IN ({back})"
        return f"(SELECT *, {_OWN_LABELS} AS own_labels FROM {counted}) WHERE true" if self._own else counted

    def _read(self, field: Field, event: str) -> str:
        """Write how the field is read on events of one type."""
        if field.place == "type":
            return "toNullable(toString(type))"
        if field.place == "own":
            self._own = True
            name = sql_literal(field.name.removeprefix(OWN))
            return f"arrayFirst(pair -> pair.1 = {name}, arrayReverse(own_labels)).2"
        if field.place == "envelope":
            return f"nullIf(toString({field.name}), '')" if field.kind is Kind.TEXT else f"toNullable({field.name})"
        if event in types.PIPELINE_TYPES:
            return f"to{'Int64' if field.whole else 'Nullable'}({field.name})"
        info = types.fields_of(event)[field.name]
        if info.rating:
            return "toInt64(score)"  # digits of any alphabet were read when the event was stored
        self._needed[field.name] = field
        read = f"tupleElement({self._name}, {sql_literal(field.name)})"
        if info.default is not None:
            read = f"toNullable(ifNull({read}, {sql_literal(info.default)}))"
        return f"toInt64({read})" if field.kind is Kind.NUMBER and field.whole else read

    def _sent(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if self._fields[name].kind is Kind.TEXT]

    def texts(self, names: Iterable[str]) -> str:
        """
        Return an expression for the labels that are made of texts, in their order; empty if there are none.

        How it is done is written once for all of them: to plan it takes longer than to run it.
        """
        columns = ", ".join(map(self.column, self._sent(names)))
        return f"arrayMap(given -> {sent_label_sql('given')}, [{columns}])" if columns else ""

    def labels(self, names: Iterable[str], touchpoints: Iterable[str] | None) -> dict[str, str]:
        """Return Nullable(String) expressions for labels by `texts`; of touchpoints, only these have one."""
        labels = {f"label_{name}": f"texts[{place}]" for place, name in enumerate(self._sent(names), start=1)}
        label = labels.get("label_touchpoint")
        if label is not None and touchpoints is not None:
            unknown = f"isNotNull({label}) AND {label} NOT IN ({_listed(sorted(touchpoints))})"
            labels["label_touchpoint"] = f"if({unknown}, {sql_literal(UNKNOWN)}, {label})"
        return labels

    def named(self, names: Iterable[str]) -> dict[str, str]:
        """Return Nullable(String) expressions for labels of anything else."""
        columns = {name: self.column(name) for name in names if self._fields[name].kind is not Kind.TEXT}
        return {
            f"label_{name}": f"if(isNull({column}), NULL, if({column}, 'true', 'false'))"
            if self._fields[name].kind is Kind.BOOL
            else f"toString({column})"
            for name, column in columns.items()
        }

    def tuple(self) -> str | None:
        """Return the expression that reads all fields of the data that were asked for."""
        if not self._needed:
            return None
        shape = ", ".join(f"`{name}` Nullable({_JSON_TYPES[field.kind]})" for name, field in self._needed.items())
        return f"JSONExtract(data, {sql_literal(f'Tuple({shape})')}) AS {self._name}"


def _keys(grouping: tuple[str, ...]) -> str:
    """Write the names of an event's series under a grouping, its own and that of the rest: one pair or none."""
    if not grouping:
        return "[('', '')]"
    separator = sql_literal(SEPARATOR)
    own = f", {separator}, ".join(f"{sql_literal(name)}, {separator}, assumeNotNull(label_{name})" for name in grouping)
    rest = SEPARATOR.join(f"{name}{SEPARATOR}{OTHER}" for name in grouping)
    there = " AND ".join(f"isNotNull(label_{name})" for name in grouping)
    return f"if({there}, [(concat({own}), {sql_literal(rest)})], [])"


def _latest(ids: Iterable[str], windows: Iterable[str]) -> str:
    """
    Write the query for the newest row of each series, stat and one of the windows, and its KPI's newest time.

    Of windows that move only closed rows count; since the beginning, an open row holds all that was counted so far.
    """
    length = "transform(right(window, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0)"
    return f"""
        SELECT *, newest_row.1 AS at, max(newest_row.1) OVER (PARTITION BY kpi, window = '{TOTAL}') AS newest_at
        FROM (
            SELECT kpi, {KEY} AS key, window, stat,
                if(window = '{TOTAL}', 0, {length} * toUInt32OrZero(substring(window, 1, length(window) - 1)))
                    AS length_s,
                argMax((at, value, n, lo, hi, definition), (at, revision)) AS newest_row
            FROM kpi_values
            WHERE kpi IN ({_listed(ids)}) AND window IN ({_listed(windows)})
                AND (maturity = 'closed' OR window = '{TOTAL}')
            GROUP BY kpi, key, window, stat
        )"""


def _held(kpis: Iterable[Kpi], inside: str, end: str) -> tuple[str, str]:
    """
    Write what a minute's fields are to a window that ends at `end`, and the condition that they are anything.

    Of accumulators that last, minutes before the window count too, without their n.
    """
    lasting = [kpi.id for kpi in kpis if kpi.aggregator in LASTING]
    if not lasting:
        return "fields", inside
    without_n = "arrayMap((field, place) -> if(place = 1, 0, field), fields, arrayEnumerate(fields))"
    return f"if({inside}, fields, {without_n})", f"({inside} OR (minute < {end} AND kpi IN ({_listed(lasting)})))"


def latest_sums(
    kpis: Collection[Kpi], windows: Iterable[str], head: str, minutes: str, since: str, *, expired: bool
) -> str:
    """
    Write the query for the newest closed values and what their windows sum up to, then and at the KPI's newest time.

    `minutes` is a query for kpi, key, minute, fields and bins, `head` the WITH it needs. When raw events may have
    `expired`, only windows that begin after `since` are given, and none of accumulators that last.
    """

    def sums(end: str) -> str:
        inside = f"minute < {end} AND (length_s = 0 OR minute >= {window_start_sql(end, 'length_s')})"
        fields, counts = _held(kpis, inside, end)
        return f"(sumForEachIf({fields}, {counts}), mapSort(sumMapIf(bins, {inside})))"

    lasting = [kpi.id for kpi in kpis if kpi.aggregator in LASTING]
    comparable = f"length_s > 0 AND {window_start_sql('at', 'length_s')} >= {since}" if expired else "true"
    if expired and lasting:
        comparable += f" AND kpi NOT IN ({_listed(lasting)})"
    return f"""
        {head}
        SELECT kpi, key, window, stat, newest_row, newest_at, {sums("at")} AS then, {sums("newest_at")} AS now
        FROM (SELECT * FROM ({_latest([kpi.id for kpi in kpis], windows)}) WHERE {comparable}) AS latest
        LEFT JOIN ({minutes}) AS minutes USING (kpi, key)
        GROUP BY kpi, key, window, stat, length_s, newest_row, at, newest_at
        ORDER BY kpi, key, window, stat"""


def latest_rows(ids: Iterable[str], windows: Iterable[str]) -> str:
    """Write the query for the newest values: kpi, key, window, stat, length in s, the row, the newest time."""
    columns = "kpi, key, window, stat, length_s, newest_row, newest_at"
    return f"SELECT {columns} FROM ({_latest(ids, windows)}) ORDER BY kpi, key, window, stat"


def sums_at(kpis: Iterable[Kpi], head: str, minutes: str, asked: Iterable[tuple[str, int, datetime]]) -> str:
    """
    Write the query for what windows held: window, end, KPI, key, the sums, and their newest minute.

    `asked` are the windows: name, length in seconds (0: all), end.
    """
    windows = ", ".join(
        f"({sql_literal(window)}, {length_s}, toDateTime({int(at.replace(tzinfo=UTC).timestamp())}, 'UTC'))"
        for window, length_s, at in asked
    )
    inside = f"minute < asked.3 AND (asked.2 = 0 OR minute >= {window_start_sql('asked.3', 'asked.2')})"
    fields, counts = _held(kpis, inside, "asked.3")
    return f"""
        {head}
        SELECT asked.1, asked.3, kpi, key, sumForEach({fields}), mapSort(sumMap(bins)), max(minute)
        FROM ({minutes}) ARRAY JOIN [{windows}] AS asked
        WHERE {counts} GROUP BY asked.1, asked.3, kpi, key"""


def missing_totals(ids: Iterable[str], head: str, minutes: str, since: str, limit: int) -> str:
    """
    Write the query for series with closed minutes that have no value since the beginning: KPI, key, first minute.

    Of series without a minute after `since` the value may have left the store.
    """
    return f"""
        {head}
        SELECT kpi, key, min(minute)
        FROM ({minutes}) AS minutes
        INNER JOIN (
            SELECT kpi, max(at) AS newest_at FROM kpi_values
            WHERE kpi IN ({_listed(ids)}) AND maturity = 'closed' GROUP BY kpi
        ) AS newest USING (kpi)
        WHERE minute < newest_at
            AND (kpi, key) NOT IN (
                SELECT kpi, {KEY} FROM kpi_values
                WHERE kpi IN ({_listed(ids)}) AND maturity = 'closed' AND window = '{TOTAL}')
        GROUP BY kpi, key HAVING max(minute) >= {since} ORDER BY kpi, key LIMIT {limit}"""
