"""The dashboard of alerts: what fires and why, what has fired, and which rules cry too often."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from dataclasses import replace

from streams.dashboards import chosen, sql
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    fixed,
    graph_options,
    link,
    override,
    plain,
    registered,
    stat_options,
    table,
    target,
    value_mapping,
)
from streams.dashboards.look import BLUE, GREEN, GREY, SEVERITIES, STATES, Json, tint
from streams.dashboards.scores import explorer_url, linked, rows_to_fields, stacked
from streams.dashboards.variables import query, standard
from streams.kpis.catalogue.catalogue import Catalogue

_NAME = "concat(toString(rule), if(empty(labels), '', concat(' · ', arrayStringConcat(mapValues(labels), ' · '))))"
_OF_KPIS = "$__conditionalAll(kpi IN (${alerted:singlequote}), $alerted)"
_OF_LABELS = "\n    AND ".join(
    f"(NOT mapContains(labels, '{name}') OR {sql.chosen(sql.label(name), variable)})"
    for name, variable in sql.VARIABLE_OF.items()
)
_SEVERITY = "$__conditionalAll(severity IN (${severity:singlequote}), $severity)"
_CHOSEN = f"{_OF_KPIS} AND {_SEVERITY}\n    AND {_OF_LABELS}"

# The number at the end of an id counts the transitions of a judge: it orders those of one minute.
_ORDER = "(at, toUInt64OrZero(extractAll(id, '[0-9]+')[-1]))"

ANNOTATION: Json = {
    "datasource": {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"},
    "enable": True,
    "hide": False,
    "iconColor": "#D55E00",
    "name": "Alerts that fire",
    "target": {
        **target(
            f"""
SELECT at AS time, {_NAME} AS title, why AS text, toString(severity) AS tags
FROM alerts FINAL
WHERE $__timeFilter(at) AND new = 'firing' AND old != 'firing'
ORDER BY time
LIMIT 200
""",
            "table",
            "annotation",
        ),
    },
}
"""Marks in every graph: when something began to fire."""


@registered
def board(catalogue: Catalogue) -> DashboardSpec:
    """Return the dashboard for those on call."""
    severities = "SELECT DISTINCT toString(severity) AS severity FROM alerts WHERE $__timeFilter(at) ORDER BY severity"
    alerted = """
SELECT kpi, any(name) FROM alerts INNER JOIN (SELECT id, name FROM kpis FINAL) AS known ON known.id = alerts.kpi
WHERE $__timeFilter(at) GROUP BY kpi ORDER BY kpi"""
    return DashboardSpec(
        slug="alerts",
        title="Alerts",
        description="What fires and why: from what to what, how sure, which part explains it. And which rules fire "
        "too often.",
        variables=(
            *standard(list(catalogue), "csat", segments=["csat"], units=["csat"]),
            query("alerted", "KPI with alerts", alerted),
            query("severity", "Severity", severities),
        ),
        rows=(
            PanelRow("Now", (_counts(), _firing())),
            PanelRow("Course", (_states(), _transitions())),
            PanelRow("What happened", (_log(),)),
            PanelRow("Rules", (_rules(),)),
            chosen.row(catalogue),
        ),
        since="now-7d",
    )


def _newest() -> str:
    """Ask for the state that each rule is in on each series at the end of the selected time."""
    return f"""SELECT rule, kpi, labels,
        argMax((toString(new), severity, inhibited_by, why, value, n, lo, hi, baseline, at, owner, unit), {_ORDER})
            AS newest
    FROM alerts
    WHERE at <= $__toTime AND {_CHOSEN}
    GROUP BY rule, kpi, labels"""


def _counts() -> Panel:
    each = ", ".join(
        f"('{name}', countIf(newest.1 = 'firing' AND newest.2 = '{name}' AND newest.3 = ''), '{colour}')"
        for name, colour in SEVERITIES.items()
    )
    held = f"('held back', countIf(newest.1 = 'firing' AND newest.3 != ''), '{GREY}')"
    asked = f"""
SELECT part.1 AS name, part.2 AS value, if(part.2 = 0, '{BLUE}', part.3) AS colour
FROM (SELECT arrayJoin([{each}, {held}]) AS part FROM ({_newest()}))
"""
    return Panel(
        key="counts",
        title="Firing at the end of the selected time",
        type="stat",
        width=6,
        height=9,
        description="How many alerts fire, by what they are worth. Held back: they fire but are not delivered, "
        "because a parent "
        "explains them, the pipeline is unhealthy, or the time is muted.",
        targets=(target(asked, "table"),),
        defaults=plain("short"),
        options=stat_options(),
        transformations=(rows_to_fields(),),
    )


def _evidence(column: str = "KPI") -> tuple[Json, ...]:
    """Return how the columns of evidence look."""
    states = {name: tint(colour) for name, colour in STATES.items()}
    return (
        override(
            "byRegexp", "/^(value|low|high|baseline|target|statistic|threshold)$/", {"decimals": 2, "custom.width": 90}
        ),
        override("byRegexp", "/^(n|baseline n)$/", {"unit": "short", "custom.width": 80}),
        override("byRegexp", "/^(at|since|newest)$/", {"unit": "dateTimeAsIso", "custom.width": 170}),
        override(
            "byName",
            "why",
            {"custom.width": 420, "custom.inspect": True, "custom.cellOptions": {"type": "auto", "wrapText": True}},
        ),
        override(
            "byName",
            "state",
            {
                "mappings": value_mapping(states),
                "custom.cellOptions": {"type": "color-background", "mode": "basic", "applyToRow": False},
                "custom.width": 90,
            },
        ),
        override("byName", column, {"links": [link("Course, labels and events", explorer_url(linked("KPI")))]}),
    )


def _firing() -> Panel:
    asked = f"""
