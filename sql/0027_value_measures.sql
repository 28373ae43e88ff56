-- What `cx value publish` found of a period: one row for each measure, tier and currency. Of each the newest run counts:
-- read with FINAL, or through the view `value_measured`.

CREATE TABLE IF NOT EXISTS value_measures
(
    since DateTime64(3, 'UTC') COMMENT 'start of the period, included',
    until DateTime64(3, 'UTC') COMMENT 'end of the period, not included',
    month LowCardinality(String) COMMENT 'its name, if it is a month',
    measure LowCardinality(String) COMMENT 'retention, churn, arpu, order_value, repeat_revenue_share, clv_historic, clv_predictive or revenue',
    unit LowCardinality(String) COMMENT 'percent, or money of the currency',
    tier LowCardinality(String) COMMENT 'of customers, as they were when the period began; empty: all of them',
    currency LowCardinality(String) COMMENT 'empty: the measure is not of money',
    value Nullable(Float64) COMMENT 'NULL: there is none',
    lo Nullable(Float64) COMMENT 'lower end of the 95 % interval; NULL: there is none',
    hi Nullable(Float64) COMMENT 'upper end of the 95 % interval; NULL: there is none',
    n UInt64 COMMENT 'customers, of order_value purchases',
    complete Bool COMMENT 'whether the period was over',
    measured_at DateTime64(3, 'UTC') COMMENT 'when it was worked out',
    updated_at DateTime DEFAULT now() COMMENT 'when it was stored' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(measured_at)
ORDER BY (measure, tier, currency, since, until)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Customer value of periods, of all customers and by tier';
