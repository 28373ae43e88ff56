"""Where a person is named in what is stored, and where it is only part of a longer name."""

import re

import pytest

from streams.storage.erasing import _needles


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"subject":"customer-47"}', True),
        ("/login?next=%2Faccount%2Fcustomer-47", True),
        ("c%3Dcustomer-47&x=1", True),
        (r"line\ncustomer-47", True),
        (r"\u0645customer-47", True),
        ("customer-4711", False),
        ("oldcustomer-47", False),
    ],
)
def test_names_are_found_behind_escapes_and_alone(text: str, *, named: bool) -> None:
    """The pattern is what ClickHouse is asked with."""
    assert bool(re.search(_needles(["customer-47"])["alone"], text)) is named