SELECT newest.1 AS state, newest.10 AS since, toString(newest.2) AS severity, toString(rule) AS rule,
    toString(kpi) AS KPI,
    arrayStringConcat(mapValues(labels), ' · ') AS series, newest.5 AS value, newest.7 AS low, newest.8 AS high,
    newest.6 AS n,
    newest.9 AS baseline, toString(newest.12) AS unit, newest.4 AS why, newest.3 AS `held back by`,
    toString(newest.11) AS owner
FROM ({_newest()})
WHERE newest.1 IN ('firing', 'pending')
ORDER BY state, severity, since DESC
LIMIT 200
"""
    return table(
        key="firing",
        title="Firing and pending",
        width=18,
        height=9,
        description="State at the end of the selected time: value with n and 95 % interval, what it was compared "
        "with, and why. "
        "Nothing here means that nothing fires, if the pipeline is healthy.",
        asked=asked,
        overrides=_evidence(),
    )


def _states() -> Panel:
    numbers = {"inactive": 0, "pending": 1, "firing": 2, "resolved": 3}
    mapping = {str(number): {"text": name, "color": STATES[name], "index": number} for name, number in numbers.items()}
    asked = f"""
SELECT at AS time, {_NAME} AS series, argMax(toUInt8(new) - 1, {_ORDER}) AS state
FROM alerts
WHERE $__timeFilter(at) AND {_CHOSEN}
    AND (rule, labels) IN
    (
        SELECT rule, labels FROM alerts WHERE $__timeFilter(at) AND {_CHOSEN}
        GROUP BY rule, labels ORDER BY countIf(new = 'firing') DESC, max(at) DESC LIMIT 20
    )
GROUP BY time, rule, labels
ORDER BY time, series
"""
    return Panel(
        key="states",
        title="States",
        type="state-timeline",
        width=12,
        height=10,
        description="The 20 alerts that fired most often in the selected time, and when. The words stand in the bars.",
        targets=(target(asked, "timeseries"),),
        defaults=plain(
            "none",
            mappings=[{"type": "value", "options": mapping}],
            displayName="${__field.labels.series}",
            custom={
                "fillOpacity": 80,
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
                "insertNulls": False,
                "lineWidth": 0,
                "spanNulls": True,
            },
        ),
        options={
            "alignValue": "left",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "auto",
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def _transitions() -> Panel:
    asked = f"""
SELECT $__timeInterval(at) AS time, toString(new) AS series, uniqExact(id) AS value
FROM alerts
WHERE $__timeFilter(at) AND old != new AND {_CHOSEN}
GROUP BY time, series
ORDER BY time, series
"""
    panel = stacked("transitions", "Transitions", asked, "short", "How often alerts went into each state.", STATES)
    return replace(panel.sized(12, 10), options=graph_options(("sum",)))


def _log() -> Panel:
    asked = f"""
SELECT at, toString(new) AS state, toString(rule) AS rule, toString(kpi) AS KPI,
    arrayStringConcat(mapValues(labels), ' · ') AS series,
    toString(severity) AS severity, value, lo AS low, hi AS high, n, baseline, baseline_n AS `baseline n`,
    toString(method) AS method, statistic,
    threshold, target, toString(unit) AS unit, toString(window) AS window, why, inhibited_by AS `held back by`,
    arrayStringConcat(arrayMap(text -> concat(char(0xE2, 0x81, 0xA8), text, char(0xE2, 0x81, 0xA9)), verbatims),
    ' / ') AS verbatims,
    contributors, toString(definition) AS definition, toString(owner) AS owner
FROM alerts FINAL
WHERE $__timeFilter(at) AND {_CHOSEN}
ORDER BY at DESC, toUInt64OrZero(extractAll(id, '[0-9]+')[-1]) DESC
LIMIT 500
"""
    return table(
        key="log",
        title="Every transition, with its evidence",
        width=24,
        height=12,
        description="What fell, from what to what, how sure, and what explains it: as the alert said it.",
        asked=asked,
        overrides=(
            *_evidence(),
            override("byRegexp", "/^(verbatims|contributors)$/", {"custom.inspect": True, "custom.width": 260}),
        ),
    )


def _rules() -> Panel:
    asked = f"""
SELECT toString(rule) AS rule, any(toString(kpi)) AS KPI, uniqExactIf(episode, new = 'firing') AS fired,
    uniqExact(labels) AS series,
    uniqExactIf(episode, new = 'firing') / greatest(($__toTime - $__fromTime) / 86400, 1) AS `fired per day`,
    uniqExactIf(id, inhibited_by != '') AS `held back`, max(at) AS newest, any(toString(owner)) AS owner
FROM alerts
WHERE $__timeFilter(at) AND {_CHOSEN}
GROUP BY rule
ORDER BY fired DESC
LIMIT 200
"""
    return table(
        key="rules",
        title="Rules by how often they fired",
        width=24,
        height=9,
        description="A rule that fires every day is a rule nobody believes: raise its gate, its window or its "
        "target, and try it on "
        "history with `cx rules backtest`.",
        asked=asked,
        overrides=(
            *_evidence(),
            override("byName", "fired per day", {"decimals": 2}),
            override("byName", "fired", {"color": fixed(GREEN)}),
        ),
    )
