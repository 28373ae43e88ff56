CREATE OR REPLACE VIEW sessions AS
SELECT
    time,
    subject AS customer,
    channel,
    touchpoint,
    segment,
    region,
    sessionid,
    JSONExtract(data, 'duration_s', 'Nullable(Float64)') AS duration_s,
    JSONExtractString(data, 'device') AS device,
    JSONExtract(data, 'views', 'Nullable(Float64)') AS views,
    JSONExtract(data, 'converted', 'Nullable(Bool)') AS converted,
    JSONExtract(data, 'bounced', 'Nullable(Bool)') AS bounced,
    JSONExtract(data, 'errors', 'Nullable(Float64)') AS errors,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event
FROM events
WHERE type = 'cx.session.ended' AND NOT synthetic
COMMENT 'One row per ended session of web or app';

ALTER TABLE sessions
    COMMENT COLUMN time 'when it happened, UTC',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN sessionid 'empty: not given',
    COMMENT COLUMN duration_s 'seconds; NULL: not given',
    COMMENT COLUMN device 'empty: not given',
    COMMENT COLUMN views 'pages or screens seen; NULL: not given',
    COMMENT COLUMN converted 'whether an order was placed in it; NULL: unknown',
    COMMENT COLUMN bounced 'left after one page; NULL: unknown',
    COMMENT COLUMN errors 'failed requests that it met; NULL: not counted',
    COMMENT COLUMN event 'topic, partition and offset of the event';
