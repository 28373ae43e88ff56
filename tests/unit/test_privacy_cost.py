"""What it takes to look for personal data grows with the length of a record, not with its square."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Final

import pytest

from streams.privacy.finding import find
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection, Subjects

LENGTH: Final = 300_000
MOST_S: Final = 15.0
"""Of CPU time: in proportion to the length it is a second, by its square it would be more than half a minute."""

PHONE: Final = b"09120000012"


def filled(before: bytes, unit: bytes, after: bytes = b'"}') -> bytes:
    return before + unit * (LENGTH // len(unit)) + after


SHAPES: Final = {
    "addresses": filled(b'{"comment":"', b"a@b.co "),
    "addresses of a person": filled(b'{"subject":"', b"a@b.co "),
    "telephone numbers of an id": filled(b'{"id":"', PHONE + b" "),
    "no text": filled(b"\xff", b"a@b.co "),
    "quotes of a string that never ends": filled(b'{"id":"a@b.co","text":"', rb"\"", b""),
    "what says nothing before a number": filled(b'{"subject":"', b"_", PHONE + b' x"}'),
    "a word and no end before a number": filled(b'{"subject":"tel', b"_", b"x " + PHONE + b'"}'),
    "a long name of many texts": filled(b'{"' + b"a" * LENGTH + b'":["', PHONE + b'","', b'"]}'),
    "a long name of many numbers": filled(b'{"' + b"a" * LENGTH + b'":[', b"6037991234567893,", b"1]}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("subjects", ["recognised", "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cost_is_in_proportion_to_the_length(shape: str, subjects: Subjects) -> None:
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]), subjects=subjects)
    begun = time.process_time()
    found = protection.protect([SHAPES[shape]])
    assert time.process_time() - begun < MOST_S
    assert PHONE not in (found.values[0] or b"")
    assert b"a@b.co" not in (found.values[0] or b"")


def test_an_identifier_in_a_string_that_never_ends_is_masked() -> None:
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))
    [found] = protection.protect([b'{"id":"e1","text":"call \\"me\\" at ' + PHONE + b" or 6037991234567893"]).values
    assert found == b'{"id":"e1","text":"call \\"me\\" at [phone] or [card]'


@pytest.mark.parametrize("joined", ["(98", "[98", "98-", "98."])
def test_groups_that_go_on_are_not_tried_again_and_again(joined: str) -> None:
    calls = Counter[str]()
    text, before = joined * 1_000, sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: calls.update([event]))
    try:
        assert find(text) == []
    finally:
        sys.setprofile(before)
    assert calls["call"] + calls["c_call"] < 20 * 1_000
