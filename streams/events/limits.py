"""
What a record may hold at most, whatever its fields: bytes, levels, values, digits.

Reading costs the door, the worker and the store in proportion to these. They are part of the contract, not settings: a
record must be judged the same by its sender, by the door, and by every worker that repeats a range.
"""

import re
from typing import Final, NamedTuple

MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 400
MAX_VALUES: Final = 2_000
"""Members of all objects and items of all arrays together."""
MAX_DIGITS: Final = 1_000
"""Digits of a number in a row."""

UNSUSPICIOUS_BYTES: Final = 2 * MAX_DEPTH
"""A record of no more bytes keeps every limit: the brackets alone of one that is nested too deep are more."""

# Nothing is tried a second time, and a string that never ends is one too: else quotes that open and never close take
# minutes.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_OPENING: Final = frozenset(b"[{")
_CLOSING: Final = frozenset(b"]}")
_QUOTE: Final = ord('"')
# Brackets, commas, names and texts of a record with as many values as may be; more is no JSON.
_MOST_TOKENS: Final = 6 * MAX_VALUES
_DIGIT: Final = re.compile(rb"[0-9]")
_TOO_MANY_DIGITS: Final = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))


class Excess(NamedTuple):
    """A limit that a record exceeds: the reason of its refusal, what came, what may."""

    reason: str
    got: str
    expected: str
    message: str


def excess(value: bytes) -> Excess | None:
    """
    Say which limit a record exceeds; None if it keeps them all.

    Takes a time in proportion to its length, little of it for a record of ordinary fields.
    """
    size = len(value)
    if size <= UNSUSPICIOUS_BYTES:
        return None
    if size > MAX_BYTES:
        got = f"{size} bytes"
        return Excess("too_large", got, f"at most {MAX_BYTES} bytes", f"the record has {got}")
    containers = value.count(b"[") + value.count(b"{")
    # Every value beyond the first of an object or array stands behind a comma, and takes a second byte.
    if (containers > MAX_DEPTH or (size > 2 * MAX_VALUES and containers + value.count(b",") > MAX_VALUES)) and (
        found := _excess_of_structure(value)
    ):
        return found
    # So many digits cover one of these places.
    if size > MAX_DIGITS and _DIGIT.search(value[MAX_DIGITS :: MAX_DIGITS + 1]):
        return _excess_of_digits(value)
    return None


def _excess_of_structure(value: bytes) -> Excess | None:
    """Count depth and values; stops at the first that is too much, however long the record goes on."""
    depth = values = 0
    for tokens, found in enumerate(_TOKENS.finditer(value)):
        kind = value[found.start()]
        if kind in _OPENING:
            depth += 1
            if depth > MAX_DEPTH:
                got = f"more than {MAX_DEPTH} levels"
                said = f"the record is nested too deep: {got}"
                return Excess("too_deep", got, f"at most {MAX_DEPTH} levels", said)
        if kind in _CLOSING:
            depth -= 1
        elif kind != _QUOTE:
            # An empty object or array counts once more than its place.
            values += 1
        if values > MAX_VALUES or tokens > _MOST_TOKENS:
            got = f"more than {MAX_VALUES} values"
            said = f"the record has {got}, members of objects and items of arrays"
            return Excess("too_many_values", got, f"at most {MAX_VALUES} values", said)
    return None


def _excess_of_digits(value: bytes) -> Excess | None:
    if not _TOO_MANY_DIGITS.search(value) or not _TOO_MANY_DIGITS.search(_STRINGS.sub(b" ", value)):
        return None
    got = f"a number of more than {MAX_DIGITS} digits"
    return Excess("number_too_long", got, f"at most {MAX_DIGITS} digits", f"the record holds {got}")
