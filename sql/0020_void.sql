-- Sums that have no value although something was counted: hits that nobody was ever seen to send, several currencies.

ALTER TABLE kpis
    ADD COLUMN IF NOT EXISTS void String DEFAULT '' COMMENT 'why something was counted and there is no value; empty: there is one' AFTER definition;
