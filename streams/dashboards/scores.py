"""Panels of one KPI: the number, its course, and where it comes from; n and interval beside each of them."""

from collections.abc import Iterable, Mapping
from typing import Final

from streams.dashboards import sql
from streams.dashboards.grafana import (
    Panel,
    drawn,
    fixed,
    graph_options,
    link,
    override,
    plain,
    stat_options,
    table,
    target,
    value_mapping,
)
from streams.dashboards.look import (
    BLUE,
    GREY,
    MATURITIES,
    READINGS,
    SERIES,
    SKY,
    THIN,
    Json,
    label_name,
    tint,
    unit_of,
)
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.language.definition import Kpi

_DIRECTIONS: Final = {"up": "More is better.", "down": "Less is better.", "none": ""}

# What stays chosen when another dashboard is opened from this one.
KEPT: Final = "${channel:queryparam}&${touchpoint:queryparam}&${segment:queryparam}&${unit:queryparam}"
TIMES: Final = "var-datasource=${datasource}&var-window=${window}&${__url_time_range}"


def describe(kpi: Kpi) -> str:
    """Say what a number means: its question, formula, source and terms."""
    goal = kpi.target
    kept_by = "; ".join(", ".join(grouping) or "the whole" for grouping in kpi.groupings)
    terms = [
        f"Unit: {kpi.unit}. {_DIRECTIONS[kpi.direction]}".strip(),
        f"Shown from n = {kpi.min_n.show}, coloured from n = {kpi.min_n.colour}; grey below that.",
        *(
            [f"Target: {goal:g} {kpi.unit}, met or missed only if the whole 95 % interval says so."]
            if goal is not None
            else []
        ),
        "Nothing answered or tried is no data, never 0.",
        f"Kept by: {kept_by}; other combinations of the variables are no data.",
    ]
    return "\n\n".join(
        [
            f"**{kpi.question}**",
            f"**Formula.** {kpi.formula}",
            f"**Source.** {kpi.source}. Owner: {kpi.owner}. Definition: `{kpi.definition_id}`.",
            " ".join(terms),
        ]
    )


def explorer_url(kpi: str, **labels: str) -> str:
    """Return the address of a KPI in the explorer; `labels` replace the variables of their names."""
    parts = [f"var-{name}={value}" for name, value in labels.items()]
    kept = [part for part in KEPT.split("&") if part[2:].split(":")[0] not in labels]
    return f"/d/cx-explorer/kpi-explorer?var-kpi={kpi}&{'&'.join([*parts, *kept])}&{TIMES}"


def linked(field: str) -> str:
    """Return what stands for a field of the row in an address, whatever signs are in it."""
    return f"${{__data.fields.{field}:percentencode}}"


HIDDEN: Final = override("byRegexp", "/_choice$/", {"custom.hidden": True})
"""Columns that only links need."""


def tile(kpi: Kpi, *more_links: Json) -> Panel:
    """Return a KPI over the selected time as one number per series, coloured by what can be said of it."""
    return Panel(
        key=f"tile/{kpi.id}",
        title=kpi.name,
        type="stat",
        width=4,
        height=5,
        description=describe(kpi),
        targets=(target(sql.tile(kpi), "table"),),
        defaults=plain(unit_of(kpi.unit), links=[link("Course, labels and events", explorer_url(kpi.id)), *more_links]),
        options=stat_options(),
        transformations=(rows_to_fields(),),
    )


def rows_to_fields(**more: str) -> Json:
    """Return the transformation that makes a number of each row, with a name and a colour of its own."""
    handlers = {"name": "field.name", "value": "field.value", "colour": "color", **more}
    ignored = dict.fromkeys(("n", "lo", "hi", "reading"), "__ignore")
    mappings = [{"fieldName": name, "handlerKey": handler} for name, handler in {**ignored, **handlers}.items()]
    return {"id": "rowsToFields", "options": {"mappings": mappings}}


BAND: Final = (
    override("byName", "value", {"displayName": "${__field.labels.series}"}),
    override(
        "byName",
        THIN,
        {
            "displayName": f"${{__field.labels.series}}, {THIN}",
            "color": fixed(GREY),
            "custom.drawStyle": "points",
            "custom.pointSize": 7,
        },
    ),
    override("byName", "lo", {"displayName": "low", "color": fixed(SKY), "custom.lineWidth": 0}),
    override(
        "byName",
        "hi",
        {
            "displayName": "high",
            "color": fixed(SKY),
            "custom.lineWidth": 0,
            "custom.fillBelowTo": "lo",
            "custom.fillOpacity": 25,
        },
    ),
    override(
        "byRegexp",
        "/^(lo|hi)$/",
        {
            "custom.showPoints": "never",
            "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
        },
    ),
    override(
        "byName",
        "n",
        {
            "displayName": "n",
            "unit": "short",
            "color": fixed(GREY),
            "custom.axisPlacement": "right",
            "custom.axisLabel": "n",
            "custom.drawStyle": "bars",
            "custom.fillOpacity": 15,
            "custom.lineWidth": 0,
            "custom.axisSoftMin": 0,
        },
    ),
)
"""How value, interval and n look in one graph: a line in its band, thin samples as grey points, n as bars."""


