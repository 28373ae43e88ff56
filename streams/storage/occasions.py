"""What the store knows of surveys: what customers lived through, what they were shown and what they answered."""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.events.decode import decode_stored
from streams.events.refusal import Refusal
from streams.relations.facts import Fact, Reader
from streams.storage.connection import FAILURES, explain
from streams.storage.customer import AT_ONCE, listed
from streams.storage.overflow import counted_events, has_set_aside

_SPAN: Final = "time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}"


class SurveyHistory:
    """Asks the store what happened in a span of time; synthetic events are left out."""

    def __init__(self, client: Client, since: datetime, until: datetime) -> None:
        """
        Ask about events from `since` until `until` (not included); `client` needs to read only.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        self._client, self._span = client, {"from": since, "to": until}
        try:
            self._events = counted_events(aside=has_set_aside(client))
        except FAILURES as error:
            raise explain(error, "surveys") from error

    def customers(self, reader: Reader, subject: str = "") -> Iterator[tuple[str, list[Fact]]]:
        """
        Yield customers with the facts that a reader makes of their events, in no order; one customer if one is named.

        Memory is bounded by the events that are looked at together, and by those of one customer.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        chosen = f"type IN ({listed(reader.fields)}) AND {_SPAN} AND subject != ''"
        if subject:
            chosen += " AND subject = {subject:String}"
        [(count,)] = self._ask(f"SELECT count() FROM counted_events WHERE {chosen}", subject)
        buckets = count // AT_ONCE + 1
        for bucket in range(buckets):
            rows = self._ask(
                f"SELECT subject, payload FROM counted_events WHERE {chosen}"
                f" AND cityHash64(subject) % {buckets} = {bucket} ORDER BY subject",
                subject,
            )
            for name, group in groupby(rows, key=lambda row: row[0]):
                yield name, [*_facts(reader, group)]

    def touchpoints(self) -> dict[str, int]:
        """
        Return how many customers were at each touchpoint.

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        rows = self._ask(
            f"SELECT touchpoint, uniqExact(subject) AS customers FROM counted_events WHERE {_SPAN} AND touchpoint != ''"
            " AND subject != '' GROUP BY touchpoint ORDER BY customers DESC, touchpoint"
        )
        return {str(name): int(customers) for name, customers in rows}

    def _ask(self, sql: str, subject: str = "") -> Any:
        try:
            return self._client.query(
                f"WITH {self._events} {sql}", parameters={**self._span, "subject": subject}
            ).result_rows
        except FAILURES as error:
            raise explain(error, "surveys") from error


def _facts(reader: Reader, rows: Any) -> Iterator[Fact]:
    for _, payload in rows:
        event = decode_stored(payload.encode())
        if not isinstance(event, Refusal) and (fact := reader.fact(event)):
            yield fact
