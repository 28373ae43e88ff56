"""
Store: blocks, published KPIs, alerts and cases into ClickHouse, many ranges in one insert.

ClickHouse being away stops only this agent: what it holds stays unacknowledged, and is read again if need be.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial as bound
from itertools import count
from typing import Any

import msgspec
from faust.types import TP

from streams import __version__, metrics
from streams.agents import records
from streams.agents.bursts import Bursts, BurstStage
from streams.aside import METRICS
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import BlockingCall, Done, Emit, Permit, Saved, Steps
from streams.kpis.language.series import series_key
from streams.kpis.rolling.publish import PublishedMinute, PublishedValue
from streams.loop.rows import decode_case
from streams.settings import Settings
from streams.steady import steady
from streams.storage.alerts import alert_row
from streams.storage.cases import case_row
from streams.storage.connection import StorageError
from streams.storage.flush import ALERTS, CASES, KPIS, Flush
from streams.storage.rows import Balance, pack_events, unpack_events
from streams.storage.setaside import SetAside
from streams.storage.writer import Block, DeadLetter, MinuteRow, Stored, ValueRow, Writer

log = logging.getLogger(__name__)

ENOUGH_BYTES = 4 * 1024 * 1024
"""Fetched bytes that are stored at once, without waiting for the next tick."""

ROWS_BURST_S = 0.2
"""Seconds after the first KPI row of a flush until the last: windows come behind minutes."""

ROWS_HELD = 50_000
"""KPI rows that are inserted before more are decoded: packed for the way they are small, unpacked a kilobyte each."""


class _Known:
    """What ClickHouse has of the sources of one assignment; None before it was asked."""

    stored: dict[tuple[str, int], Stored] | None = None


class StoreStage(BurstStage):
    """The store stage of one worker."""

    name = "store"
    has_table = False
    stall_limit_s = None  # ClickHouse may be away for as long as it takes

    def __init__(self, app: BatchApp, settings: Settings, topics: Topics, writer: Writer) -> None:
        self._topics = topics
        self._epoch = settings.epoch
        self._writer = writer
        self._waiting: list[RecordBatch] = []
        self._held: list[RecordBatch] = []
        self._waiting_bytes = 0
        # Blocks come when ranges are closed, rows a little later, when these are merged: neither waits for the other.
        self._bursts = Bursts(settings.store_flush_s), Bursts(settings.store_flush_s, ROWS_BURST_S)
        self._owned: Sequence[int] = ()
        self._known = _Known()
        self._failing = False
        writer.on_retry = self._failed_once
        metrics.STORE_TROUBLES.watch(writer.troubles.current)
        self._tables = {topics.kpis: KPIS, topics.alerts: ALERTS, topics.cases: CASES}
        for table in ("events", *ALERTS, *CASES, *KPIS):
            metrics.SET_ASIDE.labels(table)  # zero from the start, else the first row is no increase
        super().__init__(app, [topics.blocks, *self._tables], flush_s=settings.store_flush_s)

    def _failed_once(self, _table: str, _attempts: int, _error: StorageError) -> None:
        self._failing = True
        metrics.STORE_RETRIES.inc()

    async def restore(self, assignment: Assignment, saved: Saved) -> None:  # noqa: ARG002
        """Forget what an earlier assignment held; what ClickHouse has of it is asked before the first insert."""
        self._waiting, self._held, self._waiting_bytes = [], [], 0
        self._owned, self._known = assignment.owned, _Known()
        self._writer.forget()
        log.info("store: partitions %s taken over", list(assignment.owned))

    async def take(self, batch: RecordBatch) -> None:
        """Keep a batch: it is not released before it is stored, which bounds what is held while ClickHouse is away."""
        self._waiting.append(batch)
        self._bursts[batch.topic != self._topics.blocks].came(steady())
        self._waiting_bytes += batch.nbytes
        # A flush may take long; until it is over it must not look as if nothing were to do.
        with METRICS.attempt():
            self.lane.report_lag(batch.topic, batch.partition, len(batch))
        if self._waiting_bytes >= ENOUGH_BYTES:
            await self.flush_live()

    def is_due(self, now: float) -> bool:
        """Return whether blocks are to be stored, or rows."""
        return any(bursts.is_due(now) for bursts in self._bursts)

    async def finish(self) -> None:
        """
        Store what waits, unless ClickHouse is away: then the next owner reads it again.

        It must not find an insert of ours still on its way.
        """
        if not self._failing:
            await self.flush()
        else:
            await asyncio.sleep(self._writer.under_way_s)

    async def steps(self) -> Steps:
        """Store everything that waits, in the order it came, and acknowledge it."""
        for bursts in self._bursts:
            bursts.begun(steady())
        waiting, done = self._next(), Flush()
        if not waiting:
            return
        with metrics.STAGE_SECONDS.labels("store", "insert").time():
            yield BlockingCall(bound(self._store, self._known, waiting, done))
        self._failing = False
        self._count(done)
        if done.set_aside:
            yield Emit(map(self._letter, done.set_aside))
        held = [batch for batch in waiting if self._is_held(batch, done)]
        self._held = held + self._held
        yield Done([batch for batch in waiting if batch not in held])

    def _next(self) -> list[RecordBatch]:
        """Take what is to be stored now, in the order it came; what is held, and all behind it, only now and then."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        held, self._held = self._held, []
        if self._writer.holds.any_due():
            return held + waiting
        behind = {batch.tp for batch in held}
        self._held = held + [batch for batch in waiting if batch.tp in behind]
        return [batch for batch in waiting if batch.tp not in behind]

    def _is_held(self, batch: RecordBatch, done: Flush) -> bool:
        if batch.topic == self._topics.blocks:
            return any(partition == batch.partition for _, partition in done.held)
        return bool(done.refused & self._tables[batch.topic])

    def _letter(self, letter: SetAside) -> Outgoing:
        key = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
        return Outgoing(self._topics.dead_letters, letter.partition, key, records.encode_set_aside(letter))

    def _count(self, done: Flush) -> None:
        for table, rows in done.stored.items():
            metrics.ROWS_STORED.labels(table).inc(rows)
        for letter in done.set_aside:
            log.error("%s/%s offset %s is set aside: %s", letter.topic, letter.partition, letter.offset, letter.message)
            metrics.SET_ASIDE.labels(letter.table).inc()

    def _store(self, known: _Known, waiting: Sequence[RecordBatch], done: Flush, permit: Permit) -> None:
        """Insert the content of some batches; runs in a thread."""
        writer = self._writer.under(permit)
        if known.stored is None:
            known.stored = writer.stored(self._owned)
        before = dict(known.stored)
        # Rows replace each other by revision, so any token does that is new for new content.
        token = "/".join(
            f"{batch.topic}-{batch.partition}-{batch.first_offset}-{batch.last_offset}" for batch in waiting
        )
        parts = (f"{self._epoch}-{token}#{number}" for number in count())
        blocks: list[Block] = []
        minutes: list[MinuteRow] = []
        values: list[ValueRow] = []
        alerts: list[list[Any]] = []
        cases: list[list[Any]] = []
        for batch in waiting:
            for value in batch.values:
                if value is None:
                    raise ValueError(f"{batch!r}: a record of ours cannot be empty")
                if batch.topic == self._topics.blocks:
                    blocks += _new_part(known.stored, records.decode_block(value))
                elif batch.topic == self._topics.alerts:
                    alert = records.decode_alert(value)
                    alerts.append(alert_row(alert.id, alert.at, alert))
                elif batch.topic == self._topics.cases:
                    cases.append(case_row(decode_case(value)))
                else:
                    record = records.decode_kpis(value)
                    minutes += map(_minute_row, record.minutes)
                    values += map(_value_row, record.values)
                    if len(minutes) + len(values) >= ROWS_HELD:
                        done.insert_rows(writer, minutes, values, next(parts))
                        minutes, values = [], []
        # What people wait for comes first, and events, which are many, last.
        done.insert_alerts(writer, alerts, next(parts))
        done.insert_cases(writer, cases, next(parts))
        done.insert_rows(writer, minutes, values, next(parts))
        done.insert_blocks(writer, blocks)
        for source in done.held:
            # It is given again from here; what is stored of it beyond is asked then.
            known.stored[source] = before.get(source, Stored(-1, frozenset()))

    def observe(self) -> None:
        """Tell how far storing is behind."""
        assignment = self.lane.assignment
        if assignment is None:
            return
        behind = Counter[TP]()
        for batch in (*self._held, *self._waiting):
            behind[batch.tp] += len(batch)
        for tp in assignment.tps:
            self.lane.report_lag(tp.topic, tp.partition, behind[tp])


