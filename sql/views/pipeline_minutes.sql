CREATE OR REPLACE VIEW pipeline_minutes AS
SELECT
    toStartOfMinute(ingested_at) AS minute, topic, partition,
    sum(outcomes.read) AS read, sum(outcomes.counted) AS counted, sum(outcomes.duplicate) AS duplicate,
    sum(outcomes.late) AS late, sum(outcomes.bad) AS bad, sum(outcomes.conflict) AS conflict
FROM outcomes
GROUP BY minute, topic, partition
COMMENT 'What became of the records of each source, by the minute in which they were stored';

ALTER TABLE pipeline_minutes
    COMMENT COLUMN minute 'minute in which the records were stored',
    COMMENT COLUMN topic 'Kafka topic',
    COMMENT COLUMN partition 'Kafka partition',
    COMMENT COLUMN read 'records read; the sum of the others',
    COMMENT COLUMN counted 'stored, and in the KPIs',
    COMMENT COLUMN duplicate 'seen before; stored nowhere',
    COMMENT COLUMN late 'stored, but too late for the KPIs',
    COMMENT COLUMN bad 'refused; in dead_letters',
    COMMENT COLUMN conflict 'repeats that say something else; in dead_letters';
