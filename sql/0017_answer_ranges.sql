-- Intervals of means stay in the range of single answers, see docs/INTERVALS.md.

ALTER TABLE kpis
    ADD COLUMN IF NOT EXISTS low Nullable(Float64) COMMENT 'least value of a single answer; NULL: there is none' AFTER scale,
    ADD COLUMN IF NOT EXISTS high Nullable(Float64) COMMENT 'greatest value of a single answer; NULL: there is none' AFTER low;
