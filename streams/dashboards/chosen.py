"""Panels of the KPI that the variable names: its terms come from the catalogue's table, its unit with the answer."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from collections.abc import Iterable

from streams.dashboards import sql
from streams.dashboards.grafana import (
    Panel,
    PanelRow,
    drawn,
    graph_options,
    link,
    override,
    plain,
    stat_options,
    table_custom,
    table_options,
    target,
)
from streams.dashboards.look import CHANNEL_COLOURS, THIN, Json
from streams.dashboards.scores import BAND, STILL_COUNTING, explorer_url, linked, rows_to_fields, score_columns
from streams.kpis.language.definition import Kpi

KPI = "${kpi:singlequote}"

_HOW = (
    "Grey where too few have answered, with the 95 % interval where there is one and n beside it. No data is no data, "
    "never 0. The formula and its source stand in the explorer, which every value leads to."
)
_UNIT = f"SELECT grafana_unit AS unit FROM ({sql.known_kpi(KPI)})"


def row(kpis: Iterable[Kpi]) -> PanelRow:
    """Return the part of a dashboard that shows the KPI chosen in the variable."""
    listed = list(kpis)
    return PanelRow("The KPI chosen above: ${kpi}", (trend(listed), by_every_label(listed)))


def with_unit(fields: str = f"/^(value|lo|hi|{THIN})/") -> Json:
    """Return the transformation that gives the fields of these names the unit that the query `unit` tells."""
    return {
        "id": "configFromData",
        "options": {
            "applyTo": {"id": "byRegexp", "options": fields},
            "configRefId": "unit",
            "mappings": [{"fieldName": "unit", "handlerKey": "unit"}],
        },
    }


def tile(kpis: Iterable[Kpi], where: str = sql.SLICE, key: str = "chosen/tile", title: str = "${kpi:text}") -> Panel:
    """Return the chosen KPI over the selected time, one number per series."""
    terms = sql.terms_of_catalogue(kpis, "id")
    asked = f"""
SELECT concat({sql.SERIES_NAME}, ' · n = ', toString(n), {sql.INTERVAL}, if(reading IN ('no target', 'no data'), '',
    concat(' · ', reading))) AS name, value, {sql.COLOUR} AS colour, unit, n, lo, hi, reading
FROM
(
    SELECT labels, stat, {terms.shown("asked.value")} AS value, n, {terms.shown("asked.lo")} AS lo,
        {terms.shown("asked.hi")} AS hi, grafana_unit AS unit, {terms.reading} AS reading
    FROM ({sql.asked_or_published(KPI, where)}) AS asked
    CROSS JOIN ({sql.known_kpi(KPI)}) AS known
)
ORDER BY n DESC, name
LIMIT 12
"""
    return Panel(
        key=key,
        title=title,
        type="stat",
        width=6,
        height=8,
        description=_HOW,
        targets=(target(asked, "table"),),
        defaults=plain("none", links=[link("Course, labels and events", explorer_url("${kpi}"))]),
        options=stat_options(),
        transformations=(rows_to_fields(unit="unit"),),
    )


def trend(kpis: Iterable[Kpi], width: int = 12, height: int = 9) -> Panel:
    """Return the course of the chosen KPI, of whom the variables mean."""
    asked = sql.trend(KPI, sql.terms_of_catalogue(kpis, "id"), sql.SLICE, catalogue=True)
    return Panel(
        key="chosen/trend",
        title="${kpi:text}",
        type="timeseries",
        width=width,
        height=height,
        description=_HOW,
        targets=(target(asked, "timeseries"), target(_UNIT, "table", "unit")),
        defaults=drawn("none", links=[link("Course, labels and events", explorer_url("${kpi}"))]),
        overrides=BAND,
        options=graph_options(),
        transformations=(with_unit(),),
        more={"interval": "1m", "maxDataPoints": 400},
    )


def by_every_label(kpis: Iterable[Kpi]) -> Panel:
    """Return the chosen KPI by each single label that it is kept for."""
    terms = sql.terms_of_catalogue(kpis, "id")
    narrowed = "\n    AND ".join(
        f"(by != '{name}' OR {sql.chosen(sql.label(name), variable)})" for name, variable in sql.VARIABLE_OF.items()
    )
    asked = f"""
