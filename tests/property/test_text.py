"""Properties of text normalisation, and of decoding whatever bytes may come."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.characters import INVISIBLE
from streams.events.text import MAX_LABEL, is_cut, label_of, label_sql, normalise, parse_digits
from streams.events.visible import visible

PERSIAN = st.text(alphabet=st.sampled_from("یيىکكەهةآاأ\u0654\u064b\u0651\u0670ۀؤئ ‌\u200f\u0640۰۱٤٥89\u00a0\ufeffﷲﻻ"))
DIGITS = {"ascii": "0123456789", "persian": "۰۱۲۳۴۵۶۷۸۹", "arabic": "٠١٢٣٤٥٦٧٨٩"}


@given(st.text() | PERSIAN)
def test_normalising_twice_changes_nothing_more(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.text() | PERSIAN)
def test_a_normal_form_has_one_alphabet_and_no_invisible_signs(text):
    normal = normalise(text)

    assert not set(normal) & set("يىكە\u200c\u200f\u0640\ufeff" + DIGITS["persian"] + DIGITS["arabic"])
    assert normal == " ".join(normal.split())


@given(PERSIAN)
def test_the_form_of_composition_does_not_matter(text):
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(unicodedata.normalize("NFC", text))


def test_spellings_that_customers_mix_become_equal():
    assert normalise("تجربه‌ي") == normalise("تجربهی") == "تجربهی"
    assert normalise("می‌شود") == normalise("ميشود")
    assert normalise("كتاب") == "کتاب"
    assert normalise("امتیاز ۸۰ و ٨٠ و 80") == "امتیاز 80 و 80 و 80"
    assert normalise("عَالی") == normalise("عـــالی") == "عالی"
    assert normalise("  Very\u00a0 GOOD \n") == "Very GOOD"
    assert normalise("caf\u00e9") == normalise("cafe\u0301")
    assert normalise("\ufef3\ufeee\ufed3") == "یوف"
    assert normalise("آب") != normalise("اب")


@given(st.integers(0, 999), st.sampled_from(sorted(DIGITS)), st.integers(0, 2))
def test_every_whole_number_is_read_in_all_three_alphabets(number, alphabet, zeros):
    written = str(number).zfill(len(str(number)) + zeros)[-3:]
    localised = written.translate(str.maketrans(DIGITS["ascii"], DIGITS[alphabet]))

    assert parse_digits(localised) == int(written)


@given(st.text())
def test_only_digits_are_read_as_a_number(text):
    digits = "".join(DIGITS.values())
    plain = 1 <= len(text) <= 3 and all(character in digits for character in text)

    assert (parse_digits(text) is not None) == plain


def test_look_alikes_of_digits_are_no_digits():
    for text in ("", "-1", "+4", "4.0", " 4", "4\n", "४", "④", "²", "1_0", "1000"):
        assert parse_digits(text) is None, text


@given(st.text(alphabet=st.characters(), max_size=300) | PERSIAN)
def test_a_label_is_short_and_holds_nothing_that_a_key_or_utf8_cannot_carry(text):
    label = label_of(text)

    assert len(label) <= MAX_LABEL
    assert not {unicodedata.category(character) for character in label} & {"Cc", "Cs"}
    assert label_of(label) == label
    assert is_cut(text) == (label != normalise(text))


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("x" * 70 + "a", "x" * 70 + "b"),
        ("tehran\x01", "tehran\x02"),
        ("tehran\x07", "tehran"),
        ("x" * 64, "x" * 65),
        ("تهران " * 20 + "۱", "تهران " * 20 + "۲"),
    ],
)
def test_what_cannot_be_carried_keeps_its_identity(one, another):
    assert label_of(one) != label_of(another)
    assert is_cut(one) or is_cut(another)


def test_spellings_of_a_long_label_are_one():
    assert label_of("كتاب " * 30) == label_of("  " + "کتا\u200cب " * 30)
    assert label_of("x" * 64) == "x" * 64
    assert label_of("region " * 15)[:40] == ("region " * 15)[:40]


def test_what_says_nothing_is_no_label():
    assert {label_of(text) for text in ("", "  ", "\u200c", "\ufeff\t", "\u200f \u00a0")} == {""}


@pytest.fixture(scope="module")
def labels_in_sql():
    chdb = pytest.importorskip("chdb")

    def read(texts):
        sent = ",".join(f"'{text.encode().hex()}'" for text in texts)
        sql = f"SELECT hex(ifNull({label_sql('t')}, '')) FROM (SELECT CAST(unhex(arrayJoin([{sent}])) AS Nullable(String)) AS t)"
        answer = chdb.query(f"{sql} SETTINGS max_query_size = 100000000", "TabSeparated").bytes().decode()
        return [bytes.fromhex(line).decode() for line in answer.split("\n")[:-1]]

    return read


@pytest.mark.parametrize(
    "code", [code for low, high in INVISIBLE for code in range(low, min(high, low + 40) + 1)], ids=hex
)
def test_what_nobody_sees_tells_no_two_labels_apart(code):
    assert label_of(f"te{chr(code)}hran") == label_of("tehran")
    assert label_of(chr(code)) == ""
    assert chr(code) in visible(chr(code)) or visible(chr(code)).startswith("\\u")


def test_every_filler_and_mark_of_format_is_known_to_be_invisible():
    """Format characters that are drawn, or that join what is drawn, are left out by name."""
    known = {code for low, high in INVISIBLE for code in range(low, high + 1)}
    drawn = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    formats = {code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"}
    assert formats - drawn <= known
    assert label_of("\u2800 tehran\u2800") == "tehran"


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(
        st.text(max_size=90) | PERSIAN | st.text("ab~ \x00\x1f\x85é\u0301", max_size=90), min_size=1, max_size=60
    )
)
def test_sql_makes_the_same_label_of_any_text(labels_in_sql, texts):
    assert labels_in_sql(texts) == [label_of(text) for text in texts]


def test_sql_makes_the_same_label_of_every_character(labels_in_sql):
    """Alone, between marks that it may compose with, and behind a letter; scripts of thousands of alike letters by sample."""
    alike = (
        (0x3400, 0xA000),
        (0xAC00, 0xD7A4),
        (0x17000, 0x19000),
        (0x20000, 0x2F800),
        (0x30000, 0xE0000),
        (0xE1000, 0x110000),
    )
    surrogates = range(0xD800, 0xE000)
    codes = [
        code
        for code in range(0x110000)
        if code not in surrogates and (code % 97 == 0 or not any(low <= code < high for low, high in alike))
    ]
    texts = [part for code in codes for part in (chr(code), f"a{chr(code)}\u0316\u0301b", f"\u0623\u0316{chr(code)} x")]
    assert labels_in_sql(texts) == [label_of(text) for text in texts]
