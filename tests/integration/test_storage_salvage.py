"""Rows that ClickHouse refuses for good: they are set aside or held, and nothing else waits for them."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.storage import salvage
from streams.storage.balance import check_balance
from streams.storage.connection import RefusedRowsError
from streams.storage.history import source_histories
from streams.storage.rows import Block
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

ROOT = Path(__file__).resolve().parents[2]
TAKES_NO_POISON = "ALTER TABLE {} ADD CONSTRAINT no_poison CHECK position({}, 'poison') = 0"


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    made = Writer(database.writer, first_pause_s=0.02)
    yield made
    made.close()


def topic(channel: str) -> str:
    return f"cx.touchpoints.{channel}"


def blocks_of(poison: Sequence[int], *, rows: int = 120, first: int = 0, partition: int = 0) -> list[Block]:
    """One range for each of three sources; those of `web` at the named places carry poison."""
    return [
        block_of(
            [
                event(
                    n, id=f"{channel}-{first + n}", subject="poison" if channel == "web" and n in poison else "honest"
                )
                for n in range(rows)
            ],
            first,
            topic=topic(channel),
            partition=partition,
        )
        for channel in ("app", "web", "store")
    ]


def set_aside(database: Database) -> list[tuple[Any, ...]]:
    sql = """SELECT topic, offset, reason, toString(outcome) FROM dead_letters ORDER BY topic, offset"""
    return [tuple(row) for row in database.rows(sql)]


def balanced(database: Database) -> bool:
    return not check_balance(database.client).found


def test_exactly_the_refused_rows_are_set_aside_and_all_others_are_stored_once(
    database: Database, writer: Writer
) -> None:
    """With the server's words; done again, nothing changes."""
    database.client.command(TAKES_NO_POISON.format("events", "payload"))
    poison = [0, 17, 18, 119]
    for _ in range(2):
        done = writer.insert_blocks(blocks_of(poison))
        assert not done.held
    assert set_aside(database) == [(topic("web"), n, "refused_by_store", "counted") for n in poison]
    for [words] in database.rows("SELECT message FROM dead_letters"):
        assert "the event is counted, but its row is refused by ClickHouse" in words
        assert "no_poison" in words
    assert database.value("SELECT count() FROM events") == 360 - len(poison)
    assert database.value("SELECT uniqExact(topic, offset) FROM events") == 360 - len(poison)
    assert database.rows("SELECT sum(read), sum(counted), sum(bad) FROM outcomes") == [(360, 360, 0)]
    assert balanced(database)
    assert not writer.troubles.current()


def test_who_restores_a_source_knows_what_was_set_aside(database: Database, writer: Writer) -> None:
    """Such an event is counted: sent again it is a duplicate, or late once its id is forgotten."""
    database.client.command(TAKES_NO_POISON.format("events", "payload"))
    writer.insert_blocks(blocks_of([17, 119]))
    [web] = [one for one in source_histories(database.client, 1_000) if one.topic == topic("web")]
    assert web.ids == [f"web-{n}" for n in range(120)]
    assert len(web.times) == 120
    [web] = [one for one in source_histories(database.client, 102) if one.topic == topic("web")]
    assert web.ids == [f"web-{n}" for n in range(18, 120)]
    [(newest,)] = database.rows("SELECT (toUnixTimestamp64Milli(time) + 1) / 1000 FROM set_aside WHERE offset = 17")
    assert web.forgotten_newest == newest


def test_a_row_that_the_server_cannot_read_is_stored_as_the_worker_reads_it(database: Database, writer: Writer) -> None:
    """Every column is the same as if the server had read it; nothing is set aside."""
    payload = event(
        1, id="unreadable", time="2026-03-01T13:30:59.9999996+03:30", touchpoint="checkout", synthetic=True,
        unitid="شعبه ۱", data={"text": "خوب", "score": "۴"},
    )  # fmt: skip
    writer.insert_block(block_of([payload], 7))
    columns = "* EXCEPT (offset, ingested_at, data), JSONExtractString(data, 'text'), JSONExtractInt(data, 'scale')"
    as_read = database.rows(f"SELECT {columns} FROM events")
    database.client.command("TRUNCATE TABLE events")
    database.client.command(
        "ALTER TABLE events MODIFY COLUMN traceid String"
        " DEFAULT if(throwIf(position(payload, 'unreadable') > 0, 'cannot read') = 0, '', '')"
    )
    done = writer.insert_blocks([block_of([event(0), payload, event(2)], 100)])
    assert (done.held, done.set_aside) == ({}, [])
    assert database.rows(f"SELECT {columns} FROM events WHERE id = 'unreadable'") == as_read
    assert database.value("SELECT count() FROM events") == 3


