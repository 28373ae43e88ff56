-- KPIs that are computed of other KPIs are there as rolling values only: nothing of theirs could be added up per minute.
-- Asked for a window that is kept, they answer with what was published last in it.

CREATE OR REPLACE VIEW kpi AS
SELECT kpi, by, labels, stat, value, n, lo, hi, unit, definition
FROM {db}.kpi_series(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = 0)
UNION ALL
SELECT
    kpi, by, labels, stat, held.1 AS value, held.2 AS n, held.3 AS lo, held.4 AS hi,
    toLowCardinality(assumeNotNull((SELECT any(unit) FROM kpis FINAL WHERE id = {kpi:String}))) AS unit,
    toLowCardinality(held.5) AS definition
FROM
(
    SELECT kpi, by, labels, stat, argMax((value, n, lo, hi, definition), (at, revision)) AS held
    FROM kpi_values
    WHERE (SELECT any(aggregator) FROM kpis FINAL WHERE id = {kpi:String}) = 'derived'
        AND kpi = {kpi:String} AND maturity = 'closed'
        AND at > {from:DateTime('UTC')} AND at <= {to:DateTime('UTC')}
        AND toUInt32OrZero(extract(window, '^[0-9]+')) * transform(right(window, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0)
            = {to:DateTime('UTC')} - {from:DateTime('UTC')}
    GROUP BY kpi, by, labels, stat
)
COMMENT 'kpi(kpi=, from=, to=): a KPI per series over a window, with its interval; one made of others only over windows that are kept';

-- A rolling value is published when it changes, and once more when its last event has left the window. So what was
-- published last before a moment held at that moment, and nothing older than the window need be looked at.
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
            argMaxIf((value, n), newness, at <= as_of - 86400 AND at > as_of - 86400 - length - 3600) AS day,
            argMaxIf((value, n), newness, at <= as_of - 604800 AND at > as_of - 604800 - length - 3600) AS week
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
    earlier.day.1 AS day_before, earlier.day.2 AS day_before_n, value - day_before AS day_change,
    earlier.week.1 AS week_before, earlier.week.2 AS week_before_n, value - week_before AS week_change,
    newest.definition AS definition
FROM (SELECT * FROM kpi_newest FINAL WHERE window = {window:String}) AS newest
INNER JOIN closed ON newest.kpi = closed.kpi
LEFT JOIN earlier ON newest.kpi = earlier.kpi AND newest.by = earlier.by AND newest.labels = earlier.labels
    AND newest.stat = earlier.stat
COMMENT 'kpi_changes(window=): the newest closed value of all series, beside the same window a day and a week earlier';

-- Views that take no parameters are listed with their columns by every client: what a column means stands there, too.
ALTER TABLE kpi_latest
    COMMENT COLUMN kpi 'KPI id',
    COMMENT COLUMN by 'names of the labels, in alphabetical order; empty: the whole',
    COMMENT COLUMN labels 'label values, in the order of their names',
    COMMENT COLUMN window 'length of the window (1m, 1h, …), or total: since the beginning',
    COMMENT COLUMN stat 'of a quantile: which, e.g. p95; empty otherwise',
    COMMENT COLUMN as_of 'end of the window',
    COMMENT COLUMN value 'NULL: nothing was answered or tried; never 0 for that',
    COMMENT COLUMN n 'answers or trials in the window',
    COMMENT COLUMN lo 'lower end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN hi 'upper end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN definition 'KPI id and hash of the definition that gave the number';

ALTER TABLE kpi_minute_sums
    COMMENT COLUMN kpi 'KPI id',
    COMMENT COLUMN by 'names of the labels, in alphabetical order; empty: the whole',
    COMMENT COLUMN labels 'label values, in the order of their names',
    COMMENT COLUMN minute 'start of the minute of event time',
    COMMENT COLUMN fields 'sums of kpi_minutes.fields over the parts of the minute',
    COMMENT COLUMN bins 'sums of kpi_minutes.bins over the parts of the minute',
    COMMENT COLUMN n 'answers or trials';

ALTER TABLE pipeline_minutes
    COMMENT COLUMN minute 'minute in which the records were stored',
    COMMENT COLUMN topic 'Kafka topic',
    COMMENT COLUMN partition 'Kafka partition',
    COMMENT COLUMN read 'records read; the sum of the other four',
    COMMENT COLUMN counted 'stored, and in the KPIs',
    COMMENT COLUMN duplicate 'seen before; stored nowhere',
    COMMENT COLUMN late 'stored, but too late for the KPIs',
    COMMENT COLUMN bad 'refused; in dead_letters';

ALTER TABLE verbatims
    COMMENT COLUMN time 'when it was written',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN type 'event type, e.g. cx.survey.answered',
    COMMENT COLUMN text 'what the customer wrote, as sent',
    COMMENT COLUMN score 'rating given with it, in points of its scale; NULL: none',
    COMMENT COLUMN metric 'what was asked, e.g. csat; empty: nothing',
    COMMENT COLUMN scale 'highest rating of the scale; NULL: not given',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN unitid 'shop, site or team; empty: not given',
    COMMENT COLUMN agentid 'who served; empty: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN contactid 'empty: not given',
    COMMENT COLUMN right_to_left 'whether it holds letters of a script that runs from right to left',
    COMMENT COLUMN event 'topic, partition and offset of the event it came with',
    COMMENT COLUMN topic 'Kafka topic of that event',
    COMMENT COLUMN partition 'Kafka partition of that event',
    COMMENT COLUMN offset 'Kafka offset of that event';
