"""Fields that no event type has are found in what is stored, with the one that was meant."""

import json

from streams.storage.connection import connect
from streams.storage.unknown import unknown_fields
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

HANDLED = {"type": "cx.contact.handled", "channel": "call_center"}


def test_misspelt_and_misplaced_fields_are_named_with_what_was_meant(database: Database) -> None:
    """In the data and beside it; what is known is not told, nor what every CloudEvent may carry."""
    assert unknown_fields(database.client) == []
    known = {"talk_s": 60, "hold_s": 0, "wrapup_s": 5}

    def handled(number: int, data: dict[str, object], **attributes: str) -> bytes:
        return json.dumps({**json.loads(event(number, **HANDLED, **attributes)), "data": data}).encode()

    events = [
        handled(1, {**known, "talkS": 60, "queu": "care"}),
        handled(2, {**known, "queu": "care", "region": "fars", "zzz": {"deep": 1}}),
        handled(3, known, regoin="fars", queue="care", datacontenttype="application/json"),
    ]
    writer = Writer(database.writer)
    writer.insert_block(block_of(events))
    writer.close()
    found = {one.path: (one.events, one.meant) for one in unknown_fields(database.client)}
    assert found == {
        "data.queu": (2, "data.queue"),
        "data.talkS": (1, "data.talk_s"),
        "data.region": (1, "region"),
        "data.zzz": (1, ""),
        "regoin": (1, "region"),
        "queue": (1, "data.queue"),
    }
    assert str(unknown_fields(connect(database.reader))[0]) == (
        "data.queu of cx.contact.handled (2 events); did you mean data.queue?"
    )
