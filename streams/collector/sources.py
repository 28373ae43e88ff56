"""
Whether a source lies where it seems to lie.

A `source` is a reference to a URI: `/cc/../shop` begins with `/cc/` and means `/shop`, and there are many ways to write
that. Instead of following each of them, nothing is taken that more than one reader could read in more than one way.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

PLAIN: Final = "without . or .. or nothing between two slashes, backslashes, invisible or look-alike characters"

_AUTHORITY: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://(?=[^/]))?")
_SPLIT: Final = re.compile(r"[/?#]")
_MARKS: Final = frozenset("-._~!$&'()*+,;=:@/?#")


def is_plain(source: str) -> bool:
    """
    Return whether a source means what it shows.

    Percent-encoded, it must mean the same when it is read once more, and hold no slash that is none in the text.
    """
    path = source[len(_AUTHORITY.match(source)[0]) :]  # type: ignore[index]
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return False
    if "%" in decoded or decoded.count("/") != path.count("/"):
        return False
    # Composed and decomposed letters look the same, as do wide, small and mathematical ones.
    if unicodedata.normalize("NFKC", decoded) != decoded:
        return False
    if not all(character in _MARKS or _is_letter(character) for character in decoded):
        return False
    segments = _SPLIT.split(decoded)
    return "" not in segments[1:-1] and not any(_is_dots(segment) for segment in segments)


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _is_dots(segment: str) -> bool:
    """Return whether a segment is one that readers take away, also with dots, spaces or parameters behind it."""
    name = segment.partition(";")[0]
    return name != "" and not name.strip(". ")
