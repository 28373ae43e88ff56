"""
Merge: KPI partials in; minute totals and rolling values with their uncertainty out, and closed minutes to the judges.

The order of a flush is the guarantee: pages, what was judged, transitions, outputs, marker, acknowledge. See
streams/kpis/merge.py and streams/agents/judge.py.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial as bound
from itertools import chain, islice
from typing import Any

from streams import metrics
from streams.agents import records
from streams.agents.judge import Judges
from streams.alerts.state import is_ours
from streams.aside import METRICS
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing, StaleGenerationError
from streams.events.scalars import CHANNELS
from streams.kpis.catalogue import Catalogue
from streams.kpis.derive import Derivations
from streams.kpis.merge import MergeState
from streams.kpis.outputs import Outputs
from streams.kpis.partials import decode_partial
from streams.kpis.publish import PublishedMinute, PublishedValue, Publisher
from streams.kpis.series import SEPARATOR
from streams.settings import ConfigError, Settings, window_names

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


class Merge:
    """The merge agent of one worker."""

    def __init__(
        self, app: BatchApp, settings: Settings, topics: Topics, catalogue: Catalogue, judges: Judges | None = None
    ) -> None:
        self._app = app
        self._judges = judges
        self._settings = settings
        self._topics = topics
        self._catalogue = catalogue
        self._publisher = Publisher(catalogue)
        self._derivations = Derivations(catalogue)
        for kpi in catalogue:
            metrics.SERIES_CAPPED.labels(kpi.id)  # so that the first one is an increase
        self._delayed = frozenset(kpi.id for kpi in catalogue if kpi.delayed)
        self._table = app.fenced_table("merge")
        self._shards: dict[int, Shard] = {}
        self._flushing = asyncio.Lock()
        self._flushed_at = float("-inf")
        self.lane = app.lane(topics.partials)
        self.lane.on_assigned(self._take_over)
        self.lane.on_finish(self.flush)
        app.agent(self.lane.topic, name="merge")(self._run)
        app.timer(settings.merge_flush_s)(self._tick_unless_history)

    async def _take_over(self, assignment: Assignment) -> None:
        """Restore every owned merge partition from its changelog."""
        self._shards = {}
        for gauge in (metrics.SERIES, metrics.PENDING_OUTPUTS, metrics.JUDGE_LAG, metrics.JUDGED):
            gauge.clear()  # partitions may be another worker's now
        metrics.KPIS.clear()
        judged: dict[int, dict[bytes, bytes]] = {}
        for partition in assignment.owned:
            saved = self._table.load(partition)
            judged[partition] = {key: value for key, value in saved.items() if is_ours(key)}
            state = self._new_state()
            state.restore((key, value) for key, value in saved.items() if key not in judged[partition])
            self._require_homes(partition, state)
            self._shards[partition] = Shard(partition, state)
        if self._judges is not None:
            told = {partition: shard.state.told for partition, shard in self._shards.items()}
            await self._judges.take_over({partition: entries.items() for partition, entries in judged.items()}, told)
        log.info("merge: partitions %s taken over", sorted(self._shards))

    def _require_homes(self, partition: int, state: MergeState) -> None:
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
            derivations=self._derivations,
            idle_s=settings.idle_s,
            grace_s=settings.idle_s,
            expected=[f"{channel}/{p}" for channel in CHANNELS for p in range(settings.partitions)],
            open_every_s=settings.open_publish_s,
            cap=lambda _kpi: settings.series_cap,
        )

    async def _run(self, stream: Any) -> None:
        async for batch in self.lane.batches(stream):
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
            shard.waiting.append(batch)
            if holds_records:  # until the flush is over it must not look as if nothing were to do
                self._report_lag(shard)
            if shard.state.collected > COLLECTED or (
                # On-call waits for closed minutes: they need not wait for the timer as well.
                holds_records and self._judges is not None and shard.state.closes(time.time())
            ):
                await self._tick()
            elif len(shard.waiting) > 1 and self._flushing.locked():
                # No more is read meanwhile: after a flush that takes long must come none that takes longer.
                async with self._flushing:
                    pass
            batch.release()

    async def _tick_unless_history(self) -> None:
        now = time.time()
        waits = self._flushed_at <= now < self._flushed_at + HISTORY_FLUSH_S
        if not (waits and self._reads_history(now)):
            await self._tick()

    def _reads_history(self, now: float) -> bool:
        return all(shard.state.watermarks.reads_history(now) for shard in self._shards.values())

    async def _tick(self) -> None:
        try:
            await self.flush()
            while any(shard.state.behind for shard in self._shards.values()):
                await asyncio.sleep(0)
                await self.flush()
        except StaleGenerationError:
            log.info("merge: partitions moved during a flush; their new owner repeats it")

    async def flush(self) -> None:
        """
        Save, publish, tell what was judged, save the markers, acknowledge: for all owned partitions.

        Side by side, so that minutes of all of them come before windows; but one after the other while history is read,
        which nobody waits for and which brings more rows than should be held at once.

        Raises:
            StaleGenerationError: the partitions are somebody else's by now.
        """
        async with self._flushing:
            assignment = self.lane.assignment
            if assignment is None:
                raise StaleGenerationError("partitions are moving")
            now = self._flushed_at = time.time()
            shards = list(self._shards.values())
            for together in [[shard] for shard in shards] if self._reads_history(now) else [shards]:
                await self._flush(assignment.generation, together, now)
            with METRICS.attempt():
                self._observe()

    async def _flush(self, generation: int, shards: Sequence[Shard], now: float) -> None:
        pages: list[tuple[int, bytes, bytes | None]] = []
        drained: list[tuple[Shard, Outputs]] = []
        markers: list[tuple[int, bytes, bytes | None]] = []
        done: list[RecordBatch] = []
        if self._judges is not None:
            self._judges.start_stretch()
        # Without an await in between: what comes meanwhile belongs to the next flush.
        with metrics.STAGE_SECONDS.labels("merge", "close").time():
            for shard in shards:
                pages += [(shard.partition, key, value) for key, value in shard.state.dirty_records()]
                drained.append((shard, self._drain(shard, now)))
                key, marker = shard.state.marker()
                if marker != shard.saved_marker:
                    markers.append((shard.partition, key, marker))
                    shard.saved_marker = marker
                waiting, shard.waiting = shard.waiting, []
                if shard.state.replaying:
                    # Saved pages are ahead of the marker: nothing is finished before they are reached.
                    shard.waiting = waiting
                else:
                    done += waiting
        await self._table.write_many(generation, pages)
        await self._tell(generation)
        at = time.time()
        for shard, outputs in drained:  # a minute is looked at long before the windows that end with it
            await self._publish(generation, shard, at, minutes=map(self._publisher.minute, outputs.minutes))
        for shard, outputs in drained:
            values = chain.from_iterable(map(self._publisher.values, outputs.values))
            await self._publish(generation, shard, at, values=values)
        await self._table.write_many(generation, markers)
        self.lane.ack(*done)

    def _drain(self, shard: Shard, now: float) -> Outputs:
        """Close what is due and have it judged."""
        state, judges = shard.state, self._judges
        if judges is None:
            return state.drain_outputs(now)
        outputs = state.drain_outputs(now, bound(judges.step, shard.partition), judges.horizon_s)
        state.told = judges.told(shard.partition, state.told)
        return outputs

    async def _tell(self, generation: int) -> None:
        """Save what was judged, and only then tell it; before anything is published, since on-call waits for it."""
        if self._judges is None:
            return
        await self._judges.enrich()
        entries = self._judges.entries()
        if entries:
            await self._table.write_many(generation, entries)
        await self._app.produce(generation, self._judges.emissions())
        if entries:
            self._judges.confirm({partition: shard.state.told for partition, shard in self._shards.items()})

    async def _publish(
        self,
        generation: int,
        shard: Shard,
        at: float,
        minutes: Iterable[PublishedMinute] = (),
        values: Iterable[PublishedValue] = (),
    ) -> None:
        """Send the rows of a flush in few records; between two of them everything else has its turn."""
        minutes, values = iter(minutes), iter(values)
        while True:
            with metrics.STAGE_SECONDS.labels("merge", "publish").time():
                record = records.KpiRecord(
                    at=at,
                    minutes=list(islice(minutes, ROWS_PER_RECORD)),
                    values=list(islice(values, ROWS_PER_RECORD)),
                )
                if not (record.minutes or record.values):
                    break
                metrics.KPIS.take(shard.partition, record.values)
                outgoing = Outgoing(self._topics.kpis, shard.partition, None, records.encode_kpis(record))
            await self._app.produce(generation, [outgoing])

    def _observe(self) -> None:
        for partition, shard in self._shards.items():
            metrics.SERIES.labels(str(partition)).set(len(shard.state.registry.names))
            for kpi, times in shard.state.registry.take_refused().items():
                metrics.SERIES_CAPPED.labels(kpi).inc(times)
            metrics.JUDGE_LAG.labels(str(partition)).set(shard.state.behind)
            metrics.PENDING_OUTPUTS.labels(str(partition)).set(shard.state.unpublished)
            self._report_lag(shard)

    def _report_lag(self, shard: Shard) -> None:
        self.lane.report_lag(self._topics.partials, shard.partition, sum(len(batch) for batch in shard.waiting))
