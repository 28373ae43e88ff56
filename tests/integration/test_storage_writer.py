"""Inserts into the real server: everything arrives, once, whatever happens on the way."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streams.events.decode import Refusal, decode_one
from streams.local.ports import free_port
from streams.storage.connection import PermanentStorageError
from streams.storage.rows import DeadLetter, ValueRow
from streams.storage.writer import InsertCancelledError, Writer
from tests.harness.clickhouse import (
    TOPIC,
    Database,
    block_of,
    elsewhere,
    event,
    fresh_database,
    running_server,
)

LETTER = DeadLetter(
    12, "wrong_type", "data.score", '"x"', "1 to 5", "the score «x» is no number", b"\xff\x00{", 1_767_225_600.25
)


@pytest.fixture
def writer(database: Database):
    made = Writer(database.writer, first_pause_s=0.05)
    yield made
    made.close()


def test_columns_are_read_from_the_payload(database: Database, writer: Writer) -> None:
    """The worker sends only payloads; the server fills the typed columns."""
    payload = event(
        1,
        time="2026-03-01T13:30:59.9999996+03:30",
        touchpoint="checkout",
        synthetic=True,
        unitid="شعبه ۱",
        data={"text": 'خوب "بود"'},
    )
    writer.insert_block(block_of([payload]))

    [row] = database.client.query(
        "SELECT payload, id, type, toString(time) AS time, subject, channel, touchpoint, stage, unitid, synthetic, timeimputed, score,"
        " JSONExtractString(data, 'text') AS text, topic, partition, offset, outcome FROM events"
    ).named_results()
    assert row == {
        "payload": payload.decode(), "id": "e1", "type": "cx.survey.answered", "time": "2026-03-01 10:01:00.000", "subject": "c1",
        "channel": "web", "touchpoint": "checkout", "stage": "", "unitid": "شعبه ۱", "synthetic": True, "timeimputed": False,
        "score": 5, "text": 'خوب "بود"', "topic": TOPIC, "partition": 0, "offset": 0, "outcome": "counted",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b'"score"', b'"x": [1, 1e400, -1E+999], "score"'),
        (b'"score"', b'"x": ' + b"9" * 400 + b'.5, "score"'),
        (b'"id"', b'"x":-1e309, "id"'),
        (b"10:00:30Z", b"10:00:30." + b"0" * 40 + b"Z"),
    ],
)
def test_a_valid_event_that_clickhouse_cannot_read_as_it_is_does_not_stop_the_store(
    database: Database, writer: Writer, found: bytes, instead: bytes
) -> None:
    payload = event(1, unitid="u").replace(found, instead)
    assert not isinstance(decode_one(payload), Refusal)
    writer.insert_block(block_of([event(0), payload]))
    assert database.rows("SELECT payload, id, toString(time), unitid, score FROM events WHERE offset = 1") == [
        (payload.decode(), "e1", "2026-03-01 10:00:30.000", "u", 5)
    ]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [(4, 4), (4.0, 4), ("4", 4), ("۴", 4), ("٤", 4), ("۱۰", 10), ("١٠", 10), ("1۰", 10), ("bad", None), (None, None)],
)
def test_a_rating_becomes_a_whole_number_in_sql(
    database: Database, writer: Writer, sent: object, stored: int | None
) -> None:
    """Digits of three alphabets are read by the server, independently of the workers."""
    writer.insert_block(block_of([event(1, data={"score": sent})]))
    assert database.rows("SELECT score FROM events") == [(stored,)]


def test_an_event_without_rating_has_none(database: Database, writer: Writer) -> None:
    """NULL, not zero."""
    writer.insert_block(block_of([b'{"type":"cx.page.viewed","time":"2026-03-01T10:00:00Z","data":{"page":"/"}}']))
    assert database.rows("SELECT score, type FROM events") == [(None, "cx.page.viewed")]


def test_the_same_range_twice_is_stored_once(database: Database, writer: Writer) -> None:
    """All three tables of a block know its token."""
    block = block_of(
        [event(n) for n in range(10)], dead_letters=[LETTER], duplicates=2, late_offsets={3, 4}, code_version="1.0"
    )
    for _ in range(3):
        writer.insert_block(block)

    assert database.rows("SELECT outcome, count() FROM events GROUP BY outcome ORDER BY outcome") == [
        ("counted", 8),
        ("late", 2),
    ]
    assert database.rows(
        "SELECT groupArray(offset) FROM (SELECT offset FROM events WHERE outcome = 'late' ORDER BY offset)"
    ) == [([3, 4],)]
    assert database.rows("SELECT first, last, read, counted, duplicate, late, bad FROM outcomes") == [
        (0, 12, 13, 8, 2, 2, 1)
    ]
    [letter] = database.client.query(
        "SELECT offset, reason, path, got, expected, message, hex(payload) AS payload, code_version, toUnixTimestamp64Milli(at) AS at FROM dead_letters"
    ).named_results()
    assert letter == {
        "offset": 12, "reason": "wrong_type", "path": "data.score", "got": '"x"', "expected": "1 to 5",
        "message": "the score «x» is no number", "payload": "FF007B", "code_version": "1.0", "at": 1_767_225_600_250,
    }  # fmt: skip


def test_equal_blocks_of_different_ranges_are_both_stored(database: Database, writer: Writer) -> None:
    """Identity comes from the range, never from the content."""
    block = block_of([event(1)])
    writer.insert_block(block)
    writer.insert_block(replace(block, first=1, last=1))
    assert database.value("SELECT count() FROM events") == 2


def test_a_block_may_span_four_decades(database: Database, writer: Writer) -> None:
    """A replay of old data touches a partition for every year, and is stored once all the same."""
    months = [f"{year}-{month:02d}-15T12:00:00Z" for year in range(1990, 2027) for month in range(1, 13)]
    block = block_of([event(n, time=time) for n, time in enumerate(months)])
    writer.insert_block(block)
    writer.insert_block(block)
    assert database.rows("SELECT count(), uniq(toYYYYMM(time)), count() = uniq(offset) FROM events") == [
        (444, 444, True)
    ]


def test_the_dedup_window_outlives_ten_thousand_inserts(database: Database) -> None:
    """Every table that is inserted into with a token remembers at least so many."""
    engines = database.rows("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND name IN"
                            " ('events', 'dead_letters', 'outcomes', 'kpi_minutes', 'kpi_values') ORDER BY name")  # fmt: skip
    assert len(engines) == 5
    for name, engine in engines:
        window = int(engine.split("non_replicated_deduplication_window = ")[1].split(",")[0])
        assert window >= 10_000, name


def test_kpi_minutes_keep_the_highest_revision(database: Database, writer: Writer) -> None:
    """Rows are cumulative: late or repeated ones change nothing, parts add up."""
    web = "csat\x1fchannel\x1fweb"
    rows = [
        (web, 29_000_000, 0, [10, 8], 5),
        (web, 29_000_000, 1, [1, 1], 6),
        ("wait_p90", 29_000_000, 0, {3: 2, -1: 1}, 5),
    ]
    writer.insert_kpi_minutes(rows, "cx.kpis-0-0-9")
    writer.insert_kpi_minutes([(web, 29_000_000, 0, [12, 9], 7)], "cx.kpis-0-10-19")
    writer.insert_kpi_minutes([(web, 29_000_000, 0, [11, 8], 6)], "cx.kpis-0-20-29")

    sums = database.rows(
        "SELECT kpi, by, labels, toUnixTimestamp(minute), fields, bins, n FROM kpi_minute_sums ORDER BY kpi"
    )
    assert sums == [
        ("csat", "channel", {"channel": "web"}, 1_740_000_000, [13, 10], {}, 13),
        ("wait_p90", "", {}, 1_740_000_000, [], {-1: 1, 3: 2}, 3),
    ]


def test_sums_beyond_64_bits_are_exact(database: Database, writer: Writer) -> None:
    """Squares of large amounts outgrow 64 bits."""
    fields = [3, -(1 << 63) - 5, 1 << 100]
    writer.insert_kpi_minutes([("spend", 29_000_000, 0, fields, 1)], "cx.kpis-0-0-0")
    assert database.value("SELECT fields FROM kpi_minute_sums") == fields


def test_kpi_values_are_stored_with_their_uncertainty(database: Database, writer: Writer) -> None:
    """A missing value is NULL; the closed row replaces the open one of the same time."""
    series = "csat\x1fchannel\x1fweb\x1fstage\x1fsupport"
    row = ValueRow(series, "5m", "", 1_767_225_600, 0.8, 10, 0.49, 0.94, "csat@1", closed=False, revision=4)
    writer.insert_kpi_values([row, row._replace(window="1m", value=None, n=0, lo=None, hi=None)], "cx.kpis-0-0-0")
    writer.insert_kpi_values([row._replace(value=0.75, closed=True, revision=5)], "cx.kpis-0-1-1")

    found = database.rows(
        'SELECT by, labels, "window", toUnixTimestamp(at), value, n, lo, hi, definition, maturity FROM kpi_values FINAL ORDER BY "window"'
    )
    labels = {"channel": "web", "stage": "support"}
    assert found == [
        ("channel,stage", labels, "1m", 1_767_225_600, None, 0, None, None, "csat@1", "open"),
        ("channel,stage", labels, "5m", 1_767_225_600, 0.75, 10, 0.49, 0.94, "csat@1", "closed"),
    ]
    assert database.rows('SELECT "window", value, n FROM kpi_latest') == [("5m", 0.75, 10)]


def test_many_rows_are_cut_into_inserts_that_repeat_harmlessly(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each insert of a large record has a token of its own."""
    monkeypatch.setattr("streams.storage.grouping.ROWS_PER_INSERT", 40)
    rows = [(f"csat\x1funitid\x1f{n}", 29_000_000, 0, [n, 0], 1) for n in range(100)]
    for _ in range(2):
        writer.insert_kpi_minutes(rows, "cx.kpis-0-0-9")
    assert database.rows("SELECT count(), sum(n) FROM kpi_minutes") == [(100, 4950)]


