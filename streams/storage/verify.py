"""
The proof that the stored numbers are right: everything is computed anew from the raw events and compared.

1. The balance of every source adds up, and events and dead letters are there exactly once.
2. What every minute holds of every series equals a recomputation in SQL, whole number by whole number. Where labels
   had no room and are counted together, in that minute the grouping equals it as a whole, and no series exceeds it.
3. The newest closed value of every series and window equals what Python makes of recomputed sums, to the last digit.
4. What relations derived is what follows from the events (`relation_check.py`).

What is on its way shows as a difference: beside live traffic, `verify_again.py` looks twice.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.kpis.aggregators import AGGREGATORS, measure
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import TOTAL, WINDOWS
from streams.kpis.language.series import OTHER, SEPARATOR, Labels, parse_series
from streams.kpis.language.void import rules_of
from streams.kpis.language.writing import sql_literal
from streams.relations.catalogue import Relations
from streams.storage.balance import Imbalance, check_balance
from streams.storage.connection import FAILURES, explain
from streams.storage.derived import DerivedCheck
from streams.storage.overflow import COLLAPSED, KEY, REST, collapsed, filled, has_set_aside, names, overflowing
from streams.storage.recompute import latest_sums, missing_totals, recomputed, tables_of, whole_since
from streams.storage.relation_check import RelationComparison, RelationReport
from streams.storage.retention import horizon, sql_time
from streams.storage.voided import sums_without_value

_EVENTS: Final = ("events",)

LISTED: Final = 10_000
"""Differences listed per KPI and check, at most."""

CELLS: Final = 1_000_000
"""Minutes of series whose values are compared in one query: bounds the server's memory."""


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One thing that is not as it should be.

    Attributes:
        check: `minute`, `value`, `stale`, `missing`, or what of the balance is wrong.
        series: KPI id or source.
        labels: Of the series.
        when: The minute, the window and its end, or the range of offsets.
    """

    check: str
    series: str
    labels: dict[str, str]
    when: str
    streamed: str
    recomputed: str

    def __str__(self) -> str:
        labels = ", ".join(f"{name}={value}" for name, value in self.labels.items())
        where = f"{self.series}{{{labels}}}" if labels else self.series
        return f"{self.check} {where} {self.when}: {self.streamed} stored, {self.recomputed} recomputed"


@dataclass(slots=True)
class VerifyReport:
    """
    What was compared, and what differs.

    Attributes:
        checked: How much of what was compared: sources, records, kpis, minutes, values.
        notes: What could not be compared, and why.
    """

    differences: list[Difference] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify(
    client: Client,
    catalogue: Catalogue,
    windows: Collection[str] = WINDOWS,
    relations: Relations | None = None,
    lateness_s: float = 60.0,
    is_forgotten: Callable[[str], bool] = lambda _subject: False,
) -> VerifyReport:
    """
    Compare everything stored with a recomputation; `client` needs to read only.

    Args:
        client: Of a store that is at rest.
        catalogue: What the KPIs mean.
        windows: Those that are kept. The last values of others stay in the store, and are no more what they were.
        relations: Those that run.
        lateness_s: How far their watermarks stay behind the newest event.
        is_forgotten: Tells of a customer that nothing derived of them is taken any more.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    report = VerifyReport()
    try:
        balance = check_balance(client)
        report.checked |= balance.checked
        report.differences += map(_of_balance, balance.found)
        _note_unknown(client, catalogue, windows, report)
        report.checked |= {"kpis": 0, "minutes": 0, "values": 0}
        counted: dict[tuple[str, ...], list[Kpi]] = {_EVENTS: []}
        for kpi in catalogue:
            if kpi.derive is None:
                counted.setdefault(tables_of(kpi), []).append(kpi)
        runs = {tables: _Comparison(client, [*windows, TOTAL], tables, report) for tables in counted}
        for tables, run in runs.items():
            for kpi in counted[tables]:
                run.check_minutes(kpi)
            run.check_values()
        runs[_EVENTS].check_derived(catalogue)
        if relations:
            comparison = RelationComparison(client, relations, lateness_s, horizon(client, "events"), is_forgotten)
            _note_relations(comparison.compare(), report)
    except FAILURES as error:
        raise explain(error, "verifying") from error
    return report


