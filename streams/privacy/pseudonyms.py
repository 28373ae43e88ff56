"""
Pseudonyms of people: keyed hashes of one normal form of what names them.

Without the key nobody can try all telephone numbers; with it, the same person has the same pseudonym however written.
A key is used for events from its time on, so the same event has the same pseudonym whenever it is read.
"""

import hmac
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.privacy.finding import find
from streams.privacy.folding import folded
from streams.privacy.numbers import BARE_MOBILE, MOBILE_IN_GROUPS, kind_of
from streams.privacy.readings import read

PREFIX: Final = "p-"
_BYTES: Final = 10
_LETTERS: Final = [first + second for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"]
"""No digits: a pseudonym is never taken for an identifier."""
_PSEUDONYM: Final = re.compile(rf"{PREFIX}[a-p]{{{2 * _BYTES}}}")
_NOBODY: Final = frozenset(
    {"null", "none", "nil", "unknown", "undefined", "anonymous", "guest", "n/a", "na", "ناشناس", "نامشخص", "مهمان"}
)
_SAYS_WHAT_IT_IS: Final = re.compile(
    r"[\W_]*+(?:2b)?+(?:(?:tel|sms|mailto|email|phone|mobile|msisdn|whatsapp|card|iban|nid|customer|user)[\W_]++)?+",
    re.IGNORECASE,
)
_DIGITS: Final = re.compile("[^0-9]")


class SecretKey(NamedTuple):
    """A secret, and from which event time on (Unix s) it is used."""

    secret: bytes
    since: float = float("-inf")


class Pseudonyms:
    """Gives pseudonyms by a list of keys."""

    def __init__(self, keys: Sequence[SecretKey], *, fold_local_part: bool = True) -> None:
        """
        Use keys, each from its time on.

        Args:
            keys: At least one.
            fold_local_part: Whether upper and lower case before the @ of an address are the same person.
        """
        self._keys = sorted(keys, key=lambda key: key.since)
        self._fold_local_part = fold_local_part

    def of(self, value: str, at: float) -> str:
        """Return the pseudonym of a person in events of a time (Unix s); empty if the value names nobody."""
        normal = self.normal(value)
        return self.of_normal(normal, at) if normal else ""

    def of_normal(self, normal: str, at: float) -> str:
        """Return the pseudonym of a person whose normal form is known, in events of a time (Unix s)."""
        return _pseudonym(self._key_at(at), normal)

    def normal(self, value: str) -> str:
        """Return the normal form of what names a person; empty if the value names nobody."""
        return normal_form(value, fold_local_part=self._fold_local_part)

    @property
    def have_changed(self) -> bool:
        """Return whether the time of an event matters."""
        return len(self._keys) > 1

    def all_of(self, value: str) -> list[str]:
        """Return the pseudonyms of a person under all keys, the newest last; none if the value names nobody."""
        normal = self.normal(value)
        return [_pseudonym(key, normal) for key in self._keys] if normal else []

    @property
    def seed(self) -> int:
        """A number that follows from the oldest key alone."""
        return int.from_bytes(hmac.digest(self._keys[0].secret, b"forgotten", "sha256")[:8])

    def _key_at(self, at: float) -> SecretKey:
        return self._keys[max(0, sum(1 for key in self._keys if key.since <= at) - 1)]


def is_pseudonym(value: str) -> bool:
    """Return whether a value is a pseudonym already."""
    return _PSEUDONYM.fullmatch(value) is not None


def normal_form(value: str, *, fold_local_part: bool = True) -> str:
    """Return the one form of all ways to write what names a person; empty if it names nobody."""
    text = folded(value).strip()
    if not any(map(str.isalnum, text)) or text.lower() in _NOBODY or not text.strip("0 -+"):
        return ""
    reading = read(value)
    plain = folded(reading.text).strip() if reading else text
    if found := _recognised(plain, fold_local_part=fold_local_part):
        return found
    return _number(_DIGITS.sub("", text), "phone") if _is_bare_mobile(text) else text


def _recognised(text: str, *, fold_local_part: bool) -> str:
    """Return the normal form of what is an identifier and nothing else; empty if it is none."""
    found = find(text)
    if len(found) == 1 and _SAYS_WHAT_IT_IS.fullmatch(text[: found[0].start] + text[found[0].end :]):
        written, kind = text[found[0].start : found[0].end], found[0].kind
        if kind == "email":
            return _address(written.replace("%40", "@"), fold_local_part=fold_local_part)
        if kind == "iban":
            characters = "".join(filter(str.isalnum, written)).upper()
            return characters if characters[0].isalpha() else f"IR{characters}"
        return _number(_DIGITS.sub("", written), kind)
    return ""


def is_telephone(value: str) -> bool:
    """Return whether a value that names a person, or a telephone, is one, and nothing else."""
    reading = read(value)
    text = folded(reading.text if reading else value).strip()
    found = find(text)
    if not found:
        return _is_bare_mobile(text)
    said = text[: found[0].start] + text[found[0].end :]
    return len(found) == 1 and found[0].kind == "phone" and _SAYS_WHAT_IT_IS.fullmatch(said) is not None


def _is_bare_mobile(text: str) -> bool:
    return MOBILE_IN_GROUPS.fullmatch(text) is not None and kind_of(_DIGITS.sub("", text)) != "national_id"


def _address(written: str, *, fold_local_part: bool) -> str:
    local, _, domain = written.rpartition("@")
    return f"{local.lower() if fold_local_part else local}@{domain.lower()}"


def _number(digits: str, kind: str) -> str:
    if kind != "phone":
        return digits
    # One form of 0912…, 0098912…, 98912…, 980912… and 912…; what is of other countries begins with their code.
    bare = re.sub("^(?:00)?980?|^0", "", digits)
    return f"+98{bare}" if (len(bare) == 10 and bare != digits) or BARE_MOBILE.fullmatch(digits) else f"+{digits}"


def _pseudonym(key: SecretKey, normal: str) -> str:
    digest = hmac.digest(key.secret, normal.encode("utf-8", "surrogatepass"), "sha256")[:_BYTES]
    return PREFIX + "".join(map(_LETTERS.__getitem__, digest))
