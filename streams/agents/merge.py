"""
Merge: KPI partials in; minute totals and rolling values with their uncertainty out, and closed minutes to the judges.

The order of a flush is the guarantee: pages, what was judged, transitions, outputs, marker, acknowledge. See
streams/kpis/rolling/merge.py and streams/agents/judge.py.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from itertools import chain, islice

from streams import metrics
from streams.agents import records
from streams.agents.bursts import Bursts, BurstStage
from streams.agents.judge import Judges
from streams.alerts.judging.state import is_ours
from streams.aside import METRICS
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Done, Emit, Save, Saved, Steps
from streams.engine.state import Entry
from streams.events.scalars import CHANNELS
from streams.kpis.aggregators import LASTING
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import decode_partial
from streams.kpis.language.series import SEPARATOR
from streams.kpis.language.void import rules_of
from streams.kpis.rolling.admission import SeriesLimits
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.outputs import Outputs
from streams.kpis.rolling.publish import PublishedMinute, PublishedValue, Publisher
from streams.settings import ConfigError, Settings, window_names
from streams.steady import steady

log = logging.getLogger(__name__)

ROWS_PER_RECORD = 2_000
HISTORY_FLUSH_S = 2.0
"""Time between two flushes while history is read: each saves all pages anew to which something was added."""

COLLECTED = 50_000
"""Totals of one partition that are flushed without waiting for that: unpacked they take half a kilobyte each."""


@dataclass(slots=True)
class Shard:
    """One merge partition."""

    partition: int
    state: MergeState
    waiting: list[RecordBatch] = field(default_factory=list)
    saved_marker: bytes = b""
    stopped: set[str] = field(default_factory=set)
    """Sources whose stop has been told."""
    emitting: int = 0
    """Rows of a flush that is under way."""


class Merge(BurstStage):
    """The merge stage of one worker."""

    name = "merge"

    def __init__(
        self, app: BatchApp, settings: Settings, topics: Topics, catalogue: Catalogue, judges: Judges | None = None
    ) -> None:
        self._judges = judges
        self._settings = settings
        self._topics = topics
        self._catalogue = catalogue
        self._publisher = Publisher(catalogue)
        self._derivations = Derivations(catalogue)
        self._voids = rules_of(catalogue)
        for kpi in catalogue:
            metrics.SERIES_CAPPED.labels(kpi.id)  # so that the first one is an increase
        self._delayed = frozenset(kpi.id for kpi in catalogue if kpi.delayed)
        self._shards: dict[int, Shard] = {}
        self._flushed_at = float("-inf")
        self._at_rest = False
        self._bursts = Bursts(settings.merge_flush_s)
        super().__init__(app, [topics.partials], flush_s=settings.merge_flush_s)

    async def restore(self, assignment: Assignment, saved: Saved) -> None:
        """Restore every owned merge partition from its changelog, and its judge."""
        for gauge in (
            metrics.SERIES,
            metrics.SERIES_LEFT,
            metrics.SERIES_BYTES,
            metrics.SERIES_BYTES_MAX,
            metrics.PENDING_OUTPUTS,
            metrics.JUDGE_LAG,
            metrics.JUDGED,
            metrics.MERGE_STOPPED,
        ):
            gauge.clear()  # partitions may be another worker's now
        metrics.KPIS.clear()
        self._shards = {}
        for partition in assignment.owned:
            state = self._new_state()
            state.restore((key, value) for key, value in saved[partition].items() if not is_ours(key))
            self._require_partitions(partition, state)
            self._shards[partition] = Shard(partition, state)
            self._tell_stopped(self._shards[partition])
        if self._judges is not None:
            judged = {p: ((k, v) for k, v in saved[p].items() if is_ours(k)) for p in self._shards}
            await self._judges.take_over(judged)
        log.info("merge: partitions %s taken over", sorted(self._shards))

    def _require_partitions(self, partition: int, state: MergeState) -> None:
        """Refuse sums of KPIs that live in another partition by now: they would go on in two places, wrong in both."""
        for kpi in {key.partition(SEPARATOR)[0] for key in state.registry.names}:
            home = self._catalogue.partition_of(kpi, self._settings.partitions)
            if kpi in self._catalogue and home != partition:
                raise ConfigError(
                    f"{kpi} was kept in merge partition {partition} and belongs to {home} since a derived KPI connects"
                    " it with others: begin with new topics over the kept store (a higher CX_EPOCH), or undo the change"
                )

    def _new_state(self) -> MergeState:
        settings = self._settings
        return MergeState(
            windows=window_names(settings),
            delayed=self._delayed,
            lasting={kpi.id for kpi in self._catalogue if kpi.aggregator in LASTING},
            derivations=self._derivations,
            voids=self._voids,
            idle_s=settings.idle_s,
            grace_s=settings.idle_s,
            expected=[f"{channel}/{p}" for channel in CHANNELS for p in range(settings.partitions)],
            open_every_s=settings.open_publish_s,
            limits=SeriesLimits(
                lambda _kpi: settings.series_cap,
                (settings.series_memory_mb << 20) // settings.partitions,
                settings.series_channel_share,
                settings.series_sender_share,
                self._judges.bytes_of_series if self._judges is not None else lambda _grouping: 0,
            ),
        )

    async def take(self, batch: RecordBatch) -> None:
        """Apply a batch of partials; flush at once what on-call waits for, and what would take too much memory."""
        shard = self._shards[batch.partition]
        # Without an await in between: a flush sees whole batches only.
        holds_records = False
        with metrics.STAGE_SECONDS.labels("merge", "apply").time():
            for value, offset in zip(batch.values, batch.offsets, strict=True):
                if value is None:
                    raise ValueError(f"{batch.topic}/{batch.partition}@{offset}: a partial cannot be empty")
                partial = decode_partial(value)
                holds_records |= partial.first <= partial.last
                if not shard.state.apply(partial, records.position(self._settings.epoch, offset)):
                    metrics.REPEATED_PARTIALS.inc()
        self._tell_stopped(shard)
        shard.waiting.append(batch)
        if holds_records:  # until the flush is over it must not look as if nothing were to do
            self._bursts.came(steady())
            self._report_lag(shard)
        if shard.state.collected > COLLECTED or (
            # On-call waits for closed minutes: they need not wait for the timer as well.
            holds_records and self._judges is not None and shard.state.closes(time.time())
        ):
            await self.flush_live()
        elif len(shard.waiting) > 1 and self.is_flushing:
            # No more is read meanwhile: after a flush that takes long must come none that takes longer.
            await self.after_flush()
        batch.release()

    def _tell_stopped(self, shard: Shard) -> None:
        for source in shard.state.stopped.keys() - shard.stopped:
            shard.stopped.add(source)
            metrics.MERGE_STOPPED.labels(str(shard.partition), source).set(1)
            log.error(
                "merge partition %d counts nothing of %s any more: %s. All other sources go on. docs/OPERATIONS.md says"
                " how to bring its KPIs back, under CxMergeSourceStopped",
                shard.partition,
                source,
                shard.state.stopped[source],
            )

    def is_due(self, now: float) -> bool:
        """Return whether to flush: soon after sources have sent what they read, less often while history is read."""
        if not self._bursts.is_due(now):
            return False
        wall = time.time()
        waits = self._flushed_at <= wall < self._flushed_at + HISTORY_FLUSH_S
        return not (waits and self._reads_history(wall))

    def _reads_history(self, now: float) -> bool:
        return all(shard.state.watermarks.reads_history(now) for shard in self._shards.values())

    async def flush_live(self) -> bool:
        """Flush until all minutes that are due are judged; False when the partitions moved meanwhile."""
        while await super().flush_live():
            if not any(shard.state.behind for shard in self._shards.values()):
                return True
            await asyncio.sleep(0)
        return False

    async def steps(self) -> Steps:
        """
        Save, publish, tell what was judged, save the markers, acknowledge: for all owned partitions.

        Side by side, so that minutes of all of them come before windows; but one after the other while history is read,
        which nobody waits for and which brings more rows than should be held at once.
        """
        now = self._flushed_at = time.time()
        self._at_rest = not self._bursts.waits
        self._bursts.begun(steady())
        shards = list(self._shards.values())
        for together in [[shard] for shard in shards] if self._reads_history(now) else [shards]:
            async for step in self._steps_of(together, now):
                yield step

    async def _steps_of(self, shards: Sequence[Shard], now: float) -> Steps:
        pages: list[Entry] = []
        markers: list[Entry] = []
        drained: list[tuple[Shard, Outputs]] = []
        done: list[RecordBatch] = []
        if self._judges is not None:
            self._judges.start_stretch()
        # Without an await in between: what comes meanwhile belongs to the next flush.
        with metrics.STAGE_SECONDS.labels("merge", "close").time():
            for shard in shards:
                pages += [(shard.partition, key, value) for key, value in shard.state.dirty_records()]
                outputs = self._drain(shard, now)
                drained.append((shard, outputs))
                shard.emitting = len(outputs.minutes) + len(outputs.values)
                with METRICS.attempt():
                    self._report_pending(shard)
                key, marker = shard.state.marker()
                if marker != shard.saved_marker:
                    markers.append((shard.partition, key, marker))
                    shard.saved_marker = marker
                if not shard.state.replaying:
                    # Else saved pages are ahead of the marker: nothing is finished before they are reached.
                    done += shard.waiting
                    shard.waiting = []
        yield Save(pages)
        if self._judges is not None:
            # What was judged is saved, and only then sent; before anything is published, since on-call waits for it.
            await self._judges.enrich()
            entries = self._judges.entries()
            yield Save(entries)
            yield Emit(self._judges.emissions())
            if entries:
                self._judges.confirm()
            markers += self._judges.sent_entries()
        at = time.time()
        for shard, outputs in drained:  # a minute is looked at long before the windows that end with it
            for record in self._published(shard, at, minutes=map(self._publisher.minute, outputs.minutes)):
                yield Emit([record])
        for shard, outputs in drained:
            values = chain.from_iterable(map(self._publisher.values, outputs.values))
            for record in self._published(shard, at, values=values):
                yield Emit([record])
            shard.emitting = 0
        yield Save(markers)
        yield Done(done)

    def _drain(self, shard: Shard, now: float) -> Outputs:
        """Close what is due and have it judged."""
        if self._judges is None:
            return shard.state.drain_outputs(now, at_rest=self._at_rest)
        judge = bound(self._judges.step, shard.partition)
        outputs = shard.state.drain_outputs(now, judge, self._judges.horizon_s, at_rest=self._at_rest)
        if (ahead := shard.state.open_minutes(now)) is not None:
            self._judges.glance(shard.partition, ahead)
        return outputs

    def _published(
        self, shard: Shard, at: float, minutes: Iterable[PublishedMinute] = (), values: Iterable[PublishedValue] = ()
    ) -> Iterator[Outgoing]:
        """Yield the rows of a flush in few records; while one is sent everything else has its turn."""
        minutes, values = iter(minutes), iter(values)
        while True:
            with metrics.STAGE_SECONDS.labels("merge", "publish").time():
                record = records.KpiRecord(
                    at=at,
                    minutes=list(islice(minutes, ROWS_PER_RECORD)),
                    values=list(islice(values, ROWS_PER_RECORD)),
                )
                if not (record.minutes or record.values):
                    return
                with METRICS.attempt():
                    metrics.KPIS.take(shard.partition, record.values)
                outgoing = Outgoing(self._topics.kpis, shard.partition, None, records.encode_kpis(record))
            yield outgoing

    def observe(self) -> None:
        """Set the metrics of all owned partitions."""
        for partition, shard in self._shards.items():
            registry = shard.state.registry
            metrics.SERIES.labels(str(partition)).set(len(registry.numbers))
            metrics.SERIES_LEFT.labels(str(partition)).set(len(registry.left))
            metrics.SERIES_BYTES.labels(str(partition)).set(registry.reserved)
            metrics.SERIES_BYTES_MAX.labels(str(partition)).set(registry.capacity)
            for kpi, times in registry.take_refused().items():
                metrics.SERIES_CAPPED.labels(kpi).inc(times)
            metrics.JUDGE_LAG.labels(str(partition)).set(60 * shard.state.behind)
            self._report_pending(shard)
            self._report_lag(shard)

    @staticmethod
    def _report_pending(shard: Shard) -> None:
        metrics.PENDING_OUTPUTS.labels(str(shard.partition)).set(shard.state.unpublished + shard.emitting)

    def _report_lag(self, shard: Shard) -> None:
        self.lane.report_lag(self._topics.partials, shard.partition, sum(len(batch) for batch in shard.waiting))