def _note_relations(found: RelationReport, report: VerifyReport) -> None:
    report.checked["matters"] = found.judged
    report.notes += found.notes
    report.differences += [
        Difference(
            one.check,
            one.relation,
            {"span": one.span},
            _time(datetime.fromtimestamp(one.at / 1000, UTC)),
            one.stored,
            one.found,
        )
        for one in found.wrong
    ]


class _Comparison:
    """The comparison of the KPIs that are made of the same tables: minutes one by one, values of many together."""

    def __init__(self, client: Client, windows: Sequence[str], tables: Sequence[str], report: VerifyReport) -> None:
        self._client = client
        self._windows = windows
        self._report = report
        self._horizon = since = horizon(client, *tables, "kpi_minutes")
        if since is not None:
            gone = f"rows of {' or '.join([*tables, 'kpi_minutes'])}, or payloads, from before {since} may have expired"
            report.notes.append(f"{gone}: only later minutes are compared")
        self._published = horizon(client, "kpi_values")
        self._aside = has_set_aside(client)
        self._since = _when(since)
        self._overflowing = overflowing(client)
        self._filled = filled(client, aside=self._aside)
        self._overflowed = 0
        self._left: set[tuple[str, str]] = set()
        self._right: list[list[Kpi]] = []
        self._cells = 0
        self._wrong: list[Kpi] = []

    def check_minutes(self, kpi: Kpi) -> None:
        """Compare what the minutes of a KPI hold."""
        # To plan a query takes most of the time, also where there is nothing to find.
        cells, wrong = self._compared(kpi) if {kpi.id, *kpi.event_types} & self._filled else (0, [])
        self._report.checked["kpis"] += 1
        self._report.checked["minutes"] += cells
        if kpi.id in self._overflowing:
            wrong += self._beyond(kpi)
        for key, minute, streamed, found in sorted(wrong, key=lambda row: row[:2]):
            self._differs("minute", kpi.id, key, _time(minute), _held(streamed), _held(found))
        if wrong:
            self._wrong.append(kpi)
            return
        if not self._right or self._cells + cells > CELLS:
            self._right.append([])
            self._cells = 0
        self._right[-1].append(kpi)
        self._cells += cells

    def _compared(self, kpi: Kpi) -> tuple[int, list[Any]]:
        """Return how many minutes of series there are, and those that differ."""
        overflows = kpi.id in self._overflowing
        key = COLLAPSED if overflows else "own"
        sql = f"""
            {names(kpi, self._since, aside=self._aside)}
            SELECT count(), groupArrayIf({LISTED})((key, minute, streamed, recomputed), streamed != recomputed)
            FROM (
                SELECT key, minute, groupArrayIf((fields, bins), side = 1) AS streamed,
                    groupArrayIf((fields, bins), side = 2) AS recomputed
                FROM (
                    SELECT key, minute, fields, bins, 1 AS side FROM ({collapsed(kpi, whole_since(kpi), key)})
                    UNION ALL SELECT key, minute, fields, bins, 2 AS side FROM ({recomputed(kpi, key)})
                )
                GROUP BY key, minute
            )"""
        [(cells, wrong)] = self._client.query(sql).result_rows
        return cells, wrong

    def _beyond(self, kpi: Kpi) -> list[Any]:
        """Return what series hold beyond all there is for them in minutes in which labels had no room."""
        former = f"replaceAll(rest, {sql_literal(OTHER)}, 'other')"
        there = f"(rest, minute) IN overflowed AND own NOT IN (rest, {former})"
        stored = f"""
            SELECT own AS key, minute, sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins
            FROM (
                SELECT {KEY} AS own, {REST} AS rest, minute, fields, bins FROM kpi_minutes FINAL
                WHERE kpi = {sql_literal(kpi.id)} AND minute >= {whole_since(kpi)}
            )
            WHERE {there} GROUP BY key, minute"""
        n = "if(empty({0}.fields), arraySum(mapValues({0}.bins)), {0}.fields[1])"
        sql = f"""
            {names(kpi, self._since, aside=self._aside)}
            SELECT stored.key, stored.minute, [(stored.fields, stored.bins)], [(found.fields, found.bins)]
            FROM ({stored}) AS stored
            LEFT JOIN ({recomputed(kpi, "own", f"{there} AND own IN known")}) AS found USING (key, minute)
            WHERE {n.format("stored")} > {n.format("found")} LIMIT {LISTED}"""
        overflowed = f"{names(kpi, self._since, aside=self._aside)} SELECT count() FROM overflowed"
        [(minutes,)] = self._client.query(overflowed).result_rows
        self._overflowed += minutes
        return [*self._client.query(sql).result_rows] if minutes else []

    def check_values(self) -> None:
        """
        Compare the newest closed values of all KPIs whose minutes were looked at.

        Minutes that are equal have equal sums: the values of those KPIs need no second look at the events.
        """
        for kpis in self._right:
            self._check(kpis, "", self._streamed(kpis))
        for kpi in self._wrong:
            for head, minutes in self._minutes([kpi]):
                self._check([kpi], head, minutes)
        if self._overflowed:
            self._report.notes.append(
                f"in {self._overflowed} minutes labels had no room and are counted under {OTHER}: there, groupings are"
                " compared as a whole"
            )
        if self._left:
            self._report.notes.append(
                f"{len(self._left)} series gave their room to others: their minutes are compared, their windows ended"
            )

    def check_derived(self, catalogue: Catalogue) -> None:
        """Compare the newest values of KPIs that are made of others."""
        derived = [kpi for kpi in catalogue if kpi.derive is not None]
        check = DerivedCheck(self._client, catalogue, self._minutes, self._windows, self._left)
        for one in check.compare(derived, self._horizon, self._published):
            when = " ".join(filter(None, (*one.when[:2], _time(one.when[2]))))
            if one.stored is not None and one.definition != one.kpi.definition_id:
                self._differs("definition", one.kpi.id, one.key, when, one.definition, one.kpi.definition_id)
            elif one.stored != one.found:
                stored = "nothing" if one.stored is None else str(tuple(one.stored))
                self._differs(one.check, one.kpi.id, one.key, when, stored, str(tuple(one.found)))
            self._report.checked["values"] += one.check == "value"
        self._report.checked["kpis"] += len(derived)

    def _minutes(self, kpis: Sequence[Kpi]) -> Iterator[tuple[str, str]]:
        """Return queries, each with its WITH, for what minutes hold: as stored where that is right, or recomputed."""
        if right := [kpi for kpi in kpis if kpi not in self._wrong]:
            yield "", self._streamed(right)
        for kpi in kpis:
            if kpi in self._wrong:
                minutes = f"SELECT {sql_literal(kpi.id)} AS kpi, key, minute, fields, bins FROM ({recomputed(kpi)})"
                yield names(kpi, self._since, aside=self._aside), minutes

    def _check(self, kpis: Sequence[Kpi], head: str, minutes: str) -> None:
        by_id = {kpi.id: kpi for kpi in kpis}
        rows = self._client.query(
            latest_sums(kpis, self._windows, head, minutes, self._since, expired=self._horizon is not None)
        ).result_rows
        gone = {(row[0], row[1]) for row in rows if _left(by_id[row[0]], row)}
        self._left |= gone
        void = sums_without_value(by_id, rows, self._known_since(kpis))
        for row in rows:
            if row[:2] in gone:
                continue
            id_, key, window, stat, (at, value, n, lo, hi, definition), newest_at, sums, newest = row
            kpi = by_id[id_]
            if definition != kpi.definition_id:
                self._differs("definition", id_, key, f"{window} {_time(at)}", definition, kpi.definition_id)
                continue
            q = next((q for q in kpi.quantiles if f"p{100 * q:g}" == stat), 0.5)
            wanted = _measure(kpi, sums, q)
            if (id_, key, window) in void:
                wanted = Measure(None, wanted.n, None, None)
            self._report.checked["values"] += 1
            when = " ".join(filter(None, (window, stat, _time(at))))
            if wanted != (value, n, lo, hi):
                self._differs("value", id_, key, when, str((value, n, lo, hi)), str(tuple(wanted)))
            elif sums != newest:
                when = f"{when} as of {_time(newest_at)}"
                self._differs("stale", id_, key, when, str((value, n, lo, hi)), str(tuple(_measure(kpi, newest, q))))
        missing = missing_totals(by_id, head, minutes, _when(self._published), LISTED)
        for id_, key, minute in self._client.query(missing).result_rows:
            self._differs("missing", id_, key, f"{TOTAL} since {_time(minute)}", "nothing", "values")

    def _known_since(self, kpis: Sequence[Kpi]) -> dict[tuple[str, Labels], datetime]:
        """Return the minute as of which a series has a value, of KPIs that have none before all of it was counted."""
        rules = {id_: rule for id_, rule in rules_of(kpis).items() if rule.place >= 0}
        if not rules:
            return {}
        hits = " OR ".join(f"(kpi = {sql_literal(id_)} AND fields[{one.place + 1}] > 0)" for id_, one in rules.items())
        rest = " OR ".join(
            f"(kpi = {sql_literal(id_)}" + (f" AND fields[{one.place}] > fields[{one.place + 1}])" if one.both else ")")
            for id_, one in rules.items()
        )
        rows = self._client.query(
            f"SELECT kpi, {KEY} AS key, greatest(minIf(minute, {hits}), minIf(minute, {rest})) FROM kpi_minutes FINAL"
            f" WHERE {rest} OR {hits} GROUP BY kpi, key HAVING countIf({hits}) > 0 AND countIf({rest}) > 0"
        ).result_rows
        return {(id_, parse_series(f"{id_}{SEPARATOR}{key}" if key else id_)[1]): first for id_, key, first in rows}

    def _streamed(self, kpis: Sequence[Kpi]) -> str:
        ids = ", ".join(sql_literal(kpi.id) for kpi in kpis)
        return f"""
            SELECT kpi, key, minute, sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins
            FROM (
                SELECT kpi, {KEY} AS key, minute, fields, bins FROM kpi_minutes FINAL
                WHERE kpi IN ({ids}) AND minute >= {self._since}
            )
            GROUP BY kpi, key, minute"""

    def _differs(self, check: str, kpi: str, key: str, when: str, streamed: str, found: str) -> None:
        _, labels = parse_series(f"{kpi}{SEPARATOR}{key}" if key else kpi)
        self._report.differences.append(Difference(check, kpi, dict(labels), when, streamed, found))


