"""
Text as identifiers are looked for in it: one alphabet of digits, one space, one dash, nothing invisible.

Every character that stays keeps its index in the original, so that what is found can be cut out of that.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from streams.characters import INVISIBLE, character_class

DASHES: Final = "‐‑‒–—―−﹘﹣－"
DOTS: Final = "·•‧∙⋅・･。｡﹒٫۔"
"""Also ideographic full stops, by which addresses are written, the decimal point of Persian, the full stop of Urdu."""
COMMAS: Final = {"،": ",", "٬": ",", "؛": ";"}
LINE_ENDS: Final = "\n\r\u2028\u2029"
_STROKES: Final = (0x0, 0x0), (0x300, 0x36F), (0x640, 0x640), (0x64B, 0x65F), (0x670, 0x670), (0x20E3, 0x20E3)
"""Zero bytes, accents by themselves, the stretching stroke, vowel marks, the frame of a key: they separate nothing."""
UNSEEN: Final = character_class((*INVISIBLE, *_STROKES))
_UNSEEN: Final = re.compile(f"[{UNSEEN}]")


_BLANKS: Final = "\t\n\v\f\r\x1c\x1d\x1e\x1f"
_ON_ONE_LINE: Final = str.maketrans(dict.fromkeys(_BLANKS, " "))
_LAST_DIGIT: Final = 0x1FBF9
"""No script's decimal digits come after it."""
_FREQUENT: Final = 0x3000
_FAR: Final = 0x10000
_NO_TEXT: Final = range(0xDC80, 0xDD00)
"""As bytes are read that are no UTF-8."""


@cache
def _form() -> dict[int, str]:
    form = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    for code in range(0x80, _LAST_DIGIT + 1):
        category = unicodedata.category(chr(code))
        if category == "Nd":
            form[code] = str(unicodedata.decimal(chr(code)))
        elif category == "Zs":
            form[code] = " "
    form |= {ord(dash): "-" for dash in DASHES} | {ord(dot): "." for dot in DOTS}
    form |= {ord(blank): " " for blank in f"{_BLANKS}{LINE_ENDS}\u0085\u2800"}
    return form | {ord(comma): instead for comma, instead in COMMAS.items()} | {ord("﹫"): "@"}


@cache
def _folding() -> tuple[re.Pattern[str], dict[int, str]]:
    """
    Return what finds signs that may have another form, and a table that also has the most frequent that have none.

    Of the first plane it finds those that do have one: `re` looks a class up at once only if it ends there.
    """
    form = _form()
    near = character_class(tuple((code, code) for code in sorted(form) if code < _FAR))
    signs = re.compile(f"[{near}]|[{character_class(((_FAR, _LAST_DIGIT),))}]")
    return signs, {code: chr(code) for code in (*range(_FREQUENT), *_NO_TEXT)} | form


def _in_form(text: str) -> str:
    signs, table = _folding()
    return text.translate(table) if signs.search(text) else text


class Folded(NamedTuple):
    """A folded text and, for each of its characters and its end, the index in the original."""

    text: str
    origin: Sequence[int]


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else text.translate(_ON_ONE_LINE)


def folded(text: str) -> str:
    """Return the folded form of a text, where it does not matter what stood where."""
    if text.isascii() and "\0" not in text:
        return _on_one_line(text)
    return _in_form(_UNSEEN.sub("", text))


def fold(text: str) -> Folded:
    """Return the folded form of a text."""
    if text.isascii() and "\0" not in text:
        return Folded(_on_one_line(text), range(len(text) + 1))
    if not _UNSEEN.search(text):
        return Folded(_in_form(text), range(len(text) + 1))
    kept: list[int] = []
    begin = 0
    for gone in _UNSEEN.finditer(text):
        kept.extend(range(begin, gone.start()))
        begin = gone.end()
    kept.extend(range(begin, len(text) + 1))
    return Folded(_in_form(_UNSEEN.sub("", text)), kept)
