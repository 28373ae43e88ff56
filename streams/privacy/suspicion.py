"""
A quick test of records for anything that could identify people: in C, a few nanoseconds a byte.

What passes holds no identifier. Of what does not, the text is searched as a whole; only where that finds something are
strings looked at one by one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from streams.privacy.finding import may_hold

_DIGITS: Final = b"0123456789" + bytes(range(0xA0, 0xAA)) + bytes(range(0xB0, 0xBA))
"""ASCII digits, and how the digits ٠-٩ and ۰-۹ end."""
_BETWEEN_DIGITS: Final = (
    b" \t\0-()./[],_*|+"
    # How those digits, blanks, dashes and invisible signs begin, and how the latter end.
    b"\xc2\xcd\xd9\xdb\xe2\xe3" + bytes(set(range(0x80, 0xC0)) - {0x9C, *_DIGITS})
)
_FEWEST_DIGITS: Final = b"0" * 10
_SEPARATOR: Final = b"\xff"
"""Stands between records that are tested together: no text holds it."""
_SIGNS: Final = _FEWEST_DIGITS, b"@", b"\\", b"%"
_UUID: Final = re.compile(
    rb'-(?<=["/:-][0-9a-fA-F]{8}-)[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?![0-9a-zA-Z-])'
)
"""A UUID but for its head, in which there are as many digits in a row by chance; a sign to begin with is found fast."""
_OTHER_SIGNS: Final = re.compile(
    rb"\xef[\xbb\xbc]|(?:[0-9]|\xdb[\xb0-\xb9]|\xd9[\xa0-\xa9])\xef\xb8|[\xe0\xe1\xea]|\xf0(?:[^\x9f]|\x9f\xaf)"
    rb"|\xd8\x9c"
)
"""Full-width and invisible signs, scripts with digits of their own; not what all emoji begin or end with."""
_ESCAPED: Final = re.compile(rb"\\u|[0-9\x80-\xbf ().-]\\[t/]")
"""Escapes that may stand for a digit, or for what separates digits."""

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def _table() -> bytes:
    table = bytearray(b"x" * 256)
    for byte in _DIGITS:
        table[byte] = ord("0")
    for byte in b"@\\%" + _SEPARATOR:
        table[byte] = byte
    for byte in b"\xe0\xe1\xea\xef\xf0\x9c":
        table[byte] = ord("@")
    return bytes(table)


_TABLE: Final = _table()


def suspicious(values: Sequence[bytes | None]) -> list[int]:
    """Return the indices of the records that hold what may identify people."""
    joined = _SEPARATOR.join(value or b"" for value in values)
    tested = joined.translate(_TABLE, _BETWEEN_DIGITS)
    if joined.count(_SEPARATOR) >= len(values):  # one of them is no text
        hits = {index for index, value in enumerate(values) if value}
    else:
        hits = {index for sign in _SIGNS for index in _records_with(sign, tested)}
    return [index for index in sorted(hits) if (value := values[index]) and is_suspicious(value)]


def is_suspicious(value: bytes) -> bool:
    """Tell whether a record, or a string of one, holds what may identify people."""
    tested = value.translate(_TABLE, _BETWEEN_DIGITS)
    if _FEWEST_DIGITS in tested:
        value = _UUID.sub(b"", value)
        tested = value.translate(_TABLE, _BETWEEN_DIGITS)
    return _may_hold(value, tested)


def _records_with(sign: bytes, tested: bytes) -> Iterator[int]:
    """Yield the indices of the records that hold a sign, among those that are tested together."""
    index = counted = 0
    found = tested.find(sign)
    while found >= 0:
        index += tested.count(_SEPARATOR, counted, found)
        yield index
        counted = tested.find(_SEPARATOR, found)
        if counted < 0:
            return
        found = tested.find(sign, counted)


def _may_hold(value: bytes, tested: bytes) -> bool:
    if b"\\" in tested and _ESCAPED.search(value):
        value = value.replace(b"\\t", b" ").replace(b"\\/", b"/")
        if b"\\u" in value:
            try:
                value = _encode(_decode(value))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
                return True
            if b"\\u" in value:
                return True
        tested = value.translate(_TABLE, _BETWEEN_DIGITS)
    if _FEWEST_DIGITS in tested:
        return may_hold(value.decode("utf-8", "surrogateescape"))
    if b"@" in tested or b"%" in tested:
        signed = b"@" in value or b"%40" in value or _OTHER_SIGNS.search(value) is not None
        return signed and may_hold(value.decode("utf-8", "surrogateescape"))
    return False
