"""docs/SETTINGS.md is what the code says of its settings."""

from pathlib import Path

import pytest

from streams.commands.settings_page import page
from streams.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROWS = {line.split("`")[1]: line for line in page().splitlines() if line.startswith("| `CX_")}


def test_the_page_is_written_from_the_settings() -> None:
    """Write it with `make generate`."""
    assert (ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8") == page()


def test_every_setting_has_a_row() -> None:
    assert list(ROWS) == [f"CX_{name.upper()}" for name in Settings.__struct_fields__]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CX_PARTITIONS", ("a whole number, ≥ 1, ≤ 1,024", "| 4 |", "the unit of scaling")),
        ("CX_KAFKA_SECURITY", ("`SASL_SSL`", "| `PLAINTEXT` |")),
        ("CX_CALENDAR", ("`gregorian`, `jalali`", "Calendar of months")),
        ("CX_WEEK_STARTS", ("empty", "First day of the week")),
        ("CX_SERIES_SENDER_SHARE", ("a number, > 0, ≤ 1", "| 0.5 |")),
    ],
)
def test_a_row_says_what_it_takes_and_is(name: str, said: tuple[str, ...]) -> None:
    for text in said:
        assert text in ROWS[name]
