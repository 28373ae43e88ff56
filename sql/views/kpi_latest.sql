CREATE OR REPLACE VIEW kpi_latest AS
SELECT kpi, by, labels, window, stat, at AS as_of, value, n, lo, hi, 'closed' AS maturity, definition
FROM kpi_newest FINAL
COMMENT 'The newest closed value of every KPI series and window';

ALTER TABLE kpi_latest
    COMMENT COLUMN kpi 'KPI id',
    COMMENT COLUMN by 'names of the labels, in alphabetical order; empty: the whole',
    COMMENT COLUMN labels 'label values, in the order of their names',
    COMMENT COLUMN window 'length of the window (1m, 1h, …), or total: since the beginning',
    COMMENT COLUMN stat 'of a quantile: which, e.g. p95; empty otherwise',
    COMMENT COLUMN as_of 'end of the window',
    COMMENT COLUMN value 'NULL: nothing was answered or tried; never 0 for that',
    COMMENT COLUMN n 'answers or trials in the window',
    COMMENT COLUMN lo 'lower end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN hi 'upper end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN maturity 'closed: no more events are expected for the window',
    COMMENT COLUMN definition 'KPI id and hash of the definition that gave the number';
