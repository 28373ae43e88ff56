"""
What becomes of ranges whose events ClickHouse refuses as a whole, though it answers and takes others.

1. What is stored of them is asked, and the rest is halved until single rows are left that are refused.
2. Such a row is sent once more with the columns as the workers read them, so that the server reads nothing.
3. What is refused even so is set aside as a dead letter with the server's words, if other rows were taken meanwhile.
   Else, or when too many rows of a source are refused, the source is held: nothing of it is stored, and all are told.

A source that is held is tried again after a pause that doubles. Others are never held up by it.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from streams.storage.connection import RefusedRowsError
from streams.storage.plain import StoredRecord, rows_of
from streams.storage.rows import Block
from streams.storage.setaside import SetAside, row_set_aside
from streams.storage.trouble import Troubles

logger = logging.getLogger(__name__)

AnyRow = TypeVar("AnyRow")

MOST_SET_ASIDE: Final = 100
"""Rows of a source that are set aside within `SET_ASIDE_S`; a source that has more is held for people to look at."""

SET_ASIDE_S: Final = 3600.0
ENOUGH_REFUSED: Final = 16
"""Parts of what is given that are refused, while none is taken, after which it is not for single rows."""

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 120.0

Source: TypeAlias = tuple[str, int]
"""Topic and partition."""


class Inserted(NamedTuple):
    """What became of ranges: sources that are held, with the reason, and records that were set aside."""

    held: dict[Source, str]
    set_aside: list[SetAside]


@dataclass(slots=True)
class HeldSource:
    """A source of which nothing is stored for now."""

    why: str
    next_try: float
    pause_s: float


class HeldSources:
    """What a writer remembers between two passes; times are those of a clock that only goes forward."""

    def __init__(self, troubles: Troubles) -> None:
        self.sources: dict[Source, HeldSource] = {}
        self._troubles = troubles
        self._set_aside: dict[Source, list[float]] = {}

    def due(self, source: Source) -> bool:
        """Whether a source may be tried now."""
        hold = self.sources.get(source)
        return hold is None or time.monotonic() >= hold.next_try

    def forget(self) -> None:
        """Hold nothing any more."""
        self.sources.clear()

    def any_due(self) -> bool:
        """Whether one of those that are held may be tried now, or none is held any more."""
        return not self.sources or any(map(self.due, list(self.sources)))

    def hold(self, source: Source, why: str) -> None:
        """Hold a source, longer than the last time."""
        known = self.sources.get(source)
        pause_s = FIRST_PAUSE_S if known is None else min(2 * known.pause_s, LONGEST_PAUSE_S)
        self.sources[source] = HeldSource(why, time.monotonic() + pause_s, pause_s)
        self._troubles.tell(_name(source), why, held=True)

    def free(self, source: Source) -> None:
        """Let a source go on."""
        if self.sources.pop(source, None) is not None:
            self._troubles.over(_name(source))

    def room(self, source: Source) -> int:
        """Return how many rows of a source may be set aside now."""
        since = time.monotonic() - SET_ASIDE_S
        recent = self._set_aside[source] = [at for at in self._set_aside.get(source, []) if at > since]
        return MOST_SET_ASIDE - len(recent)

    def note(self, source: Source, rows: int) -> None:
        """Take note of rows that are set aside."""
        self._set_aside.setdefault(source, []).extend([time.monotonic()] * rows)


class Refused(NamedTuple):
    """A single row that is refused, and what the server says."""

    row: Any
    error: RefusedRowsError


class Sifted(NamedTuple):
    """What became of rows: those that are refused, whether others were taken, and why no more were tried, if so."""

    refused: list[Refused]
    taken: bool
    over: str | None


def sift(
    rows: Sequence[AnyRow],
    send: Callable[[Sequence[AnyRow]], None],
    most: int,
    missing: Callable[[Sequence[AnyRow]], Sequence[AnyRow]] = lambda rows: rows,
) -> Sifted:
    """
    Send rows: as one, in halves, in quarters, until those that are refused are known one by one.

    All parts of a size are tried before any smaller one, so that what can be taken is taken soon, and rows that are all
    refused are soon known to be.

    Args:
        rows: In the order in which they are sent.
        send: Raises RefusedRowsError.
        most: Refused rows that there may be.
        missing: Leaves out rows that are stored: the years of an insert are stored one by one, answers may be lost.
    """
    refused: list[Refused] = []
    taken = False
    parts = [rows] if rows else []
    while parts:
        smaller: list[Sequence[AnyRow]] = []
        for part in parts:
            try:
                send(part)
            except RefusedRowsError as error:
                if not error.by_server and len(part) == 1:
                    return Sifted(refused, taken, f"the connection breaks whenever a certain row is sent: {error}")
                if len(part) == 1:
                    refused.append(Refused(part[0], error))
                else:
                    smaller.append(part)
                if len(refused) + len(smaller) > most:
                    return Sifted(refused, taken, f"more than {most} rows are refused, the last time: {error}")
                if not taken and len(refused) + len(smaller) >= ENOUGH_REFUSED:
                    return Sifted(refused, taken, f"not one of {ENOUGH_REFUSED} parts is taken: {error}")
            else:
                taken = True
        parts = [half for part in smaller for half in _halves(missing(part))]
    return Sifted(refused, taken, None)


def _halves(rows: Sequence[AnyRow]) -> list[Sequence[AnyRow]]:
    middle = (len(rows) + 1) // 2
    return [half for half in (rows[:middle], rows[middle:]) if half]


class Sending(NamedTuple):
    """
    How a salvage reaches the server.

    Attributes:
        rows: Send rows under a token; `plain` as the workers read them.
        missing: Leave out the rows of a source that are stored already.
        set_aside: Store dead letters.
        finish: Store what goes with a range beside its events.
    """

    rows: Callable[[Source, Sequence[StoredRecord], str, bool], None]
    missing: Callable[[Source, Sequence[StoredRecord]], Sequence[StoredRecord]]
    set_aside: Callable[[Sequence[SetAside]], None]
    finish: Callable[[Block], None]


class Salvage:
    """One pass over ranges that were refused together, or whose source is held."""

    def __init__(self, sending: Sending, holds: HeldSources) -> None:
        self._sending = sending
        self._holds = holds

    def run(self, blocks: Sequence[Block]) -> Inserted:
        """
        Store what can be stored of some ranges.

        Raises:
            StorageError: Neither the rows nor their source are to blame.
        """
        by_source: dict[Source, list[Block]] = {}
        for block in blocks:
            by_source.setdefault((block.topic, block.partition), []).append(block)
        # All that can be stored comes first: that others are taken is what tells a bad row from a bad server.
        sifted = {source: self._sift(source, own) for source, own in by_source.items()}
        taken = any(one.taken for one in sifted.values())
        done = Inserted({}, [])
        for source, own in by_source.items():
            self._decide(source, own, sifted[source], done, taken=taken)
        return done

    def _sift(self, source: Source, blocks: Iterable[Block]) -> Sifted:
        given = [row for block in blocks if block.events.rows for row in rows_of(block.events)]
        missing = partial(self._sending.missing, source)
        return sift(missing(given), partial(self._send, source), self._holds.room(source), missing)

    def _send(self, source: Source, rows: Sequence[StoredRecord]) -> None:
        token = token_of(source, rows)
        try:
            self._sending.rows(source, rows, token, False)
        except RefusedRowsError as error:
            if len(rows) > 1:
                raise
            logger.warning("%s/%d offset %d cannot be read by ClickHouse: %s", *source, rows[0].offset, error)
            self._sending.rows(source, rows, token, True)

    def _decide(self, source: Source, blocks: Iterable[Block], sifted: Sifted, done: Inserted, *, taken: bool) -> None:
        why = sifted.over
        if why is None and sifted.refused and not taken:
            why = f"no other row is taken either: {sifted.refused[0].error}"
        if why is not None:
            self._holds.hold(source, why)
            done.held[source] = why
            return
        at = time.time()
        letters = [
            SetAside(*source, row.offset, row.outcome, row.payload, str(error), at) for row, error in sifted.refused
        ]
        if letters:
            self._sending.set_aside(letters)
            self._holds.note(source, len(letters))
            done.set_aside.extend(letters)
        for block in blocks:
            self._sending.finish(block)
        self._holds.free(source)


def store_each(
    table: str, rows: Sequence[Any], token: str, send: Callable[[Sequence[Any], str], None], holds: HeldSources
) -> list[SetAside]:
    """
    Store rows that replace each other by revision: at once, or halved until only those are left that are refused.

    Returns those, to be set aside.

    Raises:
        RefusedRowsError: All are refused, or too many; the table is held.
    """
    source = (table, 0)
    if not holds.due(source):
        raise RefusedRowsError(holds.sources[source].why, by_server=True)
    number = count()
    sifted = sift(
        rows, lambda part: send(part, f"{token}~{next(number)}" if part is not rows else token), holds.room(source)
    )
    if sifted.over is not None or (sifted.refused and not sifted.taken):
        why = sifted.over or f"no other row is taken either: {sifted.refused[0].error}"
        holds.hold(source, why)
        raise RefusedRowsError(why, by_server=True)
    holds.free(source)
    holds.note(source, len(sifted.refused))
    at = time.time()
    return [row_set_aside(table, row, str(error), at) for row, error in sifted.refused]


def _name(source: Source) -> str:
    topic, partition = source
    return f"{topic}/{partition}" if "." in topic else topic


def token_of(source: Source, rows: Sequence[StoredRecord]) -> str:
    """Name exactly these rows of a source."""
    names = ",".join(str(row.offset) for row in rows)
    digest = hashlib.blake2b(names.encode(), digest_size=16).hexdigest()
    return f"{source[0]}-{source[1]}-{rows[0].offset}-{rows[-1].offset}~{digest}"
