-- What a KPI is called in Persian, as its definition says.

ALTER TABLE kpis
    ADD COLUMN IF NOT EXISTS name_fa String COMMENT 'name for people who read Persian; empty: as in name' AFTER name;
