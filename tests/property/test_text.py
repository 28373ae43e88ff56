"""Properties of text normalisation, and of decoding whatever bytes may come."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from streams.events.text import MAX_LABEL, clean_label, normalise, parse_digits

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
    assert normalise("  Very\u00a0GOOD \n") == "very good"
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


@given(st.text(alphabet=st.characters(), max_size=300))
def test_a_label_is_short_and_holds_nothing_that_a_key_or_utf8_cannot_carry(text):
    label = clean_label(text)

    assert len(label) <= MAX_LABEL
    assert not {unicodedata.category(character) for character in label} & {"Cc", "Cs"}
    assert clean_label(label) == label
    assert text.startswith(label) or not text.isprintable()


def test_a_label_keeps_persian_joiners_and_its_spaces():
    assert clean_label("می\u200cخواهم") == "می\u200cخواهم"
    assert clean_label(" تهران شمال\x1f ۲\t") == " تهران شمال ۲"
    assert clean_label("a\ud800b\x00\x9f") == "ab"
    assert clean_label("x" * 65) == "x" * 64
