"""What is remembered of events so that something later can look back at them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from streams.relations.definition import Take, folded_key
from streams.relations.facts import Fact, Value
from streams.relations.machine import MOST_REMEMBERED
from streams.relations.plans import Takes, taken_of
from streams.relations.takes import TAKING, added, taken

Entry = tuple[int, Any]
"""When something happened, and the value taken of it."""
Packed = list[list[tuple[tuple[Value, ...], list[Entry]]]]
"""One item for each take: pairs of a matter's key and its entries."""
read_packed: Final = msgspec.msgpack.Decoder(Packed).decode
_UNKNOWN: Final = -1
_NEVER: Final = 1 << 62


class Memory:
    """Events by take and by matter, in order, for as long as the take looks back."""

    def __init__(self, takes: Sequence[Take], packed: Packed | None = None, *, folds: bool = True) -> None:
        """
        Take over what is remembered.

        Args:
            takes: What for.
            packed: As `pack` gave it.
            folds: Whether keys are to be brought to the form in which they are compared: old states have others.
        """
        self._takes = takes
        self.forgotten = 0
        self._lasts = _UNKNOWN
        """Up to this moment nothing can be forgotten."""
        self._tables: list[dict[tuple[Value, ...], list[Entry]]] = []
        if packed and not folds:
            self._tables = [dict(pairs) for pairs in packed]
        else:
            self._tables = [{} for _ in takes]
            self.join(packed or ())

    def pack(self) -> Packed:
        """Return all that is remembered; empty if nothing is."""
        if not any(self._tables):
            return []
        return [sorted(table.items()) if len(table) > 1 else [*table.items()] for table in self._tables]

    def join(self, packed: Iterable[Iterable[tuple[tuple[Value, ...], list[Entry]]]]) -> None:
        """Remember as well what another key of the same customer has."""
        for table, pairs in zip(self._tables, packed, strict=False):
            for key, entries in pairs:
                mine = table.setdefault(folded_key(key), entries)
                if mine is not entries:
                    mine.extend(entries)
                    mine.sort(key=lambda entry: entry[0])
        self._lasts = _UNKNOWN

    def add(self, fact: Fact, key: tuple[Value, ...], plan: Takes) -> None:
        """Remember what the takes ask of an event."""
        for take, value in taken_of(plan, fact):
            entries = self._tables[take.place].setdefault(key, [])
            entries.append((fact.time, value))
            if len(entries) > MOST_REMEMBERED:
                del entries[0]
                self.forgotten += 1
            self._lasts = _UNKNOWN

    def taken(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes come to when an event looks back."""
        found = {}
        for take, table in zip(self._takes, self._tables, strict=True):
            entries = table.get(key, ())
            if entries:
                since = fact.time - take.before_ms
                entries = [entry for entry in entries if entry[0] >= since]
            if take.itself and take.meets(fact):
                entries = [*entries, (fact.time, take.value_of(fact))]
            taking = TAKING[take.take]
            found[take.name] = taken(take.take, entries, fact.time) if entries else taking.result(None, fact.time)
        return found

    def kept(self, key: tuple[Value, ...], fact: Fact) -> dict[str, Any]:
        """Return what the takes that go on have kept when something opens."""
        found = {}
        for take, table in zip(self._takes, self._tables, strict=True):
            if take.goes_on:
                since = fact.time - take.before_ms
                found[take.name] = added(take.take, (entry for entry in table.get(key, ()) if entry[0] >= since))
        return found

    def forget(self, now: int) -> None:
        """Forget what nothing can look back at any more."""
        if self._lasts == _UNKNOWN:
            self._lasts = _NEVER
            for take, table in zip(self._takes, self._tables, strict=True):
                for entries in table.values():
                    self._lasts = min(self._lasts, entries[0][0] + take.before_ms)
        if now <= self._lasts:
            return
        for take, table in zip(self._takes, self._tables, strict=True):
            for key in [*table]:
                kept = [entry for entry in table[key] if entry[0] >= now - take.before_ms]
                if kept:
                    table[key] = kept
                else:
                    del table[key]
        self._lasts = _UNKNOWN

    def wakes_at(self) -> int | None:
        """Return the moment from which something can be forgotten, None if nothing is remembered."""
        wakes = _NEVER
        for take, table in zip(self._takes, self._tables, strict=True):
            for entries in table.values():
                wakes = min(wakes, entries[-1][0] + take.before_ms + 1)
        return None if wakes == _NEVER else wakes
