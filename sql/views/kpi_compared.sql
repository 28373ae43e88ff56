CREATE OR REPLACE VIEW kpi_compared AS
SELECT
    kpi, by, labels, stat, value, n, lo, hi, maturity,
    before.value AS before, before.n AS before_n, before.lo AS before_lo, before.hi AS before_hi,
    value - before.value AS change,
    -- Two intervals that do not meet: a stricter test than one of the difference.
    multiIf(lo > before.hi, 'up', hi < before.lo, 'down', isNull(lo + hi + before.lo + before.hi), '', 'same') AS moved,
    unit, definition
FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}) AS now
LEFT JOIN
(
    SELECT kpi, by, labels, stat, value, n, lo, hi
    FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')} - {ago:UInt32}, to = {to:DateTime('UTC')} - {ago:UInt32})
) AS before USING (kpi, by, labels, stat)
SETTINGS join_use_nulls = 1
COMMENT 'kpi_compared(kpi=, from=, to=, ago=): a KPI per series, beside the same window so many seconds earlier';
