-- What was made of it: sums per minute, rolling values as published, and the meaning of both.
--
-- All rows are cumulative: of two rows with the same key, the one with the higher revision is right.

CREATE TABLE IF NOT EXISTS kpi_minutes
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    by LowCardinality(String) DEFAULT arrayStringConcat(mapKeys(labels), ',')
        COMMENT 'names of the labels, in alphabetical order; empty: the whole',
    labels Map(LowCardinality(String), String) COMMENT 'label values, in the order of their names',
    minute DateTime('UTC') COMMENT 'start of the minute of event time' CODEC(DoubleDelta, ZSTD(1)),
    part UInt64 COMMENT 'part of the minute; its sum is the sum over the parts' CODEC(T64, ZSTD(1)),
    revision UInt64 COMMENT 'grows with what the row contains' CODEC(Delta, ZSTD(1)),
    fields Array(Int128) COMMENT 'count: n; sum: n, Σx; ratio: n, hits; mean: n, Σx, Σx²; nps: n, promoters,
        detractors; x in whole steps of 1/scale; empty for a quantile' CODEC(ZSTD(1)),
    bins Map(Int32, UInt64) COMMENT 'quantile: values per bin of the sketch; empty otherwise' CODEC(ZSTD(1)),
    n UInt64 DEFAULT if(empty(fields), arraySum(mapValues(bins)), toUInt64(fields[1]))
        COMMENT 'answers or trials' CODEC(T64, ZSTD(1)),
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(minute)
ORDER BY (kpi, by, labels, minute, part)
TTL updated_at + INTERVAL 1100 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400, index_granularity = 2048
COMMENT 'What each minute holds of each KPI series; read it through kpi_minute_sums';

CREATE TABLE IF NOT EXISTS kpi_values
(
    kpi LowCardinality(String) COMMENT 'KPI id',
    by LowCardinality(String) DEFAULT arrayStringConcat(mapKeys(labels), ',')
        COMMENT 'names of the labels, in alphabetical order; empty: the whole',
    labels Map(LowCardinality(String), String) COMMENT 'label values, in the order of their names',
    window LowCardinality(String) COMMENT 'length of the window (1m, 1h, …), or total: since the beginning',
    stat LowCardinality(String) COMMENT 'of a quantile: which, e.g. p95; empty otherwise',
    at DateTime('UTC') COMMENT 'end of the window' CODEC(DoubleDelta, ZSTD(1)),
    value Nullable(Float64) COMMENT 'NULL: nothing was answered or tried; never 0 for that' CODEC(ZSTD(1)),
    n UInt64 COMMENT 'answers or trials in the window' CODEC(T64, ZSTD(1)),
    lo Nullable(Float64) COMMENT 'lower end of the 95 % interval; NULL: there is none' CODEC(ZSTD(1)),
    hi Nullable(Float64) COMMENT 'upper end of the 95 % interval; NULL: there is none' CODEC(ZSTD(1)),
    definition LowCardinality(String) COMMENT 'KPI id and hash of the definition that gave the number',
    maturity Enum8('open' = 1, 'closed' = 2) COMMENT 'closed: no more events are expected for the window',
    revision UInt64 COMMENT 'grows with what the row contains' CODEC(Delta, ZSTD(1)),
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(at)
ORDER BY (kpi, by, labels, window, stat, at)
TTL updated_at + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 20000, merge_with_ttl_timeout = 86400, index_granularity = 2048
COMMENT 'Rolling values as they were published, each with its sample size and interval';

CREATE TABLE IF NOT EXISTS kpis
(
    id LowCardinality(String) COMMENT 'KPI id',
    name String COMMENT 'name for people',
    question String COMMENT 'what its readers want to know',
    unit LowCardinality(String) COMMENT 'unit of the value',
    direction LowCardinality(String) COMMENT 'up: more is better; down: less is better; none',
    class LowCardinality(String) COMMENT 'A counter, B duration, C matured, D cohort',
    aggregator LowCardinality(String) COMMENT 'count, sum, ratio, mean, nps or quantile',
    formula String COMMENT 'how it is computed, in words',
    source String COMMENT 'where the definition comes from',
    owner String COMMENT 'who answers for it',
    groupings Array(Array(String)) COMMENT 'label names it is kept for',
    min_n_show UInt32 COMMENT 'answers needed before it is shown',
    min_n_colour UInt32 COMMENT 'answers needed before it is coloured by its target',
    min_n_alert UInt32 COMMENT 'answers needed before it can alert',
    maturity LowCardinality(String) COMMENT 'whether later events may still change it',
    scale UInt32 COMMENT 'steps per unit in which values are kept',
    quantiles Array(Float64) COMMENT 'published quantiles, the headline first',
    definition LowCardinality(String) COMMENT 'id and hash of what the numbers mean',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was stored'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY id
COMMENT 'The KPI catalogue';

CREATE TABLE IF NOT EXISTS sketch_bins
(
    bin Int32 COMMENT 'index of the bin',
    estimate UInt64 COMMENT 'value that stands for the bin, in thousandths of a step'
)
ENGINE = ReplacingMergeTree
ORDER BY bin
COMMENT 'Values of the bins of quantile sketches, for reading kpi_minutes.bins';

CREATE TABLE IF NOT EXISTS touchpoints
(
    touchpoint LowCardinality(String) COMMENT 'as in events.touchpoint',
    name String COMMENT 'name for people',
    channel LowCardinality(String) COMMENT 'web, app, store or call_center; empty: several',
    stage LowCardinality(String) COMMENT 'journey stage',
    owner String COMMENT 'who answers for it',
    target_kpi LowCardinality(String) COMMENT 'KPI it is judged by; empty: none',
    target Nullable(Float64) COMMENT 'value to reach, in the unit of that KPI',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was stored'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY touchpoint
COMMENT 'The touchpoint dictionary';
