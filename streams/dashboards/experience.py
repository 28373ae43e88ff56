"""The dashboards across all areas: what the management looks at, and the channels side by side."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from streams.dashboards import chosen, sql
from streams.dashboards.areas import events_panel, owned, picked
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    link,
    override,
    plain,
    registered,
    table,
    table_custom,
    table_options,
    target,
)
from streams.dashboards.look import CHANNEL_COLOURS
from streams.dashboards.scores import (
    HIDDEN,
    KEPT,
    TIMES,
    breakdown,
    explorer_url,
    linked,
    score_columns,
    scoreboard,
    stacked,
    tile,
    trend,
)
from streams.dashboards.variables import standard
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi

HEADLINES = {
    "csat": "voice",
    "nps": "voice",
    "ces": "voice",
    "net_sentiment": "voice",
    "conversion": "digital",
    "payment_failure": "digital",
    "orders": "digital",
    "revenue": "digital",
    "service_level_all_offered": "contact-centre",
    "abandonment": "contact-centre",
    "delivery_lateness": "delivery",
    "footfall_conversion": "store",
}
"""What the management looks at first, and where each leads."""

_DERIVED = ("cx_index", "csat_channel_gap", "nps_channel_gap", "perception_gap", "listening_coverage")

_COMPARED = ("csat", "nps", "ces", "conversion", "payment_failure", "delivery_lateness", "surveys_answered", "volume")


@registered
def executive(catalogue: Catalogue) -> DashboardSpec:
    """Everything on one page: is it good, is it sure, where does it hurt, does anybody know."""
    kpis = picked(catalogue, *HEADLINES)
    tiles = (
        tile(catalogue[kpi], link(f"Dashboard {slug}", f"/d/cx-{slug}?{KEPT}&{TIMES}"))
        for kpi, slug in HEADLINES.items()
    )
    return DashboardSpec(
        slug="executive",
        title="Executive",
        description="The customers' experience on one page: what they say, what they do, how they are served, and "
        "where it hurts most.",
        variables=standard(list(kpis.values()), "csat", segments=["csat", "orders"], units=["csat"]),
        rows=(
            PanelRow("Over the selected time", tuple(tiles)),
            PanelRow(
                "Course",
                tuple(trend(catalogue[kpi]) for kpi in ("csat", "nps", "conversion", "service_level_all_offered")),
            ),
            PanelRow(
                "Where it hurts", (touchpoints_and_targets(catalogue["csat"]), breakdown(catalogue["csat"], "segment"))
            ),
            chosen.row(catalogue),
            PanelRow("Rolling", (scoreboard(kpis | picked(catalogue, *_DERIVED), "Headlines, newest ${window}"),)),
        ),
    )


def touchpoints_and_targets(kpi: Kpi, width: int = 12) -> Panel:
    """Return satisfaction by touchpoint against the target that the dictionary gives each: the largest gap first."""
    terms = sql.Terms("1", str(kpi.min_n.colour), "'up'", "ifNull(target, nan)")
    asked = f"""
SELECT name, channel, touchpoint, if(n >= {terms.colour}, value - target, NULL) AS gap, value, lo AS low, hi AS high, n,
    target, {terms.reading} AS reading, maturity, stage, owner,
    {sql.choice("touchpoint")} AS touchpoint_choice
FROM kpi_heat(kpi = {sql.quoted(kpi.id)}, {sql.PERIOD})
WHERE {sql.chosen("channel", "channel")} AND {sql.chosen("touchpoint", "touchpoint")}
ORDER BY gap ASC NULLS LAST, n DESC
LIMIT 100
"""
    links = [
        link(
            "In the explorer",
            explorer_url(
                kpi.id,
                by="channel,touchpoint",
                channel=linked("channel"),
                touchpoint=linked("touchpoint_choice"),
            ),
        )
    ]
    return Panel(
        key="targets",
        title=f"{kpi.name} by touchpoint against its target",
        type="table",
        width=width,
        height=9,
        description=f"{kpi.formula} Targets and owners come from the dictionary of touchpoints. The largest gap "
        f"stands first; "
        "touchpoints with too few answers are grey and at the end.",
        targets=(target(asked, "table"),),
        defaults=plain("percent", custom=table_custom()),
        overrides=(
            *score_columns("percent"),
            override("byRegexp", "/^(gap|target)$/", {"decimals": 1, "custom.width": 80}),
            override("byName", "name", {"links": links}),
            override("byName", "touchpoint", {"custom.hidden": True}),
            HIDDEN,
        ),
        options=table_options(),
    )


@registered
def channels(catalogue: Catalogue) -> DashboardSpec:
    """The same KPI in every channel: which is behind, by how much, and is that sure."""
    kpis = [kpi for kpi in catalogue if ("channel",) in kpi.groupings]
    where = sql.grouped(("channel",))
    return DashboardSpec(
        slug="channels",
        title="Channels compared",
        description="The same KPI in every channel, and how far apart the channels are: a customer who changes the "
        "channel "
        "should not notice.",
        variables=standard(kpis, "csat", segments=["csat", "orders"], units=["csat"]),
        rows=(
            PanelRow(
                "${kpi:text}",
                (
                    chosen.tile(catalogue, where, "by-channel", "${kpi:text} by channel").sized(10, 10),
                    chosen.by_channel(catalogue, where),
                ),
            ),
            PanelRow("How far apart", (_gaps(catalogue), _matrix(catalogue))),
            PanelRow("Touchpoint by touchpoint", (_heat(),)),
            chosen.row(catalogue),
            PanelRow(
                "Traffic",
                (
                    stacked(
                        "volume",
                        "Events by channel",
                        sql.amounts("'volume'", where),
                        "short",
                        catalogue["volume"].formula,
                        CHANNEL_COLOURS,
                        kpi="volume",
                    ),
                    breakdown(catalogue["volume"], "channel"),
                ),
            ),
            PanelRow("Events", (events_panel(owned(catalogue, "customer-insight")),)),
        ),
    )


def _latest(kpis: dict[str, Kpi]) -> str:
    """Ask for the newest rolling value of each KPI in each channel; asking for many KPIs over a time takes too long."""
    return f"""
    SELECT name AS KPI, id, toString(unit) AS unit, if(aggregator IN ({sql.listed(ADDITIVE)}), 0,
    min_n_colour) AS enough,
        labels['channel'] AS channel, if(n >= min_n_show, value, NULL) AS value, n, lo, hi
    FROM kpi_latest INNER JOIN (SELECT * FROM kpis FINAL) AS known ON known.id = kpi_latest.kpi
    WHERE kpi IN ({sql.listed(kpis)}) AND window = ${{window:singlequote}} AND stat IN ('', 'p50')
        AND {sql.grouped(("channel",))}"""


def _gaps(catalogue: Catalogue) -> Panel:
    kpis = picked(catalogue, *(kpi for kpi in _COMPARED if catalogue[kpi].aggregator not in ADDITIVE))
    asked = f"""