def _left(kpi: Kpi, row: Sequence[Any]) -> bool:
    """Return whether a series was left for the rest: its last value since the beginning says that nothing is held."""
    _, _, window, _, (_, _, n, *_), _, sums, _ = row
    return window == TOTAL and n == 0 and _measure(kpi, sums, 0.5).n > 0


def _measure(kpi: Kpi, sums: tuple[list[int], dict[int, int]], q: float) -> Measure:
    kind = AGGREGATORS[kpi.aggregator]
    return measure(kpi.aggregator, kind.stored(*sums) or kind.empty(), kpi.scale, unit=kpi.unit, q=q, within=kpi.range)


def _held(rows: Sequence[tuple[list[int], dict[int, int]]]) -> str:
    return "nothing" if not rows else str(rows[0][0] or rows[0][1])


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


def _of_balance(found: Imbalance) -> Difference:
    return Difference(found.check, found.source, {}, found.when, found.stored, found.expected)


def _when(since: datetime | None) -> str:
    return sql_time(since or datetime.fromtimestamp(0, UTC))


def _note_unknown(client: Client, catalogue: Catalogue, windows: Collection[str], report: VerifyReport) -> None:
    unknown = (
        ("{}: stored, but not in the catalogue", "kpi", "kpi_minutes", [kpi.id for kpi in catalogue]),
        ("window {}: stored, but not kept any more", "window", "kpi_newest", [*windows, TOTAL]),
    )
    for note, column, table, known in unknown:
        sql = f"SELECT DISTINCT {column} FROM {table} WHERE {column} NOT IN {{known:Array(String)}} ORDER BY {column}"
        report.notes += [note.format(name) for (name,) in client.query(sql, parameters={"known": known}).result_rows]
