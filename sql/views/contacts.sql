CREATE OR REPLACE VIEW contacts AS
SELECT
    contactid, any(subject) AS customer, min(e.time) AS began, max(e.time) AS last, any(e.channel) AS channel,
    anyIf(e.segment, e.segment != '') AS segment, anyIf(e.region, e.region != '') AS region,
    anyIf(JSONExtractString(data, 'topic'), JSONExtractString(data, 'topic') != '') AS topic,
    anyIf(JSONExtractString(data, 'queue'), JSONExtractString(data, 'queue') != '') AS queue,
    maxIf(JSONExtract(data, 'wait_s', 'Nullable(Float64)'), type = 'cx.contact.queue_left') AS wait_s,
    anyIf(JSONExtractString(data, 'reason'), type = 'cx.contact.queue_left') AS left_queue,
    sumIf(JSONExtractFloat(data, 'talk_s') + JSONExtractFloat(data, 'hold_s') + JSONExtractFloat(data, 'wrapup_s'),
        type = 'cx.contact.handled') AS handled_s,
    maxIf(JSONExtract(data, 'transfers', 'Nullable(UInt32)'), type = 'cx.contact.handled') AS transfers,
    countIf(type = 'cx.contact.handled') > 0 AS handled,
    countIf(type = 'cx.contact.resolved') > 0 AS resolved,
    anyIf(e.agentid, e.agentid != '') AS agentid
FROM events AS e
WHERE startsWith(type, 'cx.contact.') AND contactid != '' AND NOT e.synthetic
GROUP BY contactid
COMMENT 'One row per contact with the contact centre, from its first event to its last';

ALTER TABLE contacts
    COMMENT COLUMN contactid 'id of the contact',
    COMMENT COLUMN customer 'pseudonymous customer key',
    COMMENT COLUMN began 'first event of it, UTC',
    COMMENT COLUMN last 'last event of it so far, UTC',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN topic 'what it is about; empty: not given',
    COMMENT COLUMN queue 'empty: in none',
    COMMENT COLUMN wait_s 'seconds in the queue, the longest time; NULL: in none, or not known',
    COMMENT COLUMN left_queue 'answered, abandoned, …; empty: in no queue, or still waiting',
    COMMENT COLUMN handled_s 'seconds of talk, hold and wrap-up together; 0: not handled yet',
    COMMENT COLUMN transfers 'how often it was passed on; NULL: not known',
    COMMENT COLUMN handled 'whether an agent has dealt with it',
    COMMENT COLUMN resolved 'whether it was said to be solved',
    COMMENT COLUMN agentid 'who served; empty: not given';
