"""When the ingest stage closes its ranges without waiting for the timer."""

import asyncio
import time
from datetime import UTC, datetime
from itertools import count

import pytest
from faust.types import TP

from streams.agents.ingest import Ingest
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
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

    def __init__(self, monkeypatch: pytest.MonkeyPatch, minute: float) -> None:
        self.now = NOW
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
        at = datetime.fromtimestamp(self._minute + second, UTC).isoformat()
        value = event(number, time=at, channel=TOPICS.channel_of(topic))
        before = len(self._app.broker.topics[TP(TOPICS.blocks, 0)])
        asyncio.run(self._stage.take(RecordBatch(topic, 0, [value], range(number, number + 1))))
        return len(self._app.broker.topics[TP(TOPICS.blocks, 0)]) > before


def test_a_flush_comes_at_once_when_the_last_source_passes_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 120)
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


def test_history_waits_for_full_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, NOW - 3 * 3600)
    assert not reading.flushes(WEB, -1)
    assert not reading.flushes(WEB, 1)
