"""What came and what may come, in the words of a refusal: short, and cheap whatever a sender writes."""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from streams.events.types import EVENT_TYPES, FieldInfo

_SHOWN: Final = 80
_HUGE: Final = 10**400
"""Numbers from here on are said to be beyond all limits: as a float they are none."""

_SIMILAR: Final = 16
"""Names that are compared with the one that is missing; each costs as much as to read some ten fields."""

_TYPES_BY_PART: Final[dict[str, list[str]]] = {}
for _name in EVENT_TYPES:
    for _part in _name.split(".")[1:]:
        _TYPES_BY_PART.setdefault(_part, []).append(_name)


def expectation(info: FieldInfo) -> str:
    """Say in words what a field may hold."""
    if info.rating:
        said = "a whole number, as number or text"
    elif info.kind in ("enum", "numeric") and info.values:
        said = "one of " + ", ".join(map(str, info.values))
    elif info.kind == "numeric":
        said = "a whole number" if info.integer else "a number"
        if info.low is not None and info.high is not None:
            said += f" from {info.low:g} to {info.high:g}"
    elif info.kind == "text":
        said = "text"
        if info.high is not None:
            said += f" of {info.low or 0:g} to {info.high:g} characters"
        if info.pattern:
            said += f" like {info.pattern}"
    else:
        said = {"bool": "true or false", "time": "an RFC 3339 time with offset"}.get(info.kind, info.kind)
    return said + (" or null" if info.nullable else "")


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def show(value: Any) -> str:
    """Write a value of JSON in a few words."""
    if isinstance(value, dict):
        return f"an object with {len(value)} members"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if is_huge(value):
        return "a number beyond all limits"
    return cut(json.dumps(value, ensure_ascii=False))


def is_huge(value: Any) -> bool:
    """Return whether it is a number beyond what a float holds."""
    return isinstance(value, int | float) and abs(value) >= _HUGE


@lru_cache(maxsize=512)
def nearest_type(name: str) -> str:
    """Return the event type that was meant by a name; empty if none is near."""
    # Compared only with types that share a part: a flood of invented names must stay cheap to refuse.
    candidates = sorted({known for part in name.split(".")[1:] for known in _TYPES_BY_PART.get(part, ())})
    near = get_close_matches(name, candidates, n=1, cutoff=0.7)
    return near[0] if near else ""


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Return the name among some that was meant by another; empty if none is near."""
    comparable = (one for one in names if len(one) <= 2 * len(name))
    near = get_close_matches(name, islice(comparable, _SIMILAR), n=1, cutoff=0.7)
    return near[0] if near else ""
