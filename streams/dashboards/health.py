"""The health of the pipeline: what became of every record, how late the numbers are, what was refused and why."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from dataclasses import replace

from streams.dashboards import chosen, sql, synthetic
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    drawn,
    fixed,
    graph_options,
    override,
    plain,
    registered,
    stat_options,
    table,
    target,
)
from streams.dashboards.look import BLUE, CHANNEL_COLOURS, ORANGE, OUTCOMES, SERIES, VERMILION
from streams.dashboards.scores import breakdown, rows_to_fields, scoreboard, stacked
from streams.dashboards.variables import standard
from streams.kpis.catalogue.catalogue import Catalogue

_CHANNEL = "splitByChar('.', toString(topic))[-1]"
_OF_CHANNEL = sql.chosen(_CHANNEL, "channel")
_POINT = "$__timeInterval(ingested_at)"
_DELAY = "toFloat64(toUnixTimestamp(ingested_at)) - toFloat64(toUnixTimestamp64Milli(events.time)) / 1000"


@registered
def board(catalogue: Catalogue) -> DashboardSpec:
    """Return the dashboard that tells a dead collector from dissatisfied customers."""
    kpis = [kpi for kpi in catalogue if kpi.owner == "platform"]
    return DashboardSpec(
        slug="pipeline",
        title="Pipeline health",
        description="Whether the numbers can be trusted: what became of every record, how late they are, what was "
        "refused and why. "
        "Times are those of arrival, not of the events, but for the KPIs.",
        variables=standard(kpis, "volume", segments=["csat"], units=["csat"]),
        rows=(
            PanelRow("Every record has one outcome", (_balance(), _freshness(), _outcomes(), _shares())),
            PanelRow(
                "As KPIs, by event time",
                (
                    scoreboard({kpi.id: kpi for kpi in kpis if kpi.of_pipeline}, "Records, newest ${window}", width=14),
                    breakdown(catalogue["violation_rate"], "channel", width=10),
                ),
            ),
            PanelRow("How late", (_delay(), _channels())),
            synthetic.row(catalogue),
            PanelRow("What was refused", (_reasons(), _refused(), _letters())),
            PanelRow(
                "Traffic",
                (
                    stacked(
                        "volume",
                        "Events by channel, event time",
                        sql.amounts("'volume'", sql.grouped(("channel",))),
                        "short",
                        catalogue["volume"].formula,
                        CHANNEL_COLOURS,
                        kpi="volume",
                    ),
                    breakdown(catalogue["heartbeats"], "collector"),
                ),
            ),
            chosen.row(catalogue),
            PanelRow("Store", (_partitions(), _tables())),
        ),
    )


def _tiles(key: str, title: str, asked: str, description: str, width: int) -> Panel:
    return Panel(
        key=key,
        title=title,
        type="stat",
        width=width,
        height=5,
        description=description,
        targets=(target(asked, "table"),),
        defaults=plain("short"),
        options=stat_options(),
        transformations=(rows_to_fields(unit="unit"),),
    )


def _balance() -> Panel:
    parts = [("counted", BLUE), ("duplicate", BLUE), ("late", ORANGE), ("bad", VERMILION), ("conflict", VERMILION)]
    each = ", ".join(
        f"('{name}', if(sum(read) = 0, NULL, 100 * sum({name}) / sum(read)), if({worry}, '{colour}', '{BLUE}'), "
        f"toInt64(sum({name})))"
        for (name, colour), worry in zip(
            parts,
            ("1 = 0", "1 = 0", "sum(late) > 0.01 * sum(read)", "sum(bad) > 0.01 * sum(read)", "sum(conflict) > 0"),
            strict=True,
        )
    )
    asked = f"""
SELECT concat(tupleElement(part, 1), ' · n = ', toString(tupleElement(part, 4))) AS name, tupleElement(part,
    2) AS value, tupleElement(part, 3) AS colour, 'percent' AS unit,
    tupleElement(part, 4) AS n
FROM
(
    SELECT arrayJoin([{each}]) AS part
    FROM outcomes
    WHERE $__timeFilter(ingested_at) AND {_OF_CHANNEL}
)
"""
    return _tiles(
        "balance",
        "What became of the records read",
        asked,
        "Of all records read in the selected time, by arrival: counted (in the KPIs), duplicate (seen before), late "
        "(stored, after its "
        "minute was closed for good), bad (refused, in the dead letters), conflict (source and id of another event, "
        "in the dead letters). Late and bad are coloured from 1 % on, conflicts from the first.",
        14,
    )


def _freshness() -> Panel:
    asked = f"""