def trend(kpi: Kpi, width: int = 12) -> Panel:
    """Return the course of a KPI: line, interval and n; a count as bars."""
    amount = kpi.aggregator in ADDITIVE
    asked = (
        sql.amounts(sql.quoted(kpi.id), sql.SLICE)
        if amount
        else sql.trend(sql.quoted(kpi.id), sql.Terms.of(kpi), sql.SLICE)
    )
    links = [link("Course, labels and events", explorer_url(kpi.id))]
    bars = {"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 0, "showPoints": "never", "axisSoftMin": 0}
    return Panel(
        key=f"trend/{kpi.id}",
        title=kpi.name,
        type="timeseries",
        width=width,
        height=8,
        description=describe(kpi),
        targets=(target(asked, "timeseries"),),
        defaults=drawn(unit_of(kpi.unit), custom=bars if amount else None, links=links, **limits(kpi)),
        overrides=(BAND[0],) if amount else BAND,
        options=graph_options(),
        more={"interval": "1m", "maxDataPoints": 400},
    )


def limits(kpi: Kpi) -> Json:
    """Return the ends of a KPI's axis, where it has natural ones."""
    if kpi.aggregator == "ratio" and kpi.nested:
        return {"min": 0, "max": 100 if kpi.unit == "percent" else 1}
    return {"min": 0} if kpi.unit in {"per_100", "seconds", "milliseconds", "hours", "days", "count"} else {}


STILL_COUNTING: Final = "Still counting: more events are expected for the selected time. Closed: none but late ones."


def breakdown(kpi: Kpi, *grouping: str, width: int = 12, title: str = "") -> Panel:
    """
    Return a KPI by labels as a table, rows tinted by what can be said of them.

    Raises:
        ValueError: The KPI is not kept by these labels.
    """
    if grouping not in kpi.groupings:
        raise ValueError(f"{kpi.id} is not kept by {', '.join(grouping)}; expected one of {kpi.groupings}")
    names = [label_name(label) for label in grouping]
    narrowed = {
        sql.VARIABLE_OF[name]: linked(label_name(name) if name == "channel" else f"{label_name(name)}_choice")
        for name in grouping
        if name in sql.VARIABLE_OF
    }
    by = {"by": ",".join(grouping)}
    links = [link("Course, labels and events", explorer_url(kpi.id, **by, **narrowed))]
    return table(
        key=f"by/{kpi.id}/{'/'.join(grouping)}",
        title=title or f"{kpi.name} by {' and '.join(names)}",
        width=width,
        height=8,
        description=f"{describe(kpi)}\n\n{STILL_COUNTING}",
        asked=sql.breakdown(kpi, grouping),
        overrides=(*score_columns(unit_of(kpi.unit)), HIDDEN, override("byName", names[0], {"links": links})),
    )


# Said, not coloured: the colour of the row is that of its reading.
_SAID: Final = [
    {
        "type": "value",
        "options": {
            name: {"color": "transparent", "index": index, "text": text}
            for index, (name, text) in enumerate(MATURITIES.items())
        },
    }
]


def score_columns(unit: str) -> tuple[Json, ...]:
    """Return how the columns of a score look, the row tinted by its reading."""
    tints = {word: tint(colour) if colour != BLUE else "transparent" for word, colour in READINGS.items()}
    return (
        override("byRegexp", "/^(value|low|high)$/", {"unit": unit, "decimals": 2, "custom.filterable": False}),
        override("byName", "n", {"unit": "short", "decimals": 0, "custom.width": 90}),
        override(
            "byName",
            "reading",
            {
                "mappings": value_mapping(tints),
                "custom.cellOptions": {"type": "color-background", "mode": "basic", "applyToRow": True},
                "custom.width": 150,
            },
        ),
        override("byName", "maturity", {"mappings": _SAID, "custom.width": 110}),
    )


def scoreboard(kpis: Mapping[str, Kpi], title: str, key: str = "latest", width: int = 24) -> Panel:
    """Return the newest published values of many KPIs over the chosen window."""
    return table(
        key=key,
        title=title,
        width=width,
        height=10,
        description="The newest closed value of the rolling window, as it was published: n and 95 % interval beside "
        "it. "
        "Rows are grey while too few have answered, tinted when the whole interval is on one side of the target.",
        asked=sql.latest(kpis),
        overrides=(
            *score_columns("none"),
            override(
                "byName",
                "KPI",
                {
                    "links": [link("Course, labels and events", explorer_url(linked("id")))],
                    "custom.width": 320,
                },
            ),
            override("byName", "as of", {"unit": "dateTimeAsIso", "custom.width": 170}),
        ),
    )


def stacked(
    key: str,
    title: str,
    asked: str,
    unit: str,
    description: str,
    colours: Mapping[str, str],
    *,
    kpi: str = "",
    named: bool = False,
) -> Panel:
    """
    Return amounts as stacked bars, series by series.

    `colours` are those of series known by name; `kpi` is where the bars lead to in the explorer; series are columns
    with a name if `named`, else rows that tell theirs.
    """
    extra: Json = {} if named else {"displayName": "${__field.labels.series}"}
    if kpi:
        extra["links"] = [link("Course, labels and events", explorer_url(kpi))]
    custom = {
        "drawStyle": "bars",
        "fillOpacity": 70,
        "lineWidth": 0,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal"},
    }
    return Panel(
        key=key,
        title=title,
        type="timeseries",
        width=12,
        height=8,
        description=description,
        targets=(target(asked, "timeseries"),),
        defaults=drawn(unit, custom=custom, min=0, **extra),
        overrides=tuple(
            override("byRegexp", f"/(^| ){name}$/", {"color": fixed(colour)}) for name, colour in colours.items()
        ),
        options=graph_options(),
        more={"interval": "1m", "maxDataPoints": 200},
    )


def ranked_colours() -> tuple[Json, ...]:
    """Return the palette for series whose names begin with their rank: `1 · web`."""
    return tuple(
        override("byRegexp", f"/(^| ){rank} · /", {"color": fixed(colour)}) for rank, colour in enumerate(SERIES, 1)
    )


def event_types(kpis: Iterable[Kpi]) -> list[str]:
    """Return the types of events that these KPIs look at."""
    return sorted(set().union(*(kpi.event_types for kpi in kpis)))
