-- What came in: every stored event as it was sent, every refused record, and the balance of every block.
--
-- Partitions: by year of the event, because a replay may span decades in one block and an insert may touch at most
-- 100 partitions. The partition must follow from the row alone: a deduplication token counts per partition.
-- Retention: by arrival, so that replaying old events does not delete them at once.

CREATE TABLE IF NOT EXISTS events
(
    topic LowCardinality(String) COMMENT 'Kafka topic the event was read from',
    partition UInt32 COMMENT 'Kafka partition',
    offset UInt64 COMMENT 'Kafka offset; topic, partition and offset name a record' CODEC(Delta, ZSTD(1)),
    outcome Enum8('counted' = 1, 'late' = 2) COMMENT 'counted: in the KPIs; late: came after its minute was closed',
    payload String COMMENT 'the event exactly as it was sent (CloudEvents JSON)' CODEC(ZSTD(1)),

    -- One reading of the payload fills all columns below. ClickHouse reads no JSON that holds a number beyond a double,
    -- but a valid event may, in a field that nobody knows: there it is read as null.
    sent Tuple(id String, type String, time String, source String, subject String, channel String,
        touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
        unitid String, agentid String, segment String, region String, experiment String, variant String,
        synthetic Bool, timeimputed Bool, traceid String, data String)
        EPHEMERAL JSONExtract(if(isValidJSON(payload), payload, replaceRegexpAll(payload,
            '([:,\\[\\s])-?([0-9.]+[eE][+]?[0-9]{3,}|[0-9]{309,}([.][0-9]+)?([eE][+]?[0-9]+)?)', '\\1null')),
            'Tuple(id String, type String, time String, source String, subject String,
            channel String, touchpoint String, stage String, sessionid String, journeyid String, orderid String,
            contactid String, unitid String, agentid String, segment String, region String, experiment String,
            variant String, synthetic Bool, timeimputed Bool, traceid String, data String)')
        COMMENT 'the envelope as read from the payload; not stored',

    id String DEFAULT tupleElement(sent, 'id') COMMENT 'identifier given by the producer' CODEC(ZSTD(1)),
    type LowCardinality(String) DEFAULT tupleElement(sent, 'type') COMMENT 'event type, e.g. cx.survey.answered',
    -- Rounded to the microsecond first, as the workers do, so that both put an event into the same minute.
    time DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Nano(
        parseDateTime64BestEffort(upper(if(length(tupleElement(sent, 'time')) <= 35, tupleElement(sent, 'time'),
            replaceRegexpOne(tupleElement(sent, 'time'), '([.][0-9]{9})[0-9]+', '\\1'))), 9, 'UTC')) + 500,
        1000000), 'UTC')
        COMMENT 'when it happened' CODEC(DoubleDelta, ZSTD(1)),
    source LowCardinality(String) DEFAULT tupleElement(sent, 'source') COMMENT 'what produced it (URI)',
    subject String DEFAULT tupleElement(sent, 'subject') COMMENT 'pseudonymous customer key' CODEC(ZSTD(1)),
    channel LowCardinality(String) DEFAULT tupleElement(sent, 'channel') COMMENT 'web, app, store or call_center',
    touchpoint LowCardinality(String) DEFAULT tupleElement(sent, 'touchpoint') COMMENT 'empty: not given',
    stage LowCardinality(String) DEFAULT tupleElement(sent, 'stage') COMMENT 'journey stage; empty: not given',
    sessionid String DEFAULT tupleElement(sent, 'sessionid') COMMENT 'empty: not given' CODEC(ZSTD(1)),
    journeyid String DEFAULT tupleElement(sent, 'journeyid') COMMENT 'empty: not given' CODEC(ZSTD(1)),
    orderid String DEFAULT tupleElement(sent, 'orderid') COMMENT 'empty: not given' CODEC(ZSTD(1)),
    contactid String DEFAULT tupleElement(sent, 'contactid') COMMENT 'empty: not given' CODEC(ZSTD(1)),
    unitid LowCardinality(String) DEFAULT tupleElement(sent, 'unitid') COMMENT 'shop, site or team; empty: not given',
    agentid LowCardinality(String) DEFAULT tupleElement(sent, 'agentid') COMMENT 'who served; empty: not given',
    segment LowCardinality(String) DEFAULT tupleElement(sent, 'segment') COMMENT 'customer segment; empty: not given',
    region LowCardinality(String) DEFAULT tupleElement(sent, 'region') COMMENT 'empty: not given',
    experiment LowCardinality(String) DEFAULT tupleElement(sent, 'experiment') COMMENT 'empty: not given',
    variant LowCardinality(String) DEFAULT tupleElement(sent, 'variant') COMMENT 'experiment variant; empty: not given',
    synthetic Bool DEFAULT tupleElement(sent, 'synthetic') COMMENT 'made by a test or simulator: stored, in no KPI',
    timeimputed Bool DEFAULT tupleElement(sent, 'timeimputed') COMMENT 'the time was estimated, not measured',
    traceid String DEFAULT tupleElement(sent, 'traceid') COMMENT 'empty: not given' CODEC(ZSTD(1)),
    data String DEFAULT tupleElement(sent, 'data') COMMENT 'what happened: the data object as JSON' CODEC(ZSTD(1)),

    -- A rating may be a number, or text in ASCII, Persian or Arabic-Indic digits.
    score Nullable(Int16) DEFAULT if(position(data, '"score"') = 0, NULL,
        toInt16OrNull(translateUTF8(JSONExtract(data, 'score', 'String'),
            '۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩', '01234567890123456789')))
        COMMENT 'rating given, in points of its scale; NULL: no rating',
    ingested_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1)),

    INDEX by_subject subject TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_time time TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYear(time)
