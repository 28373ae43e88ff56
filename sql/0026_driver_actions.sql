-- What `cx drivers actions --publish` found: one row for each action, and for each driver that nobody has a plan for.

CREATE TABLE IF NOT EXISTS driver_actions
(
    judged_at DateTime64(3, 'UTC') COMMENT 'when it was judged; all rows of a run have the same',
    outcome LowCardinality(String) COMMENT 'what is to rise: csat, satisfied, nps or ces',
    unit LowCardinality(String) COMMENT 'of gain and each',
    since DateTime64(3, 'UTC') COMMENT 'when the first answer was given',
    until DateTime64(3, 'UTC') COMMENT 'when the last answer was given',
    n UInt64 COMMENT 'answers that it is made of',
    place UInt16 COMMENT 'in its order, from 1 on; 0: it has no place',
    standing Enum8('ranked' = 1, 'without a plan' = 2, 'not sure yet' = 3) COMMENT 'whether it has a place',
    why String COMMENT 'why it has none; empty: it has, or there is no plan',
    action LowCardinality(String) COMMENT 'id of the action; empty: nobody has a plan',
    driver LowCardinality(String) COMMENT 'what is brought down',
    now Nullable(Float64) COMMENT 'median of the driver where it is above the limit; NULL: nobody is',
    goal LowCardinality(String) COMMENT 'level that it is brought to; empty: not known',
    how String COMMENT 'what is done',
    owner LowCardinality(String) COMMENT 'who would do it; empty: nobody',
    days Nullable(Float64) COMMENT 'days of work; NULL: there is no plan',
    gain Nullable(Float64) COMMENT 'what the mean of all answers gains; NULL: answers cannot tell',
    gain_lo Nullable(Float64) COMMENT 'lower end of its 95 % interval',
    gain_hi Nullable(Float64) COMMENT 'upper end of its 95 % interval',
    each Nullable(Float64) COMMENT 'what those gain who are above the limit',
    q Nullable(Float64) COMMENT 'least share of false discoveries at which it is kept',
    customers Float64 COMMENT 'customers a month who are above the limit, of those who answered',
    money Nullable(Float64) COMMENT 'money of each of them a month; NULL: not known',
    at_stake Nullable(Float64) COMMENT 'money of all of them a month; NULL: not known',
    currency LowCardinality(String) COMMENT 'of money; empty: not known',
    worth Nullable(Float64) COMMENT 'each * customers * money / days, by which the place is; NULL: there is no plan',
    together Array(LowCardinality(String)) COMMENT 'drivers that it cannot well be taken apart from',
    basis Enum8('association' = 1, 'experiment' = 2) COMMENT 'what it rests on',
    experiment LowCardinality(String) COMMENT 'id of the experiment that the action names; empty: none',
    shown String COMMENT 'what that shows; empty: nothing yet',
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (outcome, judged_at, place, driver, action)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Actions on drivers of satisfaction, as each run ranked them';
