CREATE OR REPLACE DICTIONARY kpi_facts
(
    id String,
    name String,
    unit String,
    direction String,
    aggregator String,
    owner String,
    min_n_show UInt32,
    min_n_colour UInt32,
    maturity String,
    definition String
)
PRIMARY KEY id
SOURCE(CLICKHOUSE(NAME cx_dictionaries INVALIDATE_QUERY 'SELECT max(updated_at) FROM {db}.kpis' QUERY '
    SELECT id, name, unit, direction, aggregator, owner, min_n_show, min_n_colour, maturity, definition
    FROM {db}.kpis FINAL'))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 5 MAX 15)
COMMENT 'The KPI catalogue for dictGet: dictGet(''cx.kpi_facts'', ''name'', kpi)';
