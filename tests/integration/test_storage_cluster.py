"""
The sharded schema on two real servers, each of them a shard.

The embedded server has a Keeper in memory only, enough to create replicated tables, not to insert into them. So the
sharded tables run without their replication, and all without ON CLUSTER, on one server after the other.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from streams.events.anonymous import NOBODY, names_for_nobody
from streams.kpis.arithmetic.coupons import bin_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.ports import free_port
from streams.storage import doubled, erasing
from streams.storage.cluster import SHARD_KEYS, for_cluster
from streams.storage.connection import Address, connect
from streams.storage.migrations import load, views
from streams.storage.statements import split_statements
from streams.storage.writer import DeadLetter, Writer
from tests.harness.clickhouse import Database, address_of, block_of, event

START = datetime(2026, 3, 1, tzinfo=UTC)
PASSWORDS = {"admin": "a" * 20, "writer": "w" * 20, "reader": "r" * 20}


def here(statement: str) -> str:
    """Take away what needs a Keeper."""
    statement = statement.replace(" ON CLUSTER prod", "")
    statement = re.sub(r"ENGINE = Replicated(\w+)\('[^']*', '[^']*'(?:, )?([^)]*)\)", r"ENGINE = \1(\2)", statement)
    return re.sub(r"(?<!non_)replicated_dedup", "non_replicated_dedup", statement)


def configure(folder: Path, ports: list[int]) -> None:
    """Tell a server which shards there are, and its users what `deploy/clickhouse/users.xml` tells them."""
    servers = ET.Element("clickhouse")
    cluster = ET.SubElement(ET.SubElement(servers, "remote_servers"), "prod")
    for port in ports:
        replica = ET.SubElement(ET.SubElement(cluster, "shard"), "replica")
        for name, value in (
            ("host", "127.0.0.1"),
            ("port", port),
            ("user", "cx_admin"),
            ("password", PASSWORDS["admin"]),
        ):
            ET.SubElement(replica, name).text = str(value)
    users = ET.Element("clickhouse")
    profiles = ET.SubElement(users, "profiles")
    for profile in ("default", "cx_reader"):
        settings = ET.SubElement(profiles, profile)
        ET.SubElement(settings, "distributed_foreground_insert").text = "1"
        ET.SubElement(settings, "distributed_product_mode").text = "global"
    for name, tree in (("config.d", servers), ("users.d", users)):
        (folder / "server" / name).mkdir(parents=True)
        ET.ElementTree(tree).write(folder / "server" / name / "shards.xml")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmbeddedClickHouse]]:
    """Two servers that know each other, with the sharded schema."""
    ports = [free_port(), free_port()]
    servers = []
    for place, port in enumerate(ports):
        folder = tmp_path_factory.mktemp(f"shard{place}")
        configure(folder, ports)
        servers.append(
            EmbeddedClickHouse(folder, tcp_port=port, passwords=PASSWORDS, memory_mb=1024, connect=ports).start()
        )
    try:
        for server in servers:
            with closing(connect(address_of(server), database="")) as client:
                client.command("CREATE DATABASE cx")
        for migration in (*load(), *views()):
            for statement in split_statements(migration.text):
                for written in for_cluster(statement.replace("{db}", "`cx`"), "prod", "cx"):
                    for server in servers[:1] if written.startswith("INSERT") else servers:
                        with closing(connect(address_of(server), timeout_s=60)) as client:
                            client.command(here(written))
        for server in servers:
            writer = Writer(address_of(server))
            writer.store_catalogue(Catalogue.load())
            writer.close()
            with closing(connect(address_of(server))) as client:
                # Nothing is summed up but when a test says so.
                client.command("SYSTEM STOP VIEW kpi_spans_plan")
        yield servers
    finally:
        for server in servers:
            server.stop()


def rows(address: Address, sql: str) -> Any:
    with closing(connect(address)) as client:
        return client.query(sql).result_rows


def test_what_one_writer_stores_is_on_both_and_read_from_either(
    shards: list[EmbeddedClickHouse], database: Database
) -> None:
    """Every event and row once, however often it was sent; the same answers as of one server that holds all."""
    catalogue = Catalogue.load()
    first = int(START.timestamp()) // 60
    minutes = [(kpi.id, first + place, 0, [5, place % 6], 1) for kpi in catalogue if kpi.aggregator == "ratio"
               for place in range(0, 2880, 30)]  # fmt: skip
    for address in (address_of(shards[0]), address_of(shards[0]), database.writer):
        writer = Writer(address)
        writer.insert_blocks([block_of([event(number) for number in range(40)], alike=True)])
        writer.insert_kpi_minutes(minutes, "t-0-0-0")
        writer.close()
    single = Writer(database.admin)
    single.store_catalogue(catalogue)
    single.close()

    own = [
        {table: rows(address_of(one), f"SELECT count() FROM {table}_local")[0][0] for table in SHARD_KEYS}
        for one in shards
    ]
    for table, wanted in (("events", 40), ("kpi_minutes", len(minutes)), ("outcomes", 1)):
        assert own[0][table] + own[1][table] == wanted
        assert table == "outcomes" or min(own[0][table], own[1][table]) > 0, "both have a part"

    # Marked as read alike by all, they are read at once; on the way to another machine as well.
    as_read = "SELECT * EXCEPT ingested_at FROM events ORDER BY offset"
    assert rows(address_of(shards[1]), as_read) == rows(database.admin, as_read)
    assert rows(database.admin, "SELECT uniqExact(id), min(data) != '' FROM events") == [(40, 1)]

    for server in shards:
        with closing(connect(address_of(server))) as client:
            client.command("""
                INSERT INTO kpi_spans_due SELECT now64(6, 'UTC'), kpi, span, start, sum(kpi_spans_local.changes) AS changes
                FROM kpi_spans_local GROUP BY kpi, span, start HAVING changes > max(rolled)""")
            for view in ("kpi_hours_of_minutes", "kpi_days_of_minutes"):
                client.command(f"SYSTEM REFRESH VIEW {view}")
                client.command(f"SYSTEM WAIT VIEW {view}")
    window = "from = '2026-03-01 00:00:00', to = '2026-03-03 00:00:00'"
    for server in shards:
        reader = address_of(server, "reader")
        for kpi in sorted({row[0] for row in minutes})[:3]:
            assert rows(reader, f"SELECT count() FROM kpi_sums(kpi = '{kpi}', {window}, grain = 0, bounds = [])") == [
                (2,)
            ], "two days"
            for sql in (
                f"SELECT * FROM kpi(kpi = '{kpi}', {window})",
                f"SELECT * FROM kpi_series(kpi = '{kpi}', {window}, step = 3600) ORDER BY time",
            ):
                assert rows(reader, sql) == rows(database.reader, sql) != []
        assert rows(reader, "SELECT count(), uniqExact(offset), sum(score) FROM events") == rows(
            database.reader, "SELECT count(), uniqExact(offset), sum(score) FROM events"
        )


class OnAll:
    """A client that does itself what `ON CLUSTER` has a Keeper do."""

    def __init__(self, clients: list[Client]) -> None:
        self._clients = clients
        self.query = clients[0].query

    def command(self, statement: str, settings: dict[str, Any]) -> None:
        assert " ON CLUSTER prod " in statement
        for client in self._clients:
            client.command(here(statement), settings=settings)


def clear(clients: list[Client], topic: str) -> None:
    """Whichever test comes next finds the tables as they were."""
    for client in clients:
        for table in doubled.KEYS:
            client.command(f"ALTER TABLE {table}_local DELETE WHERE topic = '{topic}' SETTINGS mutations_sync = 1")


def test_rows_that_are_stored_twice_are_merged_away_on_each_shard(shards: list[EmbeddedClickHouse]) -> None:
    """As earlier versions left them: the same range under two tokens, since it came in other company."""
    topic = "cx.doubled"
    writer = Writer(address_of(shards[0]))
    letter = DeadLetter(50, "not_json", "", "x", "JSON", "is no JSON", b"x", 0.0)
    blocks = [
        block_of([event(number) for number in range(40)], dead_letters=[letter], topic=topic),
        block_of([event(60)], first=60, topic=topic),
    ]
    writer.insert_blocks(blocks)
    sql = [f"SELECT * FROM {table} WHERE topic = '{topic}' ORDER BY ALL" for table in doubled.KEYS]
    before = [rows(address_of(shards[1]), one) for one in sql]
    writer.insert_block(blocks[0])
    writer.close()
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(address_of(one)))) for one in shards]
        own = [
            client.query(f"SELECT count() FROM events_local WHERE topic = '{topic}'").first_row[0] for client in clients
        ]
        assert sum(own) == 81
        assert min(own) > 1, "both have some of them"
        found = {"events": 40, "dead_letters": 1, "outcomes": 1}
        assert doubled.find(clients[1]) == found
        assert doubled.take_away(cast("Client", OnAll(clients)), "prod") == found
        assert set(doubled.find(clients[1]).values()) == {0}
        assert [rows(address_of(shards[1]), one) for one in sql] == before
        clear(clients, topic)


class OnAllOrOne(OnAll):
    """As `OnAll`; what is not for all is for the first."""

    def __init__(self, clients: list[Client]) -> None:
        super().__init__(clients)
        self.insert = clients[0].insert

    def command(self, statement: str, settings: dict[str, Any] | None = None) -> None:
        for client in self._clients if " ON CLUSTER prod" in statement else self._clients[:1]:
            client.command(here(statement), settings=settings)


def test_people_are_forgotten_on_each_shard(shards: list[EmbeddedClickHouse], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when their new names belong to the other one: nothing of them is left, and what counts is what it was."""
    monkeypatch.setattr(erasing, "_VISIBLE_AFTER", timedelta(seconds=-2))
    topic, people = "cx.forgetting", [f"member-{number}" for number in range(8)]
    letters = [
        DeadLetter(60 + place, "not_json", "", "x", "JSON", "is no JSON", named, 0.0)
        for place, named in enumerate([rb"{\nmember-1", b'{"member-11"'])
    ]
    payloads = [
        event(
            number, subject=f"member-{number % 20}", data={"score": number % 5 + 1, "text": f"for member-{number % 20}"}
        )
        for number in range(60)
    ]
    writer = Writer(address_of(shards[0]))
    writer.insert_blocks([block_of(payloads, dead_letters=letters, topic=topic)])
    writer.close()
    theirs = f"subject IN {tuple(people)} OR startsWith(subject, '{NOBODY}')"
    counted = (
        f"SELECT count(), uniqExact(offset), sum(score), groupBitXor(cityHash64(offset, score, time, type, channel)),"
        f" uniqExact(subject), groupBitXorIf(cityHash64(offset, payload, ingested_at), NOT ({theirs}))"
        f" FROM events WHERE topic = '{topic}'"
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(address_of(one)))) for one in shards]
        own = f"SELECT count() FROM events_local WHERE topic = '{topic}' AND subject IN {tuple(people)}"
        assert min(client.query(own).first_row[0] for client in clients) > 0, "both have some of them"
        before = [client.query(counted).first_row for client in clients]
        on_all = cast("Client", OnAllOrOne(clients))
        erased = erasing.erase(on_all, names_for_nobody(people, bin_of), "prod")
        assert erased == (24, 0, 1)
        assert [client.query(counted).first_row for client in clients] == before
        for client in clients:
            tables, found = erasing.search(client, people)
            assert {"events", "dead_letters", "erasing"} < {*tables}
            assert found == []
            assert client.query("SELECT count() FROM erasing").first_row == (0,)
            letters_now = client.query(f"SELECT payload FROM dead_letters WHERE topic = '{topic}' ORDER BY offset")
            assert letters_now.result_rows == [("",), ('{"member-11"',)]
        clear(clients, topic)


