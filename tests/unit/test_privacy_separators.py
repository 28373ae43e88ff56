"""Identifiers that are parted by signs of other uses, or encoded; and what has these signs and identifies nobody."""

from __future__ import annotations

import json
import time

import pytest

from streams.privacy.folding import fold
from streams.privacy.masking import mask
from streams.privacy.numbers import loosely
from streams.privacy.pseudonyms import Pseudonyms, SecretKey, normal_form
from streams.privacy.readings import read
from streams.privacy.records import Protection
from streams.privacy.screening import screened

PROTECTION = Protection(Pseudonyms([SecretKey(b"k" * 32)]))
HIDDEN = {
    "phone": [
        "0912:000:0012", "0912~000~0012", "0912+000+0012", "+98:912:000:0012", "021:2000:0000", "۰۹۱۲:۰۰۰:۰۰۱۲",
        "۰۹۱۲،۰۰۰،۰۰۱۲", "۰۹۱۲؛۰۰۰؛۰۰۱۲", "0912۔000۔0012", "0912;000;0012", "0912=000=0012", "0912#000#0012",
        "0912'000'0012", "0912`000`0012", "0912^000^0012", "0912!000!0012", "0912\v000\v0012", "0912\x1c000\x1c0012",
        "0\u03369\u03361\u03362\u03360000012",
        "0912%20000%200012", "%2B98%20912%20000%200012", "%DB%B0%DB%B9%DB%B1%DB%B20000012", "0912%2520000%25200012",
        "0912&nbsp;000&nbsp;0012", "&#48;&#57;120000012", "0912&#x200c;0000012", "0912&zwnj;000&shy;0012",
        "0912<b>000</b>0012", "0912<br/>000<br/>0012", '0912<i class="x">000</i>0012', "&amp;#48;9120000012",
        r"\u06f0\u06f9\u06f1\u06f20000012", r"0912\n000\n0012", r"\\u0030\\u0039120000012", r"0912\/000\/0012",
    ],
    "card": ["6037:9900:0000:0014", "6037%209900%200000%200014", "6037&ensp;9900&ensp;0000&ensp;0014"],
    "national_id": ["998:765432:0", "998%2D765432%2D0"],
    "iban": ["IR80%200170%200000%200000%200000%200001%2023", "DE89&nbsp;3704&nbsp;0044&nbsp;0532&nbsp;0130&nbsp;00"],
    "email": ["user.one%2540example.com", "user&#64;example.com", r"user\u0040example.com", "user&commat;example.com"],
}  # fmt: skip
KEPT = [
    "12:30:45", "2026-03-04T12:30:45.123456+03:30", "2026-03-04T09:12:34.56789+03:30", "2026:03:04 12:30:45",
    "20260304:123045", "127.0.0.1:8080", "192.168.100.200:50912", "10.20.30.144:50912", "35.6892:51.3890",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "2001:0000:4136:9378:8000:6300:3000:1002", "00:1A:2B:3C:4D:5E",
    "1.2.3:4567", "http://x.ir/p?a=100458&b=77120&c=1403", "ORD:2026:000123:45", "1000+2000+3000", "50%20off",
    "&lt;12345&gt;67890", "sha256:1234567890abcdef", "<td>1234</td><td>567890</td>", "v1.2.3+20260304", "08:00~12:00",
    "۱۲،۵۰۰،۰۰۰", "۱۰۰ اسفند ۱۴۰۳؛ ۷۷۱۲۰", "width=1200;height=3400;dpi=300", "#1403#77120", "5'11\"", "C#1234567",
    "100~200~300", "1403:12:30", r"C:\new\1403\77120", "p?order=7700912000&n=100%25", "a < 1000 & b > 2000", "99%",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "written"), [(kind, one) for kind, all_ in HIDDEN.items() for one in all_])
def test_what_parts_or_encodes_digits_hides_nothing(kind: str, written: str) -> None:
    """In a text and in a record, alone and among many; what is around it stays."""
    assert mask(f"شماره {written} است") == (f"شماره [{kind}] است", frozenset({kind}))
    for ascii_only in (True, False):
        record = json.dumps({"data": {"text": f"no {written}."}}, ensure_ascii=ascii_only).encode()
        (other, better), kinds = PROTECTION.protect([b"{}", record])
        assert (other, json.loads(better or b"")["data"]["text"], kinds) == (b"{}", f"no [{kind}].", {1: {kind: 1}})
        assert screened([b"{}", record, b"{}"]) == [1]


