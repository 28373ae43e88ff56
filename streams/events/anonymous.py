"""
Events of people who were forgotten, as they stay: what they count for, and nothing of whom they tell.

A person gets a name that stands for nobody and counts like the old one among different customers. Ids are replaced,
alike within one erasure, by what nobody can undo; free text is gone, and so is what the contract does not know.
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import count
from typing import Any, Final

import msgspec

from streams.events.decode import decode_stored
from streams.events.refusal import Refusal
from streams.events.types import fields_of

ERASED: Final = "[erased]"
NOBODY: Final = "erased-"
"""How names begin that stand for people who were forgotten."""

_LONGEST_NAME: Final = 256
_IDS: Final = frozenset({
    "id", "sessionid", "journeyid", "orderid", "contactid", "traceid", "alias", "merged_into", "span", "case_id",
    "search_id",
})  # fmt: skip
"""What names a matter of one person; what names a shop, an agent or a survey is a dimension of KPIs and stays."""


def names_for_nobody(subjects: Iterable[str], bin_of: Any) -> dict[str, str]:
    """
    Give each subject a random name of the same bin, so that counts of different customers stay what they are.

    Args:
        subjects: Whose names are replaced.
        bin_of: Gives the bin of a name among different customers.
    """
    wanted: dict[int, list[str]] = {}
    for subject in subjects:
        wanted.setdefault(bin_of(subject), []).append(subject)
    names: dict[str, str] = {}
    begins = f"{NOBODY}{secrets.token_hex(8)}"
    for number in count():
        if not wanted:
            break
        name = f"{begins}{number:x}"
        if waiting := wanted.get(found := bin_of(name)):
            names[waiting.pop()] = name
            if not waiting:
                del wanted[found]
    return names


class Anonymous:
    """Makes events anonymous: of people by their names for nobody, each the same way within one erasure."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._salt = secrets.token_bytes(32)

    def payload(self, payload: bytes) -> bytes:
        """Return an event of one of the people without what tells of them, or somebody else's without their names."""
        sent: dict[str, Any] = msgspec.json.decode(payload)
        event = decode_stored(payload)
        fields = {} if isinstance(event, Refusal) else fields_of(event.type)
        texts = {name for name, field in fields.items() if field.kind == "text" and (field.high or 0) > _LONGEST_NAME}
        if sent.get("subject") not in self._names:
            return msgspec.json.encode(self._without_names(sent, fields.keys() - _IDS - texts - {"data"}))
        held: dict[str, Any] = sent if isinstance(event, Refusal) else msgspec.to_builtins(event)
        if isinstance(event, Refusal):
            texts = {name for name, value in held.get("data", {}).items() if isinstance(value, str)}
        data = {name: self._value(name, value, texts) for name, value in held.get("data", {}).items()}
        attributes = {name: self._value(name, value, ()) for name, value in held.items() if name != "data"}
        return msgspec.json.encode({**attributes, "data": data})

    def _value(self, name: str, value: Any, texts: Iterable[str]) -> Any:
        if not isinstance(value, str):
            return value
        if value in self._names:
            return self._names[value]
        if name in texts:
            return ERASED
        if name in _IDS:
            return NOBODY + hashlib.blake2b(value.encode(), key=self._salt, digest_size=12).hexdigest()
        return value

    def _without_names(self, value: Any, kept: AbstractSet[str]) -> Any:
        """Replace names, but for fields that KPIs are split by."""
        if isinstance(value, str):
            return self._names.get(value, value)
        if isinstance(value, dict):
            return {name: held if name in kept else self._without_names(held, kept) for name, held in value.items()}
        if isinstance(value, list):
            return [self._without_names(held, kept) for held in value]
        return value
