CREATE OR REPLACE VIEW deliveries AS
SELECT
    time,
    subject AS customer,
    channel,
    touchpoint,
    segment,
    region,
    orderid,
    JSONExtractString(data, 'carrier') AS carrier,
    JSONExtract(data, 'late', 'Nullable(Bool)') AS late,
    JSONExtract(data, 'delay_h', 'Nullable(Float64)') AS delay_h,
    JSONExtractString(data, 'condition') AS condition,
    JSONExtract(data, 'complete', 'Nullable(Bool)') AS complete,
    JSONExtract(data, 'duration_s', 'Nullable(Float64)') AS duration_s,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event
FROM events
WHERE type = 'cx.order.delivered' AND NOT synthetic
COMMENT 'One row per delivery';

ALTER TABLE deliveries
    COMMENT COLUMN time 'when it happened, UTC',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN carrier 'empty: not given',
    COMMENT COLUMN late 'whether it came after the promised time; NULL: unknown',
    COMMENT COLUMN delay_h 'hours after the promised time, negative: before; NULL: unknown',
    COMMENT COLUMN condition 'of the goods; empty: not given',
    COMMENT COLUMN complete 'whether all of it came; NULL: unknown',
    COMMENT COLUMN duration_s 'seconds from order to delivery; NULL: not given',
    COMMENT COLUMN event 'topic, partition and offset of the event';
