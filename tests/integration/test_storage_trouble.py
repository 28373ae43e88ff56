"""What a writer does when an insert is refused for good, and when another one is still under way."""

import threading
import time

import pytest

from streams.storage.connection import PermanentStorageError, connect
from streams.storage.writer import Stored, Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event


def test_the_range_that_cannot_be_stored_is_named_and_the_others_are_stored(database: Database) -> None:
    """One insert of three ranges is refused; two of them are in the end stored, once."""
    writer = Writer(database.writer)
    good = block_of([event(1), event(2)])
    bad = block_of([event(3), event(4, time="yesterday")], first=10)
    last = block_of([event(5)], first=20)
    for _ in range(2):
        with pytest.raises(
            PermanentStorageError, match=f"events of {TOPIC}/0 offsets 10 to 11 are refused: .*Cannot read DateTime"
        ):
            writer.insert_blocks([good, bad, last])
    assert database.rows("SELECT offset FROM events ORDER BY offset") == [(0,), (1,), (20,)]
    writer.close()


def test_a_range_of_which_a_part_is_stored_is_no_success(database: Database) -> None:
    """Sent again under its own token it would be stored twice, left alone it would be short: it is named."""
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(3)], first=10))
    bad = block_of([event(6, time="yesterday")], first=20)
    with pytest.raises(PermanentStorageError, match=r"offsets 10 to 11, .* are refused: 1 of its 2 events were stored"):
        writer.insert_blocks([block_of([event(3), event(4)], first=10), bad])
    assert database.rows("SELECT offset FROM events") == [(10,)]
    writer.close()


def test_what_is_stored_is_asked_when_inserts_under_way_have_ended(database: Database) -> None:
    """The rows of an insert that its sender has given up, and that is still on the server, are seen by who takes over."""
    sender = connect(database.writer)
    sql = f"""
        INSERT INTO events (topic, partition, offset, outcome, payload)
        SELECT '{TOPIC}', 0, 7, 'counted', '{event(7).decode()}' FROM numbers(3) WHERE sleepEachRow(0.6) = 0 LIMIT 1"""
    slow = threading.Thread(target=sender.command, args=(sql,), kwargs={"settings": {"max_block_size": 1}})
    slow.start()
    deadline = time.monotonic() + 10
    while not database.value("SELECT count() FROM system.processes WHERE query_kind = 'Insert'"):
        assert time.monotonic() < deadline
    writer = Writer(database.writer)
    assert database.value("SELECT count() FROM events") == 0
    assert writer.stored([0]) == {(TOPIC, 0): Stored(-1, frozenset({7}))}
    slow.join()
    writer.close()
    sender.close()
