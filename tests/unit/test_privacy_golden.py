"""Strings that must be masked, near misses that must stay, and one person in many spellings."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from streams.privacy.folding import fold
from streams.privacy.masking import mask
from streams.privacy.pseudonyms import Pseudonyms, SecretKey, is_pseudonym
from streams.privacy.records import Protection

GOLDEN = Path(__file__).parents[1] / "golden"
KEYS = [SecretKey(b"1" * 32), SecretKey(b"2" * 32, 10 * 86_400.0)]
ONE_PERSON = [
    "09120000012",
    "+989120000012",
    "00989120000012",
    "۰۹۱۲ ۰۰۰ ۰۰۱۲",
    "٠٩١٢-٠٠٠-٠٠١٢",
    "0912\u200c000\u200c0012",
    "\u200f09120000012",
    "9120000012",
    "tel:+98 (0) 912 000 0012",
    "912-000-0012",
    "(۹۸+) ۹۱۲ ۰۰۰ ۰۰ ۱۲",
    "%2B989120000012",
    "0912·000·0012",
    "０９１２００００００１２".replace("００００００１２", "０００００１２"),
]


def cases(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digits(text: str) -> str:
    return re.sub("[^0-9]", "", fold(text).text)


@pytest.mark.parametrize("case", cases("masked.csv"), ids=lambda case: case["id"])
def test_golden_26_what_must_be_masked(case: dict[str, str]) -> None:
    """Nothing of an identifier remains, whatever script and separators, and each kind is counted once."""
    masked = mask(case["text"])
    assert masked.kinds == set(case["kind"].split("+"))
    for value in case["must_not_remain"].split():
        if "@" in value:
            assert value.lower() not in masked.text.lower()
            assert value.partition("@")[0].lower() not in masked.text.lower()
        else:
            number = digits(value)
            assert not any(number[at : at + 7] in digits(masked.text) for at in range(len(number) - 6))


@pytest.mark.parametrize("case", cases("kept.csv"), ids=lambda case: case["id"])
def test_golden_27_near_misses_stay(case: dict[str, str]) -> None:
    """What identifies nobody stays byte for byte, and nothing is counted; also in a record."""
    assert mask(case["text"]) == (case["text"], frozenset())


def test_golden_28_one_person_has_one_pseudonym() -> None:
    """All spellings are one person, other numbers and addresses are others, and nobody has no pseudonym."""
    pseudonyms = Pseudonyms(KEYS[:1])
    first = {pseudonyms.of(value, 0) for value in ONE_PERSON}
    others = [
        {pseudonyms.of("09120000021", 0)},
        {pseudonyms.of(value, 0) for value in ("User.One@Example.com", " user.one@example.com ")},
        {pseudonyms.of("user.one@example.org", 0)},
    ]
    assert all(len(person) == 1 for person in (first, *others))
    assert len(set().union(first, *others)) == 4
    assert all(is_pseudonym(value) for value in set().union(first, *others))
    for nobody in ("", "-", "null", "unknown", "0", "00000000000", " \u200c "):
        assert not pseudonyms.of(nobody, 0)


def test_golden_28_the_case_of_addresses_is_a_setting() -> None:
    """Where upper and lower case differ before the @, they are two people; the domain never differs."""
    pseudonyms = Pseudonyms(KEYS[:1], fold_local_part=False)
    assert pseudonyms.of("User@example.com", 0) != pseudonyms.of("user@example.com", 0)
    assert pseudonyms.of("User@Example.com", 0) == pseudonyms.of("User@example.COM", 0)


def test_golden_28_keys_overlap() -> None:
    """A key is used from its time on, and a person is found by the pseudonyms under all keys."""
    pseudonyms = Pseudonyms(KEYS)
    before, after = pseudonyms.of("09120000012", 9 * 86_400.0), pseudonyms.of("+989120000012", 11 * 86_400.0)
    assert before != after
    assert pseudonyms.all_of("0912 000 0012") == [before, after]


def test_golden_28_what_a_schema_refuses_is_protected_as_well() -> None:
    """A record is protected whether it is right, wrong or no JSON, and by no hash that can be undone by trying all."""
    protection = Protection(Pseudonyms(KEYS[:1]))
    sent: list[bytes | None] = [
        b'{"subject":"09120000012","type":"no.such"}',
        b"from 09120000012",
        b'{"subject":"0912',
        None,
    ]
    protected = protection.protect(sent)
    assert all(b"912000" not in (value or b"") for value in protected.values)
    assert protected.values[1:] == [b"from [phone]", b'{"subject":"0912', None]
    assert protected.kinds == {0: {"phone": 1}, 1: {"phone": 1}}
    assert protected.masked_in(1) == {"phone": 1}
