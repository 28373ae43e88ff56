"""
What the panels ask ClickHouse, in parts: whom the variables mean, over which time, and how sure the answer is.

Grafana's part in it: `$__fromTime` and `$__toTime` are the ends of the selected time, `$__interval_s` the seconds that
a point of a graph stands for; `$__conditionalAll(condition, $variable)` is the condition, or `1=1` when the variable
stands on All.
"""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.dashboards.look import MEETS, MISSES, NO_DATA, NO_TARGET, READINGS, THIN, UNSURE, label_name, unit_sql
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.language.definition import Kpi

VARIABLE_OF: Final = {"channel": "channel", "segment": "segment", "touchpoint": "touchpoint", "unitid": "unit"}
"""The labels that have a variable of their own."""

"""Aggregators whose values are amounts, known exactly: they have no interval and are never thin."""

WINDOW_SECONDS: Final = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "24h": 86_400, "7d": 604_800}
TOTAL: Final = "total"

PERIOD: Final = "from = $__fromTime, to = $__toTime"

AT_ONCE: Final = f"{PERIOD}, step = 0, bounds = []"
"""
The selected time as one step of `kpi_steps`: what `kpi` gives, without looking for what only KPIs made of others have.
It is planned in two thirds of the time, and planning is most of what a tile costs.
"""

_WINDOWS = ", ".join(f"${{window:singlequote}} = '{name}', {seconds}" for name, seconds in WINDOW_SECONDS.items())
POINT: Final = "(intDiv($__interval_s + 59, 60) * 60)"
"""The seconds of one point of a graph, in whole minutes."""

STEP: Final = f"toUInt32(greatest(multiIf({_WINDOWS}, 86400), {POINT}))"
"""The chosen window, or what Grafana draws as one point if that is longer: whole minutes, as the store keeps them."""

GAPS: Final = "ARRAY JOIN if(next > until, [0, 1], [0]) AS gap"
"""A row more, without a value, behind a step after which one is missing: no line is drawn across it."""


def next_step(partition: str) -> str:
    """Return when the next step begins that anything is known of, in order to find `GAPS`."""
    return (
        f"leadInFrame(time, 1, until) OVER ({partition} ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS next"
    )


def quoted(text: str) -> str:
    """Return a text as a string of ClickHouse's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def listed(texts: Iterable[str]) -> str:
    """Return texts as the inside of an `IN (…)`; of no texts, one that is empty, since SQL demands something."""
    return ", ".join(map(quoted, texts)) or quoted("")


def label(name: str) -> str:
    """Return the value of a label."""
    return f"labels['{name}']"


def choice(text: str) -> str:
    """
    Return the value by which a variable stands for a text: what reads as that text between quotes.

    Grafana escapes quotes only, and takes a dollar in a value for a variable or macro of its own.
    """
    slash = "char(92)"
    return f"replaceAll(replaceAll({text}, {slash}, concat({slash}, {slash})), char(36), concat({slash}, 'x24'))"


def choices_of(grouping: Iterable[str]) -> list[str]:
    """Return a column per label whose values anybody may make up: by what a link chooses them."""
    free = [name for name in grouping if name in VARIABLE_OF and name != "channel"]
    return [f"{choice(label(name))} AS {label_name(name)}_choice" for name in free]


def chosen(column: str, variable: str) -> str:
    """Return the condition that a column has one of the variable's values."""
    return f"$__conditionalAll({column} IN (${{{variable}:singlequote}}), ${variable})"


def _label_unless_all(name: str, *variables: str) -> str:
    all_of_them = " AND ".join(f"$__conditionalAll(1 = 0, ${variable})" for variable in variables)
    return f"if({all_of_them}, '', '{name}')"


# A touchpoint is kept together with its channel only, so choosing one means both labels.
_SLICE_BY = f"""arrayStringConcat(arrayFilter(name -> name != '', [
        {_label_unless_all("channel", "channel", "touchpoint")},
        {_label_unless_all("segment", "segment")},
        {_label_unless_all("touchpoint", "touchpoint")},
        {_label_unless_all("unitid", "unit")}]), ',')"""

SLICE: Final = f"by = {_SLICE_BY}\n    AND " + "\n    AND ".join(
    chosen(label(name), variable) for name, variable in VARIABLE_OF.items()
)
"""The series that the variables mean: the whole when all stand on All, else those of the labels that do not."""


def grouped(grouping: Iterable[str]) -> str:
    """Return the condition of the series of a grouping, as far as the variables let them through."""
    labels = list(grouping)
    conditions = [f"by = {quoted(','.join(labels))}"]
    conditions += [chosen(label(name), VARIABLE_OF[name]) for name in labels if name in VARIABLE_OF]
    return "\n    AND ".join(conditions)


