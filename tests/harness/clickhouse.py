"""
A real ClickHouse for tests: one server per session, one database per test.

The first database of a process is migrated, the others are made as that one became: a fifth of the statements. The tests
of migrations compare the two.
"""

import hashlib
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.connection import Address, connect
from streams.storage.migrations import migrate, views
from streams.storage.rows import Block, DeadLetter, pack_events
from streams.storage.views import views_applied

_numbers = itertools.count(1)
DEPLOY = Path(__file__).parents[2] / "deploy" / "clickhouse"
TOPIC = "cx.touchpoints.web"


# Tests make databases of many names, look into the server, and break things: more than its users are allowed.
_WIDE = """
<clickhouse><users>
  <cx_admin><grants replace="replace"><query>GRANT ALL ON *.*</query></grants></cx_admin>
  <cx_writer><grants replace="replace"><query>GRANT SELECT, INSERT, ALTER DELETE, dictGet ON cx*.*</query>
    <query>GRANT SELECT ON system.processes</query></grants></cx_writer>
  <cx_reader><grants replace="replace"><query>GRANT SELECT, SHOW, dictGet ON cx*.*</query>
    <query>GRANT SELECT ON system.parts</query><query>GRANT SELECT ON system.merges</query>
    <query>GRANT SELECT ON system.replicas</query><query>GRANT SELECT ON system.view_refreshes</query></grants></cx_reader>
</users></clickhouse>
"""


@contextmanager
def running_server(data_dir: Path, *, wide: bool = True, **options: Any) -> Iterator[EmbeddedClickHouse]:
    """A server in which `cx_admin` may do everything, and all databases whose names begin with cx are the store."""
    if wide:
        more = data_dir / "server" / "users.d"
        more.mkdir(parents=True, exist_ok=True)
        (more / "wide.xml").write_text(_WIDE)
    server = EmbeddedClickHouse(data_dir, **options).start()
    try:
        yield server
    finally:
        server.stop()


def install_users(folder: Path) -> dict[str, str]:
    """Give the server that is to run in a folder users and settings of `deploy/clickhouse`; returns their passwords."""
    users, settings = (ET.parse(DEPLOY / f"{name}.xml").getroot() for name in ("users", "server"))
    listed, profiles = users.find("users"), users.find("profiles")
    assert listed is not None
    assert profiles is not None
    # The engine signs in to itself as `default`, and has made users of the same names.
    listed.remove(listed.find("default"))  # type: ignore[arg-type]
    passwords = {}
    for user in listed:
        [secret] = [part for part in user if part.tag.startswith("password")]
        role = user.tag.removeprefix("cx_")
        passwords[role] = f"{role}-password-{role}"
        secret.attrib.clear()
        secret.text = hashlib.sha256(passwords[role].encode()).hexdigest()
        user.set("replace", "replace")
    for profile in profiles:
        # What an installed engine does not have at all is to be off here too.
        ET.SubElement(profile, "profile").text = "default"
    for secret in settings.iter("password"):
        secret.attrib.clear()
        secret.text = passwords["reader"]
    for tree, place in ((users, "users.d"), (settings, "config.d")):
        (folder / "server" / place).mkdir(parents=True)
        ET.ElementTree(tree).write(folder / "server" / place / "cx.xml")
    return passwords


def address_of(server: EmbeddedClickHouse, role: str = "admin", database: str = "cx") -> Address:
    user = {"admin": server.admin_user, "writer": server.writer_user, "reader": server.reader_user}[role]
    return Address(server.url, database, user, getattr(server.credentials, role))


