-- Sums per hour and per day, so that long windows need not read every minute; and the newest value of each series.
--
-- Rows of kpi_minutes replace each other, so hours cannot be added up while rows come in: they are summed from what is
-- there, again whenever something has changed. `kpi_spans` counts the changes of each hour and day of a KPI, and knows
-- how many of them its sums contain. Sums are used only while both numbers are equal; what is not summed up yet is read
-- from the minutes. So answers are exact at any time, however late the sums are, or if they never come.
--
-- Why no change can be missed: a change is counted after its rows are in. A plan is written from counted changes, and
-- sums are read after the plan is there; they contain the planned changes, perhaps more. More are counted later, and
-- make the span due again. Each round writes its sums as one part per partition, hence a span entirely or not at all.

CREATE TABLE IF NOT EXISTS kpi_hours
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    by LowCardinality(String) COMMENT 'names of the labels, in alphabetical order; empty: the whole',
    labels Map(LowCardinality(String), String) COMMENT 'label values, in the order of their names',
    hour DateTime('UTC') COMMENT 'start of the hour of event time' CODEC(DoubleDelta, ZSTD(1)),
    seen UInt64 COMMENT 'changes of the hour that the sums contain, as in kpi_spans' CODEC(T64, ZSTD(1)),
    fields Array(Int128) COMMENT 'sums of kpi_minutes.fields' CODEC(ZSTD(1)),
    bins Map(Int32, UInt64) COMMENT 'sums of kpi_minutes.bins' CODEC(ZSTD(1)),
    n UInt64 COMMENT 'answers or trials' CODEC(T64, ZSTD(1)),
    rolled_at DateTime DEFAULT now() COMMENT 'when it was summed up' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(seen)
PARTITION BY toYear(hour)
ORDER BY (kpi, by, labels, hour)
TTL rolled_at + INTERVAL 1100 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400, index_granularity = 1024
COMMENT 'What each hour held of each KPI series when it was summed up; read it through kpi_sums, which knows if it still does';

CREATE TABLE IF NOT EXISTS kpi_days
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    by LowCardinality(String) COMMENT 'names of the labels, in alphabetical order; empty: the whole',
    labels Map(LowCardinality(String), String) COMMENT 'label values, in the order of their names',
    day DateTime('UTC') COMMENT 'start of the day of event time, UTC' CODEC(DoubleDelta, ZSTD(1)),
    seen UInt64 COMMENT 'changes of the day that the sums contain, as in kpi_spans' CODEC(T64, ZSTD(1)),
    fields Array(Int128) COMMENT 'sums of kpi_minutes.fields' CODEC(ZSTD(1)),
    bins Map(Int32, UInt64) COMMENT 'sums of kpi_minutes.bins' CODEC(ZSTD(1)),
    n UInt64 COMMENT 'answers or trials' CODEC(T64, ZSTD(1)),
    rolled_at DateTime DEFAULT now() COMMENT 'when it was summed up' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(seen)
PARTITION BY toYear(day)
ORDER BY (kpi, by, labels, day)
TTL rolled_at + INTERVAL 3650 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400, index_granularity = 1024
COMMENT 'What each day held of each KPI series when it was summed up; read it through kpi_sums, which knows if it still does';

CREATE TABLE IF NOT EXISTS kpi_spans
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    span Enum8('hour' = 1, 'day' = 2) COMMENT 'length',
    start DateTime('UTC') COMMENT 'start, event time',
    changes SimpleAggregateFunction(sum, UInt64) COMMENT 'rows of kpi_minutes inserted so far, repeated ones included',
    changed_at SimpleAggregateFunction(max, DateTime) COMMENT 'when the last of them was',
    rolled SimpleAggregateFunction(max, UInt64) COMMENT 'changes that the sums contain: all, when equal to changes'
)
ENGINE = AggregatingMergeTree
ORDER BY (kpi, span, start)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 1024
COMMENT 'Every hour and day in which a KPI has minutes, and whether they have changed since they were summed up';