def _new_part(stored: dict[tuple[str, int], Stored], block: records.BlockRecord) -> Iterator[Block]:
    """
    Yield what ClickHouse does not have of a block, and take note that it will have it.

    After a crash a block comes again: as the rest of a group that was stored in part, or as a second copy behind the
    first, which its source sent when it repeated the frozen range.
    """
    source = block.topic, block.partition
    mark, known = stored.get(source, Stored(-1, frozenset()))
    if block.last <= mark:
        return
    stored[source] = Stored(block.last, known)
    events = block.events
    if known:
        offsets, payloads, late = unpack_events(events)
        fresh = [place for place, offset in enumerate(offsets) if offset not in known]
        events = pack_events(
            block.topic,
            block.partition,
            [offsets[place] for place in fresh],
            [payloads[place] for place in fresh],
            [offset for offset in late if offset not in known],
        )
    yield Block(
        topic=block.topic,
        partition=block.partition,
        first=block.first,
        last=block.last,
        events=events,
        dead_letters=[_letter(dead, block.at) for dead in block.dead if dead.offset not in known],
        duplicates=block.tally.duplicate,
        balance=Balance(*msgspec.structs.astuple(block.tally)),
        code_version=__version__,
        times=block.times,
    )


def _letter(dead: records.DeadLetterRecord, at: float) -> DeadLetter:
    return DeadLetter(dead.offset, dead.reason, dead.path, dead.got, dead.expected, dead.message, dead.payload, at)


def _minute_row(row: PublishedMinute) -> MinuteRow:
    series = series_key(row.kpi, tuple(row.labels.items()))
    return series, row.minute // 60, row.part, row.bins or row.fields, row.revision


def _value_row(row: PublishedValue) -> ValueRow:
    return ValueRow(
        series_key(row.kpi, tuple(row.labels.items())),
        row.window,
        row.stat,
        row.at,
        row.value,
        row.n,
        row.lo,
        row.hi,
        row.definition,
        row.maturity == "closed",
        row.revision,
    )
