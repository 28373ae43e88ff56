CREATE OR REPLACE VIEW kpi_minute_sums AS
SELECT kpi, by, labels, minute, sumForEach(fields) AS fields, sumMap(bins) AS bins, sum(n) AS n
FROM kpi_minutes FINAL
GROUP BY kpi, by, labels, minute
COMMENT 'What each minute holds of each KPI series';

ALTER TABLE kpi_minute_sums
    COMMENT COLUMN kpi 'KPI id',
    COMMENT COLUMN by 'names of the labels, in alphabetical order; empty: the whole',
    COMMENT COLUMN labels 'label values, in the order of their names',
    COMMENT COLUMN minute 'start of the minute of event time',
    COMMENT COLUMN fields 'sums of kpi_minutes.fields over the parts of the minute',
    COMMENT COLUMN bins 'sums of kpi_minutes.bins over the parts of the minute',
    COMMENT COLUMN n 'answers or trials';
