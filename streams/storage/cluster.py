"""
The same schema on several machines: statements written for one server, rewritten for a cluster.

Large tables are split among the shards: `events` becomes `events_local`, replicated within its shard, and `events`
itself a Distributed table over all of them, so that inserts, views and questions stay as they are. What is small is
kept whole on every machine. Sums over KPI rows are made where the rows are, by each machine for itself.

| table | shard by | why |
|---|---|---|
| events | customer | what one customer did is in one place |
| KPI tables | KPI | minutes, sums and marks of a KPI are in one place, and a question about it goes to one shard |
| dead letters, balances | source partition | as they come |
"""

import re
from typing import Final

from streams.storage.statements import outside_quotes

SHARD_KEYS: Final = {
    "events": "sipHash64(subject)",
    "dead_letters": "cityHash64(topic, partition)",
    "outcomes": "cityHash64(topic, partition)",
    "kpi_minutes": "cityHash64(kpi)",
    "kpi_values": "cityHash64(kpi)",
    "kpi_hours": "cityHash64(kpi)",
    "kpi_days": "cityHash64(kpi)",
    "kpi_spans": "cityHash64(kpi)",
    "kpi_newest": "cityHash64(kpi)",
}
"""Tables that are split, and what decides where a row is."""

OWN: Final = frozenset({"kpi_spans_due"})
"""Tables that every machine has for itself alone."""

_TABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\s")
_ENGINE: Final = re.compile(r"\bENGINE = (\w*MergeTree)(\(([^()]*)\))?")
_CREATE: Final = re.compile(
    r"(CREATE (?:TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS|CREATE OR REPLACE (?:VIEW|DICTIONARY)"
    r"|DROP (?:VIEW|TABLE) IF EXISTS|ALTER TABLE|SYSTEM REFRESH VIEW) (\w+)"
)
_ALTER: Final = re.compile(r"ALTER TABLE (\w+)\s")
_SPLIT: Final = re.compile(rf"(?<![\w.])({'|'.join(SHARD_KEYS)})(?!\w)")


def stored_in(table: str, cluster: str) -> str:
    """Return the table that has the rows: on a cluster, of one that is split, its part on each machine."""
    return f"{table}_local" if cluster and table in SHARD_KEYS else table


def for_cluster(statement: str, cluster: str, database: str) -> list[str]:
    """
    Rewrite a statement of ours for a cluster; one statement may become two.

    Args:
        statement: One of a migration; names of the database are filled in already.
        cluster: As in the server's `remote_servers`; every server has macros `shard` and `replica`.
        database: Where the tables are.

    Raises ValueError for a table whose engine cannot be replicated.
    """
    if table := _TABLE.match(statement):
        return _table(statement, table[1], cluster, database)
    if (alter := _ALTER.match(statement)) and alter[1] in SHARD_KEYS:
        # A Distributed table has columns, but no rows of its own that could be indexed or expire.
        names = [f"{alter[1]}_local"] + ([alter[1]] if re.match(r"\w+ COLUMN ", statement[alter.end() :]) else [])
        return [f"ALTER TABLE {name} ON CLUSTER {cluster} {statement[alter.end() :]}" for name in names]
    if statement.startswith("CREATE MATERIALIZED VIEW"):
        statement = outside_quotes(statement, lambda text: _SPLIT.sub(r"\1_local", text))
    return [_CREATE.sub(rf"\1 \2 ON CLUSTER {cluster}", statement, count=1)]


def _table(statement: str, name: str, cluster: str, database: str) -> list[str]:
    engine = _ENGINE.search(statement)
    if engine is None:
        raise ValueError(f"table {name}: expected an engine of the MergeTree family, in order to replicate it")
    split = name in SHARD_KEYS
    stored = f"{name}_local" if split else name
    made = _CREATE.sub(rf"\1 {stored} ON CLUSTER {cluster}", statement, count=1)
    if name in OWN:
        return [made]
    # On a path without the shard, all machines are replicas of one table.
    path = "/clickhouse/tables/{shard}/{database}/{table}" if split else "/clickhouse/tables/all/{database}/{table}"
    replica = "{replica}" if split else "{shard}-{replica}"
    arguments = ", ".join(filter(None, (f"'{path}'", f"'{replica}'", engine[3])))
    made = _ENGINE.sub(lambda _: f"ENGINE = Replicated{engine[1]}({arguments})", made, count=1)
    made = made.replace("non_replicated_deduplication_window =", "replicated_deduplication_window =")
    if not split:
        return [made]
    comment = re.search(r"\nCOMMENT '(?:[^'\\]|\\.|'')*'\s*$", statement)
    over = f"ENGINE = Distributed({cluster}, {database}, {stored}, {SHARD_KEYS[name]})"
    return [
        made,
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER {cluster} AS {stored}\n{over}{comment[0] if comment else ''}",
    ]
