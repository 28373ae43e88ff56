"""The explorer: any KPI, by any label, over any window, down to the events it is made of."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from collections import defaultdict

from streams.dashboards import chosen, sql
from streams.dashboards.areas import customer_link
from streams.dashboards.chosen import KPI
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    drawn,
    graph_options,
    link,
    override,
    plain,
    registered,
    table,
    table_custom,
    table_options,
    target,
)
from streams.dashboards.look import THIN
from streams.dashboards.scores import BAND, HIDDEN, explorer_url, ranked_colours, score_columns
from streams.dashboards.variables import query, standard
from streams.kpis.catalogue.catalogue import Catalogue

_BY = "if(${by:singlequote} = 'whole', '', ${by:singlequote})"
_CHOSEN_LABELS = "\n    AND ".join(
    f"(NOT mapContains(labels, '{name}') OR {sql.chosen(sql.label(name), variable)})"
    for name, variable in sql.VARIABLE_OF.items()
)
_WHERE = f"by = {_BY}\n    AND {_CHOSEN_LABELS}"


@registered
def board(catalogue: Catalogue) -> DashboardSpec:
    """Return the dashboard that every number of the others leads to."""
    kpis = list(catalogue)
    by = query(
        "by",
        "By",
        f"""
SELECT if(empty(grouping), 'whole', arrayStringConcat(grouping, ',')) AS by
FROM (SELECT arrayJoin(groupings) AS grouping FROM kpis FINAL WHERE id = {KPI})
ORDER BY length(grouping), by""",
        several=False,
        refresh=1,
        chosen={"selected": True, "text": "channel", "value": "channel"},
        description="The labels that the chosen KPI is kept for",
    )
    customer = query(
        "customer",
        "Customer",
        f"""
SELECT {sql.choice("subject")} AS value, subject AS text FROM events
WHERE type = 'cx.survey.answered' AND score IS NOT NULL AND $__timeFilter(time)
ORDER BY score, time DESC
LIMIT 1 BY subject LIMIT 200""",
        description="Whose events are listed: the least satisfied of the selected time, or any key that is typed in "
        "(a backslash in it twice)",
    )
    labels = standard(
        kpis,
        "csat",
        segments=["csat", "orders", "contacts_offered"],
        units=["csat", "contacts_handled", "store_visitors"],
        derived=True,
    )
    return DashboardSpec(
        slug="explorer",
        title="KPI explorer",
        description="Any KPI, by any label that it is kept for, over any time and window: what it means, how it goes, "
        "who makes it, and the events behind it.",
        variables=(*labels, by, customer),
        rows=(
            PanelRow("${kpi:text}", (_definition(), chosen.tile(kpis), chosen.trend(kpis, width=18, height=8))),
            PanelRow("By ${by}", (_largest(catalogue), _answers(), _by_labels(catalogue))),
            PanelRow("As published, rolling over ${window}", (_published(catalogue), _windows(catalogue))),
            PanelRow("Events", (_events(catalogue),)),
        ),
    )


def _definition() -> Panel:
    asked = f"""
SELECT name AS KPI, question, formula, toString(unit) AS unit, toString(direction) AS better,
    toString(aggregator) AS made,
    concat(toString(class), ', ', toString(maturity)) AS class, concat('shown from ', toString(min_n_show),
    ', coloured from ', toString(min_n_colour), ', alerted on from ', toString(min_n_alert)) AS `answers needed`,
    arrayStringConcat(arrayMap(grouping -> if(empty(grouping), 'whole', arrayStringConcat(grouping, ', ')),
    groupings), '; ')
    AS `kept by`, source, owner, toString(definition) AS definition
FROM kpis FINAL
WHERE id = {KPI}
"""
    return Panel(
        key="definition",
        title="What it means",
        type="table",
        width=24,
        height=5,
        description="The definition of the chosen KPI, from the catalogue that computes it. Its id changes with "
        "whatever "
        "changes the numbers.",
        targets=(target(asked, "table"),),
        defaults=plain("none", custom=table_custom(cellOptions={"type": "auto", "wrapText": True})),
        overrides=(override("byRegexp", "/^(question|formula|kept by)$/", {"custom.width": 330}),),
        options={**table_options(), "cellHeight": "lg"},
    )


def _ranked_series(columns: str) -> str:
    """Ask for the course of the eight largest series of the selected time, named with their ranks."""
    return f"""
