-- Under which topics workers have stored: what a worker compares with when it starts.

CREATE TABLE IF NOT EXISTS starts
(
    epoch UInt32 COMMENT 'CX_EPOCH of the workers',
    topic LowCardinality(String) COMMENT 'Kafka topic',
    topic_id String COMMENT 'what the broker calls it, another one whenever it is made anew; empty: not told',
    partitions UInt32 COMMENT 'its partitions',
    begins Array(UInt64) COMMENT 'offset by partition at which this epoch began',
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was recorded'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (epoch, topic)
COMMENT 'The topics of every epoch, as workers found them when it began';
