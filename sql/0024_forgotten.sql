-- People who were forgotten: what is known of them is a keyed hash, so that what is read again of them is not taken.

CREATE TABLE IF NOT EXISTS forgotten
(
    person UInt64 COMMENT 'keyed hash of the subject; with the key of pseudonyms alone it can be made again',
    until DateTime64(3, 'UTC') COMMENT 'event time up to which nothing of the person is taken',
    since DateTime64(3, 'UTC') COMMENT 'from when on workers hold records against it'
)
ENGINE = ReplacingMergeTree(until)
ORDER BY person
COMMENT 'Everybody who was forgotten, without saying who';

CREATE TABLE IF NOT EXISTS erasures
(
    at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it ended',
    people UInt32 COMMENT 'how many were forgotten',
    events UInt64 COMMENT 'their events, which are anonymous by now',
    mentions UInt64 COMMENT 'events of others that named them',
    dead_letters UInt64 COMMENT 'refused records that named them, which are empty by now',
    looked_in Array(String) COMMENT 'tables that were searched afterwards',
    found UInt64 COMMENT 'rows in which something of them was still found',
    code_version LowCardinality(String) COMMENT 'version of the software that did it'
)
ENGINE = MergeTree
ORDER BY at
COMMENT 'The record of every erasure, without the people';

-- Between taking events away and putting them back: a run that was stopped goes on from here.
CREATE TABLE IF NOT EXISTS erasing
(
    topic LowCardinality(String) COMMENT 'as in events',
    partition UInt32 COMMENT 'as in events',
    offset UInt64 COMMENT 'as in events',
    outcome Enum8('counted' = 1, 'late' = 2) COMMENT 'as in events',
    payload String COMMENT 'the event, anonymous' CODEC(ZSTD(1)),
    ingested_at DateTime COMMENT 'as in events'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, partition, offset)
COMMENT 'Events of an erasure that is under way, anonymous already';
