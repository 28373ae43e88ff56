"""
Ingest: touchpoint records in; frozen ranges, KPI partials, blocks and dead letters out.

The order of a flush is the guarantee: freeze, emit, acknowledge. See docs/ARCHITECTURE.md.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from faust.types import TP

from streams import metrics
from streams.agents import clocks, records
from streams.agents.emissions import Emissions
from streams.agents.progress import DerivedProgress
from streams.agents.sources import Closed, Source, Tripped, runs_ahead, source_name
from streams.asking.definition import SurveyRules
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Done, Emit, Save, Saved, Stage, Steps
from streams.events import orders
from streams.events.clock import Clock
from streams.events.intake import FrozenRange
from streams.events.orders import SourceOrder
from streams.events.scalars import DERIVED
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import CREDIT, Folder
from streams.kpis.rolling.watermarks import HISTORY_S
from streams.loop.definition import CaseRules
from streams.privacy.records import Protection
from streams.relations.catalogue import Relations
from streams.relations.facts import merged
from streams.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 2.0
"""A source that has nothing to send says so at least this often."""

_decode_frozen = msgspec.msgpack.Decoder(FrozenRange).decode


class Ingest(Stage):
    """The ingest stage of one worker."""

    name = "ingest"

    def __init__(
        self,
        app: BatchApp,
        settings: Settings,
        topics: Topics,
        catalogue: Catalogue,
        clock: Clock | None = None,
        relations: Relations | None = None,
        progress: DerivedProgress | None = None,
        protection: Protection | None = None,
        case_rules: CaseRules | None = None,
        survey_rules: SurveyRules | None = None,
    ) -> None:
        """
        Declare it.

        Args:
            app: The application it is part of.
            settings: Of the worker.
            topics: Their names.
            catalogue: What is counted.
            clock: What is believed of the worker's clock.
            relations: Those that run; None: nothing is sent to them, and nothing of what they say is read.
            progress: How far they have come.
            protection: What takes personal data out of records; None: nothing does.
            case_rules: What opens cases; None: there are none.
            survey_rules: By which is decided who may be asked; None: it is not.
        """
        self._clock = clock or Clock()
        self._settings = settings
        self._topics = topics
        self._folder = Folder(catalogue, credit=CREDIT, sender_share=settings.series_sender_share)
        self._emissions = Emissions(
            topics,
            catalogue,
            partitions=settings.partitions,
            epoch=settings.epoch,
            relations=bool(relations),
            cases=bool(case_rules or survey_rules),
        )
        self._sources: dict[TP, Source] = {}
        self._ordered: list[RecordBatch] = []
        self._taking = asyncio.Lock()
        self._minute: int | None = None
        self._reader = relations.reader if relations else None
        readers = [case_rules.reader()] if case_rules else []
        readers += [survey_rules.reader(answers=False)] if survey_rules else []
        self._case_reader = merged(readers) if readers else None
        self._progress = progress or DerivedProgress()
        self._protection = protection
        sources = topics.all_sources if relations else topics.sources
        super().__init__(app, (*sources, topics.control), flush_s=settings.ingest_flush_s)

    async def restore(self, assignment: Assignment, saved: Saved) -> None:
        """Restore every owned source from its frozen ranges."""
        frozen: dict[str, list[FrozenRange]] = {}
        ordered: dict[str, SourceOrder] = {}
        for entries in saved.values():
            for key, value in entries.items():
                if orders.is_order(key):
                    order = orders.decode(value)
                    ordered[order.source] = order
                    continue
                entry = _decode_frozen(value)
                frozen.setdefault(entry.source, []).append(entry)
        for gauge in (
            metrics.BREAKER,
            metrics.BREAKER_OFFSET,
            metrics.BREAKER_SINCE,
            metrics.BREAKER_WHY,
            metrics.CLOCK_HELD,
            metrics.WATERMARK,
        ):
            gauge.clear()  # partitions may be another worker's now
        self._sources, self._ordered = {}, []
        for tp in assignment.tps:
            if tp.topic == self._topics.control:
                continue
            channel = self._topics.channel_of(tp.topic)
            name = source_name(channel, tp.partition)
            known = self._of_these_topics(ordered.get(name))
            self._sources[tp] = Source.restored(
                tp, channel, frozen.get(name, []), known, self._settings, self._clock, self._protection
            )
        log.info("ingest: %d source partitions taken over, generation %d", len(self._sources), assignment.generation)

    async def take(self, batch: RecordBatch) -> None:
        """Classify and fold a batch; one of a source that has stopped is neither released nor acknowledged."""
        if batch.topic == self._topics.control:
            self._ordered.append(batch)
            return
        source = self._sources[batch.tp]
        source.waiting.append(batch)
        source.held.append((batch, 0))
        if not source.gathers(self._settings.lateness_s, self._minute):
            async with self._taking:
                await self._take_held(source)

    async def _take_held(self, source: Source) -> None:
        """Take in what came, up to the first record about which only a better clock can decide."""
        if runs_ahead(self._clock):
            self._hold(source)
            return
        source.gather()
        while source.held and source.stopped is None:
            batch, start = source.held[0]
            while start < len(batch):
                start, full = source.add(batch, start, self._settings, self._folder, self._reader, self._case_reader)
                if start < len(batch) and not full:
                    source.held[0] = batch, start
                    self._hold(source)
                    return
                if full or self._closes():
                    if not await self.flush_live():
                        break
                    if source.tripped and start < len(batch):
                        source.held[0] = batch, start
                        return
            del source.held[:1]
            batch.release()

    def _hold(self, source: Source) -> None:
        if source.tp not in self.lane.held:
            self.lane.hold(source.tp)
            log.error(
                "%s waits from offset %d on: %s. Nothing is lost, and it goes on once the clocks agree",
                source.intake.source,
                source.held[0][0].offsets[source.held[0][1]],
                clocks.read(self._clock).text,
            )

    def _closes(self) -> bool:
        """Return whether all sources have just read what closes a minute: nobody shall wait for the timer as well."""
        now = time.time()
        awake = [
            source.intake.reached
            for source in self._sources.values()
            if (source.held and source.stopped is None)
            or source.intake.open_records
            or source.intake.head.moved > now - self._settings.idle_s
        ]
        reached = min(awake, default=float("-inf")) - self._settings.lateness_s
        if reached == float("-inf") or now - reached > HISTORY_S:
            return False
        minute = int(reached // 60)
        known, self._minute = self._minute, minute
        return known is not None and minute > known

    async def flush(self) -> None:
        """Take in what was gathered, and flush it with the rest."""
        # Who takes a batch in right now flushes in the middle of it, and goes on with what is held by itself.
        if not self._taking.locked() and not runs_ahead(self._clock):
            for source in self._sources.values():
                if source.held and source.stopped is None:
                    self._take_gathered(source)
        await super().flush()

    def _take_gathered(self, source: Source) -> None:
        source.gather()
        batch, start = source.held[0]
        start, _full = source.add(batch, start, self._settings, self._folder, self._reader, self._case_reader)
        if start < len(batch):  # the rest is looked at with the next tick, or by whoever comes
            source.held[0] = batch, start
        else:
            del source.held[:1]
            batch.release()

    async def tick(self) -> None:
        """Look again at what waits for the clock, and flush."""
        if not self._taking.locked():
            async with self._taking:
                for source in list(self._sources.values()):
                    if source.held:
                        await self._take_held(source)
        await self.flush_live()

    async def steps(self) -> Steps:
        """Close the current range of every source, freeze, emit, acknowledge; then tell watermarks."""
        ordered, self._ordered = self._ordered, []
        if ordered:
            taken = list(self._read_orders(ordered))
            yield Save([(source.tp.partition, orders.key_of(order), orders.encode(order)) for source, order in taken])
            for source, order in taken:
                source.take_order(order)
            yield Done(ordered)
        closed = list(self._close_all())
        if closed:
            with metrics.STAGE_SECONDS.labels("ingest", "freeze").time():
                yield Save([entry for one in closed for entry in _frozen_entries(one)])
            with metrics.STAGE_SECONDS.labels("ingest", "emit").time():
                yield Emit(outgoing for one in closed for outgoing in self._emitted(one))
            yield Done([batch for one in closed for batch in one.source.finished(one.outcome.frozen.last)])
            for one in closed:
                _count(one)
        yield Emit(list(self._news({one.source.tp for one in closed})))
        self._let_go()

    def _read_orders(self, batches: Iterable[RecordBatch]) -> Iterator[tuple[Source, SourceOrder]]:
        """Yield what is ordered of sources that are read here; what is no order is said and passed over."""
        sources = {source.intake.source: source for source in self._sources.values()}
        for batch in batches:
            for offset, value in zip(batch.offsets, batch.values, strict=True):
                try:
                    order = self._of_these_topics(orders.decode(value or b""))
                except ValueError as error:
                    log.warning("%s, partition %d, offset %d is no order: %s", *batch.tp, offset, error)
                    continue
                source = sources.get(order.source) if order else None
                if order is None or source is None or source.tp.partition != batch.partition:
                    log.warning("%s, partition %d, offset %d is of no source here: %s", *batch.tp, offset, order)
                    continue
                log.warning(
                    "%s: records from %d up to %d are let through by order", *msgspec.structs.astuple(order)[:3]
                )
                yield source, order

    def _of_these_topics(self, order: SourceOrder | None) -> SourceOrder | None:
        return order if order and order.epoch == self._settings.epoch else None

    def _close_all(self) -> Iterator[Closed]:
        for source in self._sources.values():
            stopped = source.stopped
            match source.close(self._folder, self._clock):
                case Closed() as closed:
                    if stopped:
                        stopped.hide()
                        log.warning("%s goes on at offset %d", source.intake.source, closed.outcome.frozen.first)
                    yield closed
                case Tripped() as tripped:
                    self.lane.hold(source.tp)
                    tripped.show()
                    tripped.say()

    def _emitted(self, closed: Closed) -> Iterator[Outgoing]:
        source = closed.source
        status = self._status(source)
        yield from self._emissions.of(closed, *status)
        source.last_sent, source.last_sent_at = status, time.monotonic()

    def _news(self, sent: set[TP]) -> Iterator[Outgoing]:
        """Tell every merge partition what silent sources know: their watermark, and that they are read to the end."""
        now = time.monotonic()
        for tp, source in self._sources.items():
            if tp in sent:
                continue
            status = self._status(source)
            if status[1] and not source.tripped:
                source.intake.finish_restored()
                status = self._status(source)
            if status != source.last_sent or now - source.last_sent_at >= HEARTBEAT_S:
                source.last_sent, source.last_sent_at = status, now
                yield from self._emissions.news(source, *status)

    def _status(self, source: Source) -> tuple[float | None, bool]:
        if source.tripped:
            # It will say nothing more before people have looked at it: the minutes of all others must not wait.
            return (source.last_sent[0] if source.last_sent else None), True
        watermark = self._watermark(source)
        ended = self.lane.caught_up(source.tp.topic, source.tp.partition) and not source.intake.open_records
        return (None if watermark == float("-inf") else watermark), ended

    def _watermark(self, source: Source) -> float:
        if source.channel != DERIVED:
            return source.intake.watermark(self._settings.lateness_s)
        # What relations say comes up to a moment that they know, and nothing of it comes late.
        until = self._progress.until(source.tp.partition, source.intake.head.next)
        return float("-inf") if until is None else until

    def _let_go(self) -> None:
        """Let those go on that waited for the clock."""
        for tp in self.lane.held & self._sources.keys():
            source = self._sources[tp]
            if not (source.stopped or source.held or source.waiting):
                self.lane.resume(tp)
                log.info("%s goes on", source.intake.source)

    def observe(self) -> None:
        """Set the metrics of all sources."""
        for tp, source in self._sources.items():
            metrics.BREAKER.labels(*source.labels).set(source.tripped)
            waits = bool(source.held) and not source.tripped and tp in self.lane.held
            metrics.CLOCK_HELD.labels(*source.labels).set(waits)
            self.lane.report_lag(tp.topic, tp.partition, sum(len(batch) for batch in source.waiting))
            watermark = self._watermark(source)
            if watermark != float("-inf"):
                metrics.WATERMARK.labels(*source.labels).set(watermark)


def _frozen_entries(closed: Closed) -> Iterator[tuple[int, bytes, bytes | None]]:
    partition, outcome = closed.source.tp.partition, closed.outcome
    for key in outcome.forgotten:
        yield partition, key, None
    yield partition, outcome.frozen.key(), records.encode(outcome.frozen)


def _count(closed: Closed) -> None:
    source, outcome = closed.source, closed.outcome
    tally = outcome.tally
    metrics.RANGE_RECORDS.observe(tally.read)
    metrics.RECORDS_READ.labels(*source.labels).inc(tally.read)
    for name in ("counted", "duplicate", "late", "bad", "conflict"):
        metrics.RECORDS.labels(*source.labels, name).inc(getattr(tally, name))
    for what, number in outcome.mended.items():
        metrics.RECORDS_MENDED.labels(source.channel, what).inc(number)
    for kind, number in outcome.masked.items():
        metrics.MASKED.labels(source.channel, kind).inc(number)
    for bad in (*outcome.bad, *outcome.conflicts):
        metrics.DEAD_LETTERS.labels(source.channel, bad.refusal.reason).inc()
