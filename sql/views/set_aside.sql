-- An event that was set aside can be stored after all, when what refused it is mended: `cx dlq replay` does. Its dead letter
-- stays; from then on the row in `events` counts.
CREATE OR REPLACE VIEW set_aside AS
WITH JSONExtract(reading, 'Tuple(id String, type String, time String, source String, subject String, channel String,
    touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
    unitid String, agentid String, segment String, region String, experiment String, variant String,
    synthetic Bool, timeimputed Bool, traceid String, data String)') AS sent
SELECT
    -- Not a cast of the other values: a server may read this before it has left out the rows that have them.
    topic, partition, offset, CAST(if(dead_letters.outcome = 'late', 'late', 'counted'),
        'Enum8(\'counted\' = 1, \'late\' = 2)') AS outcome, payload,
    sent.id AS id, toLowCardinality(sent.type) AS type,
    fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Micro(parseDateTime64BestEffort(sent.time, 6, 'UTC')), 1000), 'UTC')
        AS time,
    toLowCardinality(sent.source) AS source, sent.subject AS subject, toLowCardinality(sent.channel) AS channel,
    toLowCardinality(sent.touchpoint) AS touchpoint, toLowCardinality(sent.stage) AS stage,
    sent.sessionid AS sessionid, sent.journeyid AS journeyid, sent.orderid AS orderid, sent.contactid AS contactid,
    toLowCardinality(sent.unitid) AS unitid, toLowCardinality(sent.agentid) AS agentid,
    toLowCardinality(sent.segment) AS segment, toLowCardinality(sent.region) AS region,
    toLowCardinality(sent.experiment) AS experiment, toLowCardinality(sent.variant) AS variant,
    sent.synthetic AS synthetic, sent.timeimputed AS timeimputed, sent.traceid AS traceid, sent.data AS data,
    JSONExtract(data, 'score', 'Nullable(Int16)') AS score, ingested_at
FROM dead_letters
WHERE reason = 'refused_by_store' AND dead_letters.outcome IN ('counted', 'late') AND reading != ''
    AND (topic, partition, offset) NOT IN (SELECT topic, partition, offset FROM stored_later)
COMMENT 'Events that are counted, but whose rows ClickHouse refuses: as in `events`, read from what a worker read';

ALTER TABLE set_aside
    COMMENT COLUMN topic 'Kafka topic the event was read from',
    COMMENT COLUMN partition 'Kafka partition',
    COMMENT COLUMN offset 'Kafka offset',
    COMMENT COLUMN outcome 'counted: in the KPIs; late: came after its minute was closed',
    COMMENT COLUMN payload 'the event exactly as it was sent',
    COMMENT COLUMN id 'identifier given by the producer',
    COMMENT COLUMN type 'event type, e.g. cx.survey.answered',
    COMMENT COLUMN time 'when it happened',
    COMMENT COLUMN source 'what produced it (URI)',
    COMMENT COLUMN subject 'pseudonymous customer key',
    COMMENT COLUMN channel 'web, app, store or call_center',
    COMMENT COLUMN touchpoint 'empty: not given',
    COMMENT COLUMN stage 'journey stage; empty: not given',
    COMMENT COLUMN sessionid 'empty: not given',
    COMMENT COLUMN journeyid 'empty: not given',
    COMMENT COLUMN orderid 'empty: not given',
    COMMENT COLUMN contactid 'empty: not given',
    COMMENT COLUMN unitid 'shop, site or team; empty: not given',
    COMMENT COLUMN agentid 'who served; empty: not given',
    COMMENT COLUMN segment 'customer segment; empty: not given',
    COMMENT COLUMN region 'empty: not given',
    COMMENT COLUMN experiment 'empty: not given',
    COMMENT COLUMN variant 'experiment variant; empty: not given',
    COMMENT COLUMN synthetic 'made by a test or simulator',
    COMMENT COLUMN timeimputed 'the time was estimated, not measured',
    COMMENT COLUMN traceid 'empty: not given',
    COMMENT COLUMN data 'what happened: the known fields of the data object as JSON',
    COMMENT COLUMN score 'rating given, in points of its scale; NULL: no rating',
    COMMENT COLUMN ingested_at 'when it was set aside';
