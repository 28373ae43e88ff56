-- KPIs that are computed of other KPIs are there as rolling values only: nothing of theirs could be added up per minute.
-- Asked for a window that is kept, they answer with what was published last in it.
CREATE OR REPLACE VIEW kpi AS
SELECT kpi, by, labels, stat, value, n, lo, hi, maturity, unit, definition
FROM {db}.kpi_steps(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = 0, bounds = [])
UNION ALL
SELECT
    kpi, by, labels, stat, held.1 AS value, held.2 AS n, held.3 AS lo, held.4 AS hi,
    if({to:DateTime('UTC')} <= (SELECT max(at) FROM kpi_newest WHERE kpi = {kpi:String}), 'closed', 'open') AS maturity,
    toLowCardinality(assumeNotNull((SELECT any(unit) FROM kpis FINAL WHERE id = {kpi:String}))) AS unit,
    toLowCardinality(held.5) AS definition
FROM
(
    SELECT kpi, by, labels, stat, argMax((value, n, lo, hi, definition), (at, revision)) AS held
    FROM kpi_values
    WHERE (SELECT any(aggregator) FROM kpis FINAL WHERE id = {kpi:String}) = 'derived'
        AND kpi = {kpi:String} AND maturity = 'closed'
        AND at > {from:DateTime('UTC')} AND at <= {to:DateTime('UTC')}
        AND toUInt32OrZero(extract(window, '^[0-9]+')) * transform(right(window, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0)
            = {to:DateTime('UTC')} - {from:DateTime('UTC')}
    GROUP BY kpi, by, labels, stat
)
COMMENT 'kpi(kpi=, from=, to=): a KPI per series over a window, with its interval; one made of others only over windows that are kept';