ORDER BY (type, time, topic, partition, offset)
TTL ingested_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400
COMMENT 'Every valid event once, as sent, with what was read from it and where it came from';

CREATE TABLE IF NOT EXISTS dead_letters
(
    topic LowCardinality(String) COMMENT 'Kafka topic the record was read from',
    partition UInt32 COMMENT 'Kafka partition',
    offset UInt64 COMMENT 'Kafka offset' CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String) COMMENT 'reason code, e.g. missing_field',
    path String COMMENT 'field that is wrong, e.g. data.score' CODEC(ZSTD(1)),
    got String COMMENT 'what stood there' CODEC(ZSTD(1)),
    expected String COMMENT 'what should stand there' CODEC(ZSTD(1)),
    message String COMMENT 'explanation for people' CODEC(ZSTD(1)),
    payload String COMMENT 'the original bytes of the record' CODEC(ZSTD(3)),
    code_version LowCardinality(String) COMMENT 'version of the software that refused it',
    at DateTime64(3, 'UTC') COMMENT 'when it was refused' CODEC(Delta, ZSTD(1)),
    ingested_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (reason, topic, partition, offset)
TTL ingested_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400
COMMENT 'Every refused record once, with the reason and the field';

CREATE TABLE IF NOT EXISTS outcomes
(
    topic LowCardinality(String) COMMENT 'Kafka topic',
    partition UInt32 COMMENT 'Kafka partition',
    first UInt64 COMMENT 'first offset of the range' CODEC(Delta, ZSTD(1)),
    last UInt64 COMMENT 'last offset of the range, included' CODEC(Delta, ZSTD(1)),
    read UInt64 COMMENT 'records read; the sum of the other four' CODEC(T64, ZSTD(1)),
    counted UInt64 COMMENT 'stored, and in the KPIs' CODEC(T64, ZSTD(1)),
    duplicate UInt64 COMMENT 'seen before; stored nowhere' CODEC(T64, ZSTD(1)),
    late UInt64 COMMENT 'stored, but too late for the KPIs' CODEC(T64, ZSTD(1)),
    bad UInt64 COMMENT 'refused; in dead_letters' CODEC(T64, ZSTD(1)),
    ingested_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (topic, partition, first)
SETTINGS non_replicated_deduplication_window = 20000
COMMENT 'The balance of every range of records: what became of each one read';
