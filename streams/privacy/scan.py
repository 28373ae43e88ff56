"""
A look for personal data in clear, in whatever was stored or published: what kind of it is where, and how often.

What was masked stays as it is when it is masked again, so whatever the masking would change is in clear. What that does
not know it cannot find: for this there are identifiers that somebody has planted. No value is ever in a finding.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import cramjam
import msgspec

from streams.privacy.folding import fold
from streams.privacy.records import Protection
from streams.privacy.suspicion import suspicious

_DEEPEST: Final = 60
_MOST_FIELDS: Final = 5_000
"""Findings of more fields are one."""
_LONGEST_FIELD: Final = 80
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_READABLE: Final = re.compile(rb"[\x20-\x7e\x80-\xff]{6,}")
_DIGITS: Final = re.compile(r"[0-9](?:[ \-().\[\]/,_*|:+]{0,8}[0-9])+")
_AT: Final = re.compile("@|%40")
_FEWEST_DIGITS: Final = 8
_NATIONAL: Final = re.compile(r"^(?:00)?980?(?=9[0-9]{9}$)|^0(?=[0-9]{10}$)")

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode


class InClear(NamedTuple):
    """Personal data of a kind in clear: in which table, topic or file, in which field, and in how many records."""

    where: str
    field: str
    kind: str
    records: int


class Planted:
    """Identifiers that are known to have been sent, compared without separators, and in the digits of any script."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Hold identifiers, one a line; empty lines are passed over."""
        self._numbers: set[str] = set()
        self._addresses: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._words: list[str] = []
        for text in filter(None, (fold(line).text.strip() for line in lines)):
            local, at, domain = text.lower().replace("%40", "@").partition("@")
            number = "".join(filter(str.isdecimal, text))
            if at and local and domain:
                self._addresses[local[-1] + domain[0]].append((local, domain))
            elif len(number) >= _FEWEST_DIGITS:
                self._numbers.add(_NATIONAL.sub("", number))
            else:
                self._words.append(text.lower())
        self._lengths = sorted({len(number) for number in self._numbers})

    def __bool__(self) -> bool:
        return bool(self._numbers or self._addresses or self._words)

    def is_in(self, text: str) -> bool:
        """Return whether one of them is in a text."""
        folded = fold(text).text
        return (
            any(map(self._in_digits, _DIGITS.findall(folded)))
            or (("@" in folded or "%40" in folded) and self._in_address(folded.lower().replace("%40", "@")))
            or any(word in folded.lower() for word in self._words)
        )

    def _in_digits(self, run: str) -> bool:
        digits = "".join(filter(str.isdecimal, run))
        return any(
            digits[start : start + length] in self._numbers
            for length in self._lengths
            for start in range(len(digits) - length + 1)
        )

    def _in_address(self, text: str) -> bool:
        return any(
            text.endswith(local, 0, at.start()) and text.startswith(domain, at.end())
            for at in _AT.finditer(text, 1)
            for local, domain in self._addresses.get(text[at.start() - 1] + text[at.end() : at.end() + 1], ())
        )


NONE_PLANTED: Final = Planted(())


