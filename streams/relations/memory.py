"""What is remembered of events so that something later can look back at them."""

from collections.abc import Iterator, Sequence
from typing import Any

from streams.relations.definition import Take, folded_key
from streams.relations.facts import Fact, Value
from streams.relations.machine import MOST_REMEMBERED
from streams.relations.takes import added, taken

Entry = tuple[int, Any]
"""When something happened, and the value taken of it."""


class Memory:
    """
    Events by take and by matter, in order, for as long as the take looks back.

    `packed` is a list with one item for each take: pairs of a matter's key and its entries.
    """

    def __init__(self, takes: Sequence[Take], packed: Sequence[Any] = ()) -> None:
        self._takes = takes
        self._entries: list[dict[tuple[Value, ...], list[Entry]]] = [{} for _ in takes]
        self.join(packed)
        self.forgotten = 0

    def pack(self) -> list[Any]:
        """Return all that is remembered; empty if nothing is."""
        packed = [[(key, entries) for key, entries in sorted(table.items()) if entries] for table in self._entries]
        return packed if any(packed) else []

    def join(self, packed: Sequence[Any]) -> None:
        """Remember as well what another key of the same customer has."""
        for place, pairs in enumerate(packed):
            for key, entries in pairs:
                added = [(time, value) for time, value in entries]
                mine = self._entries[place].setdefault(folded_key(key), added)
                if mine is not added:
                    mine.extend(added)
                    mine.sort(key=lambda entry: entry[0])

    def add(self, fact: Fact, key: tuple[Value, ...]) -> None:
        """Remember what the takes ask of an event."""
        for take, table in zip(self._takes, self._entries, strict=True):
            if take.meets(fact):
                entries = table.setdefault(key, [])
                entries.append((fact.time, take.value_of(fact)))
                if len(entries) > MOST_REMEMBERED:
                    del entries[0]
                    self.forgotten += 1

    def taken(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes come to when an event looks back."""
        found = {}
        for take, table in zip(self._takes, self._entries, strict=True):
            entries = [entry for entry in table.get(key, ()) if entry[0] >= fact.time - take.before_ms]
            if take.itself and take.meets(fact):
                entries.append((fact.time, take.value_of(fact)))
            found[take.name] = taken(take.take, entries, fact.time)
        return found

    def kept(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes that go on have kept when something opens."""
        found = {}
        for take, table in zip(self._takes, self._entries, strict=True):
            if take.goes_on:
                since = fact.time - take.before_ms
                found[take.name] = added(take.take, (entry for entry in table.get(key, ()) if entry[0] >= since))
        return found

    def forget(self, now: int) -> None:
        """Forget what nothing can look back at any more."""
        for take, table in zip(self._takes, self._entries, strict=True):
            for key in [*table]:
                kept = [entry for entry in table[key] if entry[0] >= now - take.before_ms]
                if kept:
                    table[key] = kept
                else:
                    del table[key]

    def wakes_at(self) -> int | None:
        """Return the moment from which something can be forgotten, None if nothing is remembered."""
        return min(self._ends(), default=None)

    def _ends(self) -> Iterator[int]:
        for take, table in zip(self._takes, self._entries, strict=True):
            for entries in table.values():
                yield entries[-1][0] + take.before_ms + 1
