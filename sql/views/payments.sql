CREATE OR REPLACE VIEW payments AS
SELECT
    time,
    subject AS customer,
    channel,
    touchpoint,
    segment,
    region,
    type = 'cx.payment.succeeded' AS succeeded,
    JSONExtractString(data, 'code') AS code,
    JSONExtract(data, 'amount', 'Nullable(Float64)') AS amount,
    JSONExtractString(data, 'currency') AS currency,
    JSONExtractString(data, 'method') AS method,
    JSONExtract(data, 'duration_s', 'Nullable(Float64)') AS duration_s,
    orderid,
    sessionid,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event
FROM events
WHERE type IN ('cx.payment.failed', 'cx.payment.succeeded') AND NOT synthetic
COMMENT 'One row per payment that failed or succeeded';

ALTER TABLE payments
    COMMENT COLUMN time 'when it happened, UTC',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN succeeded '1: paid, 0: failed',
    COMMENT COLUMN code 'why it failed, by bank or gateway; empty: it did not',
    COMMENT COLUMN amount 'in the currency; NULL: not given',
    COMMENT COLUMN currency 'ISO 4217; empty: not given',
    COMMENT COLUMN method 'card, …; empty: not given',
    COMMENT COLUMN duration_s 'seconds until it was paid; NULL: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN sessionid 'empty: not given',
    COMMENT COLUMN event 'topic, partition and offset of the event';
