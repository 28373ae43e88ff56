"""
Inserts that take effect once, however often they are sent.

Every insert carries a token built from the exact range of records it came from; the tables remember tokens and drop
what they have. So the answer to every failure that may pass is the same: send the same bytes again under the same
token, until the server says yes. That also makes harmless that the client library repeats inserts by itself.
"""

import copy
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from streams.kpis.definition import Kpi
from streams.kpis.distinct import estimates
from streams.kpis.sketch import ESTIMATES
from streams.settings import is_loopback
from streams.storage.alerts import ALERT_COLUMNS
from streams.storage.connection import (
    FAILURES,
    Address,
    PermanentStorageError,
    StorageError,
    UnreachableError,
    connect,
    explain,
    is_permanent,
)
from streams.storage.native import Column, native_block
from streams.storage.rows import (
    EVENT_COLUMNS,
    KPI_COLUMNS,
    Block,
    DeadLetter,
    MinuteRow,
    ValueRow,
    dead_letter_columns,
    kpi_row,
    minute_columns,
    outcome_columns,
    value_columns,
)

__all__ = ["Block", "DeadLetter", "InsertCancelledError", "MinuteRow", "ValueRow", "Writer"]

logger = logging.getLogger(__name__)

Row = TypeVar("Row")

ROWS_PER_INSERT: Final = 200_000
"""KPI rows of one insert; part of the tokens, so a change doubles nothing only once all older records are done."""

BYTES_PER_INSERT: Final = 128 * 1024 * 1024
"""Payloads of one insert; the server cuts what is larger than twice that, and a token would name each piece."""


_LOOK_AGAIN_S: Final = 0.1

# Events and dead letters are stored before the balance of their range, so those behind the newest balance may be there.
_MARKS: Final = """
    SELECT topic, partition, max(last) FROM outcomes
    WHERE partition IN {partitions:Array(UInt32)} GROUP BY topic, partition"""
_BEYOND: Final = """
    SELECT topic, partition, offset
    FROM (
        SELECT topic, partition, offset FROM events WHERE partition IN {partitions:Array(UInt32)}
        UNION ALL
        SELECT topic, partition, offset FROM dead_letters WHERE partition IN {partitions:Array(UInt32)}
    ) AS stored
    LEFT JOIN (
        SELECT topic, partition, max(last) AS last, 1 AS known FROM outcomes GROUP BY topic, partition
    ) AS marks USING (topic, partition)
    WHERE known = 0 OR offset > last"""


# Inserts into this database that are under way; those that begin later know of us, or their owner asks after us.
_UNDER_WAY: Final = """
    SELECT query_id FROM system.processes
    WHERE current_database = currentDatabase() AND query_kind = 'Insert'
        AND multiSearchAny(substring(query, 1, 100), ['events', 'dead_letters', 'outcomes'])"""
_PATIENCE_S: Final = 0.1

# Of each range: how many of its events are stored.
_STORED_OF_RANGE: Final = """
    SELECT count() FROM events
    WHERE topic = {topic:String} AND partition = {partition:UInt32}
        AND offset >= {first:UInt64} AND offset <= {last:UInt64}"""


class Stored(NamedTuple):
    """What the store has of a source: everything up to `mark` (-1: nothing), and single records beyond it."""

    mark: int
    beyond: frozenset[int]


class InsertCancelledError(StorageError):
    """The writer was told to stop; the insert may have taken effect, and must be sent again later."""


