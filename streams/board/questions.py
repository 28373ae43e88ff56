"""
What the page asks ClickHouse.

Every question is bounded by a time or by positions, so that it costs the same after a year.

Times come back as unix seconds: clients differ in how they read the store's own.
"""

from typing import Final

VALUES: Final = """
    SELECT kpi, if(by = '', 'all', labels['channel']) AS where, labels['touchpoint'] AS touchpoint, stat,
        toString(maturity) AS ripe,
        argMax(tuple(toUnixTimestamp(at), value, n, lo, hi), (at, revision)) AS newest
    FROM kpi_values
    WHERE kpi IN {kpis:Array(String)} AND by IN ('', 'channel', 'channel,touchpoint') AND window = {window:String}
        AND at > fromUnixTimestamp({after:Int64})
    GROUP BY kpi, by, labels, stat, maturity
"""

NEWEST: Final = """
    SELECT toUnixTimestamp(max(at)) FROM kpi_values WHERE kpi = 'volume' AND by = '' AND window = '1m'
"""

FIRST: Final = """
    SELECT kpi, if(by = '', 'all', labels['channel']) AS where, toUnixTimestamp(min(at)) FROM kpi_values
    WHERE kpi IN {kpis:Array(String)} AND by IN ('', 'channel') AND window = '1m' AND n > 0
    GROUP BY kpi, where
"""
"""The one question that grows with the store; so it is asked every ten minutes."""

CLOSED_UNTIL: Final = """
    SELECT labels['channel'] AS channel, toUnixTimestamp(max(at)) AS until
    FROM kpi_values
    WHERE kpi = 'volume' AND by = 'channel' AND window = '1m' AND maturity = 'closed' AND n > 0
        AND at > fromUnixTimestamp({after:Int64})
    GROUP BY labels
"""

WINDOWS: Final = """
    SELECT DISTINCT window FROM kpi_values
    WHERE kpi = 'volume' AND by = '' AND at > fromUnixTimestamp({after:Int64})
"""

CATALOGUE: Final = """
    SELECT id, name, name_fa, question, unit, direction, aggregator, formula, source, owner, groupings, min_n_show,
        min_n_colour, target, quantiles, definition, maturity, void
    FROM kpis FINAL
"""

BASELINES: Final = """
    SELECT kpi, if(by = '', 'all', labels['channel']) AS where, stat,
        window = {window:String} AND at <= fromUnixTimestamp({week:Int64}) AS week, window = {window:String} AS same,
        argMax(tuple(toUnixTimestamp(at), value, n, lo, hi), (at, revision)) AS newest
    FROM kpi_values
    WHERE kpi IN {headline:Array(String)} AND by IN ('', 'channel') AND maturity = 'closed' AND (
        window = {window:String} AND (
            at > fromUnixTimestamp({week:Int64} - {slack:Int64}) AND at <= fromUnixTimestamp({week:Int64})
            OR at > fromUnixTimestamp({day:Int64} - {slack:Int64}) AND at <= fromUnixTimestamp({day:Int64}))
        OR {before:Int64} > 0 AND window = '24h' AND at > fromUnixTimestamp({before:Int64} - 7200)
            AND at <= fromUnixTimestamp({before:Int64}))
    GROUP BY kpi, by, labels, stat, week, same
"""
"""The same window a week and a day earlier, and the 24 hours that ended when the window began: shared by no event."""

TREND: Final = """
    SELECT if(by = '', 'all', labels['channel']) AS where, stat, toUnixTimestamp(time) AS start, toUnixTimestamp(until),
        value, n, lo, hi
    FROM kpi_series(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = {step:UInt32})
    WHERE by IN ('', 'channel')
    ORDER BY start
"""

CHANGES: Final = """
    SELECT toUnixTimestamp(time) AS at, channel,
        coalesce(nullIf(JSONExtractString(data, 'what'), ''), JSONExtractString(data, 'campaign')) AS what,
        JSONExtractString(data, 'version') AS version
    FROM events
    WHERE type IN {types:Array(String)} AND time >= fromUnixTimestamp({from:Int64})
        AND time < fromUnixTimestamp({to:Int64}) AND outcome = 'counted' AND NOT synthetic
    ORDER BY time DESC
    LIMIT 50
"""

