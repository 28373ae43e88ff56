"""Events through folding, merging and publishing into the store, without Kafka: what the agents do, in one thread."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from streams.agents import records
from streams.events.decode import decode_batch
from streams.events.intake import Intake
from streams.kpis.aggregators import LASTING
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.folding.partials import Partial
from streams.kpis.folding.ranges import events_of
from streams.kpis.language.series import series_key
from streams.kpis.language.void import rules_of
from streams.kpis.rolling.admission import SeriesLimits
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.outputs import MinuteRow, Outputs
from streams.kpis.rolling.publish import Publisher
from streams.storage import rows as stored
from streams.storage.writer import Writer

LATENESS_S = 60
DERIVED = "derived"


class Pipeline:
    """Feeds payloads by channel; call `finish` to close all minutes. Without `now`, events are a second old at best."""

    def __init__(
        self,
        writer: Writer,
        catalogue: Catalogue,
        *,
        limits: SeriesLimits = SeriesLimits(lambda _kpi: 10_000),  # noqa: B008 - never changed
        credit: int | None = None,
        store_events: bool = True,
        now: float | None = None,
        retention_s: float = 1e10,
    ) -> None:
        self._writer = writer
        self._folder = Folder(catalogue, credit=credit, sender_share=limits.sender_share)
        self._publisher = Publisher(catalogue)
        self.merge = MergeState(
            limits=limits,
            grace_s=0,
            idle_s=1e9,
            delayed={kpi.id for kpi in catalogue if kpi.delayed},
            lasting={kpi.id for kpi in catalogue if kpi.aggregator in LASTING},
            derivations=Derivations(catalogue),
            voids=rules_of(catalogue),
        )
        self._intakes: dict[str, Intake] = {}
        self._now = now
        self._retention_s = retention_s
        self._watermarks: dict[str, float | None] = {}
        self._store_events = store_events
        self._offset = 0
        self._flushes = 0

    def feed(self, payloads: Sequence[bytes]) -> None:
        """Take one range of each channel among the payloads; what nobody can read is of the web."""
        by_channel: defaultdict[str, list[bytes]] = defaultdict(list)
        events, _ = decode_batch(payloads)
        for payload, event in zip(payloads, events, strict=True):
            by_channel[event.channel if event else "web"].append(payload)
        newest = max((event.time.timestamp() for event in events if event), default=0.0)
        for channel, values in by_channel.items():
            self._take(channel, values, newest + 1 if self._now is None else self._now)
        self.flush()

    def feed_derived(self, payloads: Sequence[bytes], now: float) -> None:
        """Take one range of what relations say."""
        self._take(DERIVED, payloads, now)
        self.flush()

    def _take(self, channel: str, values: Sequence[bytes], now: float) -> None:
        source = f"{channel}/0"
        if channel not in self._intakes:
            self._intakes[channel] = Intake(
                source, retention_s=self._retention_s, dedup_ids=1 << 20, derived=channel == DERIVED
            )
        intake = self._intakes[channel]
        intake.add(values, range(intake.head.next, intake.head.next + len(values)), now)
        outcome = intake.close()
        assert outcome is not None
        if self._store_events:
            self._writer.insert_block(_stored(records.block_of(outcome, f"cx.touchpoints.{channel}", 0, 0)))
        watermark = intake.watermark(LATENESS_S)
        self._watermarks[channel] = None if watermark == float("-inf") else watermark
        deltas = self._folder.fold([*outcome.counted, *events_of(outcome, channel)], source=channel)
        self._apply(Partial(source=source, first=outcome.frozen.first, last=outcome.frozen.last,
                            watermark=self._watermarks[channel], caught_up=True, deltas=deltas,
                            brought=self._folder.take_brought()))  # fmt: skip

    def finish(self) -> None:
        """Say of every source that nothing more comes for these minutes."""
        newest = max((known for known in self._watermarks.values() if known is not None), default=0.0) + 2 * LATENESS_S
        # No minute waits for what is derived; of that alone, none would close.
        for channel in sorted(self._watermarks.keys() - {DERIVED}) or ["web"]:
            self._apply(Partial(source=f"{channel}/0", first=1, last=0, watermark=newest, caught_up=True))
        self.flush()

    def flush(self) -> None:
        self._flushes += 1
        self.merge.dirty_records()
        outputs = self.merge.drain_outputs(1e9 + 10 * self._flushes)
        self.publish(outputs)
        self.merge.marker()

    def publish(self, outputs: Outputs) -> None:
        token = f"cx.kpis-0-{self._flushes}-{self._flushes}"
        self._writer.insert_kpi_minutes([_minute(row) for row in outputs.minutes], token)
        values = [_value(published) for row in outputs.values for published in self._publisher.values(row)]
        self._writer.insert_kpi_values(values, token)

    def _apply(self, partial: Partial) -> None:
        self.merge.apply(partial, self._offset)
        self._offset += 1


def _minute(row: MinuteRow) -> stored.MinuteRow:
    return row.series, row.minute, row.part, row.acc, row.revision


def _stored(block: records.BlockRecord) -> stored.Block:
    letters = [stored.DeadLetter(*msgspec.structs.astuple(dead), at=block.at) for dead in block.dead]
    return stored.Block(
        topic=block.topic, partition=0, first=block.first, last=block.last, events=block.events, dead_letters=letters,
        duplicates=block.tally.duplicate, times=block.times,
    )  # fmt: skip


def _value(row) -> stored.ValueRow:
    return stored.ValueRow(
        series_key(row.kpi, tuple(row.labels.items())), row.window, row.stat, row.at, row.value, row.n, row.lo, row.hi,
        row.definition, row.maturity == "closed", row.revision,
    )  # fmt: skip
