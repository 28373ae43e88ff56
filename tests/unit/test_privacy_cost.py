"""What it takes to look for personal data grows with the length of a record, not with its square."""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Final

import pytest

from streams.privacy.finding import find, may_hold
from streams.privacy.folding import _folding, _form, folded
from streams.privacy.numbers import _PLUS, _SEPARATORS, Found, _Run, numbers
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.readings import plainly, read
from streams.privacy.records import Protection, Subjects

LENGTH: Final = 300_000
MOST_S: Final = 15.0
"""Of CPU time: in proportion to the length it is a second, by its square it would be more than half a minute."""

PHONE: Final = b"09120000012"
START: Final = 0.0


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


def test_an_id_that_no_contract_takes_is_masked_without_a_pseudonym_for_each_number() -> None:
    """A pseudonym costs four times a mask; ids that may be counted keep one each, so that they stay different."""
    pseudonyms = Pseudonyms([SecretKey(b"1" * 32)])

    def of_id(numbers: int) -> str:
        text = " ".join([PHONE.decode()] * numbers)
        [found] = Protection(pseudonyms).protect([json.dumps({"orderid": text}).encode()]).values
        return str(json.loads(found or b"")["orderid"])

    assert of_id(1) == pseudonyms.of(PHONE.decode(), START)
    assert of_id(5) == " ".join([pseudonyms.of(PHONE.decode(), START)] * 5)
    assert of_id(30) == " ".join(["[phone]"] * 30)


def test_an_identifier_in_a_string_that_never_ends_is_masked() -> None:
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))
    [found] = protection.protect([b'{"id":"e1","text":"call \\"me\\" at ' + PHONE + b" or 6037991234567893"]).values
    assert found == b'{"id":"e1","text":"call \\"me\\" at [phone] or [card]'


def calls_of(work: Callable[[], object]) -> int:
    calls, before = Counter[str](), sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: calls.update([event]))
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls["call"] + calls["c_call"]


@pytest.mark.parametrize("joined", ["(98", "[98", "98-", "98."])
def test_groups_that_go_on_are_not_tried_again_and_again(joined: str) -> None:
    text = joined * 1_000
    assert find(text) == []
    assert calls_of(lambda: find(text)) < 20 * 1_000


@pytest.mark.parametrize(
    "unit",
    ["12,", "12, ", "12 ", "1,", "1/2|", "123,", "12.5, ", "098 ", "12345,", "(12) ", "@", "a@"],
)
def test_what_begins_no_identifier_is_passed_over_without_a_look_at_each(unit: str) -> None:
    text = unit * 3_000
    assert not may_hold(text)
    assert calls_of(lambda: may_hold(text)) < 500
    assert calls_of(lambda: find(text)) < 500


_RUN: Final = re.compile(rf"(?P<plus>{_PLUS})?[(\[]?(?P<digits>[0-9](?:[{_SEPARATORS}]{{0,4}}[0-9])*)")


def one_by_one(text: str) -> Iterator[Found]:
    """Try each group of each run, and pass none over."""
    for match in _RUN.finditer(text):
        start, end = match.span("digits")
        run, first = _Run(text, start, end, plus=match["plus"] is not None, by_context=True), 0
        while end - start >= 10 and first < len(run.groups):
            last, kind = run.longest_from(first)
            if kind is not None:
                yield Found(run.start_of(first, kind), run.groups[last][1], kind)
            first = last + 1


_IDENTIFIERS: Final = (
    "09120000012", "989120000012", "00989120000012", "02188776655", "0009123458", "6037991122334454", "378282246310005",
    "30569309025904", "6212345678901232", "062960000000100324200001", "9120000012", "9891 2000 0012 3456",
)  # fmt: skip
_GROUPED: Final = (
    (4, 3, 4), (4, 4, 4, 4), (3, 6, 1), (3, 3, 4), (3, 3, 3, 1), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4,) * 6, (1,) * 24,
    (2, 4, 4, 4, 4, 4, 2), (3, 3, 2, 2, 2), (2, 3, 7), (5, 7), (24,), (2,) * 12,
)  # fmt: skip


def lists(chance: random.Random) -> str:
    """Return identifiers in groups, among lists of other numbers."""
    text = ""
    for _ in range(chance.randrange(1, 5)):
        between = chance.choice([" ", ",", ", ", "/", "-", ".", "|", "_"])
        if chance.random() < 0.5:
            digits = "".join(chance.choice("0123456789") for _ in range(60))
            lengths = tuple(chance.choice([1, 2, 3, 4, 4, 6]) for _ in range(30))
        else:
            digits, lengths = chance.choice(_IDENTIFIERS), chance.choice(_GROUPED)
        ends = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
        parts = (digits[start:end] for start, end in pairwise(ends))
        text += between.join(filter(None, parts)) + chance.choice([" ", ",", ", ", "/", "-", "", "; ", " 98+ "])
    return text


