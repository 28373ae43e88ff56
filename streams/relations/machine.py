"""What the three kinds have in common: machines that go from event to event and from deadline to deadline."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol

import msgspec

from streams.relations.facts import Fact, Values

MOST_OPEN: Final = 200
"""Matters of one kind that a customer may have open or remembered; the oldest are forgotten."""
MOST_REMEMBERED: Final = 1_000
"""Events that are remembered of a customer for one thing looked back at; the oldest are forgotten."""


class Statement(msgspec.Struct, array_like=True, frozen=True):
    """
    What a machine says at a moment.

    Attributes:
        span: Names the matter that it is about.
        origin: Attributes of the event that it is made of.
        data: What is said; None: what was said before is taken back.
    """

    span: str
    at: int
    origin: Values
    data: dict[str, Any] | None


class Machine(Protocol):
    """
    A relation of one customer at work. It is made of its packed state, goes on, and is packed again.

    Everything that it says follows from the events that it was given, in order, and from nothing else.
    """

    @property
    def forgotten(self) -> int:
        """How much had no room, or stayed open for longer than it may."""
        ...

    def apply(self, fact: Fact) -> Iterable[Statement]:
        """Take the next event; deadlines before it have passed."""
        ...

    def advance(self, until: int) -> Iterable[Statement]:
        """Let all deadlines up to a moment pass, that one included, and forget what is too old."""
        ...

    def wakes_at(self) -> int | None:
        """Return the next moment at which something changes though nothing comes, None if never."""
        ...

    def open(self) -> Iterator[int]:
        """Yield when each matter that waits for its end was opened."""
        ...

    def names(self) -> frozenset[str]:
        """Return the names of all matters of which something may still be said."""
        ...

    def standing(self) -> dict[str, Statement]:
        """Return what was said of matters that may still come back."""
        ...

    def pack(self) -> bytes:
        """Return the state; empty if there is none."""
        ...

    def join(self, other: bytes) -> None:
        """Take over the state of another key of the same customer."""
        ...


_encode: Final = msgspec.msgpack.Encoder().encode


def name_of(relation: str, fact: Fact) -> str:
    """Return the name of the matter that an event begins: the same whenever it is worked out."""
    content = _encode((relation, fact.source, fact.id))
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def play(machine: Machine, facts: Iterable[Fact], until: int) -> list[Statement]:
    """Take events in order, and let deadlines pass between them and up to a moment."""
    said: list[Statement] = []
    for fact in facts:
        # What happens at the deadline's own moment is in time.
        said += machine.advance(fact.time - 1)
        said += machine.apply(fact)
    said += machine.advance(until)
    return said
