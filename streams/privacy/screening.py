"""
The quick test of `suspicion` for many records at once: a few passes over all of their bytes, many in one step.

Of records in ASCII it finds the stretches of digits, and of what may part them, that are long enough for an identifier;
only the strings that these are in are looked at. All other records go to `suspicion`.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.privacy.finding import IBAN_LENGTHS
from streams.privacy.numbers import LOOSE, kind_of
from streams.privacy.suspicion import PLAIN_NUMBER, is_part_suspicious, is_suspicious, may_hold_plain, suspicious

_SIGNS: Final = b"@", b"\\", b"%", b"&", b"<"
"""Of addresses and escapes: what holds one is looked at as a whole."""
_LOOSE: Final = [sign.encode() for sign in LOOSE if sign not in "+~"]
_SELDOM: Final = b"|", b"~"
"""Separators that are in few records."""
_MOST_BYTES: Final = 4 << 20
_LONG_PART: Final = 500
"""Bytes of what is rather looked at with its record, which knows what is a text and what are numbers."""
_SHORTEST: Final = 10
"""Bytes of the shortest number of a person. A date is as long, and has a dash behind its fourth and its seventh."""
_HEX_COUNTRIES: Final = "|".join(country for country in IBAN_LENGTHS if set(country) <= set("ABCDEF"))
_CODE: Final = re.compile(
    rf"(?:[0-9a-fA-F]{{8}}-(?:[0-9a-fA-F]{{4}}-){{3}}[0-9a-fA-F]{{12}}"
    rf"|(?:[A-Za-z_]{{1,16}}[-_:])?(?!(?:{_HEX_COUNTRIES}|{_HEX_COUNTRIES.lower()})[0-9]{{2}})"
    rf"(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]+"
    rf'|(?:[A-Za-z]{{3,16}}[0-9]{{0,4}}[-_](?=[A-Za-z]))?(?:[A-Za-z]{{1,16}}[-_])*([0-9]{{11,24}}))"'.encode()
)
"""
A whole string that is a UUID, or digits and letters of a hexadecimal number, which begins like no account number; or a
number, perhaps behind words, longer than a telephone without its zero: if it is none of a person, nor is the string.
"""
_MOMENT: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?\""
)
"""A whole string that is a date with a time, as RFC 3339 writes them, perhaps with an offset: every record has one."""


def screened(values: Sequence[bytes | None]) -> list[int]:
    """Return the indices of the records that hold what may identify people."""
    records = [value or b"" for value in values]
    if sum(map(len, records)) > _MOST_BYTES:
        return suspicious(records)
    joined = _joined(records)
    if joined.isascii():
        return _in_ascii(records, joined)
    others = [index for index, value in enumerate(records) if not value.isascii()]
    found = suspicious([records[index] for index in others])
    plain = list(records)
    for index in others:
        plain[index] = b""
    return sorted([*(others[index] for index in found), *_in_ascii(plain, _joined(plain))])


def _joined(records: Sequence[bytes]) -> bytes:
    """Return records with quotes before, between and behind them: what they hold belongs to one of them alone."""
    return b'"'.join([b"", *records, b""])


class _Places:
    """Where records are among those that are joined."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self._ends = list(accumulate((len(record) + 1 for record in records), initial=1))

    def index(self, at: int) -> int:
        """Return which record a place is in."""
        return bisect_right(self._ends, at) - 1

    def end(self, index: int) -> int:
        """Return where the record behind one begins."""
        return self._ends[index + 1]


def _in_ascii(records: Sequence[bytes], joined: bytes) -> list[int]:
    places: _Places | None = None
    found = dict[int, bool]()
    for sign in _SIGNS:
        at = joined.find(sign)
        while at >= 0:
            places = places or _Places(records)
            index = places.index(at)
            if index not in found:
                found[index] = is_suspicious(records[index])
            at = joined.find(sign, places.end(index))
    judged = 0
    for at in _stretches(joined):
        if at < judged:
            continue
        begun = joined.rfind(b'"', 0, at) + 1
        if moment := _MOMENT.match(joined, begun):
            judged = moment.end()
            continue
        if (code := _CODE.match(joined, begun)) and (code[1] is None or kind_of(code[1].decode()) is None):
            judged = code.end()
            continue
        judged = joined.find(b'"', at)
        if judged - begun > _LONG_PART:
            places = places or _Places(records)
            index = places.index(at)
            found[index] = found.get(index, False) or is_suspicious(records[index])
            judged = places.end(index)
            continue
        holds = is_part_suspicious(joined[begun:judged])
        if holds or PLAIN_NUMBER.search(joined, begun, judged):
            places = places or _Places(records)
            index = places.index(at)
            if index not in found and (holds or may_hold_plain(records[index])):
                found[index] = True
            if index in found:
                judged = places.end(index)
    return sorted(index for index, holds in found.items() if holds)


def _stretches(joined: bytes) -> Iterable[int]:
    """Return where stretches begin that are long enough, and are no dates."""
    if len(joined) <= _SHORTEST:
        return []
    seen = np.frombuffer(joined, np.uint8)
    moved: NDArray[np.uint8] = np.empty(seen.shape, np.uint8)
    of_number: NDArray[np.bool_] = np.empty(seen.shape, np.bool_)
    also: NDArray[np.bool_] = np.empty(seen.shape, np.bool_)
    np.less_equal(np.subtract(seen, np.uint8(ord("(")), out=moved), np.uint8(ord("9") - ord("(")), out=of_number)
    np.logical_or(of_number, np.equal(seen, np.uint8(ord(" ")), out=also), out=of_number)
    np.less_equal(np.subtract(seen, np.uint8(ord("[")), out=moved), np.uint8(ord("_") - ord("[")), out=also)
    np.logical_or(of_number, also, out=of_number)
    if seen.min() < ord(" "):
        np.logical_or(of_number, np.less(seen, np.uint8(ord(" ")), out=also), out=of_number)
    for sign in _SELDOM:
        if sign in joined:
            np.logical_or(of_number, np.equal(seen, np.uint8(sign[0]), out=also), out=of_number)
    long: NDArray[np.bool_] = of_number
    for step, into in ((1, also), (2, moved.view(np.bool_)), (4, also), (2, moved.view(np.bool_))):
        long = np.logical_and(long[:-step], long[step:], out=into[: len(long) - step])
    begun = np.flatnonzero(long)
    begun = begun[of_number[begun + _SHORTEST] | _is_digit(seen[begun + 4])]
    digits = _is_digit(seen[begun]) & _is_digit(seen[begun + 7]) & _is_digit(seen[begun + 9])
    begun = begun[digits | of_number[begun + _SHORTEST]]
    begun = begun[np.diff(begun, prepend=-2) > 1]
    found: list[int] = begun.tolist()
    for sign in _LOOSE:
        if sign in joined:
            # What follows a name of JSON is behind a quote, and all but these are names.
            np.equal(seen[1:], np.uint8(sign[0]), out=also[1:])
            places = np.flatnonzero(np.logical_and(also[1:], of_number[:-1], out=also[1:])) + 1
            for beside in (1, -2, -3, -1):
                places = places[_is_digit(seen[places + beside])]
            found += places.tolist()
    return sorted(found)


def _is_digit(seen: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return seen - np.uint8(ord("0")) <= ord("9") - ord("0")