BY_LABEL: Final = """
    SELECT by, labels, argMax(tuple(toUnixTimestamp(at), value, n, lo, hi), (at, revision)) AS newest
    FROM kpi_values
    WHERE kpi = {kpi:String} AND window = {window:String} AND stat = {stat:String} AND by != ''
        AND maturity = 'closed' AND at > fromUnixTimestamp({after:Int64})
    GROUP BY by, labels
    HAVING newest.3 > 0
    ORDER BY by, newest.3 DESC
    LIMIT 40 BY by
"""

OUTCOMES: Final = """
    SELECT topic, partition, max(first), toUnixTimestamp(max(ingested_at)), sum(read), sum(counted), sum(duplicate),
        sum(late), sum(bad), sum(conflict)
    FROM outcomes {since}
    GROUP BY topic, partition
"""

DELAYS: Final = """
    SELECT channel, quantile(0.95)(toUnixTimestamp(ingested_at) - toUnixTimestamp64Milli(time) / 1000)
    FROM events
    WHERE time > now() - INTERVAL 10 MINUTE AND ingested_at > now() - INTERVAL 1 MINUTE
    GROUP BY channel
"""

REFUSED: Final = """
    SELECT reason, count() AS records, argMax(message, at) FROM dead_letters
    WHERE ingested_at > now() - INTERVAL 1 HOUR GROUP BY reason ORDER BY records DESC, reason
"""

PARTS: Final = """
    SELECT max(parts), (SELECT count() FROM system.merges WHERE database = {database:String}) FROM (
        SELECT count() AS parts FROM system.parts WHERE active AND database = {database:String}
        GROUP BY table, partition)
"""

VERBATIMS: Final = """
    SELECT toUnixTimestamp64Milli(time) / 1000 AS at,
        concat(topic, '/', toString(partition), '/', toString(offset)) AS id,
        channel, touchpoint, subject, JSONExtractString(data, 'text') AS text, score,
        JSONExtract(data, 'scale', 'Nullable(UInt16)') AS scale
    FROM events
    WHERE type IN {types:Array(String)} AND time > fromUnixTimestamp64Milli({after:Int64})
        AND time <= now() + INTERVAL 1 MINUTE AND position(data, '"text"') > 0 AND text != '' AND NOT synthetic
    ORDER BY time DESC
    LIMIT {shown:UInt32} BY channel
"""

HAS_ALERTS: Final = "EXISTS TABLE alerts"

ALERTS: Final = """
    SELECT id, toUnixTimestamp(at), rule, kpi, labels, toString(old), toString(new), why, severity, owner, inhibited_by,
        episode, window, unit, value, n, lo, hi, baseline, contributors, annotations, links
    FROM alerts FINAL
    WHERE at > fromUnixTimestamp({after:Int64})
    ORDER BY alerts.at DESC
    LIMIT 1000
"""
"""In the order of `episodes.COLUMNS`."""

HAS_ACTIONS: Final = "EXISTS VIEW actions_now"

ACTIONS: Final = """
    SELECT toUnixTimestamp(judged_at), how, owner, days, gain, gain_lo, gain_hi, customers, at_stake, currency, basis
    FROM actions_now WHERE outcome = 'csat' AND standing = 'ranked' ORDER BY place LIMIT {shown:UInt32}
"""

SCRIPTED: Final = """
    SELECT labels['path'] AS path,
        argMaxIf(tuple(toUnixTimestamp(at), value, n, lo, hi), (at, revision), window = {window:String}) AS newest,
        toUnixTimestamp(maxIf(at, window = '1m' AND n > 0)) AS ran
    FROM kpi_values
    WHERE kpi = {kpi:String} AND by = 'path' AND window IN ('1m', {window:String}) AND maturity = 'closed'
        AND at > fromUnixTimestamp({after:Int64})
    GROUP BY labels
    HAVING ran > 0 AND newest.1 > 0
    ORDER BY ran
    LIMIT 40
"""
"""Synthetic paths that ran within a day, those first that are silent; none where the window is not kept."""

HAS_CASES: Final = "EXISTS TABLE cases"

CASE_MARK: Final = "SELECT count(), sum(cityHash64(case_id, revision)) FROM cases"
"""Rows that are not merged yet count too: this costs two columns, and at worst the cases are read once more."""

CASES_BY_DUE: Final = """
    least(ifNull(if(contacted IS NULL, contact_due, NULL), close_due),
        ifNull(close_due, if(contacted IS NULL, contact_due, NULL))) ASC NULLS LAST, case_id
"""

SUBJECT_OF: Final = """
    SELECT subject FROM events
    WHERE type IN {types:Array(String)} AND topic = {topic:String} AND partition = {partition:UInt32}
        AND offset = {offset:UInt64}
    LIMIT 1
"""
