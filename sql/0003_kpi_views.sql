-- Any KPI over any window, with its sample size and interval.
--
-- Parameters cannot be left out, so there are two views: `kpi` gives one row per series, `kpi_series` one per series
-- and step of so many seconds. `from` is included, `to` is not; both are event time, whole minutes.

CREATE OR REPLACE VIEW kpi_minute_sums AS
SELECT kpi, by, labels, minute, sumForEach(fields) AS fields, sumMap(bins) AS bins, sum(n) AS n
FROM kpi_minutes FINAL
GROUP BY kpi, by, labels, minute
COMMENT 'What each minute holds of each KPI series';

CREATE OR REPLACE VIEW kpi_latest AS
SELECT
    kpi, by, labels, window, stat,
    max(at) AS as_of,
    argMax(tuple(value), (at, revision)).1 AS value,
    argMax(n, (at, revision)) AS n,
    argMax(tuple(lo), (at, revision)).1 AS lo,
    argMax(tuple(hi), (at, revision)).1 AS hi,
    argMax(definition, (at, revision)) AS definition
FROM kpi_values
WHERE maturity = 'closed'
GROUP BY kpi, by, labels, window, stat
COMMENT 'The newest closed value of every KPI series and window';

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
                toDateTime(intDiv(toUInt32(minute), greatest({step:UInt32}, 1)) * {step:UInt32}, 'UTC')) AS time,
            sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n
        FROM kpi_minutes FINAL
        WHERE kpi = {kpi:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
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

CREATE OR REPLACE VIEW kpi AS
SELECT kpi, by, labels, stat, value, n, lo, hi, unit, definition
FROM {db}.kpi_series(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = 0)
COMMENT 'kpi(kpi=, from=, to=): a KPI per series over a window, with its interval';