CREATE TABLE IF NOT EXISTS kpi_spans_due
(
    planned_at DateTime64(6, 'UTC') COMMENT 'the plan it belongs to',
    kpi LowCardinality(String) COMMENT 'KPI id',
    span Enum8('hour' = 1, 'day' = 2) COMMENT 'length',
    start DateTime('UTC') COMMENT 'start, event time',
    changes UInt64 COMMENT 'changes when the plan was made'
)
ENGINE = MergeTree
ORDER BY (planned_at, span, kpi, start)
TTL toDateTime(planned_at) + INTERVAL 1 HOUR
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 3600
COMMENT 'What is summed up next; only the newest plan counts';

-- First those that count changes, then the count of what was there before: counted twice is only summed up once more.
CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_spans_of_minutes TO kpi_spans
AS SELECT kpi, piece.1 AS span, piece.2 AS start, count() AS changes, max(now()) AS changed_at, toUInt64(0) AS rolled
FROM kpi_minutes ARRAY JOIN [('hour', toStartOfHour(minute)), ('day', toStartOfDay(minute))] AS piece
GROUP BY kpi, span, start
COMMENT 'Counts the rows that come into kpi_minutes';

CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_spans_of_hours TO kpi_spans
AS SELECT kpi, 'hour' AS span, hour AS start, toUInt64(0) AS changes, toDateTime(0) AS changed_at, max(seen) AS rolled
FROM kpi_hours GROUP BY kpi, start
COMMENT 'Notes which hours were summed up';

CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_spans_of_days TO kpi_spans
AS SELECT kpi, 'day' AS span, day AS start, toUInt64(0) AS changes, toDateTime(0) AS changed_at, max(seen) AS rolled
FROM kpi_days GROUP BY kpi, start
COMMENT 'Notes which days were summed up';

INSERT INTO kpi_spans
SELECT kpi, piece.1 AS span, piece.2 AS start, count() AS changes, now() AS changed_at, 0 AS rolled
FROM kpi_minutes ARRAY JOIN [('hour', toStartOfHour(minute)), ('day', toStartOfDay(minute))] AS piece
GROUP BY kpi, span, start;

-- What was quiet for a while, the longest first, and no more rows at once than memory holds. A replica that is behind
-- must not sum up: the changes that it has heard of may not have reached it.
CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_spans_plan REFRESH EVERY 10 SECOND APPEND TO kpi_spans_due
AS SELECT now64(6, 'UTC') AS planned_at, kpi, span, start, changes
FROM
(
    SELECT kpi, span, start, changes, sum(changes) OVER (ORDER BY latest, span, start, kpi) AS up_to_here
    FROM
    (
        SELECT
            kpi, span, start,
            sum(kpi_spans.changes) AS changes, max(kpi_spans.changed_at) AS latest, max(kpi_spans.rolled) AS rolled
        FROM kpi_spans
        GROUP BY kpi, span, start
        HAVING changes > rolled AND latest < now() - if(span = 'hour', 60, 600)
    )
)
WHERE up_to_here - changes < 4000000
    AND (SELECT max(absolute_delay) FROM system.replicas WHERE database = currentDatabase()) < 30
COMMENT 'Plans which hours and days are summed up next';

CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_hours_of_minutes
REFRESH EVERY 10 SECOND DEPENDS ON kpi_spans_plan APPEND TO kpi_hours
AS WITH due AS
(
    SELECT kpi, start, max(changes) AS planned
    FROM kpi_spans_due
    WHERE span = 'hour' AND planned_at = (SELECT max(planned_at) FROM kpi_spans_due)
        AND (kpi, start, changes) NOT IN
        (
            SELECT kpi, start, max(rolled) FROM kpi_spans WHERE span = 'hour' GROUP BY kpi, start
        )
    GROUP BY kpi, start
)
SELECT
    kpi, by, labels, hour, any(planned) AS seen,
    sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n, now() AS rolled_at
