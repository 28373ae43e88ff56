"""Numbers that JSON cannot hold: written, infinity and what is no number become `null`, which reads as "not given"."""

from collections.abc import Iterator, Mapping
from math import isfinite, isnan
from typing import Any, NamedTuple

import msgspec


class UnfiniteNumber(NamedTuple):
    """Where such a number stands (`data.price`), and what it is."""

    path: str
    got: str


def unfinite(event: Any, payload: bytes) -> UnfiniteNumber | None:
    """Return the first number of an event that its JSON does not hold; None: it holds them all."""
    # Only where something was written as nothing it is worth a look: an event that leaves nothing empty has none.
    return next(_in(event, ""), None) if b"null" in payload else None


def _in(value: Any, path: str) -> Iterator[UnfiniteNumber]:
    if isinstance(value, float):
        if not isfinite(value):
            yield UnfiniteNumber(path, "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity")
    elif isinstance(value, msgspec.Struct):
        yield from _in(msgspec.structs.asdict(value), path)
    elif isinstance(value, Mapping):
        for name, held in value.items():
            yield from _in(held, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for place, held in enumerate(value):
            yield from _in(held, f"{path}[{place}]")
