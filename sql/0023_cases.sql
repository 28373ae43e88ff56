-- Cases about unhappy customers, each as it stands after a change. The newest revision of a case takes the place of all
-- before it: read with FINAL. What happened to cases stands among the events as well, as cx.case.*.

CREATE TABLE IF NOT EXISTS cases
(
    case_id String COMMENT 'names the case for ever',
    subject String COMMENT 'key of the customer',
    cause LowCardinality(String) COMMENT 'why it was opened: id of a rule, or the reason that its sender gave',
    state Enum8('open' = 1, 'waiting' = 2, 'closed' = 3) COMMENT 'where it stands; waiting: for the customer',
    priority LowCardinality(String) COMMENT 'its priority, normal unless said otherwise',
    owner LowCardinality(String) COMMENT 'who answers for it; empty: nobody',
    channel LowCardinality(String) COMMENT 'where the customer was unhappy',
    touchpoint LowCardinality(String) COMMENT 'the touchpoint there',
    segment LowCardinality(String) COMMENT 'segment of the customer',
    tier LowCardinality(Nullable(String)) COMMENT 'what the customer is worth; NULL: not known',
    severity Nullable(Float64) COMMENT 'how bad it is, by the rule; NULL: not known',
    churn_risk Nullable(Float64) COMMENT 'probability that the customer leaves; NULL: not known',
    value Nullable(Float64) COMMENT 'money at stake; NULL: not known',
    opened DateTime64(3, 'UTC') COMMENT 'when the customer was unhappy',
    began DateTime64(3, 'UTC') COMMENT 'when its clocks began: at the opening or the last reopening',
    contact_due Nullable(DateTime64(3, 'UTC')) COMMENT 'by when the customer is to be contacted; NULL: no time is set',
    contacted Nullable(DateTime64(3, 'UTC')) COMMENT 'when that was done; NULL: not yet',
    contacted_by LowCardinality(String) COMMENT 'by whom',
    close_due Nullable(DateTime64(3, 'UTC')) COMMENT 'by when it is to be closed; NULL: no time is set',
    closed Nullable(DateTime64(3, 'UTC')) COMMENT 'when that was done; NULL: not yet',
    outcome LowCardinality(String) COMMENT 'how it ended: rescued, lost, unreachable, informed, satisfied or unsatisfied',
    reopened UInt32 COMMENT 'how often it came back',
    missed Array(LowCardinality(String)) COMMENT 'clocks that ended before what they wait for: contact, close',
    facts UInt32 COMMENT 'how many facts it is about',
    partition UInt32 COMMENT 'of the touchpoint topics, where its events are',
    version UInt32 COMMENT 'to be named by whoever acts on it as it stands',
    revision UInt64 COMMENT 'counts what has changed',
    story String COMMENT 'JSON array: what has happened, and what was refused' CODEC(ZSTD(1)),
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY case_id
SETTINGS non_replicated_deduplication_window = 20000
COMMENT 'Cases about unhappy customers, as they stand';
