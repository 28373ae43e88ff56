CREATE OR REPLACE VIEW kpi_changes AS
WITH
    toUInt32OrZero(extract({window:String}, '^[0-9]+'))
        * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0) AS length,
    closed AS (SELECT kpi, max(at) AS as_of FROM kpi_newest GROUP BY kpi),
    earlier AS
    (
        -- One number is compared in half the time of a pair.
        WITH bitOr(bitShiftLeft(toUInt128(toUInt32(at)), 64), toUInt128(revision)) AS newness
        SELECT
            kpi, by, labels, stat,
            argMaxIf((value, n, lo, hi), newness, at <= as_of - 86400 AND at > as_of - 86400 - length - 3600) AS day,
            argMaxIf((value, n, lo, hi), newness, at <= as_of - 604800 AND at > as_of - 604800 - length - 3600) AS week
        FROM kpi_values
        INNER JOIN closed USING (kpi)
        WHERE window = {window:String} AND maturity = 'closed'
            AND (at > (SELECT min(as_of) - 86400 - length - 3600 FROM closed) AND at <= (SELECT max(as_of) - 86400 FROM closed)
                OR at > (SELECT min(as_of) - 604800 - length - 3600 FROM closed)
                    AND at <= (SELECT max(as_of) - 604800 FROM closed))
        GROUP BY kpi, by, labels, stat
    )
SELECT
    newest.kpi AS kpi, newest.by AS by, newest.labels AS labels, newest.stat AS stat, closed.as_of AS as_of,
    -- A series that published nothing for longer than the window has nothing in it.
    if(newest.at > closed.as_of - length - 3600, newest.value, NULL) AS value,
    if(newest.at > closed.as_of - length - 3600, newest.n, 0) AS n,
    if(isNull(value), NULL, newest.lo) AS lo,
    if(isNull(value), NULL, newest.hi) AS hi,
    'closed' AS maturity,
    earlier.day.1 AS day_before, earlier.day.2 AS day_before_n, earlier.day.3 AS day_before_lo,
    earlier.day.4 AS day_before_hi, value - day_before AS day_change,
    earlier.week.1 AS week_before, earlier.week.2 AS week_before_n, earlier.week.3 AS week_before_lo,
    earlier.week.4 AS week_before_hi, value - week_before AS week_change,
    newest.definition AS definition
FROM (SELECT * FROM kpi_newest FINAL WHERE window = {window:String}) AS newest
INNER JOIN closed ON newest.kpi = closed.kpi
LEFT JOIN earlier ON newest.kpi = earlier.kpi AND newest.by = earlier.by AND newest.labels = earlier.labels
    AND newest.stat = earlier.stat
COMMENT 'kpi_changes(window=): the newest closed value of all series, beside the same window a day and a week earlier';
