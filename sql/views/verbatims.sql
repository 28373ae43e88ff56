CREATE OR REPLACE VIEW verbatims AS
SELECT
    time, channel, touchpoint, type, JSONExtractString(data, 'text') AS text, score,
    JSONExtractString(data, 'metric') AS metric, JSONExtract(data, 'scale', 'Nullable(UInt16)') AS scale,
    subject AS customer, segment, unitid, agentid, orderid, contactid,
    match(text, '[\\x{0590}-\\x{08FF}]') AS right_to_left,
    concat(topic, '/', toString(partition), '/', toString(offset)) AS event,
    topic, partition, offset
FROM events
-- The types of VERBATIM_TYPES in streams/events/types.py: in others agents, bots and employees write.
WHERE type IN ('cx.contact.message_received', 'cx.feedback.given', 'cx.review.published', 'cx.social.mentioned',
        'cx.survey.answered')
    AND position(data, '"text"') > 0 AND text != '' AND NOT synthetic
COMMENT 'What customers wrote, newest events last: text, score, where, who, and the event it came with';

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
