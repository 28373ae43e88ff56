-- Written by `cx kpis docs` from the relation `experience`.
CREATE OR REPLACE VIEW experience AS
SELECT
    time, subject AS customer, channel, touchpoint, stage, segment, region, unitid, agentid, orderid, contactid, sessionid,
    said.metric AS metric,
    said.score AS score,
    said.scale AS scale,
    said.contacts AS contacts,
    said.channels AS channels,
    said.transfers AS transfers,
    said.longest_wait_s AS longest_wait_s,
    said.last_wait_s AS last_wait_s,
    said.wait AS wait,
    said.handle_s AS handle_s,
    said.errors AS errors,
    said.frustrations AS frustrations,
    said.payment_failures AS payment_failures,
    said.orders AS orders,
    said.deliveries AS deliveries,
    said.late_deliveries AS late_deliveries,
    said.delay_h AS delay_h,
    said.delay AS delay,
    said.damaged AS damaged,
    said.returns AS returns,
    said.cases AS cases,
    said.tier AS tier,
    said.since_order_s AS since_order_s
FROM
(
    SELECT *, JSONExtract(data, 'Tuple(metric Nullable(String), score Nullable(Int64), scale Nullable(Int64), contacts Int64, channels Int64, transfers Int64, longest_wait_s Nullable(Float64), last_wait_s Nullable(Float64), wait Nullable(String), handle_s Nullable(Float64), errors Int64, frustrations Int64, payment_failures Int64, orders Int64, deliveries Int64, late_deliveries Int64, delay_h Nullable(Float64), delay Nullable(String), damaged Int64, returns Int64, cases Int64, tier Nullable(String), since_order_s Nullable(Float64))') AS said
    FROM events WHERE type = 'cx.experience.joined' AND NOT synthetic AND NOT JSONExtractBool(data, 'withdrawn')
        AND (JSONExtractString(data, 'span'), JSONExtractUInt(data, 'revision')) NOT IN
            (SELECT (JSONExtractString(data, 'span'), JSONExtractUInt(data, 'revision')) FROM events WHERE type = 'cx.experience.joined' AND JSONExtractBool(data, 'withdrawn'))
)
COMMENT 'Every answer, review and text of a customer, beside what the customer had lived through before it';

ALTER TABLE experience
    COMMENT COLUMN time 'when it was said',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN stage 'journey stage; empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN unitid 'shop, site or team; empty: not given',
    COMMENT COLUMN agentid 'who served; empty: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN contactid 'empty: not given',
    COMMENT COLUMN sessionid 'empty: not given',
    COMMENT COLUMN metric 'last of cx.survey.answered',
    COMMENT COLUMN score 'last of cx.survey.answered',
    COMMENT COLUMN scale 'last of cx.survey.answered',
    COMMENT COLUMN contacts 'count of cx.contact.opened',
    COMMENT COLUMN channels 'distinct of cx.contact.opened',
    COMMENT COLUMN transfers 'count of cx.contact.transferred',
    COMMENT COLUMN longest_wait_s 'max of cx.contact.queue_left, cx.store.queue_served',
    COMMENT COLUMN last_wait_s 'last of cx.contact.queue_left, cx.store.queue_served',
    COMMENT COLUMN wait 'last of cx.contact.queue_left, cx.store.queue_served where wait_s is not None',
    COMMENT COLUMN handle_s 'last of cx.contact.handled',
    COMMENT COLUMN errors 'count of cx.client.errored, cx.app.crashed',
    COMMENT COLUMN frustrations 'count of cx.click.frustrated',
    COMMENT COLUMN payment_failures 'count of cx.payment.failed',
    COMMENT COLUMN orders 'count of cx.order.placed',
    COMMENT COLUMN deliveries 'count of cx.order.delivered',
    COMMENT COLUMN late_deliveries 'count of cx.order.delivered where late',
    COMMENT COLUMN delay_h 'last of cx.order.delivered',
    COMMENT COLUMN delay 'last of cx.order.delivered where delay_h is not None',
    COMMENT COLUMN damaged 'count of cx.order.delivered where condition == \'damaged\'',
    COMMENT COLUMN returns 'count of cx.order.return_requested',
    COMMENT COLUMN cases 'count of cx.case.opened',
    COMMENT COLUMN tier 'last of cx.tier.changed',
    COMMENT COLUMN since_order_s 'since_last of cx.order.placed';
