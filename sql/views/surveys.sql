CREATE OR REPLACE VIEW surveys AS
SELECT
    time,
    subject AS customer,
    channel,
    touchpoint,
    segment,
    region,
    JSONExtractString(data, 'survey_id') AS survey,
    JSONExtractString(data, 'metric') AS metric,
    score,
    JSONExtract(data, 'scale', 'Nullable(UInt16)') AS scale,
    if(metric = 'csat', score >= multiIf(scale <= 3, scale, scale <= 7, scale - 1, scale - 2), NULL) AS satisfied,
    JSONExtractString(data, 'delivery') AS delivery,
    JSONExtract(data, 'resolved', 'Nullable(Bool)') AS resolved,
    JSONExtractString(data, 'text') AS text,
    orderid,
    contactid,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event
FROM events
WHERE type = 'cx.survey.answered' AND NOT synthetic
COMMENT 'One row per answered survey';

ALTER TABLE surveys
    COMMENT COLUMN time 'when it happened, UTC',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN survey 'id of the survey',
    COMMENT COLUMN metric 'csat, nps, ces, …',
    COMMENT COLUMN score 'rating, in points of its scale; NULL: none was given',
    COMMENT COLUMN scale 'highest rating of the scale',
    COMMENT COLUMN satisfied 'whether the KPI csat counts it as satisfied; NULL: not asked for',
    COMMENT COLUMN delivery 'on_time, late, …; empty: not about a delivery',
    COMMENT COLUMN resolved 'whether the customer says the matter is solved; NULL: not asked',
    COMMENT COLUMN text 'what the customer wrote; empty: nothing',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN contactid 'empty: not given',
    COMMENT COLUMN event 'topic, partition and offset of the event';
