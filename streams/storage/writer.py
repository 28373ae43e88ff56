"""
What the workers store, and that it is there once.

`inserts` repeats an insert until it takes effect, once; what becomes of one that is refused, in
`salvage`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from clickhouse_connect.driver.client import Client

from streams.kpis.arithmetic.coupons import estimates
from streams.kpis.arithmetic.sketch import ESTIMATES
from streams.kpis.language.definition import Kpi
from streams.kpis.language.steps import Steps, clock_of
from streams.steady import steady
from streams.storage.alerts import ALERT_COLUMNS
from streams.storage.cases import CASE_COLUMNS
from streams.storage.connection import (
    FAILURES,
    Address,
    RefusedRowsError,
    explain,
    is_permanent,
)
from streams.storage.driver_actions import ACTION_COLUMNS
from streams.storage.grouping import chunks, groups, require_sound, token_of
from streams.storage.inserts import ATTEMPTS, InsertCancelledError, Inserts
from streams.storage.native import Column, native_block, string
from streams.storage.plain import StoredRecord, plain_columns
from streams.storage.rows import (
    ALIKE_COLUMNS,
    ALIKE_SETTINGS,
    EVENT_COLUMNS,
    KPI_COLUMNS,
    Block,
    DeadLetter,
    MinuteRow,
    ValueRow,
    dead_letter_columns,
    in_inserts,
    kpi_row,
    minute_columns,
    outcome_columns,
    pack_events,
    value_columns,
)
from streams.storage.salvage import HeldSources, Inserted, Salvage, Sending, Source, store_each
from streams.storage.salvage import token_of as token_of_rows
from streams.storage.setaside import SetAside, set_aside_columns
from streams.storage.value_measures import MEASURE_COLUMNS

__all__ = ["Block", "DeadLetter", "InsertCancelledError", "MinuteRow", "ValueRow", "Writer"]

logger = logging.getLogger(__name__)

AnyRow = TypeVar("AnyRow")


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
_PROMPT_S: Final = 0.5
_ASKED_AGAIN: Final = 20

# Of each range: which of its records are stored.
_STORED_OF_RANGE: Final = """
    SELECT offset FROM events
    WHERE topic = {topic:String} AND partition = {partition:UInt32}
        AND offset >= {first:UInt64} AND offset <= {last:UInt64}
    UNION ALL
    SELECT offset FROM dead_letters
    WHERE topic = {topic:String} AND partition = {partition:UInt32}
        AND offset >= {first:UInt64} AND offset <= {last:UInt64}"""


class Stored(NamedTuple):
    """What the store has of a source: everything up to `mark` (-1: nothing), and single records beyond it."""

    mark: int
    beyond: frozenset[int]


class Writer(Inserts):
    """
    Stores blocks and KPI rows.

    Attributes:
        holds: What is left alone for now.
    """

    def __init__(self, address: Address, **options: Any) -> None:
        """Prepare a writer; `options` as for any inserts."""
        super().__init__(address, **options)
        self.holds = HeldSources(self.troubles)

    def insert_block(self, block: Block) -> Inserted:
        """Store one range; see `insert_blocks`."""
        return self.insert_blocks([block])

    def insert_blocks(self, blocks: Sequence[Block]) -> Inserted:
        """
        Store the events, the dead letters and the balances of some ranges; done again, it changes nothing.

        The token names all of the ranges. Ranges that were sent before in other company must be thinned out by
        `stored` first: ClickHouse does not know them under the new token. What is refused is dealt with as `salvage`
        says; of the sources that are held nothing counts as stored, and their ranges must be given again.

        Raises:
            PermanentStorageError: The server can never accept any of it.
            InsertCancelledError: The writer was closed.
            ValueError: A block does not add up.
        """
        for block in blocks:
            require_sound(block)
        done = Inserted({}, [])
        again: list[Block] = []
        fresh: list[Block] = []
        for block in blocks:
            source = block.topic, block.partition
            if not self.holds.due(source):
                done.held[source] = self.holds.sources[source].why
            else:
                (again if source in self.holds.sources else fresh).append(block)
        for group in groups(fresh):
            try:
                self._insert_group(group)
            except RefusedRowsError as error:
                logger.warning("%d ranges are refused together, each is looked at: %s", len(group), error)
                again.extend(group)
        if again:
            salvaged = self._salvage(again)
            done.held.update(salvaged.held)
            done.set_aside.extend(salvaged.set_aside)
        return done

    def _insert_group(self, group: Sequence[Block]) -> None:
        """Store some ranges at once, under one token."""
        token = token_of(group)
        alike, others = in_inserts([block.events for block in group])
        if alike:
            name = f"{token}-alike" if others else token
            self._send("events", ALIKE_COLUMNS, b"".join(alike), name, "zstd", ALIKE_SETTINGS, attempts=ATTEMPTS)
        if others:
            self._send("events", EVENT_COLUMNS, b"".join(others), token, "zstd", attempts=ATTEMPTS)
        self._insert_beside(group, token)

    def _insert_beside(self, group: Sequence[Block], token: str) -> None:
        """Store the dead letters and the balances of some ranges."""
        for table, (rows, columns) in (
            ("dead_letters", dead_letter_columns(group)),
            # Last, so that a balance is never there before what it counts.
            ("outcomes", outcome_columns(group)),
        ):
            if rows:
                self._insert(table, rows, columns, token)

    def _salvage(self, blocks: Sequence[Block]) -> Inserted:
        sending = Sending(
            self._send_rows, self._missing, self._set_aside, lambda block: self._insert_beside([block], block.token)
        )
        return Salvage(sending, self.holds).run(blocks)

    def _send_rows(self, source: Source, rows: Sequence[StoredRecord], token: str, plain: bool) -> None:
        # Many rows were tried as often already, together with others; of a single one it is to be certain.
        attempts = 1 if len(rows) > 1 else ATTEMPTS
        if not plain:
            offsets, payloads = [row.offset for row in rows], [row.payload for row in rows]
            events = pack_events(*source, offsets, payloads, [row.offset for row in rows if row.late])
            self._send("events", EVENT_COLUMNS, events.frame, token, "zstd", attempts=attempts)
            return
        columns = plain_columns(*source, rows)
        if columns is None:
            raise RefusedRowsError("the record is no valid event any more", by_server=True)
        names = [column.name for column in columns]
        self._send("events", names, native_block(len(rows), columns), token, self._compression, attempts=attempts)

    def _set_aside(self, letters: Sequence[SetAside]) -> None:
        for letter in letters:
            token = f"{letter.topic}-{letter.partition}-{letter.offset}-set-aside"
            self._insert("dead_letters", 1, set_aside_columns([letter]), token)

    def store_later(self, source: Source, row: StoredRecord) -> None:
        """
        Store an event that was set aside; done again, it changes nothing.

        Raises:
            RefusedRowsError: It is refused still.
        """
        name = token_of_rows(source, [row])
        try:
            self._send_rows(source, [row], name, plain=False)
        except RefusedRowsError:
            self._send_rows(source, [row], name, plain=True)
        topic, partition = source
        columns = [
            Column("topic", "String", string(topic.encode())),
            Column("partition", "UInt32", partition.to_bytes(4, "little")),
            Column("offset", "UInt64", row.offset.to_bytes(8, "little")),
        ]
        self._insert("stored_later", 1, columns, name)

    def _missing(self, source: Source, rows: Sequence[StoredRecord]) -> Sequence[StoredRecord]:
        """Leave out the rows that are stored, once the inserts that are under way have ended."""
        stored: set[int] = set()
        first, last = rows[0].offset, rows[-1].offset
        parameters = {"topic": source[0], "partition": source[1], "first": first, "last": last}

        def ask(client: Client) -> None:
            stored.clear()
            self._wait_for_others(client)
            stored.update(offset for (offset,) in client.query(_STORED_OF_RANGE, parameters=parameters).result_rows)

        self._until_done("events", ask)
        return [row for row in rows if row.offset not in stored]

    def _wait_for_others(self, client: Client) -> None:
        """
        Wait until the inserts that are under way now have ended, whoever sent them.

        An owner that lost its partitions may have one on the server still: what it stores must be seen by who asks.
        A server that had stopped takes up what has waited before it all at once: only a prompt answer tells of all.
        """
        try:
            for _ in range(_ASKED_AGAIN):
                began = steady()
                client.query(_UNDER_WAY)
                if steady() - began < _PROMPT_S:
                    break
                self._permit()
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

    def insert_kpi_minutes(self, rows: Sequence[MinuteRow], token: str) -> list[SetAside]:
        """
        Store what minutes hold: rows of series, minute (Unix seconds // 60), part, accumulator, revision.

        `token` names the range of records the rows come from: `topic-partition-first-last`. Single rows that are
        refused while others are taken are set aside, and returned.

        Raises:
            PermanentStorageError: The server can never accept any of it.
            RefusedRowsError: All rows are refused, or too many.
            InsertCancelledError: The writer was closed.
        """
        return self._insert_each("kpi_minutes", rows, minute_columns, token)

    def insert_kpi_values(self, rows: Sequence[ValueRow], token: str) -> list[SetAside]:
        """Store rolling values; the rest as in `insert_kpi_minutes`."""
        return self._insert_each("kpi_values", rows, value_columns, token)

    def insert_alerts(self, rows: Sequence[Sequence[Any]], token: str) -> list[SetAside]:
        """Store transitions of alerts, see `alert_row`; the rest as in `insert_kpi_minutes`."""
        return self._insert_plain("alerts", ALERT_COLUMNS, rows, token)

    def insert_cases(self, rows: Sequence[Sequence[Any]], token: str) -> list[SetAside]:
        """Store cases as they stand, see `case_row`; the rest as in `insert_kpi_minutes`."""
        return self._insert_plain("cases", CASE_COLUMNS, rows, token)

    def insert_actions(self, rows: Sequence[Sequence[Any]], token: str) -> list[SetAside]:
        """Store what is known of actions on drivers, see `action_rows`; the rest as in `insert_kpi_minutes`."""
        return self._insert_plain("driver_actions", ACTION_COLUMNS, rows, token)

    def insert_value(self, rows: Sequence[Sequence[Any]], token: str) -> list[SetAside]:
        """Store measures of customer value, see `measure_rows`; the rest as in `insert_kpi_minutes`."""
        return self._insert_plain("value_measures", MEASURE_COLUMNS, rows, token)

    def _insert_plain(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str
    ) -> list[SetAside]:
        def send(part: Sequence[Sequence[Any]], name: str) -> None:
            settings = {"async_insert": 0, "insert_deduplicate": 1, "insert_deduplication_token": name}
            self._until_done(
                table,
                lambda client: client.insert(table, part, column_names=columns, settings=settings),
                attempts=ATTEMPTS,
            )

        return self._each(table, rows, token, send)

    def _insert_each(
        self, table: str, rows: Sequence[AnyRow], columns_of: Callable[[Sequence[AnyRow]], list[Column]], token: str
    ) -> list[SetAside]:
        def send(part: Sequence[AnyRow], name: str) -> None:
            self._insert(table, len(part), columns_of(part), name, attempts=ATTEMPTS)

        return [letter for name, chunk in chunks(rows, token) for letter in self._each(table, chunk, name, send)]

    def _each(
        self, table: str, rows: Sequence[AnyRow], token: str, send: Callable[[Sequence[AnyRow], str], None]
    ) -> list[SetAside]:
        letters = store_each(table, rows, token, send, self.holds) if rows else []
        self._set_aside(letters)
        return letters

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

    def store_clock(self, weeks: Steps) -> None:
        """Store what the clocks of a zone show, and on which day weeks begin. Raises as `insert_block`."""
        clock = clock_of(weeks.zone)
        names = ["zone", "since", "offsets", "week"]
        row = [weeks.zone, list(clock.since), list(clock.offsets), weeks.first]
        self._until_done("business_clock", lambda client: client.insert("business_clock", [row], column_names=names))

    def store_touchpoints(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store the touchpoint dictionary: mappings from column to value. Raises as `insert_block`."""
        columns = ["touchpoint", "name", "channel", "stage", "owner", "target_kpi", "target"]
        table = [[row.get(column) if column == "target" else row.get(column, "") for column in columns] for row in rows]
        self._until_done("touchpoints", lambda client: client.insert("touchpoints", table, column_names=columns))

    def forget(self) -> None:
        """Forget which sources are held, and why: another worker may have them now."""
        self.holds.forget()
        self.troubles.clear()
