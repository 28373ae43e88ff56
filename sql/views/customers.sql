CREATE OR REPLACE VIEW customers AS
SELECT
    subject AS customer, min(e.time) AS first_seen, max(e.time) AS last_seen, count() AS events,
    argMaxIf(e.segment, e.time, e.segment != '') AS segment, argMaxIf(e.region, e.time, e.region != '') AS region,
    groupUniqArray(4)(e.channel) AS channels,
    countIf(type = 'cx.order.placed') AS orders,
    sumIf(JSONExtractFloat(data, 'amount'), type = 'cx.order.placed') AS amount,
    countIf(type = 'cx.payment.failed') AS failed_payments,
    countIf(type = 'cx.order.delivered' AND JSONExtractBool(data, 'late')) AS late_deliveries,
    countIf(type = 'cx.contact.opened') AS contacts,
    countIf(type = 'cx.survey.answered') AS answers,
    avgOrNullIf(e.score, type = 'cx.survey.answered' AND JSONExtractString(data, 'metric') = 'csat') AS mean_csat
FROM events AS e
WHERE subject != '' AND NOT synthetic AND NOT startsWith(type, 'cx.pipeline.') AND NOT startsWith(type, 'cx.synthetic.')
GROUP BY subject
COMMENT 'One row per customer of the stored events: what they did and met';

ALTER TABLE customers
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN first_seen 'first stored event, UTC',
    COMMENT COLUMN last_seen 'last stored event, UTC',
    COMMENT COLUMN events 'stored events',
    COMMENT COLUMN segment 'the newest that was given; empty: none was',
    COMMENT COLUMN region 'the newest that was given; empty: none was',
    COMMENT COLUMN channels 'those that were used',
    COMMENT COLUMN orders 'placed orders',
    COMMENT COLUMN amount 'of them together; of several currencies it is no amount of money',
    COMMENT COLUMN failed_payments 'payments that failed',
    COMMENT COLUMN late_deliveries 'deliveries that came late',
    COMMENT COLUMN contacts 'contacts that were opened',
    COMMENT COLUMN answers 'answered surveys',
    COMMENT COLUMN mean_csat 'mean rating of satisfaction, in points of the scales asked; NULL: never asked';
