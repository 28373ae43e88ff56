"""When the ingest stage closes its ranges without waiting for the timer."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from faust.types import TP

from streams.agents import records
from streams.agents.ingest import Ingest
from streams.agents.sources import GATHERED_BYTES
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
from streams.events.intake import Intake
from streams.kpis.catalogue.catalogue import Catalogue
from streams.settings import load
from tests.harness import twin
from tests.harness.clickhouse import event

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
IDLE_S = 600.0
SETTINGS = load(environ={}, partitions=1, idle_s=IDLE_S)
TOPICS = Topics("cx")
WEB, APP = TOPICS.sources[:2]


class Reading:
    """An ingest stage that is given single events; `minute` is the one that their watermarks are about to pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, minute: float, *, stamped: bool = False) -> None:
        self.now = NOW
        self._stamped = stamped
        monkeypatch.setattr(time, "time", lambda: self.now)
        self._minute = minute + SETTINGS.lateness_s
        self._app = twin.Application(twin.Broker(), 1)
        self._stage = Ingest(self._app, SETTINGS, TOPICS, Catalogue.load())  # type: ignore[arg-type]
        self._numbers = count()
        asyncio.run(self._app.begin())

    def flush(self) -> None:
        """Close what is open."""
        asyncio.run(self._stage.flush())

    def flushes(self, topic: str, second: float) -> bool:
        """Read an event so many seconds after the minute; tell whether a range was closed at once."""
        number = next(self._numbers)
        at = self._minute + second
        value = event(number, time=datetime.fromtimestamp(at, UTC).isoformat(), channel=TOPICS.channel_of(topic))
        before = len(self.blocks)
        stamp = int(at * 1000) if self._stamped else 0
        self.batch = RecordBatch(topic, 0, [value], range(number, number + 1), max_timestamp_ms=stamp, nbytes=400)
        asyncio.run(self._stage.take(self.batch))
        return len(self.blocks) > before

    @property
    def blocks(self) -> list[records.BlockRecord]:
        """What was emitted to be stored."""
        return [records.decode_block(value) for _, value in self._app.broker.topics[TP(TOPICS.blocks, 0)]]


@pytest.mark.parametrize("stamped", [False, True])
def test_a_flush_comes_at_once_when_the_last_source_passes_a_minute(
    monkeypatch: pytest.MonkeyPatch, stamped: bool
) -> None:
    reading = Reading(monkeypatch, NOW - 120, stamped=stamped)
    assert not reading.flushes(WEB, -3), "nothing is known to compare with"
    assert not reading.flushes(APP, -2)
    assert not reading.flushes(WEB, 1), "one is still before it"
    assert reading.flushes(APP, 0)
    assert not reading.flushes(APP, 2), "once for each minute"
    assert not reading.flushes(APP, 61)
    assert reading.flushes(WEB, 60)


def test_who_was_just_heard_is_waited_for_and_who_is_idle_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 120)
    reading.flushes(APP, -1)
    reading.flush()
    assert not reading.flushes(WEB, -1)
    assert not reading.flushes(WEB, 1), "the app was heard a moment ago"
    reading.flush()
    reading.now += IDLE_S * 2
    assert reading.flushes(WEB, 2 * IDLE_S)


def test_a_partition_that_was_never_used_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 120)
    assert not reading.flushes(WEB, -1)
    assert reading.flushes(WEB, 1)


def test_little_batches_are_taken_in_together_with_the_flush_and_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 120, stamped=True)
    reading.flushes(WEB, 1)
    reading.flush()
    added: list[int] = []
    add = Intake.add

    def counted(intake: Intake, values: Sequence[bytes | None], *rest: Any) -> int:
        added.append(len(values))
        return add(intake, values, *rest)

    monkeypatch.setattr(Intake, "add", counted)
    for second in range(2, 12):
        reading.flushes(WEB, second)
        assert not reading.batch.released
    reading.flush()
    assert (added, reading.batch.released) == ([10], True)
    assert [(block.first, block.last, block.tally.counted) for block in reading.blocks] == [(0, 0, 1), (1, 10, 10)]
    for _ in range(GATHERED_BYTES // 400 + 1):
        reading.flushes(WEB, 12)
    assert added == [10, GATHERED_BYTES // 400 + 1]


def test_history_waits_for_full_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 3 * 3600)
    assert not reading.flushes(WEB, -1)
    assert not reading.flushes(WEB, 1)