SELECT KPI, argMax(channel, value) AS highest, argMin(channel, value) AS lowest, max(value) - min(value) AS gap,
    if(count() < 2, NULL, gap - 1.96 * error) AS low, if(count() < 2, NULL, gap + 1.96 * error) AS high, unit,
    count() AS channels, sum(n) AS n,
    multiIf(count() < 2, 'too few channels', gap - 1.96 * error > 0, 'apart', 'not sure') AS reading,
    sqrt(pow(argMax(deviation, value), 2) + pow(argMin(deviation, value), 2)) AS error, id
FROM
(
    SELECT KPI, id, unit, channel, value, n, (hi - lo) / 2 / 1.96 AS deviation
    FROM ({_latest(kpis)})
    WHERE n >= enough AND value IS NOT NULL AND lo IS NOT NULL
)
GROUP BY KPI, id, unit
ORDER BY KPI
"""
    return table(
        key="gaps",
        title="Gap between the channels, newest ${window}",
        width=12,
        height=8,
        description="Highest minus lowest value among the channels in which enough customers answered, with its 95 "
        "% interval: "
        "`apart` if the interval does not reach 0. The two channels are picked because they are apart, so a small "
        "gap is a little "
        "less sure than it looks; and channels may serve different needs.",
        asked=asked,
        overrides=(
            *score_columns("none"),
            override("byName", "gap", {"decimals": 1}),
            override(
                "byName",
                "KPI",
                {"links": [link("In the explorer, by channel", explorer_url(linked("id"), by="channel"))]},
            ),
            override("byRegexp", "/^(error|id)$/", {"custom.hidden": True}),
        ),
    )


def _matrix(catalogue: Catalogue) -> Panel:
    kpis = picked(catalogue, *_COMPARED)
    cells = ",\n    ".join(f"anyIf({_CELL}, channel = '{channel}') AS `{channel}`" for channel in CHANNEL_COLOURS)
    asked = f"""
SELECT KPI, unit, {cells}, sum(asked.n) AS n, id
FROM ({_latest(kpis)}) AS asked
GROUP BY KPI, unit, id
ORDER BY KPI
"""
    return table(
        key="matrix",
        title="All channels at a glance, newest ${window}",
        width=12,
        height=8,
        description="Value, 95 % interval and n in each channel; in brackets when too few answered.",
        asked=asked,
        overrides=(
            override(
                "byName",
                "KPI",
                {"links": [link("In the explorer, by channel", explorer_url(linked("id"), by="channel"))]},
            ),
            override("byName", "id", {"custom.hidden": True}),
        ),
    )


def _heat() -> Panel:
    numbers = _NUMBERS.replace("asked.", "heat.")
    cells = ",\n    ".join(
        f"anyIf(if(value IS NULL, 'no data', {numbers}), heat.channel = '{channel}') AS `{channel}`"
        for channel in CHANNEL_COLOURS
    )
    asked = f"""
SELECT touchpoint, any(name) AS name, any(stage) AS stage, {cells}, sum(heat.n) AS n, any(toString(unit)) AS unit,
    {sql.choice("touchpoint")} AS touchpoint_choice
FROM kpi_heat(kpi = {chosen.KPI}, {sql.PERIOD}) AS heat
WHERE stat IN ('', 'p50') AND {sql.chosen("touchpoint", "touchpoint")}
GROUP BY touchpoint
ORDER BY n DESC
LIMIT 100
"""
    links = [
        link("In the explorer", explorer_url("${kpi}", by="channel,touchpoint", touchpoint=linked("touchpoint_choice")))
    ]
    return table(
        key="heat",
        title="${kpi:text} by touchpoint and channel",
        width=24,
        height=10,
        description="The same touchpoint in every channel, over the selected time: value, 95 % interval and n. No "
        "data if the chosen "
        "KPI is not kept by touchpoint.",
        asked=asked,
        overrides=(
            HIDDEN,
            override("byName", "touchpoint", {"links": links}),
            override("byName", "n", {"unit": "short"}),
        ),
    )


_NUMBERS = (
    "concat(toString(round(assumeNotNull(value), 1)), if(lo IS NULL, '', concat(' (', "
    "toString(round(assumeNotNull(lo), 1)),"
    " '–', toString(round(assumeNotNull(hi), 1)), ')')), ' n=', toString(asked.n))"
)
_CELL = (
    f"multiIf(value IS NULL, 'no data', asked.n < enough AND lo IS NOT NULL, concat('[', {_NUMBERS}, ']'), {_NUMBERS})"
)
