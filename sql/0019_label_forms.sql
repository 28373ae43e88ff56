-- By which rule the labels of KPI series were made: workers that know a newer one name some series otherwise, so that the
-- stored ones have to be named anew before they go on. 0 is the rule from before it was recorded.

ALTER TABLE starts ADD COLUMN IF NOT EXISTS labels UInt16 COMMENT 'rule by which workers of this epoch make labels';
