CREATE OR REPLACE VIEW orders AS
SELECT
    time,
    subject AS customer,
    channel,
    touchpoint,
    segment,
    region,
    orderid,
    JSONExtract(data, 'amount', 'Nullable(Float64)') AS amount,
    JSONExtractString(data, 'currency') AS currency,
    JSONExtract(data, 'items', 'Nullable(Float64)') AS items,
    JSONExtract(data, 'first', 'Nullable(Bool)') AS is_first,
    sessionid,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event
FROM events
WHERE type = 'cx.order.placed' AND NOT synthetic
COMMENT 'One row per placed order';

ALTER TABLE orders
    COMMENT COLUMN time 'when it happened, UTC',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN amount 'in the currency; NULL: not given',
    COMMENT COLUMN currency 'ISO 4217; empty: not given',
    COMMENT COLUMN items 'number of items; NULL: not given',
    COMMENT COLUMN is_first 'whether the customer ordered for the first time; NULL: unknown',
    COMMENT COLUMN sessionid 'empty: not given',
    COMMENT COLUMN event 'topic, partition and offset of the event';