class Writer:
    """
    Sends blocks and KPI rows to ClickHouse, blocking until they are stored.

    Inserts may be called from several threads at once. Nothing connects before the first insert, so a writer can be
    made while the server is away. `close` may be called from any thread.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 60.0,
        first_pause_s: float = 0.2,
        longest_pause_s: float = 15.0,
        on_retry: Callable[[str, int, StorageError], None] | None = None,
    ) -> None:
        """
        Prepare a writer.

        Args:
            address: A user of it must be allowed to insert.
            timeout_s: How long a server may take for one insert before it is sent again.
            first_pause_s: Pause before the second attempt; doubles up to `longest_pause_s`.
            longest_pause_s: The longest pause.
            on_retry: Told table, number of failed attempts, and why.
        """
        self._address = address
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self.on_retry = on_retry
        self._stop = threading.Event()
        self._link = _Link(address, timeout_s)
        self._permit: Callable[[], None] = _always
        self._compression = None if is_loopback(urlsplit(address.url).hostname or "") else "lz4"

    def under(self, permit: Callable[[], None]) -> Self:
        """
        Return a writer that shares the connection and asks `permit` before everything it does.

        It is asked before each attempt, and once more when the server has the head of an insert and waits for its rows:
        what `permit` raises then ends the insert before any of them is stored.
        """
        bound = copy.copy(self)
        bound._permit = permit  # noqa: SLF001
        return bound

    def insert_block(self, block: Block) -> None:
        """Store one range; see `insert_blocks`."""
        self.insert_blocks([block])

    def insert_blocks(self, blocks: Sequence[Block]) -> None:
        """
        Store the events, the dead letters and the balances of some ranges; done again, it changes nothing.

        The token names all of the ranges. Ranges that were sent before in other company must be thinned out by
        `stored_beyond` first: ClickHouse does not know them under the new token.

        Raises:
            PermanentStorageError: The server can never accept it.
            InsertCancelledError: The writer was closed.
            ValueError: A block does not add up.
        """
        for block in blocks:
            _require_sound(block)
        for group in _groups(blocks):
            token = _token_of(group)
            self._insert_events(group, token)
            for table, (rows, columns) in (
                ("dead_letters", dead_letter_columns(group)),
                # Last, so that a balance is never there before what it counts.
                ("outcomes", outcome_columns(group)),
            ):
                if rows:
                    self._insert(table, rows, columns, token)

    def _insert_events(self, group: Sequence[Block], token: str) -> None:
        """Store the events of some ranges at once; when that is refused, one by one, to find out which it is."""
        frames = [block.events.frame for block in group if block.events.rows]
        if not frames:
            return
        try:
            self._send("events", EVENT_COLUMNS, b"".join(frames), token, "zstd")
        except PermanentStorageError as error:
            refused = [] if len(group) > 1 else [(group[0], error)]
            for block in group if len(group) > 1 else ():
                try:
                    self._insert_events_of_one(block)
                except PermanentStorageError as why:
                    refused.append((block, why))
            if not refused:
                return
            names = ", ".join(f"{one.topic}/{one.partition} offsets {one.first} to {one.last}" for one, _ in refused)
            raise PermanentStorageError(f"the events of {names} are refused: {refused[0][1]}") from error

    def _insert_events_of_one(self, block: Block) -> None:
        """Store the events of a range that came in company before, unless that has stored them already."""
        stored = self._events_of(block)
        if stored == 0 < block.events.rows:
            self._send("events", EVENT_COLUMNS, block.events.frame, block.token, "zstd")
        elif stored != block.events.rows:
            # The years of an insert are stored one by one.
            raise PermanentStorageError(f"{stored} of its {block.events.rows} events were stored before")

    def _events_of(self, block: Block) -> int:
        """Ask how many events of a range are stored."""
        found = [0]
        parameters = {"topic": block.topic, "partition": block.partition, "first": block.first, "last": block.last}

        def ask(client: Client) -> None:
            [[found[0]]] = client.query(_STORED_OF_RANGE, parameters=parameters).result_rows

        self._until_done("events", ask)
        return found[0]

    def _wait_for_others(self, client: Client) -> None:
        """
        Wait until the inserts that are under way now have ended, whoever sent them.

        An owner that lost its partitions may have one on the server still: what it stores must be seen by who asks.
        """
        try:
            waiting = {row[0] for row in client.query(_UNDER_WAY).result_rows}
            while waiting and not self._stop.wait(_PATIENCE_S):
                waiting &= {row[0] for row in client.query(_UNDER_WAY).result_rows}
        except FAILURES as error:
            if not is_permanent(error):
                raise
            logger.warning("cannot see which inserts are under way: %s", explain(error, "asking system.processes"))

    def stored(self, partitions: Sequence[int]) -> dict[tuple[str, int], Stored]:
        """
        Ask what is stored of the partitions of all topics, once the inserts that are under way have ended.

        Raises:
            PermanentStorageError: The server refuses.
            InsertCancelledError: The writer was closed.
        """
        marks: dict[tuple[str, int], int] = {}
        beyond: dict[tuple[str, int], set[int]] = {}

        def ask(client: Client) -> None:
            marks.clear()
            beyond.clear()
            self._wait_for_others(client)
            parameters = {"partitions": list(partitions)}
            rows = client.query(_MARKS, parameters=parameters).result_rows
            marks.update({(topic, partition): last for topic, partition, last in rows})
            for topic, partition, offset in client.query(_BEYOND, parameters=parameters).result_rows:
                beyond.setdefault((topic, partition), set()).add(offset)

        self._until_done("outcomes", ask)
        return {
            source: Stored(marks.get(source, -1), frozenset(beyond.get(source, ())))
            for source in marks.keys() | beyond.keys()
        }

    def insert_kpi_minutes(self, rows: Sequence[MinuteRow], token: str) -> None:
        """
        Store what minutes hold: rows of series, minute (Unix seconds // 60), part, accumulator, revision.

        `token` names the range of records the rows come from: `topic-partition-first-last`. Raises as `insert_block`.
        """
        for name, chunk in _chunks(rows, token):
            self._insert("kpi_minutes", len(chunk), minute_columns(chunk), name)

    def insert_kpi_values(self, rows: Sequence[ValueRow], token: str) -> None:
        """Store rolling values; `token` and errors as in `insert_kpi_minutes`."""
        for name, chunk in _chunks(rows, token):
            self._insert("kpi_values", len(chunk), value_columns(chunk), name)

    def insert_alerts(self, rows: Sequence[Sequence[Any]], token: str) -> None:
        """Store transitions of alerts, see `alert_row`; `token` and errors as in `insert_kpi_minutes`."""
        settings = {"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": token}
        self._until_done(
            "alerts",
            lambda client: client.insert("alerts", rows, column_names=ALERT_COLUMNS, settings=settings),
        )

    def store_catalogue(self, kpis: Iterable[Kpi]) -> None:
        """Store what the KPIs mean, for readers of the database. Raises as `insert_block`."""
        rows = [kpi_row(kpi) for kpi in kpis]
        self._until_done("kpis", lambda client: client.insert("kpis", rows, column_names=KPI_COLUMNS))
        bins = list(enumerate(ESTIMATES))
        self._until_done(
            "sketch_bins", lambda client: client.insert("sketch_bins", bins, column_names=["bin", "estimate"])
        )
        known = estimates()
        coupons = list(zip(range(len(known.values)), known.values, known.errors, strict=True))
        names = ["coupons", "estimate", "error"]
        self._until_done(
            "distinct_estimates", lambda client: client.insert("distinct_estimates", coupons, column_names=names)
        )

    def store_touchpoints(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store the touchpoint dictionary: mappings from column to value. Raises as `insert_block`."""
        columns = ["touchpoint", "name", "channel", "stage", "owner", "target_kpi", "target"]
        table = [[row.get(column) if column == "target" else row.get(column, "") for column in columns] for row in rows]
        self._until_done("touchpoints", lambda client: client.insert("touchpoints", table, column_names=columns))

    def close(self) -> None:
        """Make running inserts give up after their current attempt, and let go of the connections."""
        self._stop.set()
        self._link.close()

    def _insert(self, table: str, rows: int, columns: Sequence[Column], token: str) -> None:
        names = [column.name for column in columns]
        self._send(table, names, native_block(rows, columns), token, self._compression)

    def _send(self, table: str, names: Sequence[str], body: bytes, token: str, compression: str | None) -> None:
        settings = {
            "async_insert": 0,
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }
        self._until_done(
            table,
            lambda client: client.raw_insert(
                table, names, self._permitted(body), settings=settings, fmt="Native", compression=compression
            ),
        )

    def _until_done(self, table: str, send: Callable[[Client], object]) -> None:
        """Send until the server has said yes, or never will."""
        pause_s = self._first_pause_s
        attempts = 0
        while not self._stop.is_set():
            self._permit()
            try:
                send(self._link.client())
            except (StorageError, *FAILURES) as failure:
                error = failure if isinstance(failure, StorageError) else explain(failure, f"inserting into {table}")
                if isinstance(error, PermanentStorageError):
                    raise error from failure
                attempts += 1
                logger.warning("insert into %s failed %d times, again in %.1f s: %s", table, attempts, pause_s, error)
                if self.on_retry is not None:
                    self.on_retry(table, attempts, error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, self._longest_pause_s)
            else:
                return
        raise InsertCancelledError(f"the insert into {table} was cancelled after {attempts} failed attempts")

    def _permitted(self, body: bytes) -> Generator[bytes, None, None]:
        # The server has the head by now: whoever looks for inserts under way sees this one.
        self._permit()
        yield body

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the permit."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, _LOOK_AGAIN_S)):
            self._permit()


class _Link:
    """One connection for a writer and all that are bound to a permit."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closed = False

    def client(self) -> Client:
        with self._lock:
            if self._closed:
                raise UnreachableError("the writer is closed")
            if self._client is None:
                self._client = connect(self._address, timeout_s=self._timeout_s)
            return self._client

    def close(self) -> None:
        with self._lock:
            client, self._client, self._closed = self._client, None, True
        if client is not None:
            client.close()


def _always() -> None:
    """Permit everything."""


def _require_sound(block: Block) -> None:
    stored, bad = block.events.rows, len(block.dead_letters)
    read = block.last - block.first + 1
    if read < stored + bad + block.duplicates:
        raise ValueError(
            f"block {block.token}: {stored} payloads, {bad} dead letters and"
            f" {block.duplicates} duplicates do not fit {read} records"
        )


def _groups(blocks: Sequence[Block]) -> Iterable[Sequence[Block]]:
    """Cut blocks into inserts that the server takes in one piece."""
    start = size = 0
    for place, block in enumerate(blocks):
        if place > start and size + block.events.size > BYTES_PER_INSERT:
            yield blocks[start:place]
            start, size = place, 0
        size += block.events.size
    if blocks:
        yield blocks[start:]


def _token_of(blocks: Sequence[Block]) -> str:
    """Name all ranges of an insert."""
    token = blocks[0].token
    if len(blocks) == 1:
        return token
    names = "\n".join(block.token for block in blocks)
    return f"{token}+{len(blocks) - 1}-{hashlib.blake2b(names.encode(), digest_size=16).hexdigest()}"


def _chunks(rows: Sequence[Row], token: str) -> Iterable[tuple[str, Sequence[Row]]]:
    """Cut rows into inserts, each with a token of its own."""
    for place, start in enumerate(range(0, len(rows), ROWS_PER_INSERT)):
        yield f"{token}/{place}" if place else token, rows[start : start + ROWS_PER_INSERT]
