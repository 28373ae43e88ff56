"""Text without what identifies people: each identifier gives way to the name of its kind."""

from collections.abc import Callable
from typing import NamedTuple

from streams.privacy.finding import NO_NAMES, Names, find
from streams.privacy.numbers import Kind


class Masked(NamedTuple):
    """A masked text, and the kinds of what was found in it, each once."""

    text: str
    kinds: frozenset[Kind]


def mask(text: str, names: Names = NO_NAMES, instead: Callable[[str, Kind], str] | None = None) -> Masked:
    """
    Return a text without identifiers and names; one that holds none is returned as it is.

    Args:
        text: What is masked.
        names: Those of people, which are masked as well.
        instead: Gives what stands for an identifier, by how it was written and its kind; None: `[phone]` and so on.
    """
    found = find(text, names)
    if not found:
        return Masked(text, frozenset())
    parts, end = [], 0
    for one in found:
        written = text[one.start : one.end]
        parts += [text[end : one.start], instead(written, one.kind) if instead else f"[{one.kind}]"]
        end = one.end
    return Masked("".join([*parts, text[end:]]), frozenset(one.kind for one in found))
