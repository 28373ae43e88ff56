"""
Text of strangers, made fit to be shown: what cannot be seen, or tells a terminal what to do, is escaped as in JSON.

A record's author decides what its texts hold. Shown as they are, control characters move the cursor and set colours,
overrides of direction show `01` as `10`, and a line break forges a line of a log.
"""

import codecs
import re
from typing import Final

from streams.characters import INVISIBLE, character_class

ENCODING_ERRORS: Final = "streams.escaped"
"""Name of the handler that writes what an encoding lacks as an escape that JSON reads back."""

# Controls but tab and line break, line separators, halves of surrogate pairs, and what is invisible. Joiners and plain
# marks of direction stay: Persian is written with them, and variants belong to emoji; they hide nothing.
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
    """Return one line in which whatever does not print is escaped, joiners and odd blanks too: a value refused."""
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
