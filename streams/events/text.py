"""
Text as people and systems write it, brought to one form for labels, conditions and searches; in Python and in SQL.

The payload keeps what was sent. Everything that compares text reads the form made here: people mix two keyboards
(Arabic ي ك for Persian ی ک), three digit alphabets, composed and decomposed letters, and keep or lose the half-space,
the stretching stroke, vowel marks, invisible signs and blanks at will. Case is kept.

A label is that form, too, as long as it can be carried: what is longer than `MAX_LABEL`, or holds control characters,
is cut and gets a hash of the whole, so that two such values stay two.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

from streams.characters import INVISIBLE, character_class, character_class_sql

MAX_LABEL: Final = 64
"""Longest label value, in characters."""

HASH_DIGITS: Final = 10
_HEAD: Final = MAX_LABEL - HASH_DIGITS - 1
_CACHED: Final = 1 << 16

_PERSIAN_DIGITS: Final = "۰۱۲۳۴۵۶۷۸۹"
_ARABIC_DIGITS: Final = "٠١٢٣٤٥٦٧٨٩"
_ASCII_DIGITS: Final = "0123456789"
_DIGITS: Final = str.maketrans(_PERSIAN_DIGITS + _ARABIC_DIGITS, _ASCII_DIGITS * 2)

# Letters of the Arabic keyboard that stand for a Persian letter, whatever their position in the word; then digits.
_FROM: Final = "يىكەۀ" + _PERSIAN_DIGITS + _ARABIC_DIGITS
_TO: Final = "ییکهه" + _ASCII_DIGITS * 2
_LETTERS: Final = str.maketrans(_FROM, _TO)

# Sets of characters as ranges of code points, from which both the Python and the SQL patterns are written.
_PRESENTED: Final = ((0xFB50, 0xFDFF), (0xFE70, 0xFEFE))
"""Letters of the Arabic script in the form of their position, and ligatures: old systems store them."""
_DROPPED: Final = (
    *INVISIBLE, (0xAC, 0xAC),  # the last stands for the half-space where old code pages lack it
    (0x610, 0x61A), (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E8), (0x6EA, 0x6ED),
)  # fmt: skip
"""Also the stretching stroke, harakat and Quranic marks: they tell no two values apart."""
_SPACES: Final = (
    (0x9, 0xD), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x2800, 0x2800), (0x3000, 0x3000),
)  # fmt: skip
_CONTROLS: Final = ((0x0, 0x8), (0xE, 0x1B), (0x7F, 0x84), (0x86, 0x9F))
"""Control characters that are no blanks."""
_YOUNG: Final = (
    (0x897, 0x897), (0x1ACF, 0x1AEF), (0xC5C, 0xC5C), (0x105C0, 0x105FF), (0x10D40, 0x10D8F), (0x10EFA, 0x10EFF),
    (0x11380, 0x113FF), (0x11F00, 0x11F5F), (0x16100, 0x1613F), (0x16D40, 0x16D7F), (0x1E030, 0x1E08F),
    (0x1E4D0, 0x1E6FF),
)  # fmt: skip
"""
Blocks with letters and marks that came after Unicode 14: what they are composed of depends on the version that a server
or a Python knows, so text that holds any is left as composed as it came.
"""


_PLAIN: Final = re.compile(r"[!-~]+(?: [!-~]+)*")
_PRESENTED_RUN: Final = re.compile(f"[{character_class(_PRESENTED)}]+")
_DROPPED_RUN: Final = re.compile(f"[{character_class(_DROPPED)}]+")
_SPACE_RUN: Final = re.compile(f"[{character_class(_SPACES)}]+")
_CONTROL: Final = re.compile(f"[{character_class(_CONTROLS)}\ud800-\udfff]")
_YOUNG_ANY: Final = re.compile(f"[{character_class(_YOUNG)}]")
_RATING: Final = re.compile(r"[0-9]{1,3}", re.ASCII)


@lru_cache(maxsize=_CACHED)
def normalise(text: str) -> str:
    """
    Return the form of `text` that is compared: composed, one alphabet, one kind of digit and blank, nothing invisible.

    The half-space is dropped rather than made a space, so that می‌شود and میشود are equal. Blanks at the ends are
    dropped, and several are one. Control characters stay. Applying it twice changes nothing more.
    """
    if _PLAIN.fullmatch(text):
        return text
    spread = _PRESENTED_RUN.sub(lambda run: unicodedata.normalize("NFKC", run[0]), text)
    young = _YOUNG_ANY.search(spread) is not None
    kept = _DROPPED_RUN.sub("", spread if young else unicodedata.normalize("NFC", spread))
    composed = kept if young else unicodedata.normalize("NFC", kept)
    return _SPACE_RUN.sub(" ", composed.translate(_LETTERS)).strip(" ")


def normalise_sql(expression: str) -> str:
    """Return the ClickHouse expression that makes of a String expression what `normalise` makes of text."""
    presented = f"[{character_class_sql(_PRESENTED)}]"
    spread = (
        f"if(match(text, '{presented}'), arrayStringConcat(arrayMap("
        f"part -> if(match(part, '^{presented}'), normalizeUTF8NFKC(part), part),"
        f" extractAll(text, '{presented}+|[^{character_class_sql(_PRESENTED)}]+'))), text)"
    )
    dropped = f"'[{character_class_sql(_DROPPED)}]+', ''"
    composed = (
        f"if(match(text, '[{character_class_sql(_YOUNG)}]'), replaceRegexpAll(text, {dropped}),"
        f" normalizeUTF8NFC(replaceRegexpAll(normalizeUTF8NFC(text), {dropped})))"
    )
    blanks = f"replaceRegexpAll(translateUTF8(text, '{_FROM}', '{_TO}'), '[{character_class_sql(_SPACES)}]+', ' ')"
    steps = f"arrayMap(text -> trimBoth({blanks}), arrayMap(text -> {composed}, arrayMap(text -> {spread}, [sent])))[1]"
    return f"arrayMap(sent -> if(match(sent, '^[!-~]+( [!-~]+)*$'), sent, {steps}), [{expression}])[1]"


@lru_cache(maxsize=_CACHED)
def label_of(text: str) -> str:
    """
    Return the label that a text is: its normal form, at most `MAX_LABEL` characters without controls.

    What is longer, or holds controls, is cut, with the hash of the whole behind a tilde: two values stay two. Empty if
    the text says nothing. The label of a label is itself.
    """
    normal = normalise(text)
    if len(normal) <= MAX_LABEL and not _CONTROL.search(normal):
        return normal
    digest = hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
    return f"{_CONTROL.sub('�', normal)[:_HEAD]}~{digest}"


def label_sql(expression: str) -> str:
    """Return the ClickHouse expression that makes of a Nullable(String) what `label_of` does; NULL for an empty one."""
    controls = f"[{character_class_sql(_CONTROLS)}]"
    cut = (
        f"concat(substringUTF8(replaceRegexpAll(whole, '{controls}', '�'), 1, {_HEAD}), '~',"
        f" lower(substring(hex(SHA256(whole)), 1, {HASH_DIGITS})))"
    )
    carried = f"lengthUTF8(whole) <= {MAX_LABEL} AND NOT match(whole, '{controls}')"
    normal = normalise_sql(f"ifNull({expression}, '')")
    return f"nullIf(arrayMap(whole -> if({carried}, whole, {cut}), [{normal}])[1], '')"


def is_cut(text: str) -> bool:
    """Return whether a text cannot be carried whole as a label."""
    return label_of(text) != normalise(text)


def parse_digits(text: str) -> int | None:
    """
    Read a whole number of one to three digits, ASCII, Persian or Arabic-Indic; None if it is anything else.

    No sign, space or separator is accepted: the same reading is done in SQL, digit by digit.
    """
    digits = text.translate(_DIGITS)
    return int(digits) if _RATING.fullmatch(digits) else None
