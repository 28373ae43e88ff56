"""Verifying a store that refuses some rows, for good or until somebody mends it."""

from streams.kpis.catalogue.catalogue import Catalogue
from streams.storage.plain import StoredRecord
from streams.storage.verify_again import events_are_coming, verified_again
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event
from tests.harness.pipeline import Pipeline
from tests.integration.test_storage_verify import LETTER, TRICKY, check, tricky_payloads


def test_events_that_clickhouse_refuses_are_accounted_for(database: Database) -> None:
    """Some rows cannot be read, some are refused altogether: no balance, no minute and no value differs by that."""
    database.client.command(
        "ALTER TABLE events MODIFY COLUMN traceid String DEFAULT"
        """ if(throwIf(match(payload, '"id": "e(7|70|150)"'), 'cannot read') = 0, '', '')"""
    )
    database.client.command("ALTER TABLE events ADD CONSTRAINT closed CHECK NOT match(id, '^e(13|40|41|55|113|150)$')")
    writer = Writer(database.writer, first_pause_s=0.01)
    pipeline = Pipeline(writer, TRICKY)
    pipeline.feed(tricky_payloads())
    pipeline.finish()
    assert database.value("SELECT count() FROM set_aside") == 6
    assert database.value("SELECT count() FROM events") == 154
    assert [str(one) for one in check(database, TRICKY).differences] == []
    for statement in ("DROP CONSTRAINT closed", "MODIFY COLUMN traceid String DEFAULT ''"):
        database.client.command(f"ALTER TABLE events {statement}")
    rows = database.rows("SELECT topic, partition, offset, payload FROM set_aside ORDER BY offset")
    for topic, partition, offset, payload in rows:
        writer.store_later((topic, partition), StoredRecord(offset, payload.encode(), late=False))
    writer.close()
    assert database.value("SELECT count() FROM set_aside") == 0
    assert database.value("SELECT count() FROM events") == 160
    assert [str(one) for one in check(database, TRICKY).differences] == []


def test_a_dead_letter_that_is_lost_is_told_beside_live_traffic(database: Database) -> None:
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(1)], dead_letters=[LETTER]))
    database.client.command("DELETE FROM dead_letters WHERE true", settings={"lightweight_deletes_sync": 2})

    def others_come(_seconds: float, _why: str) -> None:
        writer.insert_block(block_of([event(2)], first=2, dead_letters=[LETTER]))

    report = verified_again(
        lambda: check(database, Catalogue.parse("[]")), lambda _s: events_are_coming(database.client), others_come
    )
    writer.close()
    assert [str(one) for one in report.differences] == [
        "records cx.touchpoints.web/0 bad: 1 stored, 2 by balance recomputed"
    ]
