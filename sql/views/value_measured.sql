CREATE OR REPLACE VIEW value_measured AS
SELECT
    since, until, month, measure, unit, tier, currency, value, lo, hi, n, if(complete, 'closed', 'open') AS maturity,
    measured_at
FROM value_measures FINAL
COMMENT 'Customer value of periods, of all customers and by tier, as the newest run of each found it';

ALTER TABLE value_measured
    COMMENT COLUMN since 'start of the period, included',
    COMMENT COLUMN until 'end of the period, not included',
    COMMENT COLUMN month 'its name, if it is a month',
    COMMENT COLUMN measure 'retention, churn, arpu, order_value, repeat_revenue_share, clv_historic, clv_predictive or revenue',
    COMMENT COLUMN unit 'percent, or money of the currency',
    COMMENT COLUMN tier 'of customers, as they were when the period began; new: without purchases before; empty: all of them',
    COMMENT COLUMN currency 'empty: the measure is not of money',
    COMMENT COLUMN value 'NULL: there is none',
    COMMENT COLUMN lo 'lower end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN hi 'upper end of the 95 % interval; NULL: there is none',
    COMMENT COLUMN n 'customers, of order_value purchases',
    COMMENT COLUMN maturity 'closed: the period is over; open: it was not, and numbers rise still',
    COMMENT COLUMN measured_at 'when it was worked out';
