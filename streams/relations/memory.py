"""What is remembered of events so that something later can look back at them."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from streams.relations.definition import folded_key
from streams.relations.facts import Fact, Value
from streams.relations.machine import MOST_REMEMBERED
from streams.relations.plans import MemoryPlan, Takes, taken_of
from streams.relations.takes import added, taken

Entry = tuple[int, Any]
"""When something happened, and the value taken of it."""
Packed = list[list[tuple[tuple[Value, ...], list[Entry]]]]
"""One item for each take: pairs of a matter's key and its entries."""
read_packed: Final = msgspec.msgpack.Decoder(Packed).decode
_UNKNOWN: Final = -1
_NEVER: Final = 1 << 62


class Memory:
    """Events by take and by matter, in order, for as long as the take looks back."""

    def __init__(self, plan: MemoryPlan, packed: Packed | None = None, *, folds: bool = True) -> None:
        """
        Take over what is remembered.

        Args:
            plan: What for.
            packed: As `pack` gave it.
            folds: Whether keys are to be brought to the form in which they are compared: old states have others.
        """
        self._plan = plan
        self.forgotten = 0
        self._lasts = _UNKNOWN
        """Up to this moment nothing can be forgotten."""
        self._tables: dict[int, dict[tuple[Value, ...], list[Entry]]] = {}
        """By the place of a take; those for which nothing is remembered have none."""
        if packed and not folds:
            self._tables = {place: dict(pairs) for place, pairs in enumerate(packed) if pairs}
        elif packed:
            self.join(packed)

    def pack(self) -> Packed:
        """Return all that is remembered; empty if nothing is."""
        if not self._tables:
            return []
        packed: Packed = [[] for _ in self._plan.takes]
        for place, table in self._tables.items():
            packed[place] = sorted(table.items()) if len(table) > 1 else [*table.items()]
        return packed

    def join(self, packed: Iterable[Iterable[tuple[tuple[Value, ...], list[Entry]]]]) -> None:
        """Remember as well what another key of the same customer has."""
        for place, pairs in zip(range(len(self._plan.takes)), packed, strict=False):
            for key, entries in pairs:
                mine = self._tables.setdefault(place, {}).setdefault(folded_key(key), entries)
                if mine is not entries:
                    mine.extend(entries)
                    mine.sort(key=lambda entry: entry[0])
        self._lasts = _UNKNOWN

    def add(self, fact: Fact, key: tuple[Value, ...], plan: Takes) -> None:
        """Remember what the takes ask of an event."""
        for take, value in taken_of(plan, fact):
            entries = self._tables.setdefault(take.place, {}).setdefault(key, [])
            entries.append((fact.time, value))
            if len(entries) > MOST_REMEMBERED:
                del entries[0]
                self.forgotten += 1
            self._lasts = _UNKNOWN

    def taken(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes come to when an event looks back."""
        takes, itself, nothing = self._plan
        found = {**nothing}
        for place in {*self._tables, *itself}:
            take = takes[place]
            entries = self._since(place, key, fact.time - take.before_ms)
            if take.itself and take.meets(fact):
                entries.append((fact.time, take.value_of(fact)))
            if entries:
                found[take.name] = taken(take.take, entries, fact.time)
        return found

    def kept(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes that go on have kept when something opens."""
        return {
            take.name: added(take.take, self._since(place, key, fact.time - take.before_ms))
            for place, take in enumerate(self._plan.takes)
            if take.goes_on
        }

    def _since(self, place: int, key: tuple[Value, ...], since: int) -> list[Entry]:
        table = self._tables.get(place)
        return [entry for entry in table.get(key, ()) if entry[0] >= since] if table else []

    def forget(self, now: int) -> None:
        """Forget what nothing can look back at any more."""
        takes = self._plan.takes
        if self._lasts == _UNKNOWN:
            lasts = _NEVER
            for place, table in self._tables.items():
                before_ms = takes[place].before_ms
                for entries in table.values():
                    until = entries[0][0] + before_ms
                    lasts = until if until < lasts else lasts  # noqa: FURB136 - no call, for each event
            self._lasts = lasts
        if now <= self._lasts:
            return
        for place in [*self._tables]:
            table, since = self._tables[place], now - takes[place].before_ms
            for key in [*table]:
                kept = [entry for entry in table[key] if entry[0] >= since]
                if kept:
                    table[key] = kept
                else:
                    del table[key]
            if not table:
                del self._tables[place]
        self._lasts = _UNKNOWN

    def wakes_at(self) -> int | None:
        """Return the moment from which something can be forgotten, None if nothing is remembered."""
        takes, wakes = self._plan.takes, _NEVER
        for place, table in self._tables.items():
            before_ms = takes[place].before_ms + 1
            for entries in table.values():
                wakes = min(wakes, entries[-1][0] + before_ms)
        return None if wakes == _NEVER else wakes