FROM
(
    SELECT kpi, by, labels, toStartOfHour(minute) AS hour, fields, bins, n
    FROM kpi_minutes FINAL
    WHERE (kpi, toStartOfHour(minute)) IN (SELECT kpi, start FROM due)
        AND minute >= (SELECT min(start) FROM due) AND minute < (SELECT max(start) + 3600 FROM due)
) AS held
INNER JOIN due ON held.kpi = due.kpi AND held.hour = due.start
GROUP BY kpi, by, labels, hour
SETTINGS max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0
COMMENT 'Sums up the hours of the newest plan';

CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_days_of_minutes
REFRESH EVERY 10 SECOND DEPENDS ON kpi_spans_plan APPEND TO kpi_days
AS WITH due AS
(
    SELECT kpi, start, max(changes) AS planned
    FROM kpi_spans_due
    WHERE span = 'day' AND planned_at = (SELECT max(planned_at) FROM kpi_spans_due)
        AND (kpi, start, changes) NOT IN
        (
            SELECT kpi, start, max(rolled) FROM kpi_spans WHERE span = 'day' GROUP BY kpi, start
        )
    GROUP BY kpi, start
)
SELECT
    kpi, by, labels, day, any(planned) AS seen,
    sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n, now() AS rolled_at
FROM
(
    SELECT kpi, by, labels, toStartOfDay(minute) AS day, fields, bins, n
    FROM kpi_minutes FINAL
    WHERE (kpi, toStartOfDay(minute)) IN (SELECT kpi, start FROM due)
        AND minute >= (SELECT min(start) FROM due) AND minute < (SELECT max(start) + 86400 FROM due)
) AS held
INNER JOIN due ON held.kpi = due.kpi AND held.day = due.start
GROUP BY kpi, by, labels, day
SETTINGS max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0
COMMENT 'Sums up the days of the newest plan';

CREATE TABLE IF NOT EXISTS kpi_newest
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    by LowCardinality(String) COMMENT 'names of the labels, in alphabetical order; empty: the whole',
    labels Map(LowCardinality(String), String) COMMENT 'label values, in the order of their names',
    window LowCardinality(String) COMMENT 'length of the window (1m, 1h, …), or total: since the beginning',
    stat LowCardinality(String) COMMENT 'of a quantile: which, e.g. p95; empty otherwise',
    at DateTime('UTC') COMMENT 'end of the window',
    value Nullable(Float64) COMMENT 'NULL: nothing was answered or tried; never 0 for that',
    n UInt64 COMMENT 'answers or trials in the window',
    lo Nullable(Float64) COMMENT 'lower end of the 95 % interval; NULL: there is none',
    hi Nullable(Float64) COMMENT 'upper end of the 95 % interval; NULL: there is none',
    definition LowCardinality(String) COMMENT 'KPI id and hash of the definition that gave the number',
    newness UInt128 COMMENT 'end of the window, then revision: the row with the highest is right'
)
ENGINE = ReplacingMergeTree(newness)
ORDER BY (kpi, by, labels, window, stat)
SETTINGS non_replicated_deduplication_window = 20000, index_granularity = 1024
COMMENT 'The newest closed value of every KPI series and window; read it through kpi_latest';

CREATE MATERIALIZED VIEW IF NOT EXISTS kpi_newest_of_values TO kpi_newest
AS SELECT
    kpi, by, labels, window, stat, at, value, n, lo, hi, definition,
    bitOr(bitShiftLeft(toUInt128(toUInt32(at)), 64), toUInt128(revision)) AS newness
FROM kpi_values WHERE maturity = 'closed'
COMMENT 'Takes over closed values as they are published';

INSERT INTO kpi_newest
SELECT
    kpi, by, labels, window, stat, newest.1, newest.3, newest.4, newest.5, newest.6, newest.7,
    bitOr(bitShiftLeft(toUInt128(toUInt32(newest.1)), 64), toUInt128(newest.2))
FROM
(
    SELECT kpi, by, labels, window, stat,
        argMax((at, revision, value, n, lo, hi, definition), (at, revision)) AS newest
    FROM kpi_values WHERE maturity = 'closed'
    GROUP BY kpi, by, labels, window, stat
);