def test_what_takes_all_memory_is_found_and_stored(database: Database, writer: Writer) -> None:
    """The reading of an older version, of an event that is quadratic for it."""
    older = (ROOT / "sql" / "0008_repeated_keys.sql").read_text(encoding="utf-8")
    for statement in older.split("\n\n")[1:]:
        database.client.command(statement.strip().rstrip(";"))
    hostile = event(1, id="hostile")[:-2] + b',"k":1' * 15_000 + b"}}"
    others = [event(n) for n in range(50)]
    done = writer.insert_blocks([block_of([*others, hostile]), block_of(others, topic=topic("app"))])
    assert (done.held, done.set_aside) == ({}, [])
    assert database.value("SELECT count() FROM events") == 101
    assert database.value("SELECT score FROM events WHERE id = 'hostile'") == 5


def retried(writer: Writer, blocks: Sequence[Block], patience_s: float = 60.0) -> None:
    """Give ranges again until their sources are held no more."""
    deadline = time.monotonic() + patience_s
    while writer.insert_blocks(blocks).held:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_source_that_is_refused_for_ever_is_held_and_goes_on_when_it_is_taken(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than a bounded number is set aside; other sources go on; people are told since when, and why."""
    monkeypatch.setattr(salvage, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(salvage, "LONGEST_PAUSE_S", 0.3)
    database.client.command(f"ALTER TABLE events ADD CONSTRAINT closed CHECK topic != '{topic('web')}'")
    before = time.time()
    for n in range(3):
        done = writer.insert_blocks(blocks_of([], first=50 * n, rows=50))
        assert [*done.held] == [(topic("web"), 0)]
        assert not done.set_aside
        assert database.value("SELECT count() FROM events") == 100 * (n + 1)
        time.sleep(0.15)
    assert set_aside(database) == []
    [trouble] = writer.troubles.current()
    assert (trouble.what, trouble.held) == (f"{topic('web')}/0", True)
    assert before <= trouble.since <= time.time()
    assert "closed" in trouble.why
    assert "not one of 16 parts is taken" in trouble.why
    database.client.command("ALTER TABLE events DROP CONSTRAINT closed")
    retried(writer, [blocks_of([], first=50 * n, rows=50)[1] for n in range(3)])
    assert database.value("SELECT count() FROM events") == 450
    assert database.value("SELECT uniqExact(topic, offset) FROM events") == 450
    assert balanced(database)
    assert not writer.troubles.current()


def test_a_table_that_takes_nothing_sets_nothing_aside(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That others are taken is what tells a bad row from a bad table."""
    monkeypatch.setattr(salvage, "FIRST_PAUSE_S", 0.1)
    database.client.command("ALTER TABLE events ADD CONSTRAINT closed CHECK 0")
    blocks = blocks_of([], rows=3)
    done = writer.insert_blocks(blocks)
    assert len(done.held) == 3
    assert set_aside(database) == []
    database.client.command("ALTER TABLE events DROP CONSTRAINT closed")
    retried(writer, blocks)
    assert database.value("SELECT count() FROM events") == 9
    assert balanced(database)


def minute(number: int, value: str = "honest") -> tuple[Any, ...]:
    return f"csat\x1fsegment\x1f{value}", number, 0, [1, 1], 1


def test_a_row_of_a_kpi_that_is_refused_is_set_aside_and_the_others_are_stored(
    database: Database, writer: Writer
) -> None:
    database.client.command(TAKES_NO_POISON.format("kpi_minutes", "toString(labels)"))
    rows = [minute(29_000_000 + n, "poison" if n in {0, 5} else "honest") for n in range(40)]
    letters = writer.insert_kpi_minutes(rows, "cx.kpis-0-0-9")
    assert len(letters) == 2
    assert database.value("SELECT count() FROM kpi_minutes") == 38
    stored = database.rows("SELECT topic, reason, toString(outcome), payload FROM dead_letters ORDER BY payload")
    assert [tuple(row[:3]) for row in stored] == [("kpi_minutes", "refused_by_store", "none")] * 2
    assert all("poison" in row[3] for row in stored)
    assert balanced(database)


def test_a_table_of_kpis_that_takes_nothing_is_held(database: Database, writer: Writer) -> None:
    """At once, without a look at each of its rows, and told."""
    database.client.command("ALTER TABLE kpi_minutes ADD CONSTRAINT closed CHECK 0")
    for _ in range(2):
        with pytest.raises(RefusedRowsError, match="closed"):
            writer.insert_kpi_minutes([minute(29_000_000 + n) for n in range(2_000)], "cx.kpis-0-0-9")
    [trouble] = writer.troubles.current()
    assert (trouble.what, trouble.held) == ("kpi_minutes", True)
    assert set_aside(database) == []
