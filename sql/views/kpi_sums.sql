CREATE OR REPLACE VIEW kpi_sums AS
WITH
    -- A running total holds what was before the window as well, with n 0: see `lasting` of the aggregators.
    (SELECT any(aggregator) IN ('level') FROM kpis FINAL WHERE id = {kpi:String}) AS lasts,
    {from:DateTime('UTC')} AS begin,
    if(lasts, toDateTime(0, 'UTC'), begin) AS since,
    {to:DateTime('UTC')} AS until,
    if(empty({bounds:Array(UInt32)}), [toUInt32(0)], {bounds:Array(UInt32)}) AS edges,
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
        AND (s.2 + 86400 <= begin OR s.2 >= begin AND if(empty({bounds:Array(UInt32)}), {grain:UInt32} % 86400 = 0,
            roundDown(toUInt32(s.2), edges) = roundDown(toUInt32(s.2) + 86340, edges))), spans) AS days,
    arrayFilter(s -> s.1 = 'hour' AND s.3 = s.4 AND s.2 >= since AND s.2 + 3600 <= until
        AND (s.2 + 3600 <= begin OR s.2 >= begin AND if(empty({bounds:Array(UInt32)}), {grain:UInt32} % 3600 = 0,
            roundDown(toUInt32(s.2), edges) = roundDown(toUInt32(s.2) + 3540, edges)))
        AND NOT has(days.2, toStartOfDay(s.2)), spans) AS hours,
    arrayFilter(s -> s.1 = 'hour' AND s.2 + 3600 > since AND NOT has(hours.2, s.2)
        AND NOT has(days.2, toStartOfDay(s.2)), spans).2 AS rest
SELECT kpi, by, labels, day AS start, fields, bins, kpi_days.n * (start >= begin) AS n
FROM kpi_days FINAL
WHERE kpi = {kpi:String} AND day IN (SELECT arrayJoin(days.2)) AND seen >= transform(day, days.2, days.3, 0)
UNION ALL
SELECT kpi, by, labels, hour AS start, fields, bins, kpi_hours.n * (start >= begin) AS n
FROM kpi_hours FINAL
WHERE kpi = {kpi:String} AND hour IN (SELECT arrayJoin(hours.2)) AND seen >= transform(hour, hours.2, hours.3, 0)
UNION ALL
SELECT kpi, by, labels, minute AS start, fields, bins, kpi_minutes.n * (start >= begin) AS n
FROM kpi_minutes FINAL
WHERE kpi = {kpi:String} AND toStartOfHour(minute) IN (SELECT arrayJoin(rest)) AND minute >= since AND minute < until
COMMENT 'kpi_sums(kpi=, from=, to=, grain=, bounds=): what a window holds of each series, in pieces that lie within one grain of so many seconds (0: any), or between two bounds (Unix seconds); what lasts comes from the beginning, then with n 0';
