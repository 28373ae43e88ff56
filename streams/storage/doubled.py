"""
Rows of the store that are there twice, and how one of them is taken away.

Versions before the lease could store the records of a range twice, when a worker was paused and replaced. KPIs are not
concerned: they do not come from these tables.

Taking away may be stopped at any time and goes on when it is called again. On one server one copy of each row is set
beside first, then all of them are deleted, then the copy is put back. On a cluster the copies are merged away: replicas
delete each for itself, and must not ask a table for what to delete.
"""

from typing import Final

from clickhouse_connect.driver.client import Client

from streams.storage.connection import never_a_repeat

KEYS: Final = {
    "events": ("topic", "partition", "offset"),
    "dead_letters": ("topic", "partition", "offset", "reason"),
    "outcomes": ("topic", "partition", "first", "last"),
}
"""What names a row of each table."""

_SORTED: Final = {**KEYS, "events": ("type", "time", *KEYS["events"])}
"""The same with all columns by which a table is sorted and split."""

_BESIDE: Final = "{}_doubled"
_MERGED_AT_ONCE: Final = {"alter_sync": 2, "optimize_throw_if_noop": 1, "distributed_ddl_task_timeout": 3600}


def find(client: Client) -> dict[str, int]:
    """Count the rows that are there more than once, by table; rows beyond the first of each count."""
    found = {}
    for table, keys in KEYS.items():
        [[doubled]] = client.query(
            f"SELECT sum(copies - 1) FROM (SELECT count() AS copies FROM {table} GROUP BY {', '.join(keys)}"  # noqa: S608
            " HAVING copies > 1)"
        ).result_rows
        found[table] = int(doubled) + (_kept_beside(client, table) or 0)
    return found


def take_away(client: Client, cluster: str = "") -> dict[str, int]:
    """
    Leave one of each row that is there more than once; return how many were taken away, by table.

    No worker need be stopped: rows that come meanwhile are others. The account must be allowed to create, alter and
    drop tables, as that of `cx migrate` is. On a cluster each replica needs room for its largest partition once more.
    """
    found = find(client)
    for table, doubled in found.items():
        if doubled and cluster:
            client.command(
                f"OPTIMIZE TABLE {table}_local ON CLUSTER {cluster} FINAL DEDUPLICATE BY {', '.join(_SORTED[table])}",
                settings=_MERGED_AT_ONCE,
            )
        elif doubled:
            _set_beside(client, table)
    return found


def _set_beside(client: Client, table: str) -> None:
    keys, beside = ", ".join(KEYS[table]), _BESIDE.format(table)
    columns = ", ".join(f"`{name}`" for name in _columns(client, table))
    if not _kept_beside(client, table):
        client.command(f"CREATE TABLE IF NOT EXISTS {beside} AS {table}")
        client.command(
            f"INSERT INTO {beside} ({columns}) SELECT {columns} FROM {table} WHERE ({keys}) IN"  # noqa: S608
            f" (SELECT {keys} FROM {table} GROUP BY {keys} HAVING count() > 1) LIMIT 1 BY {keys}",
            settings=never_a_repeat(),
        )
    client.command(
        f"ALTER TABLE {table} DELETE WHERE ({keys}) IN (SELECT {keys} FROM {beside})"  # noqa: S608
        " SETTINGS mutations_sync = 2"
    )
    client.command(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {beside}",  # noqa: S608
        settings=never_a_repeat(),
    )
    client.command(f"DROP TABLE {beside} SYNC")


def _columns(client: Client, table: str) -> list[str]:
    """Return the columns that have values of their own."""
    rows = client.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        " AND default_kind NOT IN ('EPHEMERAL', 'ALIAS', 'MATERIALIZED') ORDER BY position",
        parameters={"table": table},
    ).result_rows
    return [name for (name,) in rows]


def _kept_beside(client: Client, table: str) -> int | None:
    """Count the rows that a repair which was stopped has set beside; None without one."""
    beside = _BESIDE.format(table)
    [[there]] = client.query(f"EXISTS TABLE {beside}").result_rows
    if not there:
        return None
    [[rows]] = client.query(f"SELECT count() FROM {beside}").result_rows  # noqa: S608
    return int(rows)
