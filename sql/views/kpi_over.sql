CREATE OR REPLACE VIEW kpi_over AS
SELECT
    labels, stat, value, n, lo, hi, asked.maturity AS maturity, unit,
    kpis.maturity AS kpi_maturity,
    n >= kpis.min_n_show AS enough,
    from_at AS from, to_at AS to, definition
FROM {db}.kpi(
    kpi = {kpi:String},
    from = (SELECT max(at) - toUInt32OrZero(extract({window:String}, '^[0-9]+'))
        * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0)
        FROM {db}.kpi_newest WHERE kpi = {kpi:String}),
    to = (SELECT max(at) FROM {db}.kpi_newest WHERE kpi = {kpi:String})
) AS asked
INNER JOIN
(
    SELECT id, maturity, min_n_show, to_at,
        to_at - toUInt32OrZero(extract({window:String}, '^[0-9]+'))
            * transform(right({window:String}, 1), ['m', 'h', 'd'], [60, 3600, 86400], 0) AS from_at
    FROM kpis FINAL
    CROSS JOIN (SELECT max(at) AS to_at FROM kpi_newest WHERE kpi = {kpi:String}) AS newest
    WHERE id = {kpi:String}
) AS kpis ON asked.kpi = kpis.id
WHERE by = arrayStringConcat(arraySort(mapKeys({labels:Map(String, String)})), ',')
    AND arrayAll((name, wanted) -> wanted = '*' OR labels[name] = wanted,
        mapKeys({labels:Map(String, String)}), mapValues({labels:Map(String, String)}))
ORDER BY n DESC, labels, stat
COMMENT 'kpi_over(kpi=, window=, labels=): a KPI by labels over the newest closed minutes, hours or days, with interval';
