-- What the clocks of the organisation show: `cx migrate` and `cx up` write CX_ZONE and CX_WEEK_STARTS here, for views that
-- give a KPI by day, week or hour.

CREATE TABLE IF NOT EXISTS business_clock
(
    id UInt8 DEFAULT 0 COMMENT 'there is one',
    zone LowCardinality(String) COMMENT 'time zone',
    since Array(UInt32) COMMENT 'Unix seconds from which on each offset holds',
    offsets Array(Int32) COMMENT 'seconds that clocks are ahead of UTC',
    week Int32 COMMENT 'seconds from 1970-01-01 00:00, as clocks showed it, to the first day that begins a week',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was written'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY id
COMMENT 'The clocks whose days and weeks kpi_series gives';