EVENT_FILTER: Final = "\n    AND ".join(
    [
        "$__timeFilter(time)",
        chosen("channel", "channel"),
        chosen("touchpoint", "touchpoint"),
        chosen("segment", "segment"),
        chosen("unitid", "unit"),
    ]
)
"""The events that the variables mean."""

SERIES_NAME: Final = (
    "concat(if(empty(labels), 'all', arrayStringConcat(mapValues(labels), ' · ')), if(stat = '', '', ' '), stat)"
)
"""What a series is called: its label values, and which quantile it is."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a value is shown: each is SQL, a constant of one KPI or a column of the catalogue's table."""

    show: str
    colour: str
    direction: str
    target: str
    """`nan` if there is none."""

    @classmethod
    def of(cls, kpi: Kpi) -> "Terms":
        """Return the terms of one KPI."""
        goal = kpi.target
        enough = 0 if kpi.aggregator in ADDITIVE else kpi.min_n.colour
        target = "nan" if goal is None else f"{goal:.6f}"
        return cls(str(kpi.min_n.show), str(enough), quoted(kpi.direction), target)

    def shown(self, column: str) -> str:
        """Return the column, missing where too few answered to show anything."""
        return f"if(n >= {self.show}, {column}, NULL)"

    @property
    def reading(self) -> str:
        """
        Return what can be said of `value`, `lo`, `hi` and `n`.

        A target is met or missed only if the whole interval says so; a value without an interval is what it is.
        """
        low, high = "ifNull(lo, assumeNotNull(value))", "ifNull(hi, assumeNotNull(value))"
        return f"""multiIf(
        value IS NULL OR n < {self.show}, '{NO_DATA}',
        n < {self.colour}, '{THIN}',
        isNaN({self.target}) OR {self.direction} = 'none', '{NO_TARGET}',
        if({self.direction} = 'up', {low} >= {self.target}, {high} <= {self.target}), '{MEETS}',
        if({self.direction} = 'up', {high} < {self.target}, {low} > {self.target}), '{MISSES}',
        '{UNSURE}')"""


def terms_of_catalogue(kpis: Iterable[Kpi], kpi: str = "kpi") -> Terms:
    """Return the terms as columns of the table `kpis`; targets are written out, since that table has none."""
    goals = {kpi.id: kpi.target for kpi in kpis}
    known = {name: goal for name, goal in goals.items() if goal is not None}
    values = ", ".join(f"{goal:.6f}" for goal in known.values())
    target = f"transform({kpi}, [{listed(known)}], [{values}], nan)" if known else "nan"
    enough = f"if(aggregator IN ({listed(ADDITIVE)}), 0, min_n_colour)"
    return Terms("min_n_show", enough, "direction", target)


COLOUR: Final = (
    f"transform(reading, [{listed(READINGS)}], [{listed(READINGS.values())}], {quoted(READINGS[NO_TARGET])})"
)
"""The colour of a reading."""

INTERVAL: Final = (
    "if(isNull(lo), '', concat(' · 95 %: ', toString(round(assumeNotNull(lo), 2)), ' – ',"
    " toString(round(assumeNotNull(hi), 2))))"
)
"""An interval in words, empty when there is none."""


def label_columns(grouping: Iterable[str]) -> list[str]:
    """Return a column per label, under the names people use."""
    return [f"{label(name)} AS `{label_name(name)}`" for name in grouping]


def tile(kpi: Kpi) -> str:
    """Ask for a KPI over the selected time: one row per series, with what stands beside the number."""
    terms = Terms.of(kpi)
    return f"""
SELECT
    concat({SERIES_NAME}, ' · n = ', toString(n), {INTERVAL}, {_words(kpi)}) AS name,
    {terms.shown("value")} AS value,
    {COLOUR} AS colour,
    n, lo, hi, reading
FROM
(
    SELECT labels, stat, value, n, {terms.shown("lo")} AS lo, {terms.shown("hi")} AS hi,
        {terms.reading} AS reading
    FROM kpi_steps(kpi = {quoted(kpi.id)}, {AT_ONCE})
    WHERE {SLICE}
)
ORDER BY n DESC, name
LIMIT 12
"""


def _words(kpi: Kpi) -> str:
    goal = kpi.target
    if goal is None or kpi.direction == "none":
        return f"if(reading = '{THIN}', ' · {THIN}', '')"
    return f"if(reading = '{NO_DATA}', '', concat(' · ', reading, ' {goal:g}'))"