SELECT by AS label, arrayStringConcat(mapValues(labels), ' · ') AS is, stat, {terms.shown("asked.value")} AS value,
    {terms.shown("asked.lo")} AS low, {terms.shown("asked.hi")} AS high, n, {terms.reading} AS reading, maturity
FROM kpi(kpi = {KPI}, {sql.PERIOD}) AS asked
CROSS JOIN ({sql.known_kpi(KPI)}) AS known
WHERE by NOT IN ('', 'agentid') AND position(by, ',') = 0
    AND {narrowed}
ORDER BY n DESC, label, is, stat
LIMIT 300
"""
    links = [link("In the explorer, by this label", explorer_url("${kpi}", by=linked("label")))]
    return Panel(
        key="chosen/labels",
        title="${kpi:text}, by its labels",
        type="table",
        width=12,
        height=9,
        description="All labels that this KPI is kept for, one at a time; agents are in the explorer. "
        f"{_HOW} {STILL_COUNTING}",
        targets=(target(asked, "table"), target(_UNIT, "table", "unit")),
        defaults=plain("none", custom=table_custom()),
        overrides=(*score_columns("none")[1:], override("byName", "label", {"links": links})),
        options=table_options(),
        transformations=(with_unit("/^(value|low|high)$/"),),
    )


def by_channel(kpis: Iterable[Kpi], where: str) -> Panel:
    """Return the chosen KPI by channel, each channel with its interval in its own colour."""
    terms = sql.terms_of_catalogue(kpis, "id")
    columns = ",\n    ".join(
        f"{choice}If({shown}, labels['channel'] = '{channel}') AS `{channel}{suffix}`"
        for channel in CHANNEL_COLOURS
        for choice, shown, suffix in (
            ("any", f"if(n >= {terms.colour}, value, NULL)", ""),
            ("any", f"if(n >= {terms.colour}, NULL, {terms.shown('value')})", f", {THIN}"),
            ("any", f"if(n >= {terms.colour}, lo, NULL)", " low"),
            ("any", f"if(n >= {terms.colour}, hi, NULL)", " high"),
        )
    )
    names = [f"`{channel}{suffix}`" for channel in CHANNEL_COLOURS for suffix in ("", f", {THIN}", " low", " high")]
    shown = ", ".join(f"if(gap, NULL, {name}) AS {name}" for name in names)
    asked = f"""
SELECT if(gap, until, time) AS time, {shown}
FROM
(
    SELECT time, until, {sql.next_step("")},
    {columns}
    FROM kpi_series(kpi = {KPI}, {sql.PERIOD}, step = {sql.STEP}) AS asked
    CROSS JOIN ({sql.known_kpi(KPI)}) AS known
    WHERE {where} AND stat IN ('', 'p50')
    GROUP BY time, until
)
{sql.GAPS}
ORDER BY time
"""
    hidden = {"legend": True, "tooltip": False, "viz": False}
    looks: list[Json] = []
    for channel, colour in CHANNEL_COLOURS.items():
        tone = {"mode": "fixed", "fixedColor": colour}
        edge = {"color": tone, "custom.lineWidth": 0, "custom.showPoints": "never", "custom.hideFrom": hidden}
        looks += [
            override("byName", channel, {"color": tone}),
            override("byName", f"{channel} low", edge),
            override(
                "byName", f"{channel} high", {**edge, "custom.fillBelowTo": f"{channel} low", "custom.fillOpacity": 15}
            ),
        ]
    looks.append(
        override(
            "byRegexp",
            f"/, {THIN}$/",
            {
                "color": {"mode": "fixed", "fixedColor": "#999999"},
                "custom.drawStyle": "points",
                "custom.hideFrom": hidden,
            },
        )
    )
    return Panel(
        key="chosen/channels",
        title="${kpi:text} by channel",
        type="timeseries",
        width=14,
        height=10,
        description=f"Bands are 95 % intervals: where two overlap, the channels cannot be told apart. {_HOW}",
        targets=(target(asked, "timeseries"), target(_UNIT, "table", "unit")),
        defaults=drawn("none", links=[link("Course, labels and events", explorer_url("${kpi}", by="channel"))]),
        overrides=tuple(looks),
        options=graph_options(),
        transformations=(with_unit("/^(?!time$)/"),),
        more={"interval": "1m", "maxDataPoints": 300},
    )
