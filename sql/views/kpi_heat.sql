CREATE OR REPLACE VIEW kpi_heat AS
SELECT
    labels['channel'] AS channel, labels['touchpoint'] AS touchpoint,
    touchpoints.name AS name, touchpoints.stage AS stage, touchpoints.owner AS owner,
    stat, value, n, lo, hi, maturity, unit, if(target_kpi = {kpi:String}, target, NULL) AS target,
    multiIf(isNull(target) OR n = 0, '', hi < target, 'below', lo > target, 'above', 'near') AS standing
FROM {db}.kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}) AS asked
LEFT JOIN (SELECT * FROM touchpoints FINAL) AS touchpoints ON asked.labels['touchpoint'] = touchpoints.touchpoint
WHERE by = 'channel,touchpoint'
COMMENT 'kpi_heat(kpi=, from=, to=): a KPI by channel and touchpoint, with names, and where it stands to its target';