class Scan:
    """Looks at records, and remembers what it has found in how many of them."""

    def __init__(self, protection: Protection, planted: Planted = NONE_PLANTED) -> None:
        """
        Have seen nothing yet.

        Args:
            protection: Finds what it would mask.
            planted: What is looked for as well, under the kind `planted`.
        """
        self._protection = protection
        self._planted = planted
        self._found = Counter[tuple[str, str, str]]()

    @property
    def findings(self) -> list[InClear]:
        """What was found by now."""
        return [InClear(*key, records) for key, records in sorted(self._found.items())]

    def look(self, where: str, records: Sequence[bytes]) -> None:
        """Look at records of a table, topic or file: JSON, in the end an object of fields."""
        everything = self._planted or self._protection.has_names
        # What is JSON within JSON has its escapes escaped.
        plain = [] if everything else [record.replace(rb"\\", b"\\") for record in records]
        for index in range(len(records)) if everything else suspicious(plain):
            self._found.update((where, *found) for found in set(self._in(_read(records[index]), (), 0)))

    def _in(self, value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, str]]:
        """Yield fields and kinds."""
        if isinstance(value, str) and depth < _DEEPEST:
            inner = _read(value.encode("utf-8", "surrogatepass")) if value[:1] in ("{", "[") else None
            if isinstance(inner, dict | list):
                yield from self._in(inner, path, depth + 1)
                return
        if depth >= _DEEPEST and not isinstance(value, str):
            value = _texts(value)
        if isinstance(value, dict):
            for name, held in value.items():
                yield from self._leaf(str(name), path, "")
                yield from self._in(held, (*path, str(name)), depth + 1)
        elif isinstance(value, list):
            for held in value:
                yield from self._in(held, path, depth + 1)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            yield from self._leaf(value, path, self._protection.text(path[-1]) if path else "")

    def _leaf(self, value: str | int, path: tuple[str, ...], name: str) -> Iterator[tuple[str, str]]:
        kinds: set[str] = set()
        # Numbers that are no text are what people sent in payloads alone; elsewhere they are sums and counts of ours.
        if isinstance(value, str) or "payload" in path:
            for found in self._protection.protect([_written({name: value})]).kinds.values():
                kinds |= found.keys()
        if self._planted and self._planted.is_in(str(value)):
            kinds.add("planted")
        if kinds:
            field = self._protection.text(".".join(path))[:_LONGEST_FIELD]
            yield from ((field if self._is_room() else "…", kind) for kind in kinds)

    def _is_room(self) -> bool:
        return len(self._found) < _MOST_FIELDS


def fields_of(value: bytes) -> Any:
    """Return what is in a record of a topic that is JSON, message-pack or a frame of either; else what is readable."""
    if value.startswith(_ZSTD):
        try:
            value = bytes(cramjam.zstd.decompress(value))
        except cramjam.DecompressionError:
            return _readable(value)
    if value[:1] in (b"{", b"[", b'"'):
        return _read(value)
    try:
        packed = _unpack(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
        packed = None
    try:
        return _opened(packed) if isinstance(packed, dict | list) else _readable(value)
    except RecursionError:
        return _readable(value)


def as_record(fields: Any) -> bytes:
    """Return fields as a record that can be looked at."""
    return _written(fields)


def _opened(value: Any) -> Any:
    if isinstance(value, bytes):
        return fields_of(value)
    if isinstance(value, msgspec.msgpack.Ext):
        return fields_of(bytes(value.data))
    if isinstance(value, dict):
        return (
            [_opened(held) for held in chain.from_iterable(value.items())]
            if _is_binary(value)
            else {name: _opened(held) for name, held in value.items()}
        )
    return [_opened(held) for held in value] if isinstance(value, list) else value


def _is_binary(value: dict[Any, Any]) -> bool:
    return not all(isinstance(name, str) for name in value)


def _readable(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [part.decode(errors="replace") for part in _READABLE.findall(value)]


def _read(record: bytes) -> Any:
    """Return what a record says; as text if it is no JSON."""
    try:
        return _decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    text = record.decode("utf-8", "replace")
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text


def _written(value: Any) -> bytes:
    try:
        return _encode(value)
    except RecursionError:
        return _written(_texts(value))
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError):
        return json.dumps(value, ensure_ascii=True, default=str).encode()


def _texts(value: Any) -> str:
    """Return all that is in a value as one text, however deep it is nested; quotes part what is not one."""
    left, found = [value], list[str]()
    while left:
        held = left.pop()
        if isinstance(held, dict):
            left += chain.from_iterable(held.items())
        elif isinstance(held, list):
            left += held
        else:
            found.append(str(held))
    return '"'.join(found)
