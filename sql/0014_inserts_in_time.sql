-- An insert may be held up on its way, in a process that was stopped or in a network, until its sender's partitions belong
-- to somebody else, who has stored the same records under another token by then. So an insert of a worker says until when
-- it may take effect, in Unix milliseconds of this server's clock, and is refused when it comes later. It says so in its
-- log comment, the one text that every server hands through; inserts without it are taken as before.

ALTER TABLE events ADD CONSTRAINT IF NOT EXISTS in_time CHECK getSetting('log_comment') NOT LIKE 'cx-until %'
    OR toUnixTimestamp64Milli(now64(3)) <= toUInt64OrZero(substring(getSetting('log_comment'), 10));

ALTER TABLE dead_letters ADD CONSTRAINT IF NOT EXISTS in_time CHECK getSetting('log_comment') NOT LIKE 'cx-until %'
    OR toUnixTimestamp64Milli(now64(3)) <= toUInt64OrZero(substring(getSetting('log_comment'), 10));

ALTER TABLE outcomes ADD CONSTRAINT IF NOT EXISTS in_time CHECK getSetting('log_comment') NOT LIKE 'cx-until %'
    OR toUnixTimestamp64Milli(now64(3)) <= toUInt64OrZero(substring(getSetting('log_comment'), 10));
