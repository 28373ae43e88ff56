"""Persons of the store: customers, those of several keys as one; all some thousand at a time."""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.kpis.language.writing import sql_literal
from streams.relations.catalogue import Relations
from streams.relations.facts import LINKED, MERGED
from streams.storage.connection import FAILURES, explain
from streams.storage.customer import CustomerScan, StoredEvent, listed

MOST_KEYS: Final = 1_000
"""Of a person of more keys nothing is read."""
_AT_ONCE: Final = 2_000
_OTHER: Final = f"JSONExtractString(payload, 'data', if(type = {sql_literal(LINKED)}, 'alias', 'merged_into'))"
_LINKS: Final = f"type IN ({listed([LINKED, MERGED])}) AND payload != '' AND outcome = 'counted' AND NOT synthetic"
"""Those past the retention of their payload name one key alone: that they all lack another makes nobody one person."""

Matters = dict[tuple[str, str], list[dict[str, Any]]]
"""Derived events by relation and matter, in the order of their versions."""


@dataclass
class Person:
    """
    A customer, or several keys that belong to one.

    Attributes:
        keys: See `customer_of`.
        events: Of any of them.
        whose: The key of each, by source and id.
        linked: When the last link of two of them was stored; None: there is one key.
    """

    keys: Sequence[str]
    events: list[StoredEvent]
    whose: Mapping[tuple[str, str], str] = field(default_factory=dict)
    linked: datetime | None = None


@dataclass
class Links:
    """
    Which keys belong to one person.

    Attributes:
        count: How many links there are.
    """

    count: int = 0
    _above: dict[str, str] = field(default_factory=dict)
    _stored: dict[str, datetime] = field(default_factory=dict)

    def add(self, one: str, other: str, stored: datetime) -> None:
        """Take note that two keys belong to one person."""
        self.count += 1
        gone, remains = self.person(one), self.person(other)
        if gone != remains:
            self._above[gone] = remains
        if one != other:
            known = [at for at in (self._stored.pop(gone, None), self._stored.get(remains)) if at is not None]
            self._stored[remains] = max([stored, *known])

    def person(self, key: str) -> str:
        """Return the key that stands for a person."""
        way = []
        while key in self._above:
            way.append(key)
            key = self._above[key]
        for one in way:
            self._above[one] = key
        return key

    def has(self, key: str) -> bool:
        """Return whether a key is one of several of a person."""
        return key in self._above or key in self._stored

    def groups(self) -> Iterator[tuple[list[str], datetime]]:
        """Yield the keys of each person of several, and when the last link of them was stored."""
        groups: dict[str, list[str]] = {}
        for key in [*self._above, *self._stored]:
            groups.setdefault(self.person(key), []).append(key)
        for person, keys in groups.items():
            yield sorted(keys), self._stored[person]


class PersonScan(CustomerScan):
    """
    All persons that some relations have to do with, some thousand at a time.

    Attributes:
        links: Which keys belong together.
        left_out: How many persons have more keys than are read.
    """

    def __init__(self, client: Client, relations: Relations) -> None:
        """Prepare it; raises clickhouse_connect's errors."""
        super().__init__(client, relations)
        self.left_out = 0
        self.links = Links()
        for row in client.query(f"SELECT subject, {_OTHER}, ingested_at FROM events WHERE {_LINKS}").result_rows:
            self.links.add(*row)

    def persons(self) -> Iterator[tuple[Person, Matters]]:
        """Yield all of them, with what is stored that was derived of them."""
        for chosen in self.buckets():
            stored = {key: found for key, found in self.stored(chosen).items() if not self.links.has(key)}
            for key, events in self.customers(chosen):
                if not self.links.has(key):
                    yield Person((key,), events), stored.pop(key, {})
            yield from ((Person((key,), []), left) for key, left in stored.items())
        for lot in self._lots():
            chosen = f"subject IN ({listed(key for keys, _ in lot for key in keys)})"
            stored, customers = self.stored(chosen), dict(self.customers(chosen))
            for keys, linked in lot:
                yield _person(keys, linked, customers), _together(stored.pop(key, {}) for key in keys)
            # What tests send under such a key is nobody else's.
            others = (customers.keys() | stored.keys()) - {key for keys, _ in lot for key in keys}
            for key in sorted(others):
                yield Person((key,), customers.get(key, [])), stored.get(key, {})

    def _lots(self) -> Iterator[list[tuple[list[str], datetime]]]:
        lot: list[tuple[list[str], datetime]] = []
        for keys, linked in self.links.groups():
            if len(keys) > MOST_KEYS:
                self.left_out += 1
                continue
            lot.append((keys, linked))
            if sum(len(one) for one, _ in lot) > _AT_ONCE:
                yield lot
                lot = []
        if lot:
            yield lot


def _person(keys: Sequence[str], linked: datetime, customers: Mapping[str, list[StoredEvent]]) -> Person:
    events = [event for key in keys for event in customers.get(key, ())]
    whose = {(event.fact.source, event.fact.id): key for key in keys for event in customers.get(key, ())}
    return Person(keys, events, whose, linked)


def _together(stored: Iterable[Matters]) -> Matters:
    matters: Matters = {}
    for of_key in stored:
        for name, events in of_key.items():
            matters.setdefault(name, []).extend(events)
    for events in matters.values():
        events.sort(key=lambda event: (event["data"]["revision"], event["data"]["withdrawn"]))
    return matters


def keys_of(client: Client, subject: str, most: int) -> list[str]:
    """
    Return the keys of the person whom a key belongs to, that one first; `most` of them.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    known, new = [subject], [subject]
    while new and len(known) < most:
        try:
            rows = client.query(
                f"SELECT subject, {_OTHER} AS other FROM events WHERE {_LINKS}"
                " AND (subject IN {keys:Array(String)} OR other IN {keys:Array(String)}) ORDER BY time",
                parameters={"keys": new},
            ).result_rows
        except FAILURES as error:
            raise explain(error, "reading which keys belong together") from error
        new = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in known]
        known += new
    return known[:most]
