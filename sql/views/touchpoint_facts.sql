CREATE OR REPLACE DICTIONARY touchpoint_facts
(
    touchpoint String,
    name String,
    channel String,
    stage String,
    owner String,
    target_kpi String,
    target Nullable(Float64)
)
PRIMARY KEY touchpoint
SOURCE(CLICKHOUSE(NAME cx_dictionaries INVALIDATE_QUERY 'SELECT max(updated_at) FROM {db}.touchpoints' QUERY '
    SELECT touchpoint, name, channel, stage, owner, target_kpi, target FROM {db}.touchpoints FINAL'))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 5 MAX 15)
COMMENT 'The touchpoint dictionary for dictGet: dictGet(''cx.touchpoint_facts'', ''name'', touchpoint)';
