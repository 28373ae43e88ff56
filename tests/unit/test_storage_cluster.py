"""The schema for a cluster, from the same statements."""

import re

import pytest

from streams.storage.cluster import OWN, SHARD_KEYS, for_cluster
from streams.storage.migrations import load, views
from streams.storage.statements import outside_quotes, split_statements

FILES = (*load(), *views())
STATEMENTS = [statement.replace("{db}", "`cx`") for one in FILES for statement in split_statements(one.text)]
WRITTEN = [written for statement in STATEMENTS for written in for_cluster(statement, "prod", "cx")]


def test_every_statement_is_for_all_machines_but_those_that_move_rows() -> None:
    """Rows that are copied once go through the Distributed tables to where they belong."""
    for written in WRITTEN:
        assert re.match(r"[A-Z ]+ \w+ ON CLUSTER prod\b", written) or written.startswith("INSERT INTO "), written[:80]


def test_large_tables_are_replicated_within_their_shard_and_distributed_over_all() -> None:
    """Both statements of each, with columns from one another, and tokens remembered by replicas."""
    for name, key in SHARD_KEYS.items():
        [stored] = [
            one for one in WRITTEN if one.startswith(f"CREATE TABLE IF NOT EXISTS {name}_local ON CLUSTER prod")
        ]
        [over] = [one for one in WRITTEN if one.startswith(f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER prod")]
        assert re.search(
            r"ENGINE = Replicated\w*MergeTree\('/clickhouse/tables/\{shard\}/\{database\}/\{table\}', '\{replica\}'",
            stored,
        )
        assert "non_replicated_deduplication_window" not in stored
        assert "replicated_deduplication_window = 20000" in stored
        assert f"AS {name}_local\nENGINE = Distributed(prod, cx, {name}_local, {key})" in over
        assert over.count("COMMENT") == 1


def test_small_tables_are_whole_on_every_machine() -> None:
    """On one path for all shards; what a machine plans for itself is replicated nowhere."""
    names = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\s")
    small = {match[1] for one in STATEMENTS if (match := names.match(one))} - SHARD_KEYS.keys() - OWN
    assert {"kpis", "touchpoints", "sketch_bins", "alerts"} <= small
    for name in small:
        [made] = [one for one in WRITTEN if one.startswith(f"CREATE TABLE IF NOT EXISTS {name} ")]
        assert "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'" in made
    [own] = [one for one in WRITTEN if one.startswith("CREATE TABLE IF NOT EXISTS kpi_spans_due ")]
    assert "ENGINE = MergeTree\n" in own


def test_arguments_of_engines_stay_the_last() -> None:
    """The version column decides which row is right, on a cluster as well."""
    assert any("'{replica}', revision)" in one for one in WRITTEN)
    assert any("'{shard}-{replica}', updated_at)" in one for one in WRITTEN)


def test_what_is_made_of_rows_is_made_where_the_rows_are() -> None:
    """Materialised views read and write tables of their machine; plain views read all."""
    for written in WRITTEN:
        if written.startswith("CREATE MATERIALIZED VIEW"):
            bare = outside_quotes(written, lambda text: text)
            assert not re.search(rf"\b(TO|FROM|JOIN) ({'|'.join(SHARD_KEYS)})\b", bare), written[:90]
        elif written.startswith("CREATE OR REPLACE VIEW"):
            assert "_local" not in written


def test_columns_change_on_both_tables_rows_on_one() -> None:
    """A Distributed table has no rows that could expire or be indexed."""
    assert for_cluster("ALTER TABLE events ADD COLUMN x UInt8", "c", "cx") == [
        "ALTER TABLE events_local ON CLUSTER c ADD COLUMN x UInt8",
        "ALTER TABLE events ON CLUSTER c ADD COLUMN x UInt8",
    ]
    for what in ("MODIFY TTL at + INTERVAL 1 DAY", "ADD INDEX i x TYPE minmax", "MATERIALIZE INDEX i"):
        assert for_cluster(f"ALTER TABLE events {what}", "c", "cx") == [f"ALTER TABLE events_local ON CLUSTER c {what}"]
    assert for_cluster("ALTER TABLE kpis ADD COLUMN x UInt8", "c", "cx") == [
        "ALTER TABLE kpis ON CLUSTER c ADD COLUMN x UInt8"
    ]


def test_a_table_that_cannot_be_replicated_is_refused() -> None:
    """Rather than to be there on some machines only."""
    with pytest.raises(ValueError, match="table t: expected an engine of the MergeTree family"):
        for_cluster("CREATE TABLE IF NOT EXISTS t\n(x UInt8) ENGINE = Log", "c", "cx")


def test_names_in_quotes_are_no_names() -> None:
    """A comment may speak of a table."""
    made = for_cluster("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO kpi_days AS SELECT 'events' FROM events", "c", "cx")
    assert made == [
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v ON CLUSTER c TO kpi_days_local AS SELECT 'events' FROM events_local"
    ]
