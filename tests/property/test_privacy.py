"""Any way to write an identifier is masked, in text and in records; what is protected once stays as it is."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from streams.privacy.checksums import is_national_id, passes_luhn
from streams.privacy.masking import mask
from streams.privacy.pseudonyms import Pseudonyms, SecretKey, is_pseudonym, normal_form
from streams.privacy.records import Protection
from streams.privacy.suspicion import is_suspicious, suspicious

SCRIPTS = ["0123456789", "۰۱۲۳۴۵۶۷۸۹", "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "०१२३४५६७८९", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"]
INVISIBLE = [
    "",
    "\u200c",
    "\u200e",
    "\u200f",
    "\u202b",
    "\u2067",
    "\ufeff",
    "\u00ad",
    "\u061c",
    "\u0640",
    "\u3164",
    "\U000e0041",
]
SEPARATORS = ["", " ", "-", "\u00a0", "\u2009", "\u202f", "–", "‑", ".", "_", "\u2800"]
AROUND = ["", " ", "شماره من ", "با", "، ", "tel: ", "«", "(", "\n"]
PROTECTION = Protection(Pseudonyms([SecretKey(b"k" * 32)]))


def national_id(nine: str) -> str:
    rest = sum(int(digit) * (10 - at) for at, digit in enumerate(nine)) % 11
    return nine + str(rest if rest < 2 else 11 - rest)


def card(fifteen: str) -> str:
    return next(fifteen + last for last in "0123456789" if passes_luhn(fifteen + last))


def sheba(account: str) -> str:
    return f"IR{98 - int(account + '182700') % 97:02d}{account}"


def some(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=length, max_size=length)


@st.composite
def identifiers(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw a kind, and an identifier of it in the groups that it is written in."""
    kind = draw(st.sampled_from(["mobile", "landline", "abroad", "national_id", "card", "iban"]))
    match kind:
        case "mobile":
            begin = draw(st.sampled_from(["09", "+989", "00989"]))
            return "phone", [begin + draw(some(2)), draw(some(3)), draw(some(4))]
        case "landline":
            return "phone", [draw(st.sampled_from(["021", "031", "051"])), "2" + draw(some(3)), draw(some(4))]
        case "abroad":
            return "phone", ["+44", "20", draw(some(4)), draw(some(4))]
        case "national_id":
            number = national_id(draw(some(9)))
            assume(len(set(number)) > 1)
            return "national_id", [number[:3], number[3:9], number[9:]]
        case "card":
            number = card(draw(st.sampled_from(["6037", "5022", "4111"])) + draw(some(11)))
            return "card", [number[at : at + 4] for at in range(0, 16, 4)]
        case _:
            number = sheba("017" + draw(some(19)))
            return "iban", [number[at : at + 4] for at in range(0, 26, 4)]


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str, str]:
    """Draw a kind, its digits, and a way to write them: script, separators between groups, invisible signs anywhere."""
    kind, groups = draw(identifiers())
    script = draw(st.sampled_from(SCRIPTS))
    separator = draw(st.sampled_from(SEPARATORS))
    text = separator.join(groups).translate(str.maketrans(SCRIPTS[0], script))
    text = "".join(letter + draw(st.sampled_from(INVISIBLE)) for letter in text)
    return kind, "".join(groups), text


@given(written(), st.sampled_from(AROUND), st.sampled_from(["", " ", " است", "رو بردار", "، و", ")", "\n", "."]))
def test_any_way_to_write_an_identifier_is_masked(one: tuple[str, str, str], before: str, after: str) -> None:
    """Script, separators and invisible signs hide nothing, and the text around stays."""
    kind, _, text = one
    masked = mask(before + text + after)
    assert masked.kinds == {kind}
    assert masked.text.startswith(before.rstrip("("))
    assert masked.text.endswith(after)
    assert not any(map(str.isdecimal, masked.text))
    assert mask(masked.text) == (masked.text, frozenset())


@given(written(), st.sampled_from(["data", "labels", "orderid", "subject", "id", "nested"]), st.booleans())
def test_records_are_masked_however_their_text_is_encoded(
    one: tuple[str, str, str], field: str, ascii_only: bool
) -> None:
    """Escaped or not, in whatever field: nothing remains, all else stays, and once more changes nothing."""
    kind, plain, text = one
    event: dict[str, Any] = {"id": "e-1", "time": "2026-03-01T08:00:00.123456Z", "data": {"duration_s": 12.5}}
    event |= {field: {"a": [text]} if field in {"data", "labels", "nested"} else f"{text}"}
    sent = json.dumps(event, ensure_ascii=ascii_only).encode()
    assert suspicious([b"{}", sent]) == [1]
    protected = PROTECTION.protect([b"{}", sent])
    assert protected.kinds == {1: {kind: 1}}
    value = protected.values[1]
    assert value is not None
    assert plain[-7:] not in value.decode()
    read = json.loads(value)
    assert {name: read[name] for name in event if name != field} == {n: v for n, v in event.items() if n != field}
    assert PROTECTION.protect([value]) == ([value], {})
    if field == "subject":
        assert is_pseudonym(read["subject"])
    elif field in {"id", "orderid"}:
        assert "[" not in read[field]


@given(written(), written())
def test_one_person_has_one_pseudonym(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """The normal form is that of the bare digits, and different for different people."""
    assert normal_form(one[2]) == normal_form(one[1])
    assert (normal_form(one[2]) == normal_form(other[2])) == (normal_form(one[1]) == normal_form(other[1]))


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789._+-", min_size=1, max_size=20), st.booleans())
def test_addresses_are_masked_in_records(local: str, escaped: bool) -> None:
    """An address leaves nothing of its local part."""
    assume(local[0].isalnum() and local[-1].isalnum() and ".." not in local and len(local) > 3)
    address = f"{local}@Mail.example.com"
    sent = json.dumps({"data": {"text": f"به {address} بفرستید"}}, ensure_ascii=escaped).encode()
    (value,), kinds = PROTECTION.protect([sent])
    assert value is not None
    assert json.loads(value)["data"]["text"] == "به [email] بفرستید"
    assert kinds == {0: {"email": 1}}


@given(some(10), st.sampled_from(SCRIPTS[:4]))
def test_near_misses_stay(number: str, script: str) -> None:
    """Ten digits whose check is wrong, and cards whose check is wrong, stay as they are."""
    assume(not is_national_id(number))
    wrong = card("603799" + number[:9])[:15]
    wrong += next(last for last in "0123456789" if not passes_luhn(wrong + last))
    for kept in (number, wrong):
        text = f"سفارش {kept} هنوز نرسیده".translate(str.maketrans(SCRIPTS[0], script))
        assert mask(text) == (text, frozenset())


@given(st.lists(st.one_of(st.none(), st.binary(max_size=60), st.text(max_size=60).map(str.encode))))
def test_no_bytes_break_it(values: list[bytes | None]) -> None:
    """Whatever comes is given back or masked, the same way whatever is beside it, and nothing more the second time."""
    protected = PROTECTION.protect(values)
    assert len(protected.values) == len(values)
    assert list(protected.values) == [PROTECTION.protect([value]).values[0] for value in values]
    assert PROTECTION.protect(protected.values).values == protected.values
    assert suspicious(values) == [at for at, value in enumerate(values) if value and is_suspicious(value)]
