-- What was judged: every transition of every alert, with the evidence it was based on.
--
-- A transition may be sent twice after a crash, under the same id: of two rows with the same key one is enough.

CREATE TABLE IF NOT EXISTS alerts
(
    id String COMMENT 'partition, epoch and sequence number of the judge: names a transition for ever' CODEC(ZSTD(1)),
    at DateTime('UTC') COMMENT 'end of the closed minute that was judged (event time)' CODEC(DoubleDelta, ZSTD(1)),
    rule LowCardinality(String) COMMENT 'name of the rule',
    kpi LowCardinality(String) COMMENT 'KPI id',
    labels Map(LowCardinality(String), String) COMMENT 'labels of the series, in the order of their names',
    old Enum8('inactive' = 1, 'pending' = 2, 'firing' = 3, 'resolved' = 4) COMMENT 'state before',
    new Enum8('inactive' = 1, 'pending' = 2, 'firing' = 3, 'resolved' = 4)
        COMMENT 'state after; the same as before when only the inhibition changed',
    why String COMMENT 'OLD => NEW: the reason, with numbers' CODEC(ZSTD(1)),
    severity LowCardinality(String) COMMENT 'page, ticket or info',
    owner LowCardinality(String) COMMENT 'who answers for it',
    inhibited_by String COMMENT 'what kept it from being delivered; empty: nothing' CODEC(ZSTD(1)),
    episode String COMMENT 'the same for all transitions from leaving inactive until coming back' CODEC(ZSTD(1)),
    method LowCardinality(String) COMMENT 'how the change was told from noise',
    window LowCardinality(String) COMMENT 'the rolling window that was looked at',
    unit LowCardinality(String) COMMENT 'unit of value, lo, hi, baseline and target',
    value Nullable(Float64) COMMENT 'the KPI in the window; NULL: nothing was answered or tried' CODEC(ZSTD(1)),
    n UInt64 COMMENT 'answers or trials in the window' CODEC(T64, ZSTD(1)),
    lo Nullable(Float64) COMMENT 'lower end of the 95 % interval; NULL: there is none' CODEC(ZSTD(1)),
    hi Nullable(Float64) COMMENT 'upper end of the 95 % interval; NULL: there is none' CODEC(ZSTD(1)),
    baseline Nullable(Float64) COMMENT 'what it was compared with; NULL: nothing' CODEC(ZSTD(1)),
    baseline_n UInt64 COMMENT 'answers or trials in the baseline' CODEC(T64, ZSTD(1)),
    statistic Nullable(Float64) COMMENT 'z, sum of a CUSUM or burn rate; NULL: none' CODEC(ZSTD(1)),
    threshold Nullable(Float64) COMMENT 'what the statistic or the value was held against' CODEC(ZSTD(1)),
    target Nullable(Float64) COMMENT 'the value to be kept' CODEC(ZSTD(1)),
    definition LowCardinality(String) COMMENT 'KPI id and hash of the definition that gave the number',
    maturity LowCardinality(String) COMMENT 'whether later events may still change the value',
    contributors String COMMENT 'JSON array: label sets that explain the change, the best first' CODEC(ZSTD(1)),
    movements String COMMENT 'JSON array: what else moved at the same time' CODEC(ZSTD(1)),
    verbatims Array(String) COMMENT 'what customers wrote lately' CODEC(ZSTD(1)),
    links Map(LowCardinality(String), String) COMMENT 'where to look, by what it is' CODEC(ZSTD(1)),
    alert_labels Map(LowCardinality(String), String) COMMENT 'labels that the rule adds',
    annotations Map(LowCardinality(String), String) COMMENT 'texts for people' CODEC(ZSTD(1)),
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(at)
ORDER BY (rule, at, id)
TTL updated_at + INTERVAL 1100 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400
COMMENT 'Every transition of every alert, with its evidence';
