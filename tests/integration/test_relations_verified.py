"""`cx verify` derives everything once more from the stored events, and finds whatever is not as it should be."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from streams.cli import main
from streams.kpis.catalogue.catalogue import Catalogue
from streams.relations.catalogue import Relations, load
from streams.shipped import RELATIONS
from streams.storage import customer
from streams.storage.connection import connect
from streams.storage.verify import VerifyReport, verify
from tests.harness.clickhouse import Database
from tests.harness.related import fill_with_relations

NONE = Catalogue({})


@pytest.fixture(scope="module")
def relations() -> Relations:
    return load([RELATIONS])


@pytest.fixture
def filled(database: Database) -> Database:
    """A store with a day of customers, and what relations made of them until then."""
    fill_with_relations(database)
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
    assert any("keys were joined later than the relation revises" in note for note in report.notes)
    filled.client.command(
        "ALTER TABLE events UPDATE ingested_at = time WHERE type LIKE 'cx.identity.%' SETTINGS mutations_sync = 2"
    )
    monkeypatch.setattr(customer, "AT_ONCE", 300)
    soon = checked(filled, relations)
    assert list(map(str, soon.differences)) == [], "some customers at a time come to the same"
    assert not any("keys were joined" in note for note in soon.notes), "the links came soon after what they change"
    assert soon.checked["matters"] > report.checked["matters"]
    known: set[str] = set()
    for check, change in SABOTAGE:
        filled.client.command(f"ALTER TABLE events {change} SETTINGS mutations_sync = 2")
        found = {one.check for one in checked(filled, relations).differences}
        assert check in found - known
        known |= found


def asked(database: Database, folder: Path, *arguments: str) -> Result:
    password = folder / "password"
    password.write_text(database.reader.password)
    settings = {
        "CX_CLICKHOUSE": database.reader.url,
        "CX_CLICKHOUSE_DATABASE": database.name,
        "CX_CLICKHOUSE_USER": database.reader.user,
        "CX_CLICKHOUSE_PASSWORD_FILE": str(password),
        "CX_RELATIONS": "all",
        "COLUMNS": "80",
    }
    return CliRunner().invoke(main, ["relations", *arguments], env=settings)


def test_a_customer_is_explained(filled: Database, tmp_path: Path) -> None:
    """Events, what was derived and of which events, what is open: in 80 columns, and as JSON."""
    text = asked(filled, tmp_path, "explain", "c-3")
    assert text.exit_code == 0, text.output
    assert max(map(cell_len, text.output.splitlines())) <= 80
    assert "=> search" in text.output
    assert "Still open as of the newest event" in text.output
    assert "differs" not in text.output
    told = json.loads(asked(filled, tmp_path, "explain", "c-3", "--json").output)
    ids = {event["id"] for event in told["events"]}
    assert all(
        one["because"] and {named["id"] for named in one["because"]} <= ids
        for one in told["derived"]
        if one["anew"] == "same"
    )
    assert {"same", "taken back"} <= {one["anew"] for one in told["derived"]}
    assert {"cart", "lifecycle"} & {one["relation"] for one in told["open"]}
    only = json.loads(asked(filled, tmp_path, "explain", "c-3", "--relation", "search", "--json").output)
    assert {one["type"] for one in only["derived"]} == {"cx.search.ended"}
    filled.client.command(
        "ALTER TABLE events DELETE WHERE subject = 'c-3' AND type = 'cx.search.performed' SETTINGS mutations_sync = 2"
    )
    assert "differs: nothing follows" in asked(filled, tmp_path, "explain", "c-3", "--relation", "search").output
    person = asked(filled, tmp_path, "explain", "c-9").output
    assert ("c-10" in person, "subject=c-11" in person, "differs: nothing" in person) == (True, True, False)
    assert json.loads(asked(filled, tmp_path, "explain", "c-11", "--json").output)["also"] == ["c-10", "c-9"]
    nobody = asked(filled, tmp_path, "explain", "nobody")
    assert (nobody.exit_code, nobody.stderr) == (3, "nothing is stored of 'nobody'\n")


def test_what_is_open_stands_beside_what_has_ended(filled: Database, tmp_path: Path, relations: Relations) -> None:
    """A moment after all was opened nobody is lost yet."""
    found = {one["relation"]: one for one in json.loads(asked(filled, tmp_path, "open", "--json").output)}
    stored = dict(
        filled.rows(
            "SELECT JSONExtractString(data, 'outcome'), uniqExact(JSONExtractString(data, 'span')) FROM events"
            " WHERE type = 'cx.checkout.ended' AND NOT synthetic GROUP BY 1"
        )
    )
    assert found["checkout"]["ended"] == stored
    assert found["repurchase"]["open"] > 0
    assert "none" not in found["repurchase"]["ended"], "90 days are not over"
    assert found["lifecycle"]["open"] == sum(found["lifecycle"]["stages"].values()) > 0
    text = asked(filled, tmp_path, "open").output
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "repurchase" in text


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
    filled.client.command(
        "ALTER TABLE events UPDATE outcome = 'late' WHERE type = 'cx.search.ended' SETTINGS mutations_sync = 2"
    )
    report = checked(filled, relations)
    assert [one for one in report.differences if one.check.startswith("derived")] == []
    assert any(note.startswith("nothing is derived of cart") for note in report.notes)
    assert any("derived events are of a time that KPIs no longer revise" in note for note in report.notes)
    assert any("from before the relation ran: not judged" in note for note in report.notes)
