"""
What a record may hold at most, whatever its fields: bytes, levels, values, digits.

Reading costs the door, the worker and the store in proportion to these. What the contract allows is what senders can
rely on and what the store was measured with; an installation may allow less. A range that is repeated is judged by the
limits under which it was frozen.
"""

import re
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 400
MAX_VALUES: Final = 2_000
MAX_DIGITS: Final = 1_000


class RecordLimits(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """
    How much a record may hold; without arguments, what the contract allows.

    Attributes:
        bytes: Length of a record.
        depth: Levels of objects and arrays.
        values: Members of all objects and items of all arrays together.
        digits: Digits of a number in a row.
    """

    bytes: int = MAX_BYTES
    depth: int = MAX_DEPTH
    values: int = MAX_VALUES
    digits: int = MAX_DIGITS

    @cached_property
    def harmless(self) -> int:
        """A record of no more bytes keeps every limit: a value takes a byte, a level two."""
        return min(self.bytes, 2 * self.depth, self.values, self.digits)


CONTRACT: Final = RecordLimits()

# Nothing is tried a second time, and a string that never ends is one too: else quotes that open and never close take
# minutes.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_OPENING: Final = frozenset(b"[{")
_CLOSING: Final = frozenset(b"]}")
_QUOTE: Final = ord('"')
# Brackets, commas, names and texts of a value at most; more is no JSON.
_TOKENS_OF_A_VALUE: Final = 6
_DIGITS: Final = b"0123456789"


class Excess(NamedTuple):
    """A limit that a record exceeds: the reason of its refusal, what came, what may."""

    reason: str
    got: str
    expected: str
    message: str


def excess(value: bytes, limits: RecordLimits = CONTRACT) -> Excess | None:
    """
    Say which limit a record exceeds; None if it keeps them all.

    Takes a time in proportion to its length, little of it for a record of ordinary fields.
    """
    size = len(value)
    if size <= limits.harmless:
        return None
    if size > limits.bytes:
        got = f"{size} bytes"
        return Excess("too_large", got, f"at most {limits.bytes} bytes", f"the record has {got}")
    containers = value.count(b"[") + value.count(b"{")
    # Every value beyond the first of an object or array stands behind a comma, and takes a second byte.
    if (
        containers > limits.depth or (size > 2 * limits.values and containers + value.count(b",") > limits.values)
    ) and (found := _excess_of_structure(value, limits)):
        return found
    if _has_run_of_digits(value, limits.digits) and _has_run_of_digits(_STRINGS.sub(b" ", value), limits.digits):
        got = f"a number of more than {limits.digits} digits"
        expected = f"at most {limits.digits} digits"
        return Excess("number_too_long", got, expected, f"the record holds {got}")
    return None


def _excess_of_structure(value: bytes, limits: RecordLimits) -> Excess | None:
    """Count depth and values; stops at the first that is too much, however long the record goes on."""
    depth = values = 0
    most_tokens = _TOKENS_OF_A_VALUE * limits.values
    for tokens, found in enumerate(_TOKENS.finditer(value)):
        kind = value[found.start()]
        if kind in _OPENING:
            depth += 1
            if depth > limits.depth:
                got = f"more than {limits.depth} levels"
                said = f"the record is nested too deep: {got}"
                return Excess("too_deep", got, f"at most {limits.depth} levels", said)
        if kind in _CLOSING:
            depth -= 1
        elif kind != _QUOTE:
            # An empty object or array counts once more than its place.
            values += 1
        if values > limits.values or tokens > most_tokens:
            got = f"more than {limits.values} values"
            said = f"the record has {got}, members of objects and items of arrays"
            return Excess("too_many_values", got, f"at most {limits.values} values", said)
    return None


def _has_run_of_digits(value: bytes, most: int) -> bool:
    """Return whether more digits than these stand in a row; such a row covers one of the places that are looked at."""
    for place in range(most, len(value), most + 1):
        if value[place] in _DIGITS:
            before, after = value[place - most : place], value[place + 1 : place + 1 + most]
            run = len(before) - len(before.rstrip(_DIGITS)) + 1 + len(after) - len(after.lstrip(_DIGITS))
            if run > most:
                return True
    return False
