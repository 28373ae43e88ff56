"""
Records as they come, without personal data: before anything else looks at them.

Of the few that may hold any, only the strings that do are written anew; every other byte stays. A record is protected
the same way whatever is beside it, and once protected, stays as it is.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

from streams.privacy.finding import NO_NAMES, Names, find
from streams.privacy.forgotten import Forgotten
from streams.privacy.masking import mask
from streams.privacy.numbers import Kind, kind_of
from streams.privacy.pseudonyms import Pseudonyms, is_pseudonym, is_telephone
from streams.privacy.suspicion import HINTS, NUMBER, between_quotes, is_json, is_suspicious, shape, suspicious

Subjects = Literal["recognised", "all"]

PEOPLE: Final = frozenset({"subject", "alias", "merged_into"})
"""Fields that name a person."""
CODES: Final = frozenset({"product"})
"""Fields that name no person, but hold codes that must stay different from each other even where one looks like one."""
_SHORTEST: Final = 6
"""Bytes of the shortest identifier, an address."""
_HARMLESS: Final = re.compile(rb"[A-Za-z_./: -]*+")
"""Without digits, signs of addresses, escapes and other scripts there is no identifier."""
_LONGEST_ID: Final = 128
_LONGEST_REFERENCE: Final = 256
"""No contract takes a longer id, path or code, and a pseudonym for each number of a long list costs much."""
_MANY: Final = 100
"""From so many records on, a test of all their bytes together is faster than one of each."""
_MOST_PEOPLE: Final = 4096
"""Of whom is remembered what names them, so that it is not searched again with each of their records."""
_PHONE_FIELD: Final = re.compile(
    "phone|mobile|msisdn|whatsapp|(?:^|_)tel(?:$|_)|contact_?n(?:o$|umber)|تلفن|موبایل|همراه", re.IGNORECASE | re.ASCII
)
_NATIONAL_ID_FIELD: Final = re.compile("national|melli|(?:^|_)nid(?:$|_)|کد[ _\u200c]?ملی", re.IGNORECASE)
# A string that never ends is a part, too: else all the quotes in it are tried again, each to the end of the record.
_PARTS: Final = re.compile(
    rb'"((?:[^"\\]++|\\.)*+)(?:(")(\s*+:)?+)?+|(?<![0-9A-Za-z.+"-])([0-9]{10,24})(?:\.0{1,2})?(?![0-9A-Za-z.])',
    re.DOTALL,
)
"""Also as a number with a point that a table of floating-point numbers makes of it."""
_SHORTEST_CARD: Final = 14
_CARD: Final = re.compile(rb"([2-69](?<![0-9A-Za-z.+-].)[0-9]{13,18})(?:\.0{1,2})?(?![0-9A-Za-z.])")
"""What may be a card of what `NUMBER` finds; it begins with a digit, by which it is found fast."""
_COLON: Final = re.compile(rb"\s*+:")
_TIME: Final = re.compile(rb'"time"\s*+:\s*+"([^"\\]{10,40})"')


class Protected(NamedTuple):
    """Records without personal data, and in how many strings of them each kind of it was found."""

    values: Sequence[bytes | None]
    kinds: Mapping[int, Counter[str]]
    """By the index of a record that was written anew, what was found in it."""

    def masked_in(self, first: int) -> Counter[str]:
        """Return in how many strings of the first so many records each kind was found."""
        return sum((kinds for index, kinds in self.kinds.items() if index < first), Counter[str]())


def protect(protection: "Protection | None", values: Sequence[bytes | None]) -> Protected:
    """Return records without personal data, or as they are if nothing protects them."""
    return protection.protect(values) if protection else Protected(values, {})


def _suspicious(values: Sequence[bytes | None]) -> list[int]:
    """Return which records may hold personal data."""
    if len(values) < _MANY:
        return suspicious(values)
    from streams.privacy.screening import screened  # noqa: PLC0415 - who sends one by one needs no numpy

    return screened(values)


class _FieldName:
    """The name of a field, and what it says of what is in it; a long name is searched once, however much it holds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_reference = name == "source" or name in CODES or name.endswith("id")

    @cached_property
    def is_phone(self) -> bool:
        return _PHONE_FIELD.search(self.name) is not None

    @cached_property
    def is_national_id(self) -> bool:
        return _NATIONAL_ID_FIELD.search(self.name) is not None


