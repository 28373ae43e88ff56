"""
Text as whoever opens it reads it: percent signs of addresses, entities and tags of HTML, escapes of JSON within JSON.

What is read keeps its place in the original, so that what is found can be cut out of that.
"""

import re
from collections.abc import Sequence
from html import unescape
from typing import Final, NamedTuple

_BEGINS: Final = {
    "%": re.compile(r"%[0-9A-Fa-f]{2}"),
    "&": re.compile(r"&[#A-Za-z]"),
    "<": re.compile(r"<[/A-Za-z]"),
    "\\": re.compile(r"\\[unrtbf/\"']"),
}
"""Without any of these a text has nothing to read; each begins with its sign, by which it is found fast."""
_ENCODED: Final = re.compile(
    r"%(?P<percent>[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*)"
    r"|&(?P<entity>(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
    r"|</?[A-Za-z][^<>]{0,60}>"
    r"|\\\\{0,7}(?:u(?P<letter>[0-9A-Fa-f]{4})|(?P<blank>[nrtbf])|(?P<sign>[/\"']))"
)
"""Each way begins with its sign, by which it is found fast."""
_DEEPEST: Final = 3
"""Encoded so often within each other."""


class Reading(NamedTuple):
    """A text that was read and, for each of its characters, where that begins and ends in the original."""

    text: str
    begins: Sequence[int]
    ends: Sequence[int]


def read(text: str) -> Reading | None:
    """Return a text without what encodes it; None if nothing does."""
    found: Reading | None = None
    for _ in range(_DEEPEST):
        if not _is_encoded(text):
            break
        found = _once(text, found)
        text = found.text
    return found


def plainly(text: str) -> str:
    """Return a text without what encodes it, as `read` does, where it does not matter what stood where."""
    for _ in range(_DEEPEST):
        if not _is_encoded(text):
            break
        text = _ENCODED.sub(_meaning, text)
    return text


def _is_encoded(text: str) -> bool:
    begun = any(sign in text and begin.search(text) for sign, begin in _BEGINS.items())
    return begun and _ENCODED.search(text) is not None


def _once(text: str, before: Reading | None) -> Reading:
    letters: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    begin = 0

    def add(part: str, start: int, end: int) -> None:
        letters.append(part)
        begins.extend([before.begins[start] if before else start] * len(part))
        ends.extend([before.ends[end - 1] if before else end] * len(part))

    def keep(start: int, end: int) -> None:
        letters.append(text[start:end])
        begins.extend(before.begins[start:end] if before else range(start, end))
        ends.extend(before.ends[start:end] if before else range(start + 1, end + 1))

    for match in _ENCODED.finditer(text):
        keep(begin, match.start())
        add(_meaning(match), *match.span())
        begin = match.end()
    keep(begin, len(text))
    return Reading("".join(letters), begins, ends)


def _meaning(match: re.Match[str]) -> str:
    if match["percent"]:
        return bytes.fromhex(match["percent"].replace("%", "")).decode("utf-8", "replace")
    if match["entity"]:
        return unescape("&" + match["entity"])
    if match["letter"]:
        return chr(int(match["letter"], 16))
    return match["sign"] or " "