SELECT time, concat(toString(rank), ' · ', name) AS series, {columns}
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY answers DESC, name) AS rank
    FROM
    (
        SELECT time, {sql.SERIES_NAME} AS name, value AS answer, n, sum(n) OVER (PARTITION BY labels, stat) AS answers
        FROM kpi_series(kpi = {KPI}, {sql.PERIOD}, step = {sql.STEP})
        WHERE {_WHERE}
            AND labels IN
            (
                SELECT labels FROM kpi_sums(kpi = {KPI}, {sql.PERIOD}, grain = 0, bounds = [])
                WHERE {_WHERE}
                GROUP BY labels ORDER BY sum(n) DESC, labels LIMIT 8
            )
    )
) AS asked
CROSS JOIN ({sql.known_kpi(KPI)}) AS known
WHERE rank <= 8
ORDER BY time, rank
"""


def _largest(catalogue: Catalogue) -> Panel:
    terms = sql.terms_of_catalogue(catalogue, "id")
    enough = f"n >= {terms.colour}"
    columns = (
        f"if({enough}, {terms.shown('answer')}, NULL) AS value, if({enough}, NULL, {terms.shown('answer')}) AS thin"
    )
    grey = {
        "displayName": "${__field.labels.series}, too few answers",
        "custom.drawStyle": "points",
        "custom.pointSize": 4,
    }
    return Panel(
        key="largest",
        title="${kpi:text} by ${by}, the eight largest",
        type="timeseries",
        width=12,
        height=9,
        description="The largest series of the selected time. Points without a line: too few answered. Intervals "
        "and n stand "
        "in the table below.",
        targets=(
            target(_ranked_series(columns), "timeseries"),
            target(f"SELECT grafana_unit AS unit FROM ({sql.known_kpi(KPI)})", "table", "unit"),
        ),
        defaults=drawn("none", links=[link("Course, labels and events", explorer_url("${kpi}"))]),
        overrides=(
            *ranked_colours(),
            override("byName", "value", {"displayName": "${__field.labels.series}"}),
            override("byName", "thin", {**grey, "color": {"mode": "fixed", "fixedColor": "#999999"}}),
        ),
        options=graph_options(),
        transformations=(chosen.with_unit("/^(?!time$)/"),),
        more={"interval": "1m", "maxDataPoints": 300},
    )


def _answers() -> Panel:
    custom = {
        "drawStyle": "bars",
        "fillOpacity": 60,
        "lineWidth": 0,
        "showPoints": "never",
        "stacking": {"group": "A", "mode": "normal"},
    }
    return Panel(
        key="answers",
        title="n by ${by}, the eight largest",
        type="timeseries",
        width=12,
        height=9,
        description="How many answers or trials are behind each point of the graph beside it.",
        targets=(target(_ranked_series("n"), "timeseries"),),
        defaults=drawn("short", custom=custom, min=0, displayName="${__field.labels.series}"),
        overrides=ranked_colours(),
        options=graph_options(),
        more={"interval": "1m", "maxDataPoints": 300},
    )


def _by_labels(catalogue: Catalogue) -> Panel:
    terms = sql.terms_of_catalogue(catalogue, "id")
    asked = f"""
SELECT {sql.SERIES_NAME} AS series, {terms.shown("asked.value")} AS value, toString(unit) AS unit,
    {terms.shown("asked.lo")} AS low,
    {terms.shown("asked.hi")} AS high, n, {terms.reading} AS reading, maturity, definition,
    labels['channel'] AS channel, labels['touchpoint'] AS touchpoint, labels['segment'] AS segment,
    labels['unitid'] AS unitid
FROM ({sql.asked_or_published(KPI, _WHERE)}) AS asked
CROSS JOIN ({sql.known_kpi(KPI)}) AS known
ORDER BY n DESC, series
LIMIT 500
"""
    return table(
        key="by-labels",
        title="${kpi:text} by ${by}",
        width=24,
        height=10,
        description="Over the selected time, the largest first (a KPI that is derived from others: as published "
        "last over the chosen window): with n and the 95 % interval, grey while too few "
        "answered, tinted "
        "when the whole interval is on one side of the target.",
        asked=asked,
        overrides=(
            *score_columns("none"),
            override("byRegexp", "/^(channel|touchpoint|segment|unitid)$/", {"custom.hidden": True}),
        ),
    )


def _published(catalogue: Catalogue) -> Panel:
    terms = sql.terms_of_catalogue(catalogue, "id")
    first = "stat = min(stat) OVER (PARTITION BY time)"
    single = f"count() OVER (PARTITION BY time, stat) = 1 AND {first}"
    enough = f"n >= {terms.colour}"
    asked = f"""
