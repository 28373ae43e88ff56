"""
Untrusted text made safe to display: characters that are invisible or control a terminal are escaped as in JSON.

The sender of a record decides what its texts hold. Shown unescaped, control characters move the cursor and set colours,
characters that override the direction of text show `01` as `10`, and a line break fakes another line of a log.
"""

import codecs
import re
from typing import Final

from streams.characters import INVISIBLE, character_class

ENCODING_ERRORS: Final = "streams.escaped"
"""Name of the error handler of `str.encode` that writes characters the encoding lacks as escapes of JSON."""

# Controls but tab and line break, line separators, halves of surrogate pairs, and what is invisible. Not escaped are
# joiners and marks of direction, which Persian is written with, and variation selectors, which emoji need.
_JOINERS: Final = "\u200c-\u200f\u061c\ufe00-\ufe0f"
_HOSTILE: Final = re.compile(
    f"(?![{_JOINERS}])[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{character_class(INVISIBLE)}]"
)


def visible(text: str) -> str:
    """Return a text of one or more lines with everything escaped that is invisible or that a terminal would obey."""
    return text if text.isascii() and text.isprintable() else _HOSTILE.sub(_escape_match, text)


def visible_line(text: str) -> str:
    """Return the same as one line: line breaks and tabs are escaped as well."""
    return text if text.isprintable() else visible(text).replace("\n", "\\n").replace("\t", "\\t")


def spelled_out(text: str) -> str:
    """Return one line with all that is unprintable escaped, joiners and unusual spaces too: for refused values."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escape_match(found: re.Match[str]) -> str:
    return _escaped(found[0])


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escaped, error.object[error.start : error.end])), error.end


codecs.register_error(ENCODING_ERRORS, _escape_unencodable)
