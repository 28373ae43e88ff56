"""
Persian and Arabic text as customers type it, brought to one form for rules.

The payload keeps what was sent. Rules, ratings and labels read the forms made here: customers mix two keyboards
(Arabic ي ك for Persian ی ک), three digit alphabets, and keep or lose the half-space at will.
"""

import re
import unicodedata
from typing import Final

MAX_LABEL: Final = 64
"""Longest label value, in characters."""

_PERSIAN_DIGITS: Final = "۰۱۲۳۴۵۶۷۸۹"
_ARABIC_DIGITS: Final = "٠١٢٣٤٥٦٧٨٩"
_ASCII_DIGITS: Final = "0123456789"
_DIGITS: Final = str.maketrans(_PERSIAN_DIGITS + _ARABIC_DIGITS, _ASCII_DIGITS * 2)

# Letters of the Arabic keyboard that stand for a Persian letter, whatever their position in the word.
_LETTERS: Final = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "ە": "ه", "ۀ": "ه"})
# Harakat, superscript alef, Quranic marks and the stretching stroke carry no meaning for rules.
_MARKS: Final = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]")
# Half-space, joiners, direction marks, byte order mark: invisible, and typed or lost at will.
_HALF_SPACES: Final = re.compile("[\u200c\u00ac\u00ad]")
_INVISIBLE: Final = re.compile("[\u200b\u200d-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SPACES: Final = re.compile(r"\s+")
_RATING: Final = re.compile(r"[0-9]{1,3}", re.ASCII)
_UNLABELLED: Final = frozenset({"Cc", "Cs"})  # controls, and halves of surrogate pairs, which UTF-8 cannot carry


def normalise(text: str) -> str:
    """
    Give the form of `text` that rules compare: one alphabet, one kind of digit, no half-spaces, marks or case.

    The half-space is dropped rather than made a space, so that می‌شود and میشود are equal;
    a rule must write such words without a space. Applying it twice changes nothing more.
    """
    composed = unicodedata.normalize("NFKC", text)
    plain = _MARKS.sub("", _INVISIBLE.sub("", _HALF_SPACES.sub("", composed)))
    lettered = unicodedata.normalize("NFKC", plain.casefold()).translate(_LETTERS).translate(_DIGITS)
    return _SPACES.sub(" ", _MARKS.sub("", lettered)).strip()


def parse_digits(text: str) -> int | None:
    """
    Read a whole number of one to three digits, ASCII, Persian or Arabic-Indic; None if it is anything else.

    No sign, space or separator is accepted: the same reading is done in SQL, digit by digit.
    """
    digits = text.translate(_DIGITS)
    return int(digits) if _RATING.fullmatch(digits) else None


def clean_label(value: str) -> str:
    """
    Give a label value without control characters and cut to `MAX_LABEL` characters.

    Joiners (U+200C, U+200D) stay: in Persian they are part of the spelling.
    """
    if not value.isprintable():
        value = "".join(char for char in value if unicodedata.category(char) not in _UNLABELLED)
    return value[:MAX_LABEL]
