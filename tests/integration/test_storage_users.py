"""What each user of the store may do, on the embedded server and by the file for an installed one."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.clickhouse_config import _USERS_XML
from streams.storage.connection import FAILURES, Address, connect
from streams.storage.grants import GRANTS, grants
from streams.storage.migrations import pending
from streams.storage.repair import repair
from streams.storage.setup import prepare
from streams.storage.starts import Start, record_starts
from streams.storage.writer import Writer
from tests.harness.clickhouse import DEPLOY, address_of, block_of, event, install_users, running_server

WINDOW = "kpi = 'csat', from = '2026-03-01 00:00:00', to = '2026-03-02 00:00:00'"
READS = [
    "SELECT * FROM events", "SELECT * FROM dead_letters", "SELECT * FROM alerts", "SELECT * FROM kpi_latest",
    f"SELECT * FROM kpi({WINDOW})", f"SELECT * FROM kpi_series({WINDOW}, step = 3600)", "SELECT * FROM verbatims",
    f"SELECT * FROM kpi_compared({WINDOW}, ago = 86400)", "SELECT * FROM kpi_changes(window = '1h')",
    "SELECT * FROM kpi_over(kpi = 'csat', window = '1h', labels = map('channel', '*'))",
    f"SELECT * FROM kpi_heat({WINDOW})", "SELECT * FROM pipeline_minutes",
    "SELECT dictGet('kpi_facts', 'name', 'csat'), dictGet('touchpoint_facts', 'stage', 'search')",
    # What Grafana's plugin asks.
    "SELECT version()", "SHOW DATABASES", "SHOW TABLES", "DESC TABLE events", "SELECT name FROM system.functions",
    "SELECT name, type, table FROM system.columns WHERE database = currentDatabase()",
    "SELECT count() FROM events SETTINGS max_execution_time = 30",
]  # fmt: skip
REFUSED = [
    "INSERT INTO kpis (id) VALUES ('x')", "CREATE TABLE x (y UInt8) ENGINE = Memory", "DROP TABLE events",
    "ALTER TABLE events DELETE WHERE 1", "TRUNCATE TABLE events", "SYSTEM REFRESH VIEW kpi_hours_of_minutes",
    "CREATE USER x", "GRANT SELECT ON *.* TO cx_reader", "SELECT * FROM system.users", "SELECT * FROM system.processes",
    "SELECT * FROM system.named_collections", "SELECT * FROM url('http://127.0.0.1:9', 'TSV', 'x String')",
    "SELECT * FROM file('/etc/hostname', 'LineAsString', 'x String')", "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_execution_time = 3600", "SELECT 1 SETTINGS readonly = 0", "KILL QUERY WHERE 1 SYNC",
]  # fmt: skip


def refused(client: Client, sql: str) -> bool:
    """Whether a statement is refused for want of rights, and not for any other reason."""
    try:
        client.command(sql)
    except FAILURES as error:
        return getattr(error, "code", None) in {164, 452, 497}
    return False


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
    """A server whose users are those of `deploy/clickhouse`, with a schema that its own migrator made."""
    folder = tmp_path_factory.mktemp("installed")
    passwords = install_users(folder)
    with running_server(folder, wide=False, passwords=passwords) as server:
        yield prepared(server)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Address]]:
    """The server of `cx up`, as it is."""
    with running_server(tmp_path_factory.mktemp("embedded"), wide=False) as server:
        yield prepared(server)


@pytest.fixture(scope="module", params=["embedded", "installed"])
def users(request: pytest.FixtureRequest) -> dict[str, Address]:
    """Each of them."""
    addresses: dict[str, Address] = request.getfixturevalue(request.param)
    return addresses


def prepared(server: EmbeddedClickHouse) -> dict[str, Address]:
    addresses = {role: address_of(server, role) for role in ("admin", "writer", "reader")}
    prepare(addresses["admin"], Catalogue.load(), lambda _: None, keep_days={"events": 30})
    return addresses


def test_one_list_says_who_may_do_what() -> None:
    """The file for installed servers gives each user what `GRANTS` says, and there are no others."""
    listed = ET.parse(DEPLOY / "users.xml").getroot().find("users")
    assert listed is not None
    given = {user.tag: [query.text for query in user.iter("query")] for user in listed if user.tag != "default"}
    assert given == {user: grants(user, "cx") for user in GRANTS}
    default = listed.find("default")
    assert default is not None
    assert default.attrib == {"remove": "remove"}


def test_every_user_sees_whether_the_schema_is_as_it_should_be(users: dict[str, Address]) -> None:
    """What was created looks the same to all of them: `cx doctor` finds no drift where there is none."""
    for address in users.values():
        assert pending(address) == []


def test_what_a_reader_cannot_change_is_the_same_everywhere() -> None:
    """The limits of the reader are those of the file for installed servers."""
    profiles = ET.parse(DEPLOY / "users.xml").getroot().find("profiles/cx_reader")
    ours = ET.fromstring(_USERS_XML).find("profiles/cx_reader")
    assert profiles is not None
    assert ours is not None
    limits = ("readonly", "max_execution_time", "max_result_rows", "max_result_bytes", "max_rows_to_read")
    for limit in (*limits, "max_concurrent_queries_for_user", "constraints/max_execution_time/max"):
        assert ours.findtext(limit) == profiles.findtext(limit) is not None


def test_the_reader_reads_and_does_nothing_else(users: dict[str, Address]) -> None:
    """All that dashboards and analysts ask is answered; writing, changing, other system tables and limits are not."""
    client = connect(users["reader"])
    for sql in READS:
        client.query(sql) if not sql.startswith(("SHOW", "DESC")) else client.command(sql)
    assert [sql for sql in REFUSED if not refused(client, sql)] == []
    limits = dict(client.query("SELECT name, toUInt64(value) FROM system.settings WHERE name IN ('max_execution_time',"
                               " 'max_result_rows', 'max_rows_to_read', 'max_memory_usage', 'readonly')").result_rows)  # fmt: skip
    assert all(limits.values())
    client.close()


def test_the_writer_stores_and_does_nothing_else(users: dict[str, Address]) -> None:
    """It fills the tables of the pipeline, also through views that write on, and recomputes KPIs; it deletes no event."""
    writer = Writer(users["writer"])
    writer.insert_blocks([block_of([event(1)])])
    writer.insert_kpi_minutes([("csat", 29_000_000, 0, [1, 1], 1)], "t-0-0-0")
    assert writer.stored([0])
    writer.close()
    client = connect(users["writer"])
    assert client.query("SELECT sum(changes) FROM kpi_spans").result_rows == [(2,)]
    record_starts(client, [Start(0, "cx.blocks", "id", 4, (0, 0, 0, 0))])
    repair(client, [Catalogue.load()["csat"]], 1 << 40)
    assert client.query("SELECT count() FROM kpi_minutes WHERE kpi = 'csat' AND part = 0").result_rows == [(0,)]
    for sql in (
        "DROP TABLE events", "ALTER TABLE events DELETE WHERE 1", "INSERT INTO migrations (number) VALUES (9)",
        "INSERT INTO kpis (id) VALUES ('x')", "CREATE TABLE x (y UInt8) ENGINE = Memory", "SELECT * FROM system.users",
    ):  # fmt: skip
        assert refused(client, sql), sql
    client.close()


def test_the_migrator_owns_its_database_only(users: dict[str, Address]) -> None:
    """No users, no other databases, no files."""
    client = connect(users["admin"])
    for sql in ("CREATE USER x", "CREATE DATABASE other", "SELECT * FROM system.users", "GRANT SELECT ON cx.* TO cx_reader",
                "SELECT * FROM file('/etc/hostname', 'LineAsString', 'x String')"):  # fmt: skip
        assert refused(client, sql), sql
    client.close()
