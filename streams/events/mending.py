"""
Records that mean what they should and yet break the contract by a character nobody sees: mended instead of refused.

A byte order mark in front of the JSON, a mark of direction beside a digit, a field that was filled with nothing, a leap
second: each has one reading only. What was mended is stored mended, so that the store reads what was counted; all else
in it stays byte for byte as it came. Mending is a function of the record alone: who repeats a range mends it again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from streams.characters import INVISIBLE, OVERRIDES, character_class
from streams.events.limits import MAX_VALUES
from streams.events.types import ENVELOPE_FIELDS, FieldInfo, data_fields

Kind: TypeAlias = Literal["byte_order_mark", "invisible", "blank_field", "leap_second"]

_MEANINGLESS: Final = character_class(tuple(span for span in INVISIBLE if span != OVERRIDES))
_UNICODE_BLANKS: Final = "\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Not by an expression: one for blanks at the end looks at each run of them as often as it is long.
_BLANKS: Final = " \t\n\v\f\r" + "".join(
    map(chr, (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000))
)
_UNSEEN: Final = re.compile(f"[{_MEANINGLESS}]+")
_BETWEEN: Final = re.compile(rf'("(?:[^"\\]++|\\.)*+"?)|([{_MEANINGLESS}\x00]+)|[{_UNICODE_BLANKS}]+', re.DOTALL)
_UNSEEN_ANYWHERE: Final = re.compile(f"[{_MEANINGLESS}{_UNICODE_BLANKS}\x00]")
# What none of this could help has none of it: a quick look spares most records that are simply wrong.
# Each way begins with a byte of its own, so that the search passes over all others.
_WORTH_A_TRY: Final = re.compile(
    rb'"\s*"|" ++[^ ,:}\]"]|null|:60|\\[nrtu]|\x00|\xc2[\x80-\xad]|\xcd\x8f|\xd8\x9c'
    rb"|\xe1(?:\x85[\x9f\xa0]|\x9a\x80|\x9e[\xb4\xb5]|\xa0[\x8b-\x8f])|\xe2(?:\x80|\x81)|\xe3(?:\x80\x80|\x85\xa4)"
    rb"|\xef(?:\xb8[\x80-\x8f]|\xbb\xbf|\xbe\xa0|\xbf[\xb9-\xbb])|\xf0(?:\x9b\xb2|\x9d\x85)|\xf3\xa0"
)
_BLANK_BEFORE_QUOTE: Final = re.compile(rb' (?<=[^ ,:{\[\\"] ) *"')
_LEAP: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:)60(?:\.\d+)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
MOST_QUOTES: Final = 200
"""A record that is no JSON is not mended if it has more quotes than these and one for sixteen characters."""

_BYTE_ORDER_MARK: Final = "\ufeff".encode()

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode


class Mended(NamedTuple):
    """A record after mending, and what was mended in it, each once."""

    value: bytes
    kinds: frozenset[Kind]


def mend(value: bytes) -> Mended | None:
    """
    Mend a record that was refused; None if there is nothing to mend.

    Whether it is right by now is for the decoder to say. The record must be within the limits of what one may hold.
    """
    if not _WORTH_A_TRY.search(value) and not _BLANK_BEFORE_QUOTE.search(value):
        return None
    kinds: set[Kind] = set()
    try:
        event = _read(value, kinds)
        _mend_names(event, ENVELOPE_FIELDS, kinds)
        _mend_fields(event, ENVELOPE_FIELDS, kinds)
        fields = data_fields(_text(event["type"]))
        data = _members(event["data"])
        _mend_names(data, fields, kinds)
        _mend_fields(data, fields, kinds)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        # Not JSON, not UTF-8, or no type of event: nothing that is known to be mended says what it means.
        return None
    if not kinds:
        return None
    event["data"] = msgspec.Raw(_encode(data))
    return Mended(_encode(event), frozenset(kinds))


def what_is_seen(text: str) -> str:
    """Return a number, a code or a time as people see it: without what is invisible in it, or a blank around it."""
    return text.strip(" \t\n\v\f\r") if text.isascii() else _UNSEEN.sub("", text).strip(_BLANKS)


def without_byte_order_mark(value: bytes) -> bytes:
    """Return a text without the mark that some systems put in front of it (RFC 8259, section 8.1)."""
    return value.removeprefix(_BYTE_ORDER_MARK)


def without_unseen(value: bytes) -> bytes | None:
    """
    Return JSON without what is invisible between its texts; None where there is nothing to clean.

    There may be no more texts than a record may hold, since each costs a look. Raises UnicodeDecodeError.
    """
    text = value.decode()
    if not _UNSEEN_ANYWHERE.search(text) or text.count('"') > min(4 * MAX_VALUES, MOST_QUOTES + len(text) // 16):
        return None
    first, *rest = _BETWEEN.split(text)
    parts = zip(rest[0::3], rest[1::3], rest[2::3], strict=True)
    between = [(found or (" " if unseen is None else "")) + then for found, unseen, then in parts]
    return (first + "".join(between)).encode()


def _read(value: bytes, kinds: set[Kind]) -> dict[str, msgspec.Raw]:
    """Read the members of a record; between them, what is invisible is no part of JSON."""
    bare = without_byte_order_mark(value)
    if bare != value:
        kinds.add("byte_order_mark")
    try:
        return _members(bare)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        cleaned = without_unseen(bare)
        if cleaned is None:
            raise
        kinds.add("invisible")
        return _members(cleaned)


def _mend_names(part: dict[str, msgspec.Raw], known: Mapping[str, FieldInfo], kinds: set[Kind]) -> None:
    """Give members their names back that have something invisible in them, as the first column of a table may have."""
    names = known.keys() | {"data"}
    wrong = {name: plain for name in part.keys() - names if (plain := what_is_seen(name)) in names}
    for name in sorted(wrong):
        part.setdefault(wrong[name], part.pop(name))
        kinds.add("invisible")


def _mend_fields(part: dict[str, msgspec.Raw], known: Mapping[str, FieldInfo], kinds: set[Kind]) -> None:
    for name in part.keys() & known.keys():
        info, raw = known[name], bytes(part[name])
        text = _text(raw) if raw.startswith(b'"') else None
        if _is_blank(raw, text, info):
            del part[name]
            kinds.add("blank_field")
        elif text is not None and _is_code(info):
            seen = what_is_seen(text)
            meant = _before_leap(seen) if info.kind == "time" else seen
            if seen != text:
                kinds.add("invisible")
            if meant != seen:
                kinds.add("leap_second")
            if meant != text:
                part[name] = msgspec.Raw(_encode(meant))


def _is_blank(raw: bytes, text: str | None, info: FieldInfo) -> bool:
    """Return whether nothing stands where nothing need stand: an empty text, or null where null has no meaning."""
    if info.required:
        return False
    if text is None:
        return raw == b"null" and not info.nullable
    return not what_is_seen(text).strip() and (_is_code(info) or info.kind != "text" or bool(info.low))


def _is_code(info: FieldInfo) -> bool:
    """Return whether a field holds a number, a time, or one of certain texts, in which only what is seen counts."""
    return info.rating or info.kind in ("enum", "time") or info.pattern is not None


def _before_leap(text: str) -> str:
    """Return the last moment before a leap second in its place; there may be one at the end of a month, in UTC."""
    if (found := _LEAP.fullmatch(text)) is None:
        return text
    try:
        after = msgspec.convert(f"{found[1]}59{found[2]}", datetime).astimezone(UTC) + timedelta(seconds=1)
    except (msgspec.ValidationError, OverflowError):
        return text
    ends_month = after.strftime("%d %H:%M:%S") == "01 00:00:00"
    return f"{found[1]}59.999999{found[2]}" if ends_month else text