class Template:
    """What migrating has made, to make it again in an empty database."""

    def __init__(self, client: Client, name: str) -> None:
        # Tables come first, since views insert into them; views may read what is not there yet.
        tables = """SELECT create_table_query FROM system.tables WHERE database = {name:String}
            ORDER BY endsWith(engine, 'View') OR engine = 'Dictionary', metadata_modification_time"""
        self._name = name
        self._statements = [row[0] for row in client.query(tables, parameters={"name": name}).result_rows]
        self._migrations = client.query("SELECT * FROM migrations")

    def make(self, address: Address) -> None:
        """Create the database."""
        with closing(connect(replace(address, database=""))) as server:
            server.command(f"CREATE DATABASE `{address.database}`")
        with closing(connect(address)) as client:
            for statement in self._statements:
                client.command(re.sub(rf"\b{self._name}\b", address.database, statement))
            client.insert("migrations", self._migrations.result_rows, self._migrations.column_names)
            # The name of the database is part of what is noted of a view.
            views_applied(client, views())


_templates: list[Template] = []


class Database:
    """A database of one test; `client` may do everything."""

    def __init__(self, server: EmbeddedClickHouse, name: str) -> None:
        self.server = server
        self.name = name
        self.admin = address_of(server, "admin", name)
        self.writer = address_of(server, "writer", name)
        self.reader = address_of(server, "reader", name)
        if _templates:
            _templates[0].make(self.admin)
        else:
            migrate(self.admin)
        self.client: Client = connect(self.admin)
        if not _templates:
            _templates.append(Template(self.client, name))

    def rows(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self.client.query(sql, parameters=parameters).result_rows

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def close(self) -> None:
        # A server without a default database drops none that it has found at its start, unless it is empty.
        tables = """SELECT name, engine FROM system.tables WHERE database = {name:String}
            ORDER BY endsWith(engine, 'View') DESC, engine = 'Dictionary' DESC"""
        for name, engine in self.rows(tables, name=self.name):
            kind = "VIEW" if engine.endswith("View") else "DICTIONARY" if engine == "Dictionary" else "TABLE"
            self.client.command(f"DROP {kind} IF EXISTS `{self.name}`.`{name}` SYNC")
        self.client.command(f"DROP DATABASE `{self.name}` SYNC")
        self.client.close()


@contextmanager
def fresh_database(server: EmbeddedClickHouse) -> Iterator[Database]:
    database = Database(server, f"cx_test_{next(_numbers)}")
    try:
        yield database
    finally:
        database.close()


def elsewhere(address: Address, port: int) -> Address:
    return replace(address, url=f"http://127.0.0.1:{port}")


def read_by_commands(address: Address, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands of this process ask a database, with the password in a file of the folder."""
    monkeypatch.setenv("CX_CLICKHOUSE", address.url)
    monkeypatch.setenv("CX_CLICKHOUSE_DATABASE", address.database)
    monkeypatch.setenv("CX_CLICKHOUSE_USER", address.user)
    if address.password:
        (folder / "password").write_text(address.password)
        (folder / "password").chmod(0o600)
        monkeypatch.setenv("CX_CLICKHOUSE_PASSWORD_FILE", str(folder / "password"))


def event(number: int, **changes: Any) -> bytes:
    """A valid survey answer; `data` changes its data, anything else its envelope."""
    data = {"survey_id": "s", "metric": "csat", "scale": 5, "score": 5, **changes.pop("data", {})}
    envelope = {
        "specversion": "1.0", "id": f"e{number}", "source": "/test", "type": "cx.survey.answered",
        "time": "2026-03-01T10:00:30Z", "subject": f"c{number % 7}", "channel": "web",
    }  # fmt: skip
    return json.dumps({**envelope, **changes, "data": data}, ensure_ascii=False).encode()


def block_of(payloads: Iterable[bytes], first: int = 0, **changes: Any) -> Block:
    """A block of counted events at consecutive offsets; dead letters come after them."""
    stored = list(payloads)
    bad: Sequence[DeadLetter] = changes.get("dead_letters", ())
    read = len(stored) + len(bad) + changes.get("duplicates", 0)
    defaults = {
        "topic": TOPIC, "partition": 0, "first": first, "last": first + read - 1,
    }  # fmt: skip
    late, alike = changes.pop("late_offsets", ()), changes.pop("alike", False)
    made = {**defaults, **changes}
    marks = b"\1" * len(stored) if alike else b""
    events = pack_events(made["topic"], made["partition"], range(first, first + len(stored)), stored, late, marks)
    return Block(**made, events=events)