class Protection:
    """Takes personal data out of records."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        *,
        names: Names = NO_NAMES,
        subjects: Subjects = "recognised",
        people: Collection[str] = (),
    ) -> None:
        """
        Know how.

        Args:
            pseudonyms: What stands for people.
            names: Those of people, which are masked wherever they are written.
            subjects: Whether who is named gets a pseudonym if the name identifies somebody, or always.
            people: Names of further fields that name a person.
        """
        self._pseudonyms = pseudonyms
        self.forgotten = Forgotten(pseudonyms.seed)
        self._names = names
        self._all = subjects == "all"
        self._looks_at_all = self._all or bool(names)
        self._people = PEOPLE | frozenset(people)
        self._recognised = lru_cache(_MOST_PEOPLE)(self._recognise)

    @property
    def has_names(self) -> bool:
        """Return whether names of people are masked, which can be in any record."""
        return bool(self._names)

    def protect(self, values: Sequence[bytes | None]) -> Protected:
        """Return records without personal data."""
        candidates = range(len(values)) if self._looks_at_all else _suspicious(values)
        protected: list[bytes | None] = []
        kinds: dict[int, Counter[str]] = {}
        for index in candidates:
            value = values[index]
            if not value:
                continue
            masked = Counter[str]()
            better = self._one(value, masked)
            if better != value:
                protected = protected or list(values)
                protected[index] = better
                kinds[index] = masked
        return Protected(protected or values, kinds)

    def text(self, text: str) -> str:
        """Return a text without personal data."""
        return mask(text, self._names).text

    def _one(self, value: bytes, masked: Counter[str]) -> bytes:
        better = self._by_quotes(value, masked) if b"\\" not in value else None
        if better is None:
            better = self._by_parts(value, masked)
        return better if is_json(better) else self._plain(better, masked)

    def _by_quotes(self, value: bytes, masked: Counter[str]) -> bytes | None:
        """Do as `_by_parts`, where quotes only begin and end strings; None if one is left over."""
        parts = value.split(b'"')
        if not len(parts) % 2:
            return None
        field, known, at = _FieldName(""), 0, self._time_of(value)
        for index in self._looked_at(value, parts):
            for name in range(index - 1 - index % 2, known, -2):
                if _COLON.match(parts[name + 1]):
                    field = _FieldName(_plain_text(parts[name]))
                    break
            known, part = index, parts[index]
            if index % 2:
                text = _plain_text(part)
                is_name = _COLON.match(parts[index + 1]) is not None
                better = self._masked(text, masked) if is_name else self._string(field, text, at, masked)
                if better != text:
                    parts[index] = _written(better)[1:-1]
                if is_name:
                    field = _FieldName(better)  # as it is read when the record comes again
            else:
                parts[index] = self._numbers(field, part, at, masked)
        return b'"'.join(parts)

    def _looked_at(self, value: bytes, parts: Sequence[bytes]) -> Iterable[int]:
        """Return which parts of a record, between its quotes, may hold personal data, in order."""
        seen = shape(value)
        chosen = {part for sign in HINTS for part in between_quotes(sign, seen)}
        if self._names.may_be_in(_plain_text(value)):
            chosen.update(range(1, len(parts), 2))
        elif self._all:
            is_person = False
            for index in range(1, len(parts), 2):
                if _COLON.match(parts[index + 1]):
                    is_person = _plain_text(parts[index]) in self._people
                elif is_person:
                    chosen.add(index)
        return sorted(chosen)

    def _by_parts(self, value: bytes, masked: Counter[str]) -> bytes:
        at = self._time_of(value)
        field = _FieldName("")

        def instead(part: re.Match[bytes]) -> bytes:
            nonlocal field
            written, closed, colon, number = part.groups()
            if number is not None:
                return self._number(field, number.decode(), at, masked) or part[0]
            if closed is None:
                return part[0]
            if colon is not None:
                field = _FieldName(_text_of(written))
            if not self._looks_at_all and (
                len(written) < _SHORTEST or _HARMLESS.fullmatch(written) or not is_suspicious(b'"' + written + b'"')
            ):
                return part[0]
            text = _text_of(written)
            better = self._masked(text, masked) if colon is not None else self._string(field, text, at, masked)
            if colon is not None:
                field = _FieldName(better)  # as it is read when the record comes again
            return part[0] if better == text else _written(better) + (colon or b"")

        return _PARTS.sub(instead, value)

    def _string(self, field: _FieldName, text: str, at: float, masked: Counter[str]) -> str:
        if field.name in self._people:
            return self._person(text, at, masked)
        if field.is_phone and is_telephone(text):
            masked["phone"] += 1
            return "[phone]"
        if not field.is_reference or len(text) > _LONGEST_REFERENCE:
            return self._masked(text, masked)
        better, kinds = mask(text, self._names, lambda written, _: self._pseudonyms.of(written, at))
        masked.update(kinds)
        return better if len(better) <= max(len(text), _LONGEST_ID) else self._pseudonyms.of(text, at)

    def _person(self, text: str, at: float, masked: Counter[str]) -> str:
        if is_pseudonym(text):
            return text
        kinds, normal = self._recognised(text) if len(text) <= _LONGEST_ID else self._recognise(text)
        if not kinds and not self._all:
            return text
        if not normal:
            return text
        masked.update(kinds or {"person"})
        return self._pseudonyms.of_normal(normal, at)

    def _recognise(self, text: str) -> tuple[frozenset[str], str]:
        """Return the kinds of what names a person, and its normal form."""
        kinds = frozenset[str](one.kind for one in find(text, self._names))
        return kinds or frozenset({"phone"} if is_telephone(text) else ()), self._pseudonyms.normal(text)

    def _numbers(self, field: _FieldName, part: bytes, at: float, masked: Counter[str]) -> bytes:
        by_name = field.name in self._people or field.is_phone or field.is_national_id
        pattern = NUMBER if by_name else _CARD
        return pattern.sub(lambda number: self._number(field, number[1].decode(), at, masked) or number[0], part)

    def _number(self, field: _FieldName, digits: str, at: float, masked: Counter[str]) -> bytes:
        """Return what stands for a number that is no text; empty if it stays."""
        if field.name in self._people:
            better = self._person(digits, at, masked)
            return b"" if better == digits else _written(better)
        kind: Kind = "phone"
        if not field.is_phone:
            found = kind_of(digits) if field.is_national_id or len(digits) >= _SHORTEST_CARD else None
            if found is None or (found != "card" and not (found == "national_id" and field.is_national_id)):
                return b""
            kind = found
        masked[kind] += 1
        return _written(f"[{kind}]")

    def _time_of(self, value: bytes) -> float:
        """Return the time that a record gives (Unix s) if keys change; infinity if it gives none: the newest key's."""
        written = _TIME.search(value) if self._pseudonyms.have_changed else None
        try:
            at = datetime.fromisoformat(written[1].decode()) if written else None
            return at.replace(tzinfo=at.tzinfo or UTC).timestamp() if at else float("inf")
        except (ValueError, OverflowError):
            return float("inf")

    def _plain(self, value: bytes, masked: Counter[str]) -> bytes:
        """Mask a record that is no JSON as the text that it may be."""
        text = value.decode("utf-8", "surrogateescape")
        better = self._masked(text, masked)
        return value if better == text else better.encode("utf-8", "surrogateescape")

    def _masked(self, text: str, masked: Counter[str]) -> str:
        better, kinds = mask(text, self._names)
        if kinds:
            masked.update(kinds)
        return better


def _plain_text(written: bytes) -> str:
    try:
        return written.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return written.decode("utf-8", "surrogateescape")


def _text_of(written: bytes) -> str:
    plain = _plain_text(written)
    try:
        text: str = json.loads(f'"{plain}"', strict=False)
    except ValueError:
        return plain
    return text


def _written(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