SELECT name, value, if(value > 60, '{VERMILION}', '{BLUE}') AS colour, 's' AS unit
FROM
(
    SELECT 'since the last record was stored' AS name, if(count() = 0, NULL, toFloat64(dateDiff('second',
    max(ingested_at), now()))) AS value
    FROM outcomes WHERE {_OF_CHANNEL}
    UNION ALL
    SELECT 'since the newest closed minute' AS name, if(count() = 0, NULL, toFloat64(dateDiff('second', max(as_of),
    now()))) AS value
    FROM kpi_latest WHERE kpi = 'volume' AND by = '' AND window = '1m'
)
"""
    return _tiles(
        "freshness",
        "Age of the newest numbers",
        asked,
        "Seconds since anything was stored, and since the end of the newest minute whose KPIs are final. A minute "
        "closes one minute after "
        "its end, when every source has passed it. Coloured above a minute of silence; a replay of old data is old.",
        10,
    )


def _outcomes() -> Panel:
    asked = f"""
SELECT $__timeInterval(minute) AS time, sum(asked.counted) AS counted, sum(asked.duplicate) AS duplicate,
    sum(asked.late) AS late, sum(asked.bad) AS bad, sum(asked.conflict) AS conflict
FROM pipeline_minutes AS asked
WHERE $__timeFilter(minute) AND {_OF_CHANNEL}
GROUP BY time
ORDER BY time
"""
    colours = tuple(override("byName", name, {"color": fixed(colour)}) for name, colour in OUTCOMES.items())
    what = "Records stored per step, by arrival; they add up to what was read."
    return replace(stacked("outcomes", "Records by outcome", asked, "short", what, {}, named=True), overrides=colours)


def _shares() -> Panel:
    shares = ", ".join(
        f"if(sum(read) = 0, NULL, 100 * sum(asked.{name}) / sum(read)) AS {name}"
        for name in ("bad", "late", "duplicate", "conflict")
    )
    asked = f"""
SELECT $__timeInterval(minute) AS time, {shares}
FROM pipeline_minutes AS asked
WHERE $__timeFilter(minute) AND {_OF_CHANNEL}
GROUP BY time
ORDER BY time
"""
    return Panel(
        key="shares",
        title="Bad, late, duplicate and conflicting records",
        type="timeseries",
        width=12,
        height=8,
        description="As percent of the records read, by arrival. More than half of a batch bad stops a partition: "
        "that is a broken "
        "producer, not many broken events.",
        targets=(target(asked, "timeseries"),),
        defaults=drawn("percent", min=0),
        overrides=tuple(
            override("byName", name, {"color": fixed(colour)}) for name, colour in OUTCOMES.items() if name != "counted"
        ),
        options=graph_options(("lastNotNull", "max")),
        more={"interval": "1m", "maxDataPoints": 300},
    )


def _delay() -> Panel:
    asked = f"""
SELECT {_POINT} AS time, quantileTDigest(0.5)({_DELAY}) AS p50, quantileTDigest(0.95)({_DELAY}) AS p95,
    quantileTDigest(0.99)({_DELAY}) AS p99
FROM events
WHERE $__timeFilter(ingested_at) AND {sql.chosen("channel", "channel")}
GROUP BY time
ORDER BY time
"""
    return Panel(
        key="delay",
        title="From the event to the store",
        type="timeseries",
        width=12,
        height=8,
        description="Seconds from the time of an event until it could be read in ClickHouse, by arrival: half, 95 % "
        "and 99 % of the "
        "events were quicker. Whole seconds; events of a replay are as old as they are.",
        targets=(target(asked, "timeseries"),),
        defaults=drawn("s", min=0),
        overrides=tuple(
            override("byName", name, {"color": fixed(colour)})
            for name, colour in zip(("p50", "p95", "p99"), SERIES, strict=False)
        ),
        options=graph_options(("lastNotNull", "max")),
        more={"interval": "1m", "maxDataPoints": 300},
    )


def _channels() -> Panel:
    asked = f"""