def test_replicated_tables_and_all_that_is_made_of_them_are_accepted(tmp_path: Path) -> None:
    """Engines, paths, settings, views and what they read: created by the real engine, one server being one replica."""
    configure(tmp_path, [free_port()])
    keeper = ET.parse(tmp_path / "server" / "config.d" / "shards.xml")
    root = keeper.getroot()
    assert root is not None
    ET.SubElement(ET.SubElement(root, "zookeeper"), "implementation").text = "testkeeper"
    macros = ET.SubElement(root, "macros")
    ET.SubElement(macros, "shard").text, ET.SubElement(macros, "replica").text = "1", "1"
    keeper.write(tmp_path / "server" / "config.d" / "shards.xml")
    statements = [statement for one in (*load(), *views()) for statement in split_statements(one.text)]
    with EmbeddedClickHouse(tmp_path, memory_mb=1024) as server:
        with closing(connect(address_of(server), database="")) as client:
            client.command("CREATE DATABASE cx")
        with closing(connect(address_of(server))) as client:
            for statement in statements:
                for written in for_cluster(statement.replace("{db}", "`cx`"), "prod", "cx"):
                    # Rows and columns need replicas that have joined; what is over all of them has its own.
                    altered = written.split()[2] if written.startswith("ALTER TABLE") else ""
                    if not written.startswith("INSERT") and (not altered or altered in SHARD_KEYS):
                        client.command(written.replace(" ON CLUSTER prod", ""))
            engines = dict(client.query("SELECT name, engine FROM system.tables WHERE database = 'cx'").result_rows)
            paths = dict(client.query("SELECT table, zookeeper_path FROM system.replicas").result_rows)
    split = {f"{name}_local" for name in SHARD_KEYS}
    assert {name for name, engine in engines.items() if engine == "Distributed"} == set(SHARD_KEYS)
    assert {name for name, engine in engines.items() if engine.startswith("Replicated")} == set(paths) > split
    assert [name for name, engine in engines.items() if engine.endswith("MergeTree") and name not in paths] == [
        "kpi_spans_due"
    ]
    for name, path in paths.items():
        assert path == f"/clickhouse/tables/{'1' if name in split else 'all'}/cx/{name}"
