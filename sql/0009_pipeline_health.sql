-- Ranges of records and refused records are counted by KPIs like events: when, and how far their source was by then.
-- Rows from before have no such time (1970), and are in none of these KPIs.

ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS counted_at DateTime64(3, 'UTC')
    COMMENT 'event time at which KPIs count the range; 1970: they do not' CODEC(Delta, ZSTD(1));
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS taken_at DateTime64(3, 'UTC')
    COMMENT 'when its first record was taken in' CODEC(Delta, ZSTD(1));
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS newest_at DateTime64(3, 'UTC')
    COMMENT 'newest event time of the source after the range; 1970: it had no event yet' CODEC(Delta, ZSTD(1));
ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS counted_at DateTime64(3, 'UTC')
    COMMENT 'event time at which KPIs count it, that of its range; 1970: they do not' CODEC(Delta, ZSTD(1));
