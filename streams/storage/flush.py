"""One flush of a store agent: table by table, so that what one of them refuses holds up no other."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.storage.connection import RefusedRowsError
from streams.storage.rows import Block, MinuteRow, ValueRow
from streams.storage.salvage import Source
from streams.storage.setaside import SetAside
from streams.storage.writer import Writer

logger = logging.getLogger(__name__)

ALERTS: Final = frozenset({"alerts"})
CASES: Final = frozenset({"cases"})
KPIS: Final = frozenset({"kpi_minutes", "kpi_values"})


class Flush:
    """
    Stores what is given by a writer, and remembers what became of it.

    Attributes:
        stored: Rows by table.
        set_aside: Rows that are dead letters now.
        held: Sources of which nothing is stored for now; their ranges must be given again.
        refused: Tables that take no row for now; all that was given for them must be given again.
    """

    def __init__(self) -> None:
        self.stored: Counter[str] = Counter()
        self.set_aside: list[SetAside] = []
        self.held: dict[Source, str] = {}
        self.refused: set[str] = set()

    def insert_alerts(self, writer: Writer, rows: Sequence[Sequence[Any]], token: str) -> None:
        """Store transitions of alerts. Raises as the writer, but RefusedRowsError."""
        self._insert("alerts", rows, token, writer.insert_alerts)

    def insert_cases(self, writer: Writer, rows: Sequence[Sequence[Any]], token: str) -> None:
        """Store cases as they stand. Raises as the writer, but RefusedRowsError."""
        self._insert("cases", rows, token, writer.insert_cases)

    def insert_rows(self, writer: Writer, minutes: Sequence[MinuteRow], values: Sequence[ValueRow], token: str) -> None:
        """Store KPI rows. Raises as the writer, but RefusedRowsError."""
        self._insert("kpi_minutes", minutes, token, writer.insert_kpi_minutes)
        self._insert("kpi_values", values, token, writer.insert_kpi_values)

    def insert_blocks(self, writer: Writer, blocks: Sequence[Block]) -> None:
        """Store ranges. Raises as the writer."""
        done = writer.insert_blocks(blocks)
        self.held |= done.held
        self.set_aside += done.set_aside
        there = (block.events.rows for block in blocks if (block.topic, block.partition) not in done.held)
        self.stored["events"] += sum(there) - len(done.set_aside)

    def _insert(
        self, table: str, rows: Sequence[Any], token: str, insert: Callable[[Sequence[Any], str], list[SetAside]]
    ) -> None:
        if not rows or table in self.refused:
            return
        try:
            letters = insert(rows, token)
        except RefusedRowsError as error:
            logger.error("nothing of %s is stored for now, it is tried again: %s", table, error)  # noqa: TRY400
            self.refused.add(table)
        else:
            self.set_aside += letters
            self.stored[table] += len(rows) - len(letters)