def test_a_block_that_does_not_add_up_is_refused(database: Database, writer: Writer) -> None:
    """Better no block than a wrong balance."""
    with pytest.raises(ValueError, match="do not fit"):
        writer.insert_block(replace(block_of([event(1), event(2)]), last=0))


def test_wrong_credentials_are_told_at_once(database: Database) -> None:
    """No use in trying again."""
    wrong = Writer(replace(database.writer, password="no"))
    with pytest.raises(PermanentStorageError, match="cx_writer"):
        wrong.insert_block(block_of([event(1)]))


def test_a_missing_table_is_told_at_once(database: Database, writer: Writer) -> None:
    """The message names the table."""
    database.client.command("DROP TABLE outcomes SYNC")
    with pytest.raises(PermanentStorageError, match="outcomes"):
        writer.insert_block(block_of([event(1)]))


def test_the_writer_may_not_change_tables(database: Database) -> None:
    """Writer and reader have only the rights they need."""
    from streams.storage.connection import connect

    for address, sql in ((database.writer, "DROP TABLE events"), (database.reader, "INSERT INTO outcomes (first) VALUES (1)"),
                         (database.reader, "DROP TABLE events")):  # fmt: skip
        client = connect(address)
        with pytest.raises(Exception, match=r"privileges|readonly"):
            client.command(sql)
        client.close()


