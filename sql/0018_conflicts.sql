-- A repeat of an event (the same source and id) that says something else is neither counted nor a plain duplicate: it is a
-- conflict, and kept as a dead letter with this reason.

ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS conflict UInt64 DEFAULT 0
    COMMENT 'repeats that say something else; in dead_letters' CODEC(T64, ZSTD(1));
ALTER TABLE outcomes MODIFY COLUMN read UInt64
    COMMENT 'records read; the sum of the others' CODEC(T64, ZSTD(1));
ALTER TABLE dead_letters MODIFY COLUMN outcome
    Enum8('bad' = 0, 'counted' = 1, 'late' = 2, 'none' = 3, 'conflict' = 4) DEFAULT if(reason = 'conflict', 'conflict', 'bad')
    COMMENT 'bad: refused as a record; conflict: a repeat that says something else; counted, late: an event in the KPIs or not;
        none: a row of another table';
