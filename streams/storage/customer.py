"""Customers of the store: events as they were sent, and what was derived; one, or all some thousand at a time."""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client

from streams.events.decode import decode_stored
from streams.events.refusal import Refusal
from streams.events.types import Envelope
from streams.kpis.language.writing import sql_literal
from streams.relations.catalogue import Relations
from streams.relations.facts import Fact, customer_of
from streams.storage.connection import FAILURES, explain

AT_ONCE: Final = 100_000
"""Events that are looked at together; of one customer, all are."""
_EPOCH_BITS: Final = 40


class StoredEvent(NamedTuple):
    """An event as relations see it, and how it came: its partition, when it was stored, and under which epoch."""

    fact: Fact
    partition: int
    arrived: datetime
    epoch: int


class CustomerScan:
    """
    All customers that some relations have to do with, in buckets.

    Attributes:
        derived: Which rows of `events` are derived, as a condition of SQL.
    """

    def __init__(self, client: Client, relations: Relations) -> None:
        """Prepare it; `client` needs to read only."""
        self._client = client
        self._relations = relations
        self._raw = f"type IN ({listed(relations.reader.fields)}) AND outcome = 'counted'"
        self.derived = f"type IN ({listed(one.emits for one in relations.values())})"

    def buckets(self) -> Iterator[str]:
        """Yield conditions that choose each customer once."""
        rows = self._client.query(f"SELECT count() FROM events WHERE {self._raw} OR {self.derived}").result_rows
        count = rows[0][0] // AT_ONCE + 1
        for bucket in range(count):
            yield f"cityHash64(subject) % {count} = {bucket}"

    def watermarks(self, lateness_s: float) -> dict[int, int]:
        """
        Return up to when everything surely was derived, in milliseconds, by partition.

        That is the watermark of the least channel, or further if something is stored that became so later.
        """
        rows = self._client.query(
            f"SELECT partition, greatest(minIf(newest, NOT derived) - {int(lateness_s * 1000) + 1},"
            " maxIf(newest, derived)) FROM ("
            f"SELECT partition, {self.derived} AS derived, topic, toUnixTimestamp64Milli(max(time)) AS newest"
            " FROM events WHERE outcome = 'counted' GROUP BY partition, derived, topic) GROUP BY partition"
        ).result_rows
        return {key: value for key, value in rows}  # noqa: C416 - rows are no pairs to the type checker

    def customers(self, chosen: str) -> Iterator[tuple[str, list[StoredEvent]]]:
        """Yield customers (see `customer_of`) with their events, those of a bucket."""
        columns = f"subject, synthetic, partition, ingested_at, bitShiftRight(offset, {_EPOCH_BITS}), payload"
        sql = " UNION ALL ".join(
            f"SELECT {columns} FROM {table} WHERE {self._raw} AND {chosen}" for table in ("events", "set_aside")
        )
        rows = self._client.query(f"SELECT * FROM ({sql}) ORDER BY subject, synthetic").result_rows
        for (subject, synthetic), group in groupby(rows, key=lambda row: row[:2]):
            yield customer_of(subject, synthetic=synthetic), [*self._events(group)]

    def _events(self, rows: Iterable[Any]) -> Iterator[StoredEvent]:
        for _, _, partition, arrived, epoch, payload in rows:
            event = decode_stored(payload.encode())
            if not isinstance(event, Refusal) and (fact := self._relations.reader.fact(event)):
                yield StoredEvent(fact, partition, arrived, epoch)

    def stored(self, chosen: str) -> dict[str, dict[tuple[str, str], list[dict[str, Any]]]]:
        """Return the derived events of customers, by relation and matter, in the order of their versions."""
        found: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {}
        rows = self._client.query(
            f"SELECT subject, payload FROM events WHERE {self.derived} AND {chosen} AND payload != ''"
        ).result_rows
        for subject, payload in rows:
            event = msgspec.json.decode(payload)
            matter = event["source"].partition("/")[2], event["data"]["span"]
            customer = customer_of(subject, synthetic=event.get("synthetic", False))
            found.setdefault(customer, {}).setdefault(matter, []).append(event)
        for matters in found.values():
            for events in matters.values():
                events.sort(key=version_of)
        return found


def version_of(event: Mapping[str, Any]) -> tuple[int, bool]:
    """Return what orders the events of a matter."""
    return event["data"]["revision"], event["data"]["withdrawn"]


def listed(words: Iterable[str]) -> str:
    """Write texts as a list of SQL."""
    return ", ".join(map(sql_literal, sorted(words)))


@dataclass(frozen=True)
class CustomerHistory:
    """
    One customer.

    Attributes:
        sent: The events of channels that are counted, in order of time.
        derived: What relations said, as it was sent, in order of time; what takes something back stands behind it.
        left_out: How many older events there are.
        emptied: How many more there are whose payload is past its retention.
    """

    sent: Sequence[Envelope]
    derived: Sequence[dict[str, Any]]
    left_out: int
    emptied: int = 0


def history_of(client: Client, subject: str, emitted: Sequence[str], most: int) -> CustomerHistory:
    """
    Read the newest `most` events of a customer, and what was derived; `emitted` are the types of derived events.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    return history_of_keys(client, [subject], emitted, most)


def history_of_keys(client: Client, keys: Sequence[str], emitted: Sequence[str], most: int) -> CustomerHistory:
    """
    Read the same of a person of several keys.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    parameters = {"keys": [*keys], "emitted": [*emitted], "most": most + 1}
    try:
        rows = client.query(
            "SELECT payload FROM events WHERE subject IN {keys:Array(String)} AND outcome = 'counted' AND payload != ''"
            " AND type NOT IN {emitted:Array(String)} ORDER BY time DESC, id LIMIT {most:UInt32}",
            parameters=parameters,
        ).result_rows
        [(count, emptied)] = client.query(
            "SELECT countIf(payload != ''), countIf(payload = '') FROM events"
            " WHERE subject IN {keys:Array(String)} AND outcome = 'counted'"
            " AND type NOT IN {emitted:Array(String)}",
            parameters=parameters,
        ).result_rows
        said = client.query(
            "SELECT payload FROM events WHERE subject IN {keys:Array(String)} AND type IN {emitted:Array(String)}"
            " AND payload != ''",
            parameters=parameters,
        ).result_rows
    except FAILURES as error:
        raise explain(error, "reading the events of a customer") from error
    read = (decode_stored(payload.encode()) for (payload,) in rows[:most])
    sent = [event for event in read if not isinstance(event, Refusal)]
    derived = [msgspec.json.decode(payload) for (payload,) in said]
    derived.sort(key=lambda one: (one["time"], one["data"]["span"], one["data"]["revision"], one["data"]["withdrawn"]))
    return CustomerHistory(sorted(sent, key=lambda event: event.time), derived, count - len(sent), emptied)
