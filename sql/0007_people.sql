-- Views in which people ask; and what they need to be quick.

-- Records of a source are stored in the order of their offsets, so the time of arrival grows with the key.
ALTER TABLE outcomes ADD INDEX IF NOT EXISTS by_arrival ingested_at TYPE minmax GRANULARITY 1;
ALTER TABLE outcomes MATERIALIZE INDEX by_arrival;
ALTER TABLE dead_letters ADD INDEX IF NOT EXISTS by_arrival ingested_at TYPE minmax GRANULARITY 1;
ALTER TABLE dead_letters MATERIALIZE INDEX by_arrival;

CREATE OR REPLACE DICTIONARY kpi_facts
(
    id String,
    name String,
    unit String,
    direction String,
    aggregator String,
    owner String,
    min_n_show UInt32,
    min_n_colour UInt32,
    maturity String,
    definition String
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(NAME cx_dictionaries INVALIDATE_QUERY 'SELECT max(updated_at) FROM {db}.kpis' QUERY '
    SELECT id, name, unit, direction, aggregator, owner, min_n_show, min_n_colour, maturity, definition
    FROM {db}.kpis FINAL'))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 5 MAX 15)
COMMENT 'The KPI catalogue for dictGet: dictGet(''cx.kpi_facts'', ''name'', kpi)';

CREATE OR REPLACE DICTIONARY touchpoint_facts
(
    touchpoint String,
    name String,
    channel String,
    stage String,
    owner String,
    target_kpi String,
    target Nullable(Float64)
)
PRIMARY KEY touchpoint
SOURCE(CLICKHOUSE(NAME cx_dictionaries INVALIDATE_QUERY 'SELECT max(updated_at) FROM {db}.touchpoints' QUERY '
    SELECT touchpoint, name, channel, stage, owner, target_kpi, target FROM {db}.touchpoints FINAL'))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 5 MAX 15)
COMMENT 'The touchpoint dictionary for dictGet: dictGet(''cx.touchpoint_facts'', ''name'', touchpoint)';

-- One line for one question. A value of * stands for each value of its label; without labels, the whole.
CREATE OR REPLACE VIEW kpi_over AS
SELECT
    labels, stat, value, n, lo, hi, unit,
    kpis.maturity AS maturity,
    n >= kpis.min_n_show AS enough,
    from_at AS from, to_at AS to, definition
FROM {db}.kpi(
    kpi = {kpi:String},
    from = (SELECT max(at) - toUInt32OrZero(extract({window:String}, '^[0-9]+'))
        * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0)
        FROM {db}.kpi_newest WHERE kpi = {kpi:String}),
    to = (SELECT max(at) FROM {db}.kpi_newest WHERE kpi = {kpi:String})
) AS asked
INNER JOIN
(
    SELECT id, maturity, min_n_show, to_at,
        to_at - toUInt32OrZero(extract({window:String}, '^[0-9]+'))
            * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0) AS from_at
    FROM kpis FINAL
    CROSS JOIN (SELECT max(at) AS to_at FROM kpi_newest WHERE kpi = {kpi:String}) AS newest
    WHERE id = {kpi:String}
) AS kpis ON asked.kpi = kpis.id
WHERE by = arrayStringConcat(arraySort(mapKeys({labels:Map(String, String)})), ',')
    AND arrayAll((name, wanted) -> wanted = '*' OR labels[name] = wanted,
        mapKeys({labels:Map(String, String)}), mapValues({labels:Map(String, String)}))
ORDER BY n DESC, labels, stat
COMMENT 'kpi_over(kpi=, window=, labels=): a KPI by labels over the newest closed minutes, hours or days, with interval';

CREATE OR REPLACE VIEW kpi_compared AS
SELECT
    kpi, by, labels, stat, value, n, lo, hi,
    before.value AS before, before.n AS before_n, before.lo AS before_lo, before.hi AS before_hi,
    value - before.value AS change,
    -- Two intervals that do not meet: a stricter test than one of the difference.
    multiIf(lo > before.hi, 'up', hi < before.lo, 'down', isNull(lo + hi + before.lo + before.hi), '', 'same') AS moved,
    unit, definition
FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}) AS now
LEFT JOIN
(
    SELECT kpi, by, labels, stat, value, n, lo, hi
    FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')} - {ago:UInt32}, to = {to:DateTime('UTC')} - {ago:UInt32})
) AS before USING (kpi, by, labels, stat)
SETTINGS join_use_nulls = 1
COMMENT 'kpi_compared(kpi=, from=, to=, ago=): a KPI per series, beside the same window so many seconds earlier';

-- A rolling value is published when it changes, and once more when its last event has left the window. So what was
-- published last before a moment held at that moment, and nothing older than the window need be looked at.
CREATE OR REPLACE VIEW kpi_changes AS
WITH
    toUInt32OrZero(extract({window:String}, '^[0-9]+'))
        * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0) AS length,
    closed AS (SELECT kpi, max(at) AS as_of FROM kpi_newest GROUP BY kpi),
    earlier AS
    (
        SELECT
            kpi, by, labels, stat,
            argMaxIf((value, n, lo, hi), (at, revision), at <= as_of - 86400 AND at > as_of - 86400 - length - 3600) AS day,
            argMaxIf((value, n, lo, hi), (at, revision), at <= as_of - 604800) AS week
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

CREATE OR REPLACE VIEW kpi_heat AS
SELECT
    labels['channel'] AS channel, labels['touchpoint'] AS touchpoint,
    touchpoints.name AS name, touchpoints.stage AS stage, touchpoints.owner AS owner,
    stat, value, n, lo, hi, unit, if(target_kpi = {kpi:String}, target, NULL) AS target,
    multiIf(isNull(target) OR n = 0, '', hi < target, 'below', lo > target, 'above', 'near') AS standing
FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}) AS asked
LEFT JOIN (SELECT * FROM touchpoints FINAL) AS touchpoints ON asked.labels['touchpoint'] = touchpoints.touchpoint
WHERE by = 'channel,touchpoint'
COMMENT 'kpi_heat(kpi=, from=, to=): a KPI by channel and touchpoint, with names, and where it stands to its target';

CREATE OR REPLACE VIEW pipeline_minutes AS
SELECT
    toStartOfMinute(ingested_at) AS minute, topic, partition,
    sum(outcomes.read) AS read, sum(outcomes.counted) AS counted, sum(outcomes.duplicate) AS duplicate,
    sum(outcomes.late) AS late, sum(outcomes.bad) AS bad
FROM outcomes
GROUP BY minute, topic, partition
COMMENT 'What became of the records of each source, by the minute in which they were stored';

CREATE OR REPLACE VIEW verbatims AS
SELECT
    time, channel, touchpoint, type, JSONExtractString(data, 'text') AS text, score,
    JSONExtractString(data, 'metric') AS metric, JSONExtract(data, 'scale', 'Nullable(UInt16)') AS scale,
    subject AS customer, segment, unitid, agentid, orderid, contactid,
    match(text, '[\\x{0590}-\\x{08FF}]') AS right_to_left,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event,
    topic, partition, offset
FROM events
WHERE position(data, '"text"') > 0 AND text != '' AND NOT synthetic
COMMENT 'What customers wrote, newest events last: text, score, where, who, and the event it came with';