def test_the_code_of_a_country_may_stand_behind_with_its_plus() -> None:
    assert mask("۹۱۲۰۰۰۰۰۱۲ ۹۸+").kinds == mask("9120000012 +98").kinds == {"phone"}
    assert mask("9120000012 98").kinds == frozenset()


@pytest.mark.parametrize("written", KEPT)
def test_what_has_such_signs_and_identifies_nobody_stays(written: str) -> None:
    assert mask(f"x {written} y") == (f"x {written} y", frozenset())


@pytest.mark.parametrize("name", ["phone", "contact_number", "تلفن", "شماره موبایل", "national_id", "کد ملی"])
def test_numbers_that_are_no_text_are_masked_where_their_name_says_what_they_are(name: str) -> None:
    """Also with the point that a table of floating-point numbers puts behind them."""
    kind, number = ("national_id", 9990001235) if name in {"national_id", "کد ملی"} else ("phone", 9120000012)
    records = [json.dumps({name: value}, ensure_ascii=False).encode() for value in (number, float(number), 12.0)]
    first, second, third = (json.loads(value or b"")[name] for value in PROTECTION.protect(records).values)
    assert (first, second, third) == (f"[{kind}]", f"[{kind}]", 12.0)
    assert screened(records) == [0, 1]


def test_a_person_has_one_pseudonym_however_encoded() -> None:
    names = [
        "09120000012",
        "0912%20000%200012",
        "%2B989120000012",
        "0912:000:0012",
        "&#48;9120000012",
        r"\u06f09120000012",
    ]
    assert {normal_form(name) for name in names} == {"+989120000012"}
    assert {normal_form(name) for name in ("a@b.co", "a%40b.co", "A&#64;b.co")} == {"a@b.co"}
    assert [normal_form(name) for name in ("a%20b", "x<b>y", "c&d")] == ["a%20b", "x<b>y", "c&d"]


def test_what_is_read_keeps_its_place() -> None:
    found = read("a%2541b&amp;<i>c</i>")
    assert found is not None
    assert found.text == "aAb& c "
    assert [(found.begins[at], found.ends[at]) for at in (0, 1, 2, 5)] == [(0, 1), (1, 6), (6, 7), (15, 16)]
    assert read("plain 50% & <") is None
    assert fold("a\u200c1").text == "a1"


@pytest.mark.parametrize("offset", ["Z", "+00:00", "+03:30", "-0500", ""])
@pytest.mark.parametrize("many", [1, 200])
def test_a_moment_with_nanoseconds_stays(offset: str, many: int) -> None:
    """Its seconds with their decimals are ten digits or more, which begin like a mobile now and then."""
    record = b'{"time": "2026-02-05T01:42:09.833667377%s", "data": {"text": "since 2026-02-05 01:42:09.833667377"}}'
    values = [record % offset.encode()] * many
    assert PROTECTION.protect(values).values == values


@pytest.mark.parametrize("beside", ["", " 123:4", " 2026-02-05T01:42:09.833667"])
def test_what_stands_beside_a_number_does_not_say_how_its_groups_are_parted(beside: str) -> None:
    assert mask(f"09:251878032{beside}") == (f"09:251878032{beside}", frozenset())


def test_many_groups_of_two_are_searched_once() -> None:
    """And not from each group to the end of them all."""
    began = time.process_time()
    assert loosely("000:0 " + "12:" * 50_000 + "1").startswith("000-0 12:12:")
    assert time.process_time() - began < 1


def test_a_record_with_a_number_as_a_name_stays_as_it_is_once_protected() -> None:
    """What stands for the number is a name like others, and says what is below it."""
    for record in (b'{"09120000012": 9120000013}', rb'{"\u0030\u0039120000012": 9120000013}'):
        once = PROTECTION.protect([record]).values
        assert once == [b'{"[phone]": "[phone]"}'] == PROTECTION.protect(once).values
