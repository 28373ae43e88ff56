-- What a KPI's owner aims at: the page colours by the same targets as the dashboards.

ALTER TABLE kpis
    ADD COLUMN IF NOT EXISTS target Nullable(Float64) COMMENT 'value to reach, in the unit of the KPI; NULL: none' AFTER min_n_alert;
