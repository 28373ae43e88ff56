"""Identifiers and names of people in text, whatever script, separators and invisible signs it is written with."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from string import digits
from typing import Final

from streams.privacy.checksums import is_iban
from streams.privacy.folding import LINE_ENDS, fold, folded
from streams.privacy.numbers import BARE_MOBILE, Found, candidates, kind_of, loosely, may_be_number, numbers
from streams.privacy.readings import plainly, read

_AT: Final = re.compile(r"[@%](?<=[\w.%+'~^*-].)(?:(?<=@)|(?<=%)40)(?=[\w-]{1,63}\.)")
"""Begins with its sign, by which it is found fast."""
_LOCAL: Final = re.compile(r"[A-Za-z0-9._%+'~^*-]+\Z")
_LOCAL_IN_WORDS: Final = re.compile(r"\w[\w.+-]*\Z")
_LONGEST_LOCAL: Final = 64
_DOMAIN: Final = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})")
_DOMAIN_IN_WORDS: Final = re.compile(r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_PICTURE: Final = re.compile(r"[1-9]x\.(?:png|jpe?g|webp|gif|svg|avif)\Z", re.IGNORECASE)
"""What pictures of several sizes have behind an @, and no address."""
_UUID: Final = re.compile("(?<![0-9A-Za-z])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z])")
_MOMENT: Final = re.compile(
    "(?<![0-9])[12][0-9]{3}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
    r"(?:[.,][0-9]{1,9})?(?:[+-][01][0-9]:?[0-5][0-9])?(?![0-9])"
)
"""A date with a time: seconds with nine decimals look like a telephone now and then."""
IBAN_LENGTHS: Final = {
    "AE": 23, "AT": 20, "AZ": 28, "BE": 16, "BH": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "ES": 24,
    "FI": 18, "FR": 27, "GB": 22, "GE": 22, "GR": 27, "HU": 28, "IE": 22, "IQ": 23, "IT": 27, "JO": 30, "KW": 30,
    "KZ": 20, "LB": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PT": 25, "QA": 29, "RO": 24, "SA": 24,
    "SE": 24, "TR": 26,
}  # fmt: skip
"""Characters of an account number by country; those of Iran are digits alone."""
_IBAN: Final = re.compile("[A-Za-z](?<![0-9A-Za-z][A-Za-z])(?=([A-Za-z][0-9]{2}(?:[ .-]{0,2}[0-9A-Za-z]){11,30}))")
"""Looks ahead, so that what only begins like one hides none that follows."""
_PARTED: Final = str.maketrans("", "", " .-")
_IBAN_DIGITS: Final = re.compile("[0-9](?:[ .-]{0,2}[0-9]){9}")
"""What every account number has: by this it is noticed."""
_POINTED: Final = re.compile(r"[0-9]{10}\.0{1,2}(?![0-9])")
"""A whole number that a table of floating-point numbers has given a point."""
_WORDS: Final = re.compile(r"[^\W\d_]+")
_LETTERS: Final = str.maketrans("يىكةۀأإآ", "ییکههااا")
_WIDEST_GAP: Final = 3
_LINES: Final = re.compile(f"[{LINE_ENDS}]")
_FEWEST: Final = 10
"""Digits of the shortest number of a person."""


class Names:
    """A list of names of people: whole words, whatever their case, keyboard and half-spaces."""

    def __init__(self, names: Iterable[str]) -> None:
        """Hold names, each of one or more words; those without a letter are passed over."""
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for name in names:
            words = tuple(_WORDS.findall(_spelled(fold(name).text)))
            if words:
                self._by_first.setdefault(words[0], []).append(words)
        for written in self._by_first.values():
            written.sort(key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._by_first)

    def may_be_in(self, text: str) -> bool:
        """Return whether a text has the first word of a name."""
        if not self._by_first:
            return False
        spelled = folded(text).translate(_LETTERS)
        return any(not self._by_first.keys().isdisjoint(_WORDS.findall(one)) for one in (spelled.lower(), spelled))

    def find(self, text: str) -> Iterator[Found]:
        """Yield the names in a folded text, the longest at each word."""
        if not self:
            return
        words = [(match[0], match.start(), match.end()) for match in _WORDS.finditer(_spelled(text))]
        index = 0
        while index < len(words):
            length = self._length_at(words, index)
            if length:
                yield Found(words[index][1], words[index + length - 1][2], "name")
            index += length or 1

    def _length_at(self, words: list[tuple[str, int, int]], index: int) -> int:
        for name in self._by_first.get(words[index][0], ()):
            here = words[index : index + len(name)]
            near = all(after[1] - before[2] <= _WIDEST_GAP for before, after in pairwise(here))
            if near and name == tuple(word for word, _, _ in here):
                return len(name)
        return 0


NO_NAMES: Final = Names(())


def find(text: str, names: Names = NO_NAMES) -> list[Found]:
    """
    Return what identifies people in a text, in order and without overlap, as indices of the text itself.

    What is encoded is looked at as it is, and as it reads.
    """
    if text.isascii() and text.isdecimal():
        kind = kind_of(text)
        return [Found(0, len(text), kind)] if kind else []
    found, plain = _find(text, names), plainly(text)
    if plain is text:
        return found
    meant = _find(plain, names)
    # Where each of its characters comes from is asked only if there is something.
    reading = read(text) if meant else None
    if reading is None:
        return found
    encoded = (Found(reading.begins[one.start], reading.ends[one.end - 1], one.kind) for one in meant)
    whole: list[Found] = []
    for one in sorted([*found, *encoded]):
        if whole and one.start < whole[-1].end:
            last = whole.pop()
            kind = max(last, one, key=lambda each: each.end - each.start).kind
            whole.append(Found(last.start, max(last.end, one.end), kind))
        else:
            whole.append(one)
    return whole


def _find(text: str, names: Names) -> list[Found]:
    seen = folded(text)
    every = [*_emails(seen), *_of_digits(text, seen), *names.find(seen)]
    if not every:
        return []
    origin = fold(text).origin
    found: list[Found] = []
    taken = bytearray(len(seen))
    if seen.count("-") > 1 and sum(map(seen.count, digits)) >= _FEWEST:
        for harmless in (_UUID, _MOMENT):
            for match in harmless.finditer(seen):
                taken[slice(*match.span())] = bytes([1]) * len(match[0])
    for one in every:
        if 1 not in taken[one.start : one.end]:
            taken[one.start : one.end] = bytes([1]) * (one.end - one.start)
            found.append(one)
    found.sort()
    return [Found(origin[one.start], origin[one.end - 1] + 1, one.kind) for one in found]


def _of_digits(text: str, seen: str) -> Iterator[Found]:
    """Yield account numbers, and what `numbers` finds in the folded form of a text, with its lines in mind."""
    rarely = loosely(seen)
    has_candidates = next(candidates(seen), None) is not None
    if has_candidates:
        yield from _foreign_ibans(seen)
    elif rarely is seen or next(candidates(rarely), None) is None:
        return
    breaks = set[int]()
    if _LINES.search(text):
        ends, origin = {end.start() for end in _LINES.finditer(text)}, fold(text).origin
        breaks = ends if isinstance(origin, range) else {at for at, place in enumerate(origin[:-1]) if place in ends}
    yield from numbers(seen, breaks=breaks)
    if rarely is not seen:
        yield from numbers(rarely, breaks=breaks)


def may_hold(text: str) -> bool:
    """Return whether a text, or a part of it, may hold what `find` would find, but for names."""
    if text.isascii() and text.isdecimal():
        return BARE_MOBILE.fullmatch(text) is not None or kind_of(text) is not None
    if _may_hold(text):
        return True
    plain = plainly(text)
    return plain is not text and _may_hold(plain)


def _may_hold(text: str) -> bool:
    text = folded(text)
    rarely = loosely(text)
    found = list(candidates(text))
    return (
        any(may_be_number(text, match) for match in found)
        or (rarely is not text and any(may_be_number(rarely, match) for match in candidates(rarely)))
        or (bool(found) and next(_foreign_ibans(text), None) is not None)
        or _POINTED.search(text) is not None
        or next(_emails(text), None) is not None
    )


def _emails(text: str) -> Iterator[Found]:
    if "@" not in text and "%40" not in text:
        return
    for at in _AT.finditer(text):
        domain = _DOMAIN.match(text, at.end()) or _DOMAIN_IN_WORDS.match(text, at.end())
        if domain and not _PICTURE.match(domain[0]):
            before = text[max(0, at.start() - _LONGEST_LOCAL) : at.start()]
            if local := _LOCAL.search(before) or _LOCAL_IN_WORDS.search(before):
                yield Found(at.start() - len(local[0]), domain.end(), "email")


def _foreign_ibans(text: str) -> Iterator[Found]:
    if sum(map(text.count, digits)) < _FEWEST:
        return
    for match in _IBAN.finditer(text):
        length = IBAN_LENGTHS.get(f"{match[0]}{match[1][0]}".upper(), 0)
        written = (match[0] + match[1].translate(_PARTED))[:length]
        if not length or len(written) != length or not is_iban(written.upper()):
            continue
        end = _end_of(text, match.start(), length)
        if _IBAN_DIGITS.search(text, match.start(), end):
            yield Found(match.start(), end, "iban")


def _end_of(text: str, start: int, letters: int) -> int:
    """Return where so many letters and digits end."""
    return next(islice((at for at in range(start, len(text)) if text[at].isalnum()), letters - 1, None)) + 1


def _spelled(text: str) -> str:
    """Return a text with one letter for each sound of two keyboards, in lower case; of the same length."""
    spelled = text.translate(_LETTERS)
    lower = spelled.lower()
    return lower if len(lower) == len(spelled) else spelled
