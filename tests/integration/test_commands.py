"""The commands of the store against a real ClickHouse and a real broker."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.engine.topics import ensure_topics, topic_plan
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage import doubled, verify_again
from streams.storage.connection import Address
from streams.storage.rows import DeadLetter, ValueRow
from streams.storage.writer import Writer
from tests.conftest import Broker
from tests.harness.clickhouse import Database, address_of, block_of, event
from tests.harness.topics import read_all

MINUTE = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) // 60


class Command:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch = monkeypatch
        self._folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CX_METRICS_PORT", "0")

    def settings(self, **values: object) -> None:
        for name, value in values.items():
            self._patch.setenv(f"CX_{name.upper()}", str(value))

    def as_user(self, address: Address) -> None:
        secret = self._folder / "secret"
        secret.write_text(address.password)
        self.settings(
            clickhouse=address.url, clickhouse_database=address.database, clickhouse_user=address.user,
            clickhouse_password_file=secret,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> Result:
        result = CliRunner().invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


@pytest.fixture
def cx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path)


def test_migrate_then_nothing_to_do_and_doctor_agrees(
    cx: Command, clickhouse: EmbeddedClickHouse, embedded_broker: Broker
) -> None:
    """An empty server is brought to where the doctor finds nothing wrong."""
    cx.as_user(address_of(clickhouse, "admin", "cx_test_commands"))
    cx.settings(kafka=embedded_broker.bootstrap, topic_prefix="cmd", app_id="cmd", partitions=2)
    before = json.loads(cx("doctor", "--json").stdout)
    wrong = {one["what"]: one["text"] for one in before["findings"] if one["verdict"] == "wrong"}
    assert "0001_raw_events.sql" in wrong["migrations"]
    assert "cmd.blocks is missing" in wrong["kafka"]

    first = cx("migrate")
    assert first.exit_code == 0
    assert "applied 0001_raw_events.sql" in first.output
    assert "nothing to apply" in cx("migrate").output
    assert cx("topics").exit_code == 0

    after = cx("doctor", "--json")
    assert [one for one in json.loads(after.stdout)["findings"] if one["verdict"] == "wrong"] == []
    assert after.exit_code == 0
    assert len(json.loads(cx("query", "kpis", "--json").output)) == len(Catalogue.load())


def test_a_reader_asks_and_verifies(cx: Command, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A KPI over a window by label, any SQL, and a difference that is there at the second look too: exit code one."""
    monkeypatch.setattr(verify_again, "AGAIN_S", 0.1)
    kpi = Catalogue.load()["csat"]
    writer = Writer(database.writer)
    writer.store_catalogue(Catalogue.load())
    writer.insert_block(block_of([event(1), event(2, data={"score": 1})]))
    rows = [(key, MINUTE, 0, [2, 1], 1) for key in ("csat", "csat\x1fchannel\x1fweb")]
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    writer.insert_kpi_values(
        [ValueRow("csat", "1m", "", (MINUTE + 1) * 60, 40.0, 2, 1.0, 99.0, kpi.definition_id, True, 1)], "t-0-0-0"
    )
    writer.close()
    cx.as_user(database.reader)

    window = ("--from", "2026-03-01T10:00", "--to", "2026-03-01T11:00")
    [row] = json.loads(cx("query", "kpi", "csat", "--by", "channel", *window, "--json").output)
    assert (row["labels"], row["value"], int(row["n"])) == ({"channel": "web"}, 50.0, 2)
    sql = "SELECT count() AS events FROM events WHERE id = {id:String}"
    assert cx("query", sql, "--param", "id=e1", "--format", "csv").output == "events\n1\n"
    assert "stored from 2026-03-01 10:00:00" in cx("query", "kpi", "csat", "--window", "5m").stderr
    refused = cx("query", "DROP TABLE events")
    assert refused.exit_code == 1
    assert len(refused.stderr.splitlines()) == 1

    found = cx("verify", "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == 1
    assert "events are coming: looking again" in found.stderr
    assert ("value", "csat", "1m 2026-03-01 10:01") in {
        (one["check"], one["series"], one["when"]) for one in told["differences"]
    }
    database.client.command(
        "ALTER TABLE events UPDATE ingested_at = ingested_at - 3600 WHERE 1 SETTINGS mutations_sync = 1"
    )
    at_rest = cx("verify")
    assert "recomputed: " in at_rest.stdout
    assert at_rest.stderr == ""


def letter(offset: int, payload: bytes, reason: str = "unknown_type") -> DeadLetter:
    return DeadLetter(offset, reason, "type", '"x"', "a known type", f"no type: {offset}", payload, 1_767_225_600.25)


def test_dead_letters_are_listed_explained_and_sent_once(
    cx: Command, database: Database, embedded_broker: Broker
) -> None:
    """What the contract takes by now goes into its topic again, as it came; what was accepted meanwhile does not."""
    odd = "e\\ \"\t',سلام"
    waiting = [event(1), event(1), event(2, id=odd), event(3)]
    writer = Writer(database.writer)
    topic = "dlq.touchpoints.web"
    bad = [letter(n, payload) for n, payload in enumerate([*waiting, b"\xff{", b"{}"])]
    bad[4] = bad[4]._replace(reason="not_utf8")
    writer.insert_block(block_of([], topic=topic, dead_letters=bad))
    cx.as_user(database.reader)
    cx.settings(kafka=embedded_broker.bootstrap, topic_prefix="dlq", app_id="dlq", partitions=1)
    assert ensure_topics(embedded_broker.bootstrap, topic_plan(1, 1, "dlq", "dlq")) == []

    listed = {one["reason"]: int(one["records"]) for one in json.loads(cx("dlq", "list", "--json").output)}
    assert listed == {"unknown_type": 5, "not_utf8": 1}
    assert cx("dlq", "list", "--reason", "none").output == "no dead letters\n"
    shown = cx("dlq", "show", f"{topic}/0/4").output
    assert "\\xff{" in shown
    assert "still refused" in shown
    assert "valid by now" in cx("dlq", "show", f"{topic}/0/2").output
    assert cx("dlq", "show", f"{topic}/0/99").exit_code == 1

    dry = json.loads(cx("dlq", "replay", "--reason", "unknown_type", "--dry-run", "--json").output)
    assert (dry["valid"], dry["sent"]) == (3, 0)
    before_time = json.loads(cx("dlq", "replay", "--until", "2025-01-01", "--json").output)
    assert before_time["dead_letters"] == 0
    done = cx("dlq", "replay", "--topic", "web", "--reason", "unknown_type", "--json")
    assert done.exit_code == 0
    assert json.loads(done.output)["sent"] == 3

    got = [record.value for record in read_all(embedded_broker.bootstrap, topic)]
    assert got == [waiting[0], waiting[2], waiting[3]]

    writer.insert_block(block_of(got, topic=topic, first=100))
    writer.close()
    again = json.loads(cx("dlq", "replay", "--all", "--json").output)
    assert (again["valid"], again["accepted_meanwhile"], again["sent"]) == (0, 3, 0)


def test_rows_that_are_stored_twice_are_found_and_one_of_each_is_left(cx: Command, database: Database) -> None:
    """As earlier versions left them: the same range under two tokens, since it came in other company."""
    writer = Writer(database.writer)
    letter = DeadLetter(3, "not_json", "", "x", "JSON", "is no JSON", b"x", 0.0)
    blocks = [block_of([event(n) for n in range(3)], dead_letters=[letter]), block_of([event(9)], first=4)]
    writer.insert_blocks(blocks)
    # Either copy may stay, whichever was stored when.
    everything = (
        "SELECT * EXCEPT ingested_at FROM events ORDER BY offset",
        "SELECT * EXCEPT ingested_at FROM dead_letters",
        "SELECT * EXCEPT ingested_at FROM outcomes ORDER BY first",
    )
    before = [database.rows(sql) for sql in everything]
    writer.insert_block(blocks[0])
    writer.close()
    assert database.value("SELECT count() FROM events") == 7
    cx.as_user(database.admin)

    found = cx("repair", "--json")
    assert found.exit_code == 1
    assert json.loads(found.output) == {"doubled": {"events": 3, "dead_letters": 1, "outcomes": 1}, "removed": False}
    assert database.value("SELECT count() FROM events") == 7

    # Stopped in the middle, with one copy of each set beside and all others deleted.
    columns = ", ".join(doubled._columns(database.client, "events"))
    database.client.command("CREATE TABLE events_doubled AS events")
    database.client.command(
        f"INSERT INTO events_doubled ({columns}) SELECT {columns} FROM events WHERE offset < 3 LIMIT 1 BY offset"
    )
    database.client.command("ALTER TABLE events DELETE WHERE offset < 3 SETTINGS mutations_sync = 2")
    assert json.loads(cx("repair", "--json").output)["doubled"]["events"] == 3
    assert cx("repair", "--apply").exit_code == 0
    assert [database.rows(sql) for sql in everything] == before
    assert cx("repair").exit_code == 0
