"""
A quick test of records for anything that could identify people: mostly in C, a nanosecond a byte.

What passes holds no identifier. What does not is looked at ever more closely, in the order of what that takes; only
where all of it fails to say that there is none, strings are searched one by one.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import product, repeat
from operator import contains
from typing import Final

import msgspec

from streams.privacy.finding import IBAN_LENGTHS, may_hold
from streams.privacy.numbers import LOOSE, kind_of

FEWEST_DIGITS: Final = b"0" * 10
SIGN: Final = b"@"
COLON: Final = b"000:0"
"""A colon that may part digits, as it does not in a time."""
HINTS: Final = FEWEST_DIGITS, SIGN, COLON
_DIGITS: Final = b"0123456789" + bytes(range(0xA0, 0xAA)) + bytes(range(0xB0, 0xBA))
"""ASCII digits, and how the digits ٠-٩ and ۰-۹ end."""
_LETTER_MARK: Final = 0x9C
"""How two invisible marks of Arabic letters end, whose first bytes are those of letters and digits."""
_FAR: Final = b"\xdf\xe0\xe1\xea\xef\xf0\xf3"
"""How all other digits and signs begin that `folding` knows."""
_BETWEEN_DIGITS: Final = (
    b" \t\n\v\f\r\x1c\x1d\x1e\x1f\0-()./[],_*|+~"
    # How those digits, blanks, dashes and invisible signs begin, and how the latter end.
    b"\xc2\xcc\xcd\xd9\xdb\xe2\xe3" + bytes(set(range(0x80, 0xC0)) - {_LETTER_MARK, *_DIGITS})
)
_UUID: Final = re.compile(
    rb'-(?<=["/: -][0-9a-fA-F]{8}-)[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?=["/ ?&}])'
)
"""A UUID but for its head, in which there are as many digits in a row by chance; a sign to begin with is found fast."""
_VARIANT: Final = b"\xef\xb8\x8f"
"""What most emoji end with; it is invisible."""
_FAR_SIGNS: Final = re.compile(rb"\xef[\xb8-\xbf]|\xf0(?:[^\x9f]|\x9f\xaf)")
"""Full-width and invisible signs, scripts with digits of their own; not what emoji and the Rial sign begin with."""
_FAR_ALONE: Final = b"\xdf", b"\xe0", b"\xe1", b"\xea", b"\xf3", b"\xcc\x9c", b"\xcd\x9c", b"\xd8\x9c", b"\xd9\x9c"
"""Those of them that are found one by one, as fast as memory is read."""
_AT_ESCAPED: Final = re.compile(rb"%(?:40|4?[\0\x80-\xff])")
"""%40, in the digits of any script."""
_RUN: Final = re.compile(rb"([^0-9]?)([0-9]+)(.?)", re.DOTALL)
_ENCODED: Final = re.compile(rb"%[0-9A-Fa-f]{2}|&[#A-Za-z]|<[/A-Za-z]")
_ENCODED_AGAIN: Final = re.compile(rb"\\\\[unrtbf/\"'\\]")
_TAG: Final = re.compile(rb"(?:<|\\u003[cC])[^>]{0,360}\\(?:\"|u0022)")
"""One with quotes in it, of sixty signs that may be escapes."""
_COMMAS: Final = [("،".encode(), b","), ("؛".encode(), b";")]
_COMMAS_BEGIN: Final = b"\xd8"
_ALONE: Final = b"-_/."
"""One of these beside digits does not matter, unless something that does is on its other side."""
_MOST: Final = 16
"""Numbers that are looked for one by one."""
_IBAN_BEGINS: Final = re.compile(rb"(?<![0-9A-Za-z])([A-Za-z]{2})[0-9]{2}")
_IBANS: Final = frozenset(map(str.encode, IBAN_LENGTHS))
_IBAN_LONGEST: Final = 110
_TELLING: Final = b"phone", b"mobile", b"msisdn", b"whatsapp", b"tel", b"contact", b"national", b"melli", b"nid"
_TELLING_IN_PERSIAN: Final = tuple(map(str.encode, ("تلفن", "موبایل", "همراه", "ملی")))
"""One of these is in the name of a field of telephones or national ids."""
_NOTHING: Final = b"="
"""No part of an identifier, and beside none of any meaning."""
PLAIN_NUMBER: Final = re.compile(rb'(?<![0-9A-Za-z.+"-])[0-9]{10}')
_BACKSLASH: Final = b"\x02"
_ESCAPE: Final = _BACKSLASH + b"u"
_ESCAPED: Final = bytes(117 if byte >= 0x80 or byte in b"\0unrtbf/\"'%&<" else byte for byte in range(256))
"""Makes a `u` of what stands behind a backslash in JSON within JSON, and of what may mean it or be unseen before it."""
_MEANINGS: Final = (
    (b"\\\\", _BACKSLASH), (b"\\n", b"\n"), (b"\\t", b"\t"), (b"\\r", b"\r"), (b"\\b", b"\b"), (b"\\f", b"\f"),
    (b'\\"', b'"'), (b"\\/", b"/"),
)  # fmt: skip
"""A backslash that is meant is no part of an identifier, as little as one that begins no escape; it is first."""
NUMBER: Final = re.compile(rb"(?<![0-9A-Za-z.+-])([0-9]{10,24})(?:\.0{1,2})?(?![0-9A-Za-z.])")
"""A whole number of JSON that may be one of a person, with its digits."""
_QUOTE: Final = b"\x01"


def _beside(signs: bytes) -> bytes:
    """Return a table that makes zeros of digits, and blanks of all beside which a number may begin: no such signs."""
    letters = bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(ord("a"), ord("z") + 1))
    return bytes(48 if 48 <= byte < 58 else 120 if byte in signs + letters else 32 for byte in range(256))


_BESIDE_NUMBER: Final = _beside(b".+-")
_BESIDE_PLAIN: Final = _beside(b'.+"-')
_BEGUN_ALONE: Final = b" " + FEWEST_DIGITS
"""As `NUMBER` and `PLAIN_NUMBER` begin, in what such a table makes."""

_LONG: Final = 1_000
"""Bytes from which on it pays to know whether a record is JSON."""
_AT_ONCE: Final = 512
_FEW: Final = 4
"""Fewer records are sooner tested one by one."""
_MOST_BYTES: Final = 1 << 20
"""So are long ones: what joins them fills the memory again and again."""
_NO_TEXT: Final = b"\xff"
"""No text holds it: it is between records that are tested together, and before their indices."""
_INDEX_LENGTH: Final = 3
_INDICES: Final = {
    bytes(digits): index for index, digits in enumerate(product(range(0xF5, 0xFD), repeat=_INDEX_LENGTH))
}
_SEPARATORS: Final = [_NO_TEXT + digits for digits in _INDICES]

_valid: Final = msgspec.json.Decoder(msgspec.Raw).decode


def _table() -> bytes:
    table = bytearray(b"x" * 0xF5) + bytes(range(0xF5, 0x100))
    for byte in _DIGITS:
        table[byte] = ord("0")
    for byte in (*b"@\\%&<", *_FAR, _LETTER_MARK):
        table[byte] = SIGN[0]
    for byte in LOOSE.encode():
        table[byte] = ord(":")
    table[ord('"')] = ord('"')
    return bytes(table)


_TABLE: Final = _table()


def shape(value: bytes) -> bytes:
    """
    Return a record as the test sees it, shorter than itself.

    Each digit is a zero, signs that may belong to identifiers are an @, quotes stay, nothing is between digits.
    """
    return _plainly(value).translate(_TABLE, _BETWEEN_DIGITS)


def _plainly(value: bytes) -> bytes:
    """Return a record with ASCII commas and semicolons for those of Persian, whose bytes are also those of letters."""
    if _COMMAS_BEGIN in value:
        for comma, instead in _COMMAS:
            value = value.replace(comma, instead)
    return value


def between_quotes(sign: bytes, seen: bytes) -> Iterator[int]:
    """Yield which parts between quotes hold a sign, of a record as the test sees it."""
    number = begun = 0
    found = seen.find(sign)
    while found >= 0:
        number += seen.count(b'"', begun, found)
        yield number
        begun = seen.find(b'"', found)
        if begun < 0:
            return
        found = seen.find(sign, begun)


def suspicious(values: Sequence[bytes | None]) -> list[int]:
    """Return the indices of the records that hold what may identify people."""
    records = [value or b"" for value in values]
    many = not _FEW <= len(records) <= _AT_ONCE or sum(map(len, records)) > _MOST_BYTES
    if many or any(map(contains, records, repeat(_NO_TEXT))):
        return [index for index, value in enumerate(records) if is_suspicious(value)]
    apart = records * 2
    apart[::2] = records
    apart[1::2] = _SEPARATORS[: len(records)]
    seen = shape(b"".join(apart))
    hits = set[int]()
    for sign in HINTS:
        if sign in seen:
            hits.update(_records_with(sign, seen))
    return [index for index in sorted(hits) if _may_hold(records[index])]


def is_suspicious(value: bytes) -> bool:
    """Return whether a record, or a string of one, holds what may identify people."""
    seen = shape(value)
    return (FEWEST_DIGITS in seen or SIGN in seen or COLON in seen) and _may_hold(value)


def _records_with(sign: bytes, seen: bytes) -> Iterator[int]:
    """Yield the indices of the records that hold a sign, among those that stand together."""
    found = seen.find(sign)
    while found >= 0:
        end = seen.find(_NO_TEXT, found) + 1
        yield _INDICES[seen[end : end + _INDEX_LENGTH]]
        found = seen.find(sign, end)


def is_json(value: bytes) -> bool:
    """Return whether a record is JSON."""
    try:
        _valid(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _may_hold(value: bytes) -> bool:
    without = _UUID.sub(_NOTHING, _plainly(value))
    seen = shape(without)
    if SIGN not in seen:
        return _may_hold_number(without, seen)
    tags, quotes = b"<" in without or b"\\u003" in without, b'\\"' in without or b"\\u0022" in without
    if tags and quotes and _TAG.search(without):
        return True
    if b"\\" not in without:
        return _reads(without)
    meant = _meant(without)
    if meant is None or (_BACKSLASH in meant and _ESCAPE in meant.translate(_ESCAPED)) or _reads(meant):
        return True
    # What is no JSON is read as a text: its backslashes are those that it has.
    return not _is_text(value) and (_ENCODED_AGAIN.search(without) is not None or _reads(without))


def _meant(value: bytes) -> bytes | None:
    """Return a record with what its escapes mean; None if that cannot be said."""
    for escape, meaning in _MEANINGS:
        value = value.replace(escape, meaning)
        if b"\\" not in value:
            return value
    if value.count(b"\\") > value.count(b"\\u"):
        first, *others = value.split(b"\\")
        others[-1] = others[-1] or b"\\"
        value = first + b"".join([b"\\" + part if part.startswith(b"u") else part for part in others])
    try:
        text: str = json.loads(b'"' + value.replace(b'"', _QUOTE) + b'"', strict=False)
    except ValueError:
        return None
    return text.encode("utf-8", "surrogatepass").replace(b"\\", _BACKSLASH).replace(_QUOTE, b'"')


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return is_json(value)


def _reads(value: bytes) -> bool:
    """Return whether what a record means, without escapes, may hold an identifier."""
    if _VARIANT in value:
        value = value.replace(_VARIANT, b"")
    if b"@" in value or _AT_ESCAPED.search(value) or _has_far_signs(value):
        return is_part_suspicious(value) or may_hold_plain(value)
    if _is_encoded(value) and any(is_part_suspicious(part) for part in value.split(b'"') if _is_encoded(part)):
        return True
    return _may_hold_number(value, shape(value))


def _has_far_signs(value: bytes) -> bool:
    if value.isascii():
        return False
    if any(sign in value for sign in _FAR_ALONE):
        return True
    return (b"\xef" in value or b"\xf0" in value) and _FAR_SIGNS.search(value) is not None


def _is_encoded(value: bytes) -> bool:
    return (b"%" in value or b"&" in value or b"<" in value) and _ENCODED.search(value) is not None


def _may_hold_number(value: bytes, seen: bytes) -> bool:
    """Return whether a record without addresses, escapes and digits of far scripts may hold a number of a person."""
    parts = value.split(b'"') if FEWEST_DIGITS in seen or COLON in seen else []
    if COLON in seen and any(is_part_suspicious(parts[number]) for number in between_quotes(COLON, seen)):
        return True
    if FEWEST_DIGITS not in seen or _are_harmless(value, seen):
        return False
    numbers = between_quotes(FEWEST_DIGITS, seen)
    if b"\\" not in value and len(value) > _LONG and is_json(value):
        holds = any(
            is_part_suspicious(parts[number]) if number % 2 else _holds_number(parts[number]) for number in numbers
        )
    else:
        holds = any(is_part_suspicious(parts[number]) for number in numbers)
    return holds or may_hold_plain(value)


def _holds_number(part: bytes) -> bool:
    """Return whether what stands in JSON outside of strings may hold a number of a person: one without separators."""
    if _BEGUN_ALONE not in b" " + part.translate(_BESIDE_NUMBER):
        return False
    return any(kind_of(digits.decode()) for digits in NUMBER.findall(part))


def is_part_suspicious(text: bytes) -> bool:
    """Return whether what stands between two quotes may hold an identifier."""
    return may_hold(text.decode("utf-8", "surrogateescape"))


def may_hold_plain(value: bytes) -> bool:
    """Return whether a record may hold a telephone or national id in a field of its own, as a number and no text."""
    return _BEGUN_ALONE in b" " + value.translate(_BESIDE_PLAIN) and _names_person(value)


def _names_person(value: bytes) -> bool:
    lower = value.lower()
    return any(name in lower for name in _TELLING) or (
        not value.isascii() and any(name in value for name in _TELLING_IN_PERSIAN)
    )


def _are_harmless(value: bytes, seen: bytes) -> bool:
    """Return whether all digits that are enough for an identifier stand together, and are none."""
    without = value.translate(None, _BETWEEN_DIGITS)  # each byte of it where `seen` has what it is
    known = set[bytes]()
    start = seen.find(FEWEST_DIGITS)
    while start >= 0:
        run = _RUN.match(without, start - 1 if start else 0)
        if run is None:
            return False
        end = run.end(2)
        # What is there more than once is looked for once, so it is not known whether it stands together everywhere.
        if (
            seen[end : end + 1] == b"0"
            or run[0] in known
            or len(known) == _MOST
            or not _is_harmless(value, *run.groups())
        ):
            return False
        known.add(run[0])
        start = seen.find(FEWEST_DIGITS, end)
    return True


def _is_harmless(value: bytes, before: bytes, digits: bytes, after: bytes) -> bool:
    """Return whether such digits, which are there once, stand together and are none of an identifier."""
    at = value.find(digits)
    while at >= 0:
        end = at + len(digits)
        left, right = value[max(0, at - 2) : at], value[end : end + 2]
        if (left[-1:] == before or (left[:1] == before and left[1:] and left[1:] in _ALONE)) and (
            right[:1] == after or (right[1:] == after and right[:1] and right[:1] in _ALONE)
        ):
            break
        at = value.find(digits, end)
    else:
        return False
    nearest = left[-1:]
    written = digits.decode()
    kind = kind_of(written)
    goes_on = right[:1].isalpha() and len(written) == 10  # with letters: it is a code
    if not goes_on and (kind is not None or (len(written) == 10 and written[0] == "9")):
        return False
    if before.isalpha():
        if nearest in b"bB" and value[at - 2 : at].lower() == b"2b":
            return False
        head = value[max(0, at - _IBAN_LONGEST) : at].rpartition(b'"')[2] + digits[:2]
        begun = _IBAN_BEGINS.findall(head)
        return head.isascii() and (not begun or _IBANS.isdisjoint(map(bytes.upper, begun)))
    if not before.isascii():
        return False
    return nearest in b'"-' or not _names_person(value)