def trend(kpi: str, terms: Terms, where: str, *, catalogue: bool = False) -> str:
    """
    Ask for the course of a KPI: per step and series its value, apart if few answered, its interval and n.

    Behind the last step before one in which nothing was answered is a row without a value, so that no line is drawn
    across. Only one series has its interval here (of quantiles the lowest, of several label values none), since bands
    over each other cannot be read; the tables have all of them.
    """
    joined = f"\n    CROSS JOIN ({known_kpi(kpi)}) AS known" if catalogue else ""
    single = "count() OVER (PARTITION BY time, stat) = 1 AND stat = min(stat) OVER (PARTITION BY time)"
    return f"""
SELECT if(gap, until, time) AS time, series, if(enough AND NOT gap, shown, NULL) AS value,
    if(enough OR gap, NULL, shown) AS `{THIN}`, if(gap, NULL, lo) AS lo, if(gap, NULL, hi) AS hi, if(gap, 0, n) AS n
FROM
(
    SELECT time, until, {SERIES_NAME} AS series, n >= {terms.colour} AS enough, n,
        {terms.shown("value")} AS shown, {next_step("PARTITION BY labels, stat")},
        if({single}, {terms.shown("lo")}, NULL) AS lo, if({single}, {terms.shown("hi")}, NULL) AS hi
    FROM kpi_series(kpi = {kpi}, {PERIOD}, step = {STEP}) AS asked{joined}
    WHERE {where}
)
{GAPS}
ORDER BY time, series
"""


def amounts(kpi: str, where: str) -> str:
    """Ask for the course of a count or sum, which needs no interval."""
    return f"""
SELECT time, {SERIES_NAME} AS series, value
FROM kpi_series(kpi = {kpi}, {PERIOD}, step = {STEP})
WHERE {where}
ORDER BY time, series
"""


def asked_or_published(kpi: str, where: str) -> str:
    """Ask for a KPI over the selected time; one that is derived from others, as published over the chosen window."""
    derived = f"(SELECT any(aggregator) FROM kpis FINAL WHERE id = {kpi}) = 'derived'"
    return f"""
    SELECT by, labels, stat, value, n, lo, hi, maturity, unit, definition
    FROM kpi_steps(kpi = {kpi}, {AT_ONCE}) WHERE NOT {derived} AND {where}
    UNION ALL
    SELECT by, labels, stat, value, n, lo, hi, maturity,
        (SELECT any(unit) FROM kpis FINAL WHERE id = {kpi}) AS unit, definition
    FROM kpi_latest WHERE kpi = {kpi} AND window = ${{window:singlequote}} AND {derived} AND {where}
"""


def known_kpi(kpi: str) -> str:
    """Ask for what the catalogue's table says of one KPI."""
    return (
        "SELECT id, name, direction, min_n_show, min_n_colour, aggregator,"
        f" {unit_sql('unit')} AS grafana_unit FROM kpis FINAL WHERE id = {kpi}"
    )


def breakdown(kpi: Kpi, grouping: tuple[str, ...], limit: int = 200) -> str:
    """Ask for a KPI by labels over the selected time, the largest first."""
    terms = Terms.of(kpi)
    columns = [*label_columns(grouping), *(["stat"] if kpi.quantiles else [])]
    return f"""
SELECT {", ".join(columns)}, {terms.shown("value")} AS value, {terms.shown("lo")} AS low, {terms.shown("hi")} AS high,
    {", ".join(["n", f"{terms.reading} AS reading", "maturity", *choices_of(grouping)])}
FROM kpi_steps(kpi = {quoted(kpi.id)}, {AT_ONCE})
WHERE {grouped(grouping)}
ORDER BY n DESC, labels, stat
LIMIT {limit}
"""


def latest(kpis: Mapping[str, Kpi]) -> str:
    """Ask for the newest rolling values of several KPIs, as they were published."""
    terms = terms_of_catalogue(kpis.values())
    return f"""
SELECT name AS KPI, {SERIES_NAME} AS series, {terms.shown("value")} AS value, toString(unit) AS unit,
    {terms.shown("lo")} AS low, {terms.shown("hi")} AS high, n, {terms.reading} AS reading,
    kpi_latest.maturity AS maturity, as_of AS `as of`, kpi AS id
FROM kpi_latest INNER JOIN (SELECT * FROM kpis FINAL) AS known ON known.id = kpi_latest.kpi
WHERE kpi IN ({listed(kpis)}) AND window = ${{window:singlequote}}
    AND {SLICE}
ORDER BY KPI, series
"""


def events(types: Iterable[str], limit: int = 200) -> str:
    """Ask for the newest events of some types, as the variables let them through."""
    named = f"type IN ({listed(types)}) AND " if types else ""
    return f"""
SELECT time, type, channel, touchpoint, subject AS customer, segment, unitid AS unit, agentid AS agent, score,
    outcome, data, {choice("subject")} AS customer_choice
FROM events
WHERE {named}NOT synthetic AND {EVENT_FILTER}
ORDER BY time DESC
LIMIT {limit}
"""