def test_a_server_that_is_away_is_waited_for(database: Database) -> None:
    """Retries go on, are told, and end when the writer is closed."""
    told = []

    def tell(table: str, attempts: int, _error: object) -> None:
        told.append((table, attempts))
        if attempts == 2:
            away.close()

    away = Writer(elsewhere(database.writer, free_port()), first_pause_s=0.01, on_retry=tell)
    with pytest.raises(InsertCancelledError):
        away.insert_block(block_of([event(1)]))
    assert told == [("events", 1), ("events", 2)]


def test_a_slow_server_is_asked_again_and_stores_once(database: Database) -> None:
    """An insert that outlives our patience is repeated under its token, also while the first is still running."""
    told = []

    def tell(_table: str, attempts: int, _error: object) -> None:
        told.append(attempts)
        if attempts == 2:
            database.client.command("ALTER TABLE outcomes MODIFY COLUMN slow UInt8 DEFAULT 0")

    writer = Writer(database.writer, timeout_s=1.5, first_pause_s=0.01, longest_pause_s=0.05, on_retry=tell)
    database.client.command("ALTER TABLE outcomes ADD COLUMN slow UInt8 DEFAULT sleepEachRow(2.9)")
    writer.insert_block(block_of([event(1)]))
    writer.close()
    assert len(told) >= 2
    assert database.value("SELECT count() FROM outcomes") == 1


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(tmp_path) -> None:
    """The server dies again and again in the middle of inserting, also between the partitions of a block; the count is exact."""
    rows, blocks, kills = 2_000, 60, 4
    with running_server(tmp_path / "data") as server, fresh_database(server) as database:
        writer = Writer(database.writer, first_pause_s=0.02, longest_pause_s=0.1)
        done = []

        def insert() -> None:
            for number in range(blocks):
                first = number * rows
                writer.insert_block(
                    block_of(
                        [event(n, time=f"{2019 + n % 3}-05-01T00:00:00Z") for n in range(first, first + rows)],
                        first=first,
                    )
                )
                done.append(number)

        thread = threading.Thread(target=insert)
        thread.start()
        for kill in range(kills):
            while len(done) < (kill + 1) * 10 and thread.is_alive():
                time.sleep(0.002)
            server.kill()
        thread.join(600)
        assert not thread.is_alive()
        writer.close()
        assert server.restarts >= 1
        assert database.rows("SELECT count(), uniqExact(offset), uniqExact(id) FROM events") == [(blocks * rows,) * 3]
        assert database.rows("SELECT count(), sum(read), sum(counted) FROM outcomes") == [
            (blocks, blocks * rows, blocks * rows)
        ]


