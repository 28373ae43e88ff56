CREATE OR REPLACE VIEW kpi_series AS
SELECT *
FROM {db}.kpi_steps(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = {step:UInt32},
    bounds = (SELECT bounds FROM {db}.step_bounds(from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = {step:UInt32})))
COMMENT 'kpi_series(kpi=, from=, to=, step=): a KPI per series and step of so many seconds, with its interval; hours, days and weeks are those of CX_ZONE';
