"""When the merge stage flushes by its timer, and what comes first in a flush."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from streams import metrics
from streams.agents import bursts, merge
from streams.agents.merge import Merge
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
from streams.engine.stage import Emit, Steps
from streams.events.intake import Tally
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import Partial, encode_partial
from streams.kpis.language.series import series_key
from streams.settings import load
from tests.harness import twin

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
TOPICS = Topics("cx")
CATALOGUE = Catalogue.load()
SETTINGS = load(environ={}, partitions=2)
HISTORY_S = 7 * 3600.0


class Merging:
    """A merge stage that counts its flushes and keeps what they send."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        self.steady = 0.0
        monkeypatch.setattr(time, "time", lambda: self.now)
        for module in (merge, bursts):
            monkeypatch.setattr(module, "steady", lambda: self.steady)
        self.flushes = 0
        self.sent: list[tuple[int, str]] = []
        self.pending: list[int] = []
        """What the metric said while each record was sent."""
        self._app = twin.Application(twin.Broker(), 2)
        counting = self

        class Counted(Merge):
            async def steps(self) -> Steps:
                counting.flushes += 1
                async for step in super().steps():
                    if isinstance(step, Emit):
                        records = list(step.records)
                        counting._note(records)
                        step = Emit(records)  # noqa: PLW2901
                    yield step

        self._stage = Counted(self._app, SETTINGS, TOPICS, CATALOGUE)  # type: ignore[arg-type]
        self._offset = 0
        asyncio.run(self._app.begin())

    def _note(self, outgoing: list[Any]) -> None:
        for one in outgoing:
            record = json.loads(one.value)
            self.pending.append(self.pending_now())
            self.sent.extend((one.partition, kind) for kind in ("minutes", "values") if record[kind])

    def pending_now(self) -> int:
        """Return what the metric says of all partitions."""
        labels = [{"partition": str(partition)} for partition in (0, 1)]
        return sum(int(metrics.REGISTRY.get_sample_value("cx_pending_outputs", one) or 0) for one in labels)

    def take(self, partition: int, ago_s: float, *, first: int = 0, series: int = 1) -> None:
        """Apply what one source has counted so long ago."""
        at = self.now - ago_s
        kpi = next(
            kpi for kpi in CATALOGUE if CATALOGUE.partition_of(kpi.id, 2) == partition and kpi.aggregator == "count"
        )
        deltas = {int(at // 60): {series_key(kpi.id, (("channel", f"c{n}"),)): [1] for n in range(series)}}
        partial = Partial(
            source=f"web/{partition}", first=first, last=first, watermark=at, caught_up=not ago_s, deltas=deltas,
            tally=Tally(1, 1), minutes=[int(at // 60)],
        )  # fmt: skip
        batch = RecordBatch(TOPICS.partials, partition, [encode_partial(partial)], range(first, first + 1))
        asyncio.run(self._stage.take(batch))

    def tick(self, later_s: float = 0.0) -> int:
        """Tick once, and let what that begins come to its end; return how many flushes there were by now."""
        self.now += later_s
        self.steady += max(later_s, 1.0)

        async def ticked() -> None:
            await self._stage.tick()
            await asyncio.sleep(0)
            await self._stage.after_flush()

        asyncio.run(ticked())
        return self.flushes


def test_history_is_flushed_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    merging = Merging(monkeypatch)
    for partition in (0, 1):
        merging.take(partition, HISTORY_S)
    assert merging.tick() == 1
    assert merging.tick(merge.HISTORY_FLUSH_S / 2) == 1
    assert merging.tick(merge.HISTORY_FLUSH_S / 2) == 2


def test_nobody_waits_because_another_partition_reads_history(monkeypatch: pytest.MonkeyPatch) -> None:
    merging = Merging(monkeypatch)
    merging.take(0, HISTORY_S)
    merging.take(1, 0)
    assert merging.tick() == 1
    assert merging.tick(0.1) == 2


def test_a_clock_that_was_set_back_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    merging = Merging(monkeypatch)
    for partition in (0, 1):
        merging.take(partition, HISTORY_S)
    assert merging.tick() == 1
    assert merging.tick(-3600) == 2


@pytest.mark.parametrize(
    ("ago_s", "order"),
    [
        (0.0, [(0, "minutes"), (1, "minutes"), (0, "values"), (1, "values")]),
        # Nobody waits for it, and so no more than one partition's rows are held at once.
        (HISTORY_S, [(0, "minutes"), (0, "values"), (1, "minutes"), (1, "values")]),
    ],
)
def test_minutes_of_all_partitions_are_published_before_any_window_but_for_history(
    monkeypatch: pytest.MonkeyPatch, ago_s: float, order: list[tuple[int, str]]
) -> None:
    merging = Merging(monkeypatch)
    for partition in (0, 1):
        merging.take(partition, ago_s)
    merging.tick()
    merging.tick(60.0)  # who was never heard of is waited for no longer
    merging.sent.clear()
    for partition in (0, 1):
        merging.take(partition, ago_s, first=1)
    merging.tick(60.0)
    assert list(dict.fromkeys(merging.sent)) == order


def test_much_that_was_added_up_is_flushed_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "COLLECTED", 10)
    merging = Merging(monkeypatch)
    merging.take(0, HISTORY_S, first=0, series=10)
    assert merging.flushes == 0
    merging.take(0, HISTORY_S, first=1, series=11)
    assert merging.flushes == 1


def test_rows_are_pending_until_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker looked idle while the last values of a long flush were on their way."""
    monkeypatch.setattr(merge, "ROWS_PER_RECORD", 5)
    merging = Merging(monkeypatch)
    merging.take(0, 0.0, series=20)
    merging.tick()
    assert len(merging.pending) > 2
    assert all(merging.pending)
    assert merging.pending_now() == 0