SELECT toString(channel) AS channel, count() AS events, max(ingested_at) AS `last stored`, max(time) AS `newest event`,
    quantileTDigest(0.95)({_DELAY}) AS `delay p95`,
    100 * countIf(outcome = 'late') / count() AS late, 100 * countIf(timeimputed) / count() AS `time imputed`,
    100 * countIf(synthetic) / count() AS synthetic
FROM events
WHERE $__timeFilter(ingested_at) AND {sql.chosen("channel", "channel")}
GROUP BY channel
ORDER BY channel
"""
    return table(
        key="channels",
        title="Channels",
        width=12,
        height=8,
        description="Events stored in the selected time by channel: a channel that is missing here is silent.",
        asked=asked,
        overrides=(
            override("byRegexp", "/^(late|time imputed|synthetic)$/", {"unit": "percent", "decimals": 2}),
            override("byName", "delay p95", {"unit": "s", "decimals": 1}),
            override("byName", "events", {"unit": "short"}),
            override("byRegexp", "/^(last stored|newest event)$/", {"unit": "dateTimeAsIso"}),
        ),
    )


def _reasons() -> Panel:
    asked = f"""
SELECT $__timeInterval(at) AS time, toString(reason) AS series, count() AS value
FROM dead_letters
WHERE $__timeFilter(at) AND {_OF_CHANNEL}
GROUP BY time, series
ORDER BY time, series
"""
    return stacked(
        "reasons", "Refused records by reason", asked, "short", "Dead letters, by the time they were refused.", {}
    )


def _refused() -> Panel:
    asked = f"""
SELECT toString(reason) AS reason, path AS field, count() AS records, max(at) AS newest, any(got) AS got,
    any(expected) AS expected, any(message) AS example
FROM dead_letters
WHERE $__timeFilter(at) AND {_OF_CHANNEL}
GROUP BY reason, field
ORDER BY records DESC
LIMIT 100
"""
    return _plain_table(
        "refused", "Reasons and fields", asked, "Which field was wrong, how often, and one example of each.", 12, 8
    )


def _letters() -> Panel:
    asked = f"""
SELECT at, toString(topic) AS topic, partition, offset, toString(reason) AS reason, path AS field, got, expected,
    message, substring(payload, 1, 2000) AS record,
    toString(code_version) AS version
FROM dead_letters
WHERE $__timeFilter(at) AND {_OF_CHANNEL}
ORDER BY at DESC
LIMIT 200
"""
    what = "The newest 200 refused records, as they came (cut at 2000 bytes). `cx dlq` explains and replays them."
    return _plain_table("letters", "Newest dead letters", asked, what, 24, 9)


def _partitions() -> Panel:
    asked = f"""
SELECT toString(kept.topic) AS topic, partition, sum(kept.read) AS read, sum(kept.counted) AS counted,
    sum(kept.duplicate) AS duplicate, sum(kept.late) AS late, sum(kept.bad) AS bad, sum(kept.conflict) AS conflict,
    toInt64(read) - toInt64(counted + duplicate + late + bad + conflict) AS missing, max(last) AS `last offset`,
    max(ingested_at) AS `last stored`
FROM outcomes AS kept
WHERE {_OF_CHANNEL}
GROUP BY topic, partition
ORDER BY topic, partition
"""
    return _plain_table("partitions", "Balance of every partition since the beginning", asked,
                        "Whatever was read has exactly one outcome, so `missing` is 0 everywhere.", 14, 9)  # fmt: skip


def _tables() -> Panel:
    asked = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts, max(modification_time) AS `last change`
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table
ORDER BY bytes DESC
"""
    panel = _plain_table("tables", "Tables", asked, "Rows, bytes on disk and parts of every table of the store.", 10, 9)
    return replace(
        panel,
        overrides=(
            *panel.overrides,
            override("byName", "bytes", {"unit": "bytes"}),
            override("byName", "rows", {"unit": "short"}),
        ),
    )


def _plain_table(key: str, title: str, asked: str, description: str, width: int, height: int) -> Panel:
    times = override(
        "byRegexp", "/^(at|newest|last stored|last change)$/", {"unit": "dateTimeAsIso", "custom.width": 170}
    )
    return table(
        key=key,
        title=title,
        width=width,
        height=height,
        description=description,
        asked=asked,
        overrides=(times, override("byName", "record", {"custom.inspect": True})),
    )