def test_groups_that_are_passed_over_begin_no_identifier() -> None:
    chance = random.Random(11)
    texts = [lists(chance) for _ in range(1_500)]
    assert [list(numbers(text)) for text in texts] == [list(one_by_one(text)) for text in texts]
    assert sum(len(list(numbers(text))) > 1 for text in texts) > 50


_TOKENS: Final = (
    "12", "1", "123", "1234", "098", "0912", "98", "00", "+98", "IR12", "DE89", "@", "%40", "a@b.", "&#48;", "&lt;", "<b>", "\\",
    "\\u0030", '"', "۱۲", "٠", "０", "\u200c", "\0", "\x02", "tel", "é", "م", "😀", "{", "2026-03-01", "1e5", "09120000012",
)  # fmt: skip


def shapes(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield units that come again and again, and records of 3 kB of each."""
    chance = random.Random(7)
    for _ in range(count):
        signs = (chance.choice(_TOKENS) + chance.choice(' -,./|_():;"') for _ in range(chance.randrange(1, 4)))
        unit = "".join(signs)
        text = unit * (3_000 // len(unit.encode()))
        made = chance.choice(
            [{"text": text}, {text: 1}, {"id": text}, {"x": json.dumps({"y": text})}, {"x": [unit] * 300}]
        )
        sent = json.dumps(made, ensure_ascii=chance.random() < 0.3).encode()
        yield unit, sent if chance.random() < 0.8 else sent[:-9]


def test_no_shape_takes_many_calls_for_each_byte() -> None:
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))
    protection.protect([b'{"text":"\xd9\xa0 09120000012"}'])
    costs = {unit: calls_of(partial(protection.protect, [value])) / len(value) for unit, value in shapes(80)}
    assert max(costs.values()) < 12, max(costs, key=lambda unit: costs[unit])


def digits_of(chance: random.Random, length: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(length))


def numbers_of(length: int) -> list[int]:
    chance = random.Random(length)
    return [int("1" + digits_of(chance, length - 1)) for _ in range(1_000)]


@pytest.mark.parametrize("length", [9, 10])
def test_numbers_of_a_list_are_not_looked_at_one_by_one_where_no_field_says_that_they_are_of_people(
    length: int,
) -> None:
    value = json.dumps({"readings": numbers_of(length)}).encode()
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))
    assert protection.protect([value]).values == [value]
    assert calls_of(lambda: protection.protect([value])) < 5 * 1_000


def test_texts_of_digits_take_a_few_calls_each() -> None:
    value = json.dumps({"codes": list(map(str, numbers_of(10)))}).encode()
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))
    assert b"[national_id]" in (protection.protect([value]).values[0] or b"")
    assert calls_of(lambda: protection.protect([value])) < 45 * 1_000


def test_numbers_of_people_in_a_list_are_found_as_before() -> None:
    chance, card = random.Random(3), 6037991234567893
    protection = Protection(Pseudonyms([SecretKey(b"1" * 32)]))

    def masked(value: str) -> bytes:
        return protection.protect([value.encode()]).values[0] or b""

    others = [int(f"{length % 9 + 1}{digits_of(chance, length)}") for length in range(9, 12)]
    assert masked(json.dumps({"x": [*others, card, 1]})) == json.dumps({"x": [*others, "[card]", 1]}).encode()
    assert masked('{"x":6037991234567893.0}') == b'{"x":"[card]"}'
    for kept in ("-6037991234567893", "6037991234567893.5", "16037991234567893", "6037991234567893e3"):
        assert masked(f'{{"x":{kept}}}') == f'{{"x":{kept}}}'.encode()
    assert masked('{"mobile":[9120000012]}') == b'{"mobile":["[phone]"]}'
    assert masked('{"national_id":989120000012,"nid":1234567890}') == b'{"national_id":989120000012,"nid":1234567890}'
    assert masked('{"national_id":[7731689948,7731689956]}') == b'{"national_id":["[national_id]","[national_id]"]}'


def test_signs_that_have_another_form_are_found_in_every_plane() -> None:
    signs, table = _folding()
    assert all(signs.search(chr(code)) for code in _form())
    assert signs.search("کالا خیلی دیر رسید و بسته‌بندی خراب بود; très, ☹") is None
    assert folded("\U0001d7d8\U00010d34 ۱") == "\U0001d7d8\U00010d34 ۱".translate(table) == "04 1"


def test_what_is_read_without_places_is_what_is_read_with_them() -> None:
    chance = random.Random(5)
    pieces = [
        "%34",
        "%D9%80",
        "%2",
        "&#49;",
        "&amp;",
        "&",
        "<b>",
        "</",
        "<",
        ">",
        "\\n",
        "\\u0031",
        "\\\\u0031",
        "\\",
        '"',
        "x",
        "9 ",
    ]
    texts = ["".join(chance.choices(pieces, k=chance.randrange(12))) for _ in range(3_000)]
    found = [read(text) for text in texts]
    assert [plainly(text) for text in texts] == [
        one.text if one else text for one, text in zip(found, texts, strict=True)
    ]
    assert sum(one is not None for one in found) > 1_000