CREATE OR REPLACE VIEW kpi_latest AS
SELECT kpi, by, labels, window, stat, at AS as_of, value, n, lo, hi, definition
FROM kpi_newest FINAL
COMMENT 'The newest closed value of every KPI series and window';

-- Which spans are clean is asked once, and the answer stands in all three parts as a constant: asked three times it
-- could change in between, and a span be read twice or not at all.
CREATE OR REPLACE VIEW kpi_sums AS
WITH
    {from:DateTime('UTC')} AS since,
    {to:DateTime('UTC')} AS until,
    (
        SELECT groupArray((span, start, changes, rolled))
        FROM
        (
            SELECT span, start, sum(kpi_spans.changes) AS changes, max(kpi_spans.rolled) AS rolled
            FROM kpi_spans
            WHERE kpi = {kpi:String} AND start >= toStartOfDay(since) AND start < until
            GROUP BY span, start
        )
    ) AS spans,
    arrayFilter(s -> s.1 = 'day' AND s.3 = s.4 AND s.2 >= since AND s.2 + 86400 <= until
        AND {grain:UInt32} % 86400 = 0, spans) AS days,
    arrayFilter(s -> s.1 = 'hour' AND s.3 = s.4 AND s.2 >= since AND s.2 + 3600 <= until
        AND {grain:UInt32} % 3600 = 0 AND NOT has(days.2, toStartOfDay(s.2)), spans) AS hours,
    arrayFilter(s -> s.1 = 'hour' AND s.2 + 3600 > since AND NOT has(hours.2, s.2)
        AND NOT has(days.2, toStartOfDay(s.2)), spans).2 AS rest
SELECT kpi, by, labels, day AS start, fields, bins, n
FROM kpi_days FINAL
WHERE kpi = {kpi:String} AND day IN (SELECT arrayJoin(days.2)) AND seen >= transform(day, days.2, days.3, 0)
UNION ALL
SELECT kpi, by, labels, hour AS start, fields, bins, n
FROM kpi_hours FINAL
WHERE kpi = {kpi:String} AND hour IN (SELECT arrayJoin(hours.2)) AND seen >= transform(hour, hours.2, hours.3, 0)
UNION ALL
SELECT kpi, by, labels, minute AS start, fields, bins, n
FROM kpi_minutes FINAL
WHERE kpi = {kpi:String} AND toStartOfHour(minute) IN (SELECT arrayJoin(rest)) AND minute >= since AND minute < until
COMMENT 'kpi_sums(kpi=, from=, to=, grain=): what a window holds of each series, in pieces that lie within one grain of so many seconds (0: any)';

