CREATE OR REPLACE VIEW actions_now AS
SELECT
    outcome, judged_at, unit, since, until, n, place, standing, why, action, driver, now AS level, goal, how, owner, days,
    gain, gain_lo, gain_hi, each, q, customers, money, at_stake, currency, worth, together, basis, experiment, shown
FROM driver_actions
WHERE (outcome, judged_at) IN (SELECT outcome, max(judged_at) FROM driver_actions GROUP BY outcome)
COMMENT 'Actions on drivers of satisfaction as the newest run of each outcome ranked them';

ALTER TABLE actions_now
    COMMENT COLUMN outcome 'what is to rise: csat, satisfied, nps or ces',
    COMMENT COLUMN judged_at 'when it was judged',
    COMMENT COLUMN unit 'of gain and each',
    COMMENT COLUMN since 'when the first answer was given',
    COMMENT COLUMN until 'when the last answer was given',
    COMMENT COLUMN n 'answers that it is made of',
    COMMENT COLUMN place 'in its order, from 1 on; 0: it has no place',
    COMMENT COLUMN standing 'whether it has a place',
    COMMENT COLUMN why 'why it has none; empty: it has, or there is no plan',
    COMMENT COLUMN action 'id of the action; empty: nobody has a plan',
    COMMENT COLUMN driver 'what is brought down',
    COMMENT COLUMN level 'median of the driver where it is above the limit; NULL: nobody is',
    COMMENT COLUMN goal 'level that it is brought to; empty: not known',
    COMMENT COLUMN how 'what is done',
    COMMENT COLUMN owner 'who would do it; empty: nobody',
    COMMENT COLUMN days 'days of work; NULL: there is no plan',
    COMMENT COLUMN gain 'what the mean of all answers gains; NULL: answers cannot tell',
    COMMENT COLUMN gain_lo 'lower end of its 95 % interval',
    COMMENT COLUMN gain_hi 'upper end of its 95 % interval',
    COMMENT COLUMN each 'what those gain who are above the limit',
    COMMENT COLUMN q 'least share of false discoveries at which it is kept',
    COMMENT COLUMN customers 'customers a month who are above the limit, of those who answered',
    COMMENT COLUMN money 'money of each of them a month; NULL: not known',
    COMMENT COLUMN at_stake 'money of all of them a month; NULL: not known',
    COMMENT COLUMN currency 'of money; empty: not known',
    COMMENT COLUMN worth 'each * customers * money / days, by which the place is; NULL: there is no plan',
    COMMENT COLUMN together 'drivers that it cannot well be taken apart from',
    COMMENT COLUMN basis 'what it rests on: association or experiment',
    COMMENT COLUMN experiment 'id of the experiment that the action names; empty: none',
    COMMENT COLUMN shown 'what that shows; empty: nothing yet';
