"""One source partition on its way through ingest: what it has read, what may be closed, and when it stops."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

from faust.types import TP

from streams import metrics
from streams.agents import clocks
from streams.definitions import record_limits
from streams.engine.batch import RecordBatch, joined
from streams.events.breaker import Breaker, Stretch
from streams.events.clock import Clock
from streams.events.foreign import beginning
from streams.events.intake import FUTURE_TOLERANCE, FrozenRange, Intake, Outcome
from streams.events.orders import SourceOrder
from streams.events.scalars import DERIVED
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.folding.partials import MINUTES
from streams.kpis.folding.ranges import events_of
from streams.privacy.records import Protection
from streams.relations.facts import Fact, Reader, customer_of
from streams.settings import Settings
from streams.steady import steady

log = logging.getLogger(__name__)

GATHERED: Final = 50
GATHERED_BYTES: Final = 8 * 1024
"""Batches of a source, and their bytes as fetched, that wait to be taken in at once: each costs something by itself."""


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
    brought: dict[str, str] = field(default_factory=dict)
    """Series that came up in the range under construction, by key, and which sender brought them."""
    facts: list[tuple[str, Fact]] = field(default_factory=list)
    """What relations read of the range under construction, and of which customers."""
    case_facts: list[tuple[str, Fact]] = field(default_factory=list)
    """What opens cases, and what happens to them, in the range under construction, and of which customers."""
    open_bytes: int = 0
    order: SourceOrder | None = None
    """The newest order: what it lets through is not held against the source."""
    stopped: "Tripped | None" = None
    held: list[tuple[RecordBatch, int]] = field(default_factory=list)
    """Batches, and from which record on, that wait until the source goes on, or until it is certain what time it is."""
    last_sent: tuple[float | None, bool] | None = None
    last_sent_at: float = 0.0

    @classmethod
    def restored(
        cls,
        tp: TP,
        channel: str,
        frozen: Sequence[FrozenRange],
        order: SourceOrder | None,
        settings: Settings,
        clock: Clock,
        protection: Protection | None = None,
    ) -> "Source":
        """Return a source partition as its frozen ranges, and the newest order, describe it."""
        name = source_name(channel, tp.partition)
        intake = Intake(
            name,
            retention_s=settings.retention_s,
            dedup_ids=settings.dedup_ids,
            clock=clock,
            limits=record_limits(settings),
            derived=channel == DERIVED,
            protection=protection,
        )
        intake.restore(frozen)
        breaker = Breaker(
            ratio=settings.breaker_ratio,
            least=settings.breaker_min,
            at_once=settings.breaker_at_once,
            window_s=settings.breaker_window_s,
        )
        breaker.restore(one for one in frozen if order is None or one.first >= order.until)
        return cls(tp, channel, intake, breaker, order=order)

    @property
    def tripped(self) -> bool:
        """Whether it has stopped, and no order lets it go on."""
        return self.stopped is not None and not self._is_let_through(self.stopped.outcome.frozen.first)

    def take_order(self, order: SourceOrder) -> None:
        """Take over an order: what was bad before its end is no longer held against the source."""
        self.order = order
        self.breaker.forget()

    def _is_let_through(self, offset: int) -> bool:
        return self.order is not None and self.order.covers(offset)

    @property
    def labels(self) -> tuple[str, str]:
        """Label values of this source in metrics."""
        return self.channel, str(self.tp.partition)

    def gathers(self, lateness_s: float, minute: int | None) -> bool:
        """
        Return whether what is held may wait for the next flush, to be taken in at once with what comes until then.

        Not if it is much, nor if it may close a minute after `minute`, the newest that all sources have reached: by the
        time that it was sent, which is known without reading it.
        """
        newest_s = self.held[-1][0].max_timestamp_ms / 1000
        if minute is None or int((newest_s - lateness_s) // 60) != minute:
            return False
        return len(self.held) < GATHERED and sum(batch.nbytes for batch, _ in self.held) < GATHERED_BYTES

    def gather(self) -> None:
        """Join what is held."""
        if len(self.held) > 1 and not any(start for _, start in self.held):
            self.held = [(joined([batch for batch, _ in self.held]), 0)]

    def add(
        self,
        batch: RecordBatch,
        start: int,
        settings: Settings,
        folder: Folder,
        reader: Reader | None = None,
        case_reader: Reader | None = None,
    ) -> tuple[int, bool]:
        """
        Take in records of a batch from `start` on, as far as the range under construction goes.

        Args:
            batch: What was read.
            start: The place of the first record of it.
            settings: Of the worker.
            folder: Adds up what is counted.
            reader: Finds what relations read; None: none run.
            case_reader: Finds what cases are about; None: there are none.

        Returns:
            The place of the first record that was not taken in, and whether the range must be closed before it.
        """
        values, offsets = batch.values, batch.offsets
        end = start + self.intake.cut(offsets[start:])
        if self.intake.pending is None:
            end = start + self._fitting(values[start:end], settings.max_range_bytes)
        with metrics.STAGE_SECONDS.labels("ingest", "classify").time():
            since = offsets[start - 1] + 1 if start else batch.since
            taken = self.intake.add(values[start:end], offsets[start:end], time.time(), steady(), since, batch.appended)
        with metrics.STAGE_SECONDS.labels("ingest", "fold").time():
            # At once, while they are in the processor's cache: kept until the flush, events would fill the memory.
            events = self.intake.collect()
            self.deltas = folder.fold(events, self.deltas, self.channel)
            self.brought |= folder.take_brought()
            metrics.LABELS_OVERFLOWED.labels(self.channel).inc(folder.take_overflowed())
            metrics.LABELS_CUT.labels(self.channel).inc(folder.take_cut())
            metrics.SYNTHETIC.labels(self.channel).inc(sum(event.synthetic for event in events))
            metrics.UNKNOWN_TOUCHPOINTS.labels(self.channel).inc(folder.unknown_touchpoints(events))
        if reader is not None and self.channel != DERIVED:
            with metrics.STAGE_SECONDS.labels("ingest", "facts").time():
                self.facts += [
                    (customer_of(event.subject, synthetic=event.synthetic), fact)
                    for event in events
                    if (fact := reader.fact(event))
                ]
        if case_reader is not None:
            with metrics.STAGE_SECONDS.labels("ingest", "facts").time():
                self.case_facts += [
                    (event.subject, fact)
                    for event in events
                    if not event.synthetic and (fact := case_reader.fact(event))
                ]
        full = end < len(offsets) or self.intake.open_records >= settings.max_range
        return start + taken, full and start + taken == end

    def _fitting(self, values: Sequence[bytes | None], most_bytes: int) -> int:
        """Count the records that go into the current range without its block growing beyond a Kafka record."""
        size, room = sum(map(len, filter(None, values))), most_bytes - self.open_bytes
        if size <= room:
            self.open_bytes += size
            return len(values)
        fitting = sum(1 for total in accumulate(len(value or b"") for value in values) if total <= room)
        if not fitting and not self.open_bytes:
            fitting = 1
        self.open_bytes = most_bytes
        return fitting

    def close(self, folder: Folder, clock: Clock) -> "Closed | Tripped | None":
        """Close the range under construction; None when there is nothing that may be closed."""
        if self.tripped:
            return None
        stopped, self.stopped = self.stopped, None
        repeated = stopped is not None or self.intake.pending is not None
        outcome = stopped.outcome if stopped else self.intake.close()
        self.open_bytes = 0
        if outcome is None:
            return None
        deltas, self.deltas = self.deltas, {}
        brought, self.brought = self.brought, {}
        facts, self.facts = self.facts, []
        case_facts, self.case_facts = self.case_facts, []
        stretch = None if repeated or self._is_let_through(outcome.frozen.first) else self._tripping(outcome, clock)
        if stretch is not None:
            self.deltas, self.brought, self.facts, self.case_facts = deltas, brought, facts, case_facts
            self.stopped = Tripped(self, outcome, stretch, time.time())
            return self.stopped
        # What is counted later, or by a clock that runs ahead, says nothing of when these records came.
        reached = outcome.frozen.after.newest // 60
        minutes = sorted(minute for minute in deltas if minute <= reached)[-MINUTES:]
        deltas = folder.fold(events_of(outcome, self.channel), deltas, self.channel)
        folder.take_brought()  # reasons and fields of refused records are no labels of a sender's
        return Closed(self, outcome, minutes, deltas, brought, facts, case_facts)

    def _tripping(self, outcome: Outcome, clock: Clock) -> Stretch | None:
        frozen, tally = outcome.frozen, outcome.tally
        # While our clock is right, a time ahead of it is the fault of its sender alone: others must not stop for that.
        sparing = frozen.ahead if clocks.read(clock).verdict == "right" else 0
        return self.breaker.take(frozen.came, tally.read - sparing, tally.bad - sparing)

    def finished(self, last: int) -> list[RecordBatch]:
        """Return, and forget, the batches that a range up to offset `last` has dealt with."""
        done = [batch for batch in self.waiting if batch.last_offset <= last]
        self.waiting = self.waiting[len(done) :]
        return done


class Closed(NamedTuple):
    """A range that is ready to be frozen, and what it adds to the KPIs."""

    source: Source
    outcome: Outcome
    minutes: list[int]
    """The newest minutes that its events were counted in."""
    deltas: Deltas
    brought: dict[str, str]
    """Series that came up in it, by key, and which sender brought them."""
    facts: list[tuple[str, Fact]]
    case_facts: list[tuple[str, Fact]]


class Tripped(NamedTuple):
    """A range that is not frozen, since too much of its source is bad."""

    source: Source
    outcome: Outcome
    stretch: Stretch
    since: float
    """Unix s."""

    def show(self) -> None:
        """Set the metrics that describe it."""
        labels = self.source.labels
        metrics.BREAKER_OFFSET.labels(*labels).set(self.outcome.frozen.first)
        metrics.BREAKER_SINCE.labels(*labels).set(self.since)
        metrics.BREAKER_WHY.labels(*labels, *self._why()).set(1)

    def hide(self) -> None:
        """Take them back."""
        labels = self.source.labels
        metrics.BREAKER_OFFSET.remove(*labels)
        metrics.BREAKER_SINCE.remove(*labels)
        metrics.BREAKER_WHY.remove(*labels, *self._why())

    def _why(self) -> tuple[str, str, str]:
        first = self.outcome.bad[0]
        return first.refusal.reason, first.refusal.message[:300], beginning(first.payload)

    def say(self) -> None:
        """Log what stopped, where, why, and the ways out."""
        outcome, stretch = self.outcome, self.stretch
        log.error(
            "%s stopped at offset %d of topic %s, partition %d: %d of the %d records of %.0f s are bad, the newest of"
            " them from %d on: %s. %d of them are in the dead letters, nothing from here on is stored or committed."
            " Mend the producer, then `cx sources skip %s`: what is bad becomes dead letters, the rest is counted. Or"
            " release what accepts them, and restart",
            self.source.intake.source,
            outcome.frozen.first,
            *self.source.tp,
            stretch.bad,
            stretch.read,
            stretch.seconds,
            outcome.bad[0].offset,
            outcome.bad[0].refusal.message,
            max(0, stretch.bad - outcome.tally.bad),
            self.source.intake.source,
        )


def runs_ahead(clock: Clock) -> bool:
    """Return whether our clock is known to be so far ahead that minutes would be closed which still fill."""
    reading = clocks.read(clock)
    return reading.verdict == "wrong" and reading.ahead_s < -FUTURE_TOLERANCE.total_seconds()


def source_name(channel: str, partition: int) -> str:
    """Return the name of a source partition in partials and frozen ranges."""
    return f"{channel}/{partition}"
