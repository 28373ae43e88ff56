"""Identity in the store: sources that number alike, conflicts and where they are kept, and what is restored of both."""

from datetime import UTC, datetime

import pytest

from streams.commands import health
from streams.events.inheritance import inherited_ranges
from streams.events.intake import Intake, Tally
from streams.settings import load
from streams.storage import starts
from streams.storage.history import source_histories
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event
from tests.harness.pipeline import Pipeline
from tests.integration.test_storage_verify import TRICKY, check, told

AT = datetime(2026, 3, 1, 10, 0, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def stored(database: Database) -> Database:
    """A store with two sources that number their calls from 1, plain repeats, and repeats that say something else."""
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, TRICKY)
    pipeline.feed([event(n, source=source) for source in ("/cc/tehran", "/cc/shiraz") for n in range(1, 21)])
    pipeline.feed([event(1, source="/cc/tehran"), event(2, source="/cc/shiraz", subject="somebody else")])
    pipeline.feed([event(3, source="/cc/tehran", data={"score": 1}), event(3, source="/cc/qom", data={"score": 1})])
    pipeline.finish()
    writer.close()
    return database


def test_all_events_of_both_are_stored_and_conflicts_are_kept_apart(stored: Database) -> None:
    """The balance adds up, nothing differs from a recomputation, and the later record can be looked at."""
    assert stored.rows("SELECT sum(read), sum(counted), sum(duplicate), sum(bad), sum(conflict) FROM outcomes") == [
        (44, 41, 1, 0, 2)
    ]
    assert stored.rows("SELECT source, count() FROM events GROUP BY source ORDER BY source") == [
        ("/cc/qom", 1), ("/cc/shiraz", 20), ("/cc/tehran", 20),
    ]  # fmt: skip
    assert stored.rows("SELECT offset, reason, toString(outcome), payload FROM dead_letters ORDER BY offset") == [
        (41, "conflict", "conflict", event(2, source="/cc/shiraz", subject="somebody else").decode()),
        (42, "conflict", "conflict", event(3, source="/cc/tehran", data={"score": 1}).decode()),
    ]
    assert stored.rows("SELECT sum(read), sum(conflict) FROM pipeline_minutes") == [(44, 2)]
    assert told(check(stored, TRICKY)) == []


def test_verifying_finds_what_is_counted_twice_wherever_it_lies(stored: Database) -> None:
    """Also in two partitions of a topic, which the partitioner of a producer is to blame for."""
    writer = Writer(stored.writer)
    writer.insert_block(block_of([event(1, source="/cc/tehran")], partition=1))
    writer.close()
    found = [line for line in told(check(stored, TRICKY)) if line.startswith("id ")]
    assert found == [f"id {TOPIC}/0 and {TOPIC}/1 id e1 of /cc/tehran: 2 counted stored, one recomputed"]


def test_doctor_finds_an_event_that_was_counted_twice(stored: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent again under another subject, it came to another partition, which does not know it."""
    doctor = health._Doctor(load())
    monkeypatch.setattr(health, "address_of", lambda _settings: stored.reader)
    assert doctor._ids_counted_twice()[0]
    writer = Writer(stored.writer)
    writer.insert_block(block_of([event(1, source="/cc/tehran", subject="somebody else")], partition=1))
    writer.close()
    with pytest.raises(health._WrongError, match=f"1 of {TOPIC}, e.g. e1 of /cc/tehran in 0, 1; set the partitioner"):
        doctor._ids_counted_twice()


def test_doctor_finds_a_subject_in_two_partitions(stored: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of a real store: a producer with another partitioner sends some of a customer's events elsewhere."""
    doctor = health._Doctor(load())
    monkeypatch.setattr(health, "address_of", lambda _settings: stored.reader)
    assert doctor._scattered_subjects()[0]
    writer = Writer(stored.writer)
    writer.insert_block(block_of([event(99, subject="c3")], partition=2))
    writer.close()
    with pytest.raises(health._WrongError, match=f"1 of {TOPIC}, e.g. c3 in 0, 2; set the partitioner"):
        doctor._scattered_subjects()


def test_verifying_finds_a_conflict_that_is_not_kept(stored: Database) -> None:
    stored.client.command("DELETE FROM dead_letters WHERE offset = 41")
    assert f"records {TOPIC}/0 conflict: 1 stored, 2 by balance recomputed" in told(check(stored, TRICKY))


def test_a_balance_that_was_cut_off_knows_its_conflicts(stored: Database) -> None:
    """Rows that came behind the newest balance get one, conflicts among them."""
    stored.client.command("DELETE FROM outcomes WHERE first >= 40")
    starts.add_balances(stored.client, starts.beyond(stored.client))
    assert stored.rows("SELECT sum(read), sum(counted), sum(conflict) FROM outcomes") == [(43, 41, 2)]


def test_what_is_restored_tells_sources_and_contents_apart(stored: Database) -> None:
    """From the store alone: plain repeats, conflicts, and new events under ids that other sources have used."""
    [history] = source_histories(stored.client, 1_000)
    ids = list(zip(history.sources, history.ids, history.contents, strict=True))
    restored = Intake("web/0", retention_s=1e9, dedup_ids=1_000)
    restored.restore(
        list(inherited_ranges("web/0", ids, history.times, tally=Tally(*history.balance), now=AT + 60, dedup_ids=1_000))
    )
    values = [
        event(20, source="/cc/tehran"), event(20, source="/cc/tehran", subject="x"), event(3, source="/cc/qom"),
        event(20, source="/cc/qom"),
    ]  # fmt: skip
    restored.add(values, range(4), AT + 60)
    outcome = restored.close()
    assert outcome is not None
    assert (outcome.tally.duplicate, outcome.tally.conflict, outcome.tally.counted) == (1, 2, 1)
    assert restored.head.tally == Tally(48, 42, 2, 0, 0, 4)


def test_a_filled_in_time_is_restored_as_content_that_is_not_known(database: Database) -> None:
    """Its repeat has another time, and is none the less a plain one."""
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(1, timeimputed=True)]))
    writer.close()
    [history] = source_histories(database.client, 10)
    assert history.contents == [0]
