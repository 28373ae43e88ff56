"""`cx verify` derives everything once more from the stored events, and finds whatever is not as it should be."""

import json

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.relations.catalogue import Relations, load
from streams.relations.results import event_of
from streams.relations.timelines import play
from streams.shipped import RELATIONS
from streams.storage import relation_check
from streams.storage.connection import connect
from streams.storage.verify import VerifyReport, verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline
from tests.unit.test_relations_oracle import LATENESS, arrivals_of, history

NONE = Catalogue({})


@pytest.fixture(scope="module")
def relations() -> Relations:
    return load([RELATIONS])


@pytest.fixture
def filled(database: Database, relations: Relations) -> Database:
    """A store with a day of customers, and what relations made of them until then."""
    lines = history(relations, 5, events=900, days=1)
    arrivals = arrivals_of(lines)
    until = max(one.at for one in arrivals)
    played = [result for clock, result in play(relations, arrivals, LATENESS).results if clock <= until]
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, NONE)
    pipeline.feed([line.encode() for line in lines])
    sent = [json.dumps(event_of(relations[one.relation], one)).encode() for one in played]
    pipeline.feed_derived(sent, until / 1000 + 1)
    pipeline.finish()
    writer.close()
    return database


def checked(database: Database, relations: Relations) -> VerifyReport:
    client = connect(database.reader)
    try:
        return verify(client, NONE, relations=relations)
    finally:
        client.close()


ONE = "type = 'cx.checkout.ended' AND time = (SELECT min(time) FROM events WHERE type = 'cx.checkout.ended')"
SABOTAGE = [
    ("derived_missing", f"DELETE WHERE {ONE}"),
    (
        "derived_different",
        "UPDATE payload = replace(payload, '\"duration_s\": ', '\"duration_s\": 1') WHERE type = 'cx.search.ended'",
    ),
    ("derived_extra", "DELETE WHERE type = 'cx.page.viewed' AND cityHash64(id) % 3 = 0"),
    ("derived_revision", "DELETE WHERE type LIKE 'cx.%' AND JSONExtractBool(data, 'withdrawn') = 1"),
]


def test_all_is_derived_once_more_and_sabotage_is_found(
    filled: Database, relations: Relations, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = checked(filled, relations)
    assert list(map(str, report.differences)) == []
    assert report.checked["matters"] > 300
    assert any("still open" in note for note in report.notes)
    monkeypatch.setattr(relation_check, "AT_ONCE", 300)
    assert checked(filled, relations).checked == report.checked, "some customers at a time come to the same"
    known: set[str] = set()
    for check, change in SABOTAGE:
        filled.client.command(f"ALTER TABLE events {change} SETTINGS mutations_sync = 2")
        found = {one.check for one in checked(filled, relations).differences}
        assert check in found - known
        known |= found


def test_what_cannot_be_known_is_said(filled: Database, relations: Relations) -> None:
    """Of events that came before a relation ran nothing was derived, which is no difference."""
    filled.client.command("ALTER TABLE events DELETE WHERE source = 'relations/cart' SETTINGS mutations_sync = 2")
    filled.client.command(
        "ALTER TABLE events UPDATE ingested_at = ingested_at - 3600 WHERE subject = 'c-1' AND source = 's'"
        " SETTINGS mutations_sync = 2"
    )
    filled.client.command(
        "ALTER TABLE events DELETE WHERE subject = 'c-1' AND source LIKE 'relations/%' SETTINGS mutations_sync = 2"
    )
    report = checked(filled, relations)
    assert [one for one in report.differences if one.check.startswith("derived")] == []
    assert any(note.startswith("nothing is derived of cart") for note in report.notes)
    assert any("from before the relation ran: not judged" in note for note in report.notes)