def test_several_threads_may_share_a_writer(database: Database, writer: Writer) -> None:
    """One client serves them all."""

    def insert(partition: int) -> None:
        for number in range(5):
            writer.insert_block(block_of([event(n) for n in range(20)], first=20 * number, partition=partition))

    threads = [threading.Thread(target=insert, args=(partition,)) for partition in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.rows("SELECT count(), uniqExact(partition, offset) FROM events") == [(400, 400)]


def test_an_insert_that_was_held_up_beyond_its_time_takes_no_effect(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped with its sender, or held in a network, it would come when others have stored the same records."""
    told: list[str] = []

    def held_up(_writer: Writer, body: bytes) -> Iterator[bytes]:
        time.sleep(1.5)
        yield body

    def tell(_table: str, _attempts: int, error: object) -> None:
        told.append(str(error))
        slow.close()

    slow = Writer(database.writer, on_retry=tell)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_permitted", held_up)
        with pytest.raises(InsertCancelledError):
            slow.under(lambda: 0.5).insert_block(block_of([event(1)]))
    assert "in_time" in told[0]
    assert slow.under_way_s == 0
    assert database.value("SELECT count() FROM events") == 0
    in_time = Writer(database.writer)
    in_time.under(lambda: 60.0).insert_block(block_of([event(1)]))
    assert database.value("SELECT count() FROM events") == 1
    in_time.close()


def test_a_server_whose_clock_was_set_is_asked_for_its_time_again(database: Database) -> None:
    told: list[str] = []
    writer = Writer(database.writer, first_pause_s=0.01, on_retry=lambda _table, _n, error: told.append(str(error)))
    bound = writer.under(lambda: 60.0)
    bound.insert_block(block_of([event(1)]))
    kept = writer._link._server
    assert kept is not None
    writer._link._server = kept[0], kept[1] - 3600  # as if the server's clock had been set forward by an hour
    bound.insert_block(block_of([event(2)], first=1))
    assert len(told) == 1
    assert database.value("SELECT count() FROM events") == 2
    writer.close()
