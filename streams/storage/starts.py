"""What the store has when a worker starts: up to where sources are stored, and under which topics."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.language.series import LABEL_FORM
from streams.storage.connection import FAILURES, Address, connect, explain, never_a_repeat

_TABLES: Final = ("outcomes", "events", "dead_letters", "kpi_minutes", "kpi_values", "starts")

# Records whose range has no balance yet: the insert of it was cut off between two tables.
_BEYOND: Final = """
    SELECT topic, partition, min(offset), max(offset), countIf(kind = 1), countIf(kind = 2), countIf(kind = 0),
        countIf(kind = 4)
    FROM (
        SELECT topic, partition, offset, toUInt8(outcome) AS kind FROM events
        UNION ALL SELECT topic, partition, offset, if(outcome = 'conflict', 4, 0) FROM dead_letters
    ) AS stored
    LEFT JOIN (
        SELECT topic, partition, max(last) AS last, 1 AS known FROM outcomes GROUP BY topic, partition
    ) AS marks USING (topic, partition)
    WHERE known = 0 OR offset > last
    GROUP BY topic, partition"""


@dataclass(frozen=True, slots=True)
class Start:
    """A topic as workers found it when an epoch began."""

    epoch: int
    topic: str
    topic_id: str
    partitions: int
    begins: tuple[int, ...]
    labels: int = LABEL_FORM
    """Rule by which workers of the epoch make labels."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """Records of a source that are stored behind its newest balance: positions, and how many of which outcome."""

    topic: str
    partition: int
    first: int
    last: int
    counted: int
    late: int
    bad: int
    conflict: int


def has_tables(store: Address) -> bool:
    """Return whether the tables are there that are looked at. Raises StorageError when the store does not answer."""
    with closing(connect(store, database="", timeout_s=10.0)) as client:
        try:
            [(found,)] = client.query(
                "SELECT uniqExact(table) FROM system.columns WHERE database = {database:String}"
                " AND table IN {names:Array(String)} AND (table != 'starts' OR name = 'labels')",
                parameters={"database": store.database, "names": list(_TABLES)},
            ).result_rows
        except FAILURES as error:
            raise explain(error, f"looking for the tables of {store.database}") from error
    return bool(found == len(_TABLES))


def marks(client: Client) -> dict[tuple[str, int], int]:
    """Return the newest position of every source whose balance is stored. Raises FAILURES."""
    rows = client.query("SELECT topic, partition, max(last) FROM outcomes GROUP BY topic, partition").result_rows
    return {(topic, partition): last for topic, partition, last in rows}


def beyond(client: Client) -> list[Beyond]:
    """Return what is stored behind the newest balance of its source. Raises FAILURES."""
    return [Beyond(*row) for row in client.query(_BEYOND).result_rows]


def add_balances(client: Client, rows: Iterable[Beyond]) -> None:
    """Give records without a balance one: of the rest of their range nothing is known. Raises FAILURES."""
    balances = [
        [
            one.topic,
            one.partition,
            one.first,
            one.last,
            one.counted + one.late + one.bad + one.conflict,
            one.counted,
            0,
            one.late,
            one.bad,
            one.conflict,
        ]
        for one in rows
    ]
    if balances:
        names = ["topic", "partition", "first", "last", "read", "counted", "duplicate", "late", "bad", "conflict"]
        client.insert("outcomes", balances, column_names=names, settings=never_a_repeat())


def starts(client: Client) -> list[Start]:
    """Return the topics of every epoch. Raises FAILURES."""
    rows = client.query(
        "SELECT epoch, topic, topic_id, partitions, begins, labels FROM starts FINAL ORDER BY epoch, topic"
    ).result_rows
    return [Start(epoch, topic, id_, count, tuple(begins), form) for epoch, topic, id_, count, begins, form in rows]


def record_starts(client: Client, rows: Sequence[Start]) -> None:
    """Record topics as they are found. Raises FAILURES."""
    client.insert(
        "starts",
        [[row.epoch, row.topic, row.topic_id, row.partitions, list(row.begins), row.labels] for row in rows],
        column_names=["epoch", "topic", "topic_id", "partitions", "begins", "labels"],
        settings=never_a_repeat(),
    )


def record_label_form(client: Client) -> None:
    """Record that the series of the newest epoch are named by the rule of now. Raises FAILURES."""
    recorded = starts(client)
    newest = max((start.epoch for start in recorded), default=None)
    record_starts(client, [replace(start, labels=LABEL_FORM) for start in recorded if start.epoch == newest])


def has_minute(client: Client, kpi: str, labels: Mapping[str, str], minute_s: int, revision: int) -> bool:
    """Return whether what a minute holds of a series is stored, in this revision or a later one. Raises FAILURES."""
    return _has(client, "kpi_minutes", kpi, labels, f"minute = toDateTime({minute_s}, 'UTC')", revision)


def has_value(client: Client, kpi: str, labels: Mapping[str, str], at_s: int, revision: int) -> bool:
    """Return whether rolling values of a series are stored, in this revision or a later one. Raises FAILURES."""
    return _has(client, "kpi_values", kpi, labels, f"at = toDateTime({at_s}, 'UTC')", revision)


def _has(client: Client, table: str, kpi: str, labels: Mapping[str, str], when: str, revision: int) -> bool:
    sql = f"""
        SELECT count() FROM {table}
        WHERE kpi = {{kpi:String}} AND mapKeys(labels) = {{names:Array(String)}}
            AND mapValues(labels) = {{values:Array(String)}} AND {when} AND revision >= {{revision:UInt64}}"""  # noqa: S608
    parameters = {"kpi": kpi, "names": list(labels), "values": list(labels.values()), "revision": revision}
    [(found,)] = client.query(sql, parameters=parameters).result_rows
    return bool(found)