CREATE OR REPLACE VIEW kpi_series AS
WITH
    1.959963984540054 AS z,
    -- Student's factor: exact for few degrees of freedom, then the expansion of Cornish and Fisher (within 0.05 %).
    (degrees -> if(degrees < 6,
        [12.706204736432095, 4.302652729911275, 3.182446305284263, 2.7764451051977987,
            2.5705818366147395][toUInt8(greatest(degrees, 1))],
        z + (pow(z, 3) + z) / (4 * degrees) + (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96 * pow(degrees, 2))
            + (3 * pow(z, 7) + 19 * pow(z, 5) + 17 * pow(z, 3) - 15 * z) / (384 * pow(degrees, 3)))) AS student,
    -- The bin of everything at or below zero is -1.
    (SELECT arrayConcat([0], groupArray(estimate)) FROM (SELECT estimate FROM sketch_bins FINAL ORDER BY bin))
        AS estimates,
    sums AS
    (
        SELECT
            kpi, by, labels,
            if({step:UInt32} = 0, toDateTime({from:DateTime('UTC')}, 'UTC'),
                toDateTime(intDiv(toUInt32(start), greatest({step:UInt32}, 1)) * {step:UInt32}, 'UTC')) AS time,
            sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n
        FROM {db}.kpi_sums(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')},
            grain = {step:UInt32})
        GROUP BY kpi, by, labels, time
    ),
    numbers AS
    (
        SELECT
            sums.kpi AS kpi, by, labels, time, n, unit, aggregator, scale, definition, quantiles,
            toFloat64(n) AS total,
            toFloat64(if(length(fields) > 1, fields[2], 0)) AS second,
            toFloat64(if(length(fields) > 2, fields[3], 0)) AS third,
            -- In whole numbers: the difference of two large sums would lose its digits in doubles.
            if(length(fields) > 2, n * toInt256(fields[3]) - toInt256(fields[2]) * toInt256(fields[2]), 0)
                AS spread_steps,
            mapKeys(bins) AS keys, arrayCumSum(mapValues(bins)) AS seen
        FROM sums INNER JOIN (SELECT * FROM kpis FINAL WHERE id = {kpi:String}) AS kpis ON sums.kpi = kpis.id
    ),
    parts AS
    (
        SELECT
            *,
            if(aggregator = 'quantile', concat('p', toString(round(100 * q, 2))), '') AS stat,
            if(unit IN ('percent', '%'), 100, 1) AS factor,
            second / total AS share,
            pow(z, 2) / total AS spread,
            -- Adjusted Wald: 3/4 promoter, 3/4 detractor and 3 answers more.
            (second + 0.75) / (total + 3) AS happy,
            (third + 0.75) / (total + 3) AS unhappy,
            -- A quantile and the ends of its interval are the values at these ranks.
            z * sqrt(total * q * (1 - q)) AS rank_spread,
            [greatest(1, ceil(round(q * 10000) * total / 10000)), floor(total * q - rank_spread),
                ceil(total * q + rank_spread) + 1] AS ranks,
            arrayMap(rank -> if(rank < 1 OR rank > total, NULL,
                estimates[keys[arrayFirstIndex(up_to -> up_to >= rank, seen)] + 2] / (1000 * scale)), ranks) AS ranked,
            multiIf(
                total = 0, 0,
                aggregator = 'ratio' AND second <= total,
                    z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread),
                aggregator = 'ratio', z * sqrt(1 / second + 1 / total),
                aggregator = 'mean' AND total > 1,
                    student(total - 1) * sqrt(toFloat64(spread_steps) / (total * (total - 1)) / total) / scale,
                aggregator = 'nps', z * sqrt(greatest(happy + unhappy - pow(happy - unhappy, 2), 0) / (total + 3)),
                0) AS half
        FROM numbers ARRAY JOIN if(empty(quantiles), [toFloat64(0)], quantiles) AS q
    )
SELECT
    kpi, by, labels, time, stat,
    multiIf(
        total = 0, NULL,
        aggregator = 'count', total,
        aggregator = 'sum', second / scale,
        aggregator = 'ratio', factor * second / total,
        aggregator = 'mean', second / (total * scale),
        aggregator = 'nps', 100 * (second - third) / total,
        ranked[1]) AS value,
    n,
    multiIf(
        total = 0, NULL,
        aggregator = 'ratio' AND second <= total,
            if(second = 0, 0, factor * ((share + spread / 2) / (1 + spread) - half)),
        aggregator = 'ratio', value / exp(half),
        aggregator = 'mean' AND total > 1, value - half,
        aggregator = 'nps', 100 * greatest(-1, happy - unhappy - half),
        aggregator = 'quantile', ranked[2],
        NULL) AS lo,
    multiIf(
        total = 0, NULL,
        aggregator = 'ratio' AND second <= total,
            if(second = total, factor, factor * ((share + spread / 2) / (1 + spread) + half)),
        aggregator = 'ratio', value * exp(half),
        aggregator = 'mean' AND total > 1, value + half,
        aggregator = 'nps', 100 * least(1, happy - unhappy + half),
        aggregator = 'quantile', ranked[3],
        NULL) AS hi,
    unit, definition
FROM parts
COMMENT 'kpi_series(kpi=, from=, to=, step=): a KPI per series and step of so many seconds, with its interval';
