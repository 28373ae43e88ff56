"""The inventory of personal data: made from what the code does with each field, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.commands.privacy_page import inventory, page
from streams.events.types import ENVELOPE_FIELDS, EVENT_TYPES, data_fields

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    name.strip("` "): [cell.strip() for cell in line.split("|")[1:-1]]
    for line in inventory().splitlines()[2:]
    for name in line.split("|")[1].split(",")
}


def test_the_page_holds_the_inventory_of_today() -> None:
    """Write it with `make generate`."""
    written = (ROOT / "docs" / "PRIVACY.md").read_text(encoding="utf-8")
    assert written == page(written)
    assert inventory() in written


def test_every_field_of_free_text_has_a_row_and_none_is_stored_as_it_came() -> None:
    fields = {
        name
        for event_type in EVENT_TYPES
        for name, field in {**ENVELOPE_FIELDS, **data_fields(event_type)}.items()
        if field.kind == "text" and field.pattern is None
    }
    assert fields - {"source", "dataschema"} == set(ROWS)
    assert all(row[3].startswith(("pseudonym", "masked")) for row in ROWS.values())


@pytest.mark.parametrize(
    ("name", "way_in", "after", "kept"),
    [
        ("subject", "pseudonym", "a name of nobody", "400 days"),
        ("alias", "pseudonym", "an id of nobody", "400 days"),
        ("orderid", "pseudonym", "an id of nobody", "400 days"),
        ("text", "masked", "gone", "400 days"),
        ("query", "masked", "gone", "400 days"),
        ("topic", "masked", "stays", "3,650 days"),
        ("agentid", "pseudonym", "stays", "3,650 days"),
    ],
)
def test_a_row_says_what_becomes_of_a_field(name: str, way_in: str, after: str, kept: str) -> None:
    found = ROWS[name]
    assert found[3].startswith(way_in)
    assert found[4].startswith(after)
    assert kept in found[6]
