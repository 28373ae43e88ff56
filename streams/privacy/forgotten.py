"""Who was forgotten: known by keyed hashes alone, so that what is read again of them is not taken."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple


class Oblivion(NamedTuple):
    """A person who was forgotten."""

    person: int
    """Keyed hash of the pseudonym."""
    until: float
    """Event time (Unix s) up to which nothing of them is taken: when they were forgotten."""
    since: float
    """Records that are taken in from then on (Unix s) are held against it: by then all workers know it."""


class Forgotten:
    """All who were forgotten."""

    def __init__(self, seed: int) -> None:
        """Know nobody yet; `seed` is of the key of pseudonyms, and never changes."""
        self._key = seed.to_bytes(8)
        self._known: dict[int, Oblivion] = {}
        self.changes = 0
        """Counts how often somebody was forgotten."""

    def __bool__(self) -> bool:
        return bool(self._known)

    def learn(self, found: Iterable[Oblivion]) -> None:
        """Replace what is known."""
        known = {one.person: one for one in found}
        if known != self._known:
            self._known = known
            self.changes += 1

    def person(self, subject: str) -> int:
        """Return the keyed hash of a subject."""
        digest = blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key)
        return int.from_bytes(digest.digest())

    def includes(self, subject: str, began: float = float("-inf")) -> bool:
        """Return whether what began at a time (Unix s) is of a person who was forgotten since; by default, anything."""
        one = self._known.get(self.person(subject)) if self._known else None
        return one is not None and began <= one.until

    def others(self, events: Iterable[tuple[str, float]], now: float, *, derived: bool = False) -> list[int]:
        """
        Return the places of all events but those of people who were forgotten after them.

        Args:
            events: Their subjects and times (Unix s).
            now: When they are taken in (Unix s).
            derived: They are what relations say, which may rest on what was before: of people who were forgotten no
                such event is taken, whenever it became so.
        """
        known = {person: one for person, one in self._known.items() if now >= one.since}
        return [
            place
            for place, (subject, at) in enumerate(events)
            if (one := known.get(self.person(subject))) is None or (at > one.until and not derived)
        ]