SELECT time, {sql.SERIES_NAME} AS series, if({enough}, shown, NULL) AS value, if({enough}, NULL,
    shown) AS `{THIN}`, lo, hi, n
FROM
(
    SELECT time, labels, stat, {terms.shown("published.value")} AS shown, n, min_n_colour, aggregator,
        if({single}, {terms.shown("published.lo")}, NULL) AS lo, if({single}, {terms.shown("published.hi")}, NULL) AS hi
    FROM
    (
        SELECT toDateTime(intDiv(toUnixTimestamp(at), {sql.POINT}) * {sql.POINT}, 'UTC') AS time, labels, stat,
            argMax(tuple(value), (at, revision)).1 AS value, argMax(n, (at, revision)) AS n,
            argMax(tuple(lo), (at, revision)).1 AS lo, argMax(tuple(hi), (at, revision)).1 AS hi
        FROM kpi_values
        WHERE kpi = {KPI} AND window = ${{window:singlequote}} AND maturity = 'closed' AND $__timeFilter(at)
            AND {sql.SLICE}
        GROUP BY time, labels, stat
    ) AS published
    CROSS JOIN ({sql.known_kpi(KPI)}) AS known
)
ORDER BY time, series
"""
    return Panel(
        key="published",
        title="${kpi:text}, rolling ${window}",
        type="timeseries",
        width=12,
        height=9,
        description="The rolling value as it was published each time: each point covers the window that ends with "
        "it, so "
        "neighbouring points share most of their answers.",
        targets=(
            target(asked, "timeseries"),
            target(f"SELECT grafana_unit AS unit FROM ({sql.known_kpi(KPI)})", "table", "unit"),
        ),
        defaults=drawn("none"),
        overrides=BAND,
        options=graph_options(),
        transformations=(chosen.with_unit(),),
        more={"interval": "1m", "maxDataPoints": 400},
    )


def _windows(catalogue: Catalogue) -> Panel:
    terms = sql.terms_of_catalogue(catalogue, "id")
    asked = f"""
SELECT toString(window) AS window, {sql.SERIES_NAME} AS series, {terms.shown("latest.value")} AS value,
    {terms.shown("latest.lo")} AS low,
    {terms.shown("latest.hi")} AS high, n, {terms.reading} AS reading, maturity, as_of AS `as of`
FROM
(
    SELECT window, labels, stat, value, lo, hi, n, maturity, as_of FROM kpi_latest WHERE kpi = {KPI} AND {sql.SLICE}
) AS latest
CROSS JOIN ({sql.known_kpi(KPI)}) AS known
ORDER BY series, as_of DESC, window
LIMIT 200
"""
    return table(
        key="windows",
        title="${kpi:text}, newest value of every window",
        width=12,
        height=9,
        description="What the workers published last: the newest closed value of each rolling window.",
        asked=asked,
        overrides=(*score_columns("none"), override("byName", "as of", {"unit": "dateTimeAsIso", "custom.width": 170})),
    )


def _events(catalogue: Catalogue) -> Panel:
    readers: defaultdict[str, list[str]] = defaultdict(list)
    everything = []
    for kpi in catalogue:
        if "*" in kpi.of.written:
            everything.append(kpi.id)
            continue
        for kind in sorted(kpi.event_types):
            readers[kind].append(kpi.id)
    types = ",\n        ".join(
        f"if({KPI} IN ({sql.listed(ids)}), '{kind}', '')" for kind, ids in sorted(readers.items())
    )
    asked = f"""
SELECT time, type, channel, touchpoint, subject AS customer, segment, region, unitid AS unit, agentid AS agent,
    score, outcome,
    data, id, source, topic, partition, offset, {sql.choice("subject")} AS customer_choice
FROM events
WHERE ({KPI} IN ({sql.listed(everything)}) OR type IN arrayFilter(kind -> kind != '', [
        {types}]))
    AND NOT synthetic AND {sql.EVENT_FILTER}
    AND {sql.chosen("subject", "customer")}
ORDER BY time DESC
LIMIT 500
"""
    return table(
        key="events",
        title="Events behind ${kpi:text}",
        width=24,
        height=12,
        description="The newest 500 events of the types that the KPI looks at, of whom the variables mean. Choose a "
        "customer to "
        "see all of theirs.",
        asked=asked,
        overrides=(
            override("byName", "time", {"unit": "dateTimeAsIso", "custom.width": 190}),
            override("byName", "customer", {"links": [customer_link()]}),
            HIDDEN,
            override("byName", "data", {"custom.inspect": True, "custom.width": 420}),
        ),
    )
