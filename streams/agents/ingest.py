"""
Ingest: touchpoint records in; frozen ranges, KPI partials, blocks and dead letters out.

The order of a flush is the guarantee: freeze, emit, acknowledge. See docs/ARCHITECTURE.md.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from faust.types import TP

from streams import metrics
from streams.agents import clocks, records
from streams.aside import METRICS
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing, StaleGenerationError
from streams.events.breaker import Breaker, Stretch
from streams.events.clock import Clock
from streams.events.intake import FUTURE_TOLERANCE, FrozenRange, Intake, Outcome
from streams.kpis.catalogue import Catalogue
from streams.kpis.fold import Deltas, Folder
from streams.kpis.partials import MINUTES, Partial, encode_partial
from streams.kpis.ranges import events_of
from streams.kpis.series import parse_series
from streams.kpis.watermarks import HISTORY_S
from streams.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0

_decode_frozen = msgspec.msgpack.Decoder(FrozenRange).decode


@dataclass(slots=True)
class Source:
    """One source partition with its intake and the batches it has not acknowledged yet."""

    tp: TP
    channel: str
    intake: Intake
    breaker: Breaker
    waiting: list[RecordBatch] = field(default_factory=list)
    deltas: Deltas = field(default_factory=dict)
    """What the range under construction adds to the KPIs, but for events not collected yet."""
    open_bytes: int = 0
    tripped: bool = False
    held: list[tuple[RecordBatch, int]] = field(default_factory=list)
    """Batches, and from which record on, that wait until it is certain what time it is."""
    told: tuple[float | None, bool] | None = None
    told_at: float = 0.0

    @property
    def labels(self) -> tuple[str, str]:
        """Label values of this source in metrics."""
        return self.channel, str(self.tp.partition)


class Closed(NamedTuple):
    """A range that is ready to be frozen, and what it adds to the KPIs."""

    source: Source
    outcome: Outcome
    minutes: list[int]
    """The newest minutes that its events were counted in."""
    deltas: Deltas


class Ingest:
    """The ingest agent of one worker."""

    def __init__(
        self, app: BatchApp, settings: Settings, topics: Topics, catalogue: Catalogue, clock: Clock | None = None
    ) -> None:
        self._app = app
        self._clock = clock or Clock()
        self._settings = settings
        self._topics = topics
        self._catalogue = catalogue
        self._folder = Folder(catalogue)
        self._table = app.fenced_table("ingest")
        self._sources: dict[TP, Source] = {}
        self._flushing = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._partition_of: dict[str, int] = {}
        self._minute: int | None = None
        self.lane = app.lane(*topics.sources)
        self.lane.on_assigned(self._take_over)
        self.lane.on_finish(self.flush)
        app.agent(self.lane.topic, name="ingest")(self._run)
        app.timer(settings.ingest_flush_s)(self._tick)

    async def _take_over(self, assignment: Assignment) -> None:
        """Restore every owned source from its frozen ranges."""
        frozen: dict[str, list[FrozenRange]] = {}
        for partition in assignment.owned:
            for value in self._table.load(partition).values():
                entry = _decode_frozen(value)
                frozen.setdefault(entry.source, []).append(entry)
        self._sources = {}
        for gauge in (metrics.BREAKER, metrics.BREAKER_OFFSET, metrics.CLOCK_HELD, metrics.WATERMARK):
            gauge.clear()  # partitions may be another worker's now
        for tp in assignment.tps:
            channel = self._topics.channel_of(tp.topic)
            source = f"{channel}/{tp.partition}"
            settings = self._settings
            intake = Intake(source, retention_s=settings.retention_s, dedup_ids=settings.dedup_ids, clock=self._clock)
            intake.restore(frozen.get(source, []))
            breaker = Breaker(
                ratio=settings.breaker_ratio,
                least=settings.breaker_min,
                at_once=settings.breaker_at_once,
                window_s=settings.breaker_window_s,
            )
            breaker.restore(frozen.get(source, []))
            self._sources[tp] = Source(tp, channel, intake, breaker)
        log.info("ingest: %d source partitions taken over, generation %d", len(self._sources), assignment.generation)

    async def _run(self, stream: Any) -> None:
        async for batch in self.lane.batches(stream):
            source = self._sources[batch.tp]
            if source.tripped:
                # Neither released nor acknowledged: back-pressure stops the partition.
                continue
            source.waiting.append(batch)
            source.held.append((batch, 0))
            async with self._taking:
                await self._take_held(source)

    async def _take_held(self, source: Source) -> None:
        """Take in what came, up to the first record about which only a better clock can decide."""
        clock = clocks.read(self._clock)
        if clock.verdict == "wrong" and clock.ahead_s < -FUTURE_TOLERANCE.total_seconds():
            self._hold(source)  # else it would close minutes that still fill
            return
        while source.held and not source.tripped:
            batch, start = source.held[0]
            done = await self._take_in(source, batch, start)
            if done < len(batch):
                source.held[0] = batch, done
                self._hold(source)
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

    async def _take_in(self, source: Source, batch: RecordBatch, start: int) -> int:
        """Take in a batch from a record on; return up to which one that went."""
        values, offsets = batch.values, batch.offsets
        while start < len(offsets):
            end = start + source.intake.cut(offsets[start:])
            if source.intake.pending is None:
                end = start + self._fitting(source, values[start:end])
            with metrics.STAGE_SECONDS.labels("ingest", "classify").time():
                taken = source.intake.add(values[start:end], offsets[start:end], time.time(), clocks.steady())
            with metrics.STAGE_SECONDS.labels("ingest", "fold").time():
                # At once, while they are in the processor's cache: kept until the flush, events would fill the memory.
                source.deltas = self._folder.fold(source.intake.collect(), source.deltas)
            if start + taken < end:
                return start + taken
            full = end < len(offsets) or source.intake.open_records >= self._settings.max_range
            start = end
            if (full or self._closes()) and (not await self._flush_live() or source.tripped):
                return len(offsets)
        return len(offsets)

    def _closes(self) -> bool:
        """Tell whether all sources have just read what closes a minute: nobody shall wait for the timer as well."""
        now = time.time()
        awake = [
            intake.reached
            for intake in (source.intake for source in self._sources.values())
            if intake.open_records or intake.head.moved > now - self._settings.idle_s
        ]
        reached = min(awake, default=float("-inf")) - self._settings.lateness_s
        if reached == float("-inf") or now - reached > HISTORY_S:
            return False
        minute = int(reached // 60)
        known, self._minute = self._minute, minute
        return known is not None and minute > known

    def _fitting(self, source: Source, values: Sequence[bytes | None]) -> int:
        """Count the records that go into the current range without its block growing beyond a Kafka record."""
        size, room = sum(map(len, filter(None, values))), self._settings.max_range_bytes - source.open_bytes
        if size <= room:
            source.open_bytes += size
            return len(values)
        fitting = sum(1 for total in accumulate(len(value or b"") for value in values) if total <= room)
        if not fitting and not source.open_bytes:
            fitting = 1
        source.open_bytes = self._settings.max_range_bytes
        return fitting

    async def _tick(self) -> None:
        if not self._taking.locked():
            async with self._taking:
                for source in list(self._sources.values()):
                    if source.held:
                        await self._take_held(source)
        await self._flush_live()

    async def _flush_live(self) -> bool:
        """Flush; False when the partitions moved meanwhile, and what was held is read again by their new owner."""
        try:
            await self.flush()
        except StaleGenerationError:
            return False
        return True

    async def flush(self) -> None:
        """
        Close the current range of every source, freeze, emit, acknowledge; then tell watermarks.

        Raises:
            StaleGenerationError: the partitions are somebody else's by now.
        """
        async with self._flushing:
            assignment = self.lane.assignment
            if assignment is None:
                raise StaleGenerationError("partitions are moving")
            closed = list(self._close_all())
            if closed:
                await self._freeze_and_emit(assignment.generation, closed)
            await self._tell_watermarks(assignment.generation, {one.source.tp for one in closed})
            self._let_go()
            with METRICS.attempt():
                self._observe()

    def _close_all(self) -> Iterator[Closed]:
        for source in self._sources.values():
            if source.tripped:
                continue
            repeated = source.intake.pending is not None
            outcome = source.intake.close()
            source.open_bytes = 0
            if outcome is None:
                continue
            deltas, source.deltas = source.deltas, {}
            stretch = None if repeated else self._tripping(source, outcome)
            if stretch is not None:
                self._trip(source, outcome, stretch)
                continue
            # What is counted later, or by a clock that runs ahead, says nothing of when these records came.
            reached = outcome.frozen.after.newest // 60
            minutes = sorted(minute for minute in deltas if minute <= reached)[-MINUTES:]
            yield Closed(source, outcome, minutes, self._folder.fold(events_of(outcome, source.channel), deltas))

    async def _freeze_and_emit(self, generation: int, closed: list[Closed]) -> None:
        with metrics.STAGE_SECONDS.labels("ingest", "freeze").time():
            await self._table.write_many(generation, self._frozen_entries(closed))
        with metrics.STAGE_SECONDS.labels("ingest", "emit").time():
            await self._app.produce(generation, self._emissions(closed))
        for source, outcome, *_ in closed:
            done = [batch for batch in source.waiting if batch.last_offset <= outcome.frozen.last]
            source.waiting = source.waiting[len(done) :]
            self.lane.ack(*done)
            self._count(source, outcome)

    def _frozen_entries(self, closed: list[Closed]) -> Iterator[tuple[int, bytes, bytes | None]]:
        for source, outcome, *_ in closed:
            partition = source.tp.partition
            for key in outcome.forgotten:
                yield partition, key, None
            yield partition, outcome.frozen.key(), records.encode(outcome.frozen)

    def _emissions(self, closed: list[Closed]) -> Iterator[Outgoing]:
        for source, outcome, minutes, deltas in closed:
            tp, frozen = source.tp, outcome.frozen
            watermark, caught_up = self._status(source)
            for partition, share in enumerate(self._shares(deltas)):
                partial = Partial(
                    source=frozen.source,
                    first=self._position(frozen.first),
                    last=self._position(frozen.last),
                    watermark=watermark,
                    caught_up=caught_up,
                    deltas=share,
                    tally=outcome.tally,
                    minutes=minutes,
                )
                yield Outgoing(self._topics.partials, partition, None, encode_partial(partial))
            source.told, source.told_at = (watermark, caught_up), time.monotonic()
            block = records.block_of(outcome, tp.topic, tp.partition, self._settings.epoch)
            yield Outgoing(self._topics.blocks, tp.partition, None, records.encode_block(block))
            for dead in block.dead:
                yield Outgoing(
                    self._topics.dead_letters,
                    tp.partition,
                    f"{tp.topic}/{tp.partition}/{dead.offset}".encode(),
                    records.encode_dead_letter(block, dead),
                )

    def _shares(self, deltas: Deltas) -> list[Deltas]:
        """Split deltas by the merge partition of their KPI."""
        shares: list[Deltas] = [{} for _ in range(self._settings.partitions)]
        for minute, series in deltas.items():
            parts: list[dict[str, Any]] = [{} for _ in shares]
            known = self._partition_of
            for key, acc in series.items():
                partition = known.get(key)
                if partition is None:
                    partition = self._catalogue.partition_of(parse_series(key)[0], len(shares))
                    if len(known) > 1 << 18:
                        known.clear()
                    known[key] = partition
                parts[partition][key] = acc
            for share, part in zip(shares, parts, strict=True):
                if part:
                    share[minute] = part
        return shares

    async def _tell_watermarks(self, generation: int, told: set[TP]) -> None:
        """Tell every merge partition what silent sources know: their watermark, and that they are read to the end."""
        now = time.monotonic()
        outgoing = []
        for tp, source in self._sources.items():
            if tp in told:
                continue
            status = self._status(source)
            if status[1] and not source.tripped:
                source.intake.settle()
                status = self._status(source)
            if status == source.told and now - source.told_at < HEARTBEAT_S:
                continue
            source.told, source.told_at = status, now
            news = Partial(source=source.intake.source, first=1, last=0, watermark=status[0], caught_up=status[1])
            outgoing += [
                Outgoing(self._topics.partials, partition, None, encode_partial(news))
                for partition in range(self._settings.partitions)
            ]
        await self._app.produce(generation, outgoing)

    def _status(self, source: Source) -> tuple[float | None, bool]:
        if source.tripped:
            # It will say nothing more before people have looked at it: the minutes of all others must not wait.
            return (source.told[0] if source.told else None), True
        watermark = source.intake.watermark(self._settings.lateness_s)
        ended = self.lane.caught_up(source.tp.topic, source.tp.partition) and not source.intake.open_records
        return (None if watermark == float("-inf") else watermark), ended

    def _position(self, offset: int) -> int:
        return records.position(self._settings.epoch, offset)

    def _tripping(self, source: Source, outcome: Outcome) -> Stretch | None:
        frozen, tally = outcome.frozen, outcome.tally
        # While our clock is right, a time ahead of it is the fault of its sender alone: others must not stop for that.
        sparing = frozen.ahead if clocks.read(self._clock).verdict == "right" else 0
        return source.breaker.take(frozen.now, tally.read - sparing, tally.bad - sparing)

    def _trip(self, source: Source, outcome: Outcome, stretch: Stretch) -> None:
        source.tripped = True
        self.lane.hold(source.tp)
        metrics.BREAKER_OFFSET.labels(*source.labels).set(outcome.frozen.first)
        log.error(
            "%s stopped at offset %d of topic %s, partition %d: %d of the %d records of %.0f s are bad, the newest of"
            " them from %d on: %s. What was bad before is in the dead letters, nothing after it is stored or committed."
            " Mend the producer, then restart the workers with CX_BREAKER_RATIO=1 once, which makes dead letters of the"
            " rest; or release what accepts them, and restart",
            source.intake.source,
            outcome.frozen.first,
            *source.tp,
            stretch.bad,
            stretch.read,
            stretch.seconds,
            outcome.bad[0].offset,
            outcome.bad[0].refusal.message,
        )

    def _count(self, source: Source, outcome: Outcome) -> None:
        tally = outcome.tally
        metrics.RANGE_RECORDS.observe(tally.read)
        metrics.RECORDS_READ.labels(*source.labels).inc(tally.read)
        for name in ("counted", "duplicate", "late", "bad"):
            metrics.RECORDS.labels(*source.labels, name).inc(getattr(tally, name))
        for bad in outcome.bad:
            metrics.DEAD_LETTERS.labels(source.channel, bad.refusal.reason).inc()

    def _let_go(self) -> None:
        for tp in self.lane.held & self._sources.keys():
            source = self._sources[tp]
            if not (source.tripped or source.held or source.waiting):
                self.lane.resume(tp)
                log.info("%s goes on", source.intake.source)

    def _observe(self) -> None:
        for tp, source in self._sources.items():
            metrics.BREAKER.labels(*source.labels).set(source.tripped)
            metrics.CLOCK_HELD.labels(*source.labels).set(bool(source.held) and tp in self.lane.held)
            self.lane.report_lag(tp.topic, tp.partition, sum(len(batch) for batch in source.waiting))
            watermark = source.intake.watermark(self._settings.lateness_s)
            if watermark != float("-inf"):
                metrics.WATERMARK.labels(*source.labels).set(watermark)
