"""Guards whose condition has to do with the rate of traffic trip at 10 and at 10,000 events per second (RELIABILITY.md)."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest

from streams.agents import notify
from streams.agents.notify import Notify
from streams.alerts.judging.sources import ChannelHealth, observe
from streams.alerts.types import SourceHealth
from streams.collector.access import BURST_S, Bucket, RejectedError
from streams.engine.batch import RecordBatch
from streams.engine.ledger import Ledger
from streams.engine.names import Topics
from streams.engine.watchdog import Limits
from streams.events.dedup import SeenIds, Segment
from streams.kpis.language.series import series_key
from streams.kpis.rolling import admission
from streams.kpis.rolling.admission import Registry
from streams.settings import Settings
from tests.harness.onelane import OneApp

DEFAULTS = Settings()
RATES = (10, 10_000)
FLUSH_S = 0.5


def halves(rate: int, most_s: float) -> Iterator[tuple[float, int]]:
    """Yield the time (s) and the records of each half second."""
    for half in range(1, int(most_s / FLUSH_S) + 1):
        yield half * FLUSH_S, int(rate * FLUSH_S)


@pytest.mark.parametrize(("rate", "after_s"), [(10, 1_000), (10_000, 1)])
def test_series_cap_trips(rate: int, after_s: float) -> None:
    """A label with a new value in every event: beyond the cap all of it is `other`, counted each time."""
    registry = Registry(admission.SeriesLimits(lambda _kpi: DEFAULTS.series_cap))
    for number in range(10 * DEFAULTS.series_cap):
        registry.admit(series_key("csat", (("agentid", f"a{number}"),)))
        if registry.refused:
            break
    assert number / rate == after_s
    assert len(registry.names) == DEFAULTS.series_cap + 1


@pytest.mark.parametrize(("rate", "after_s"), [(10, 20_000), (10_000, 20)])
def test_dedup_horizon_trips(rate: int, after_s: float) -> None:
    """Ids are forgotten once there are more than are remembered: what is older than the forgotten ones is late then."""
    seen, number = SeenIds(DEFAULTS.dedup_ids), 0
    for at, records in halves(rate, 30_000):
        ids = np.arange(number, number + records, dtype=np.uint64).tobytes()
        if seen.add(Segment(number, number + records - 1, ids, at), at):
            break
        number += records
    assert at == after_s + FLUSH_S
    assert seen.horizon == FLUSH_S
    assert 0 not in seen


@pytest.mark.parametrize("rate", RATES)
def test_pace_of_a_key_trips_beyond_its_rate_only(rate: int) -> None:
    """2,000 per second may come; requests of 10 events each."""
    now = 0.0
    bucket = Bucket(DEFAULTS.collect_events_per_s, DEFAULTS.collect_events, clock=lambda: now)
    tripped = None
    while now < 60 and tripped is None:
        now += 10 / rate
        try:
            bucket.take(10)
        except RejectedError:
            tripped = now
    if rate <= DEFAULTS.collect_events_per_s:
        assert tripped is None
    else:
        size = DEFAULTS.collect_events_per_s * BURST_S
        assert tripped == pytest.approx(size / (rate - DEFAULTS.collect_events_per_s), abs=0.01)


@pytest.mark.parametrize("rate", RATES)
def test_watchdog_sees_commits_that_do_not_happen(rate: int) -> None:
    """However often records are acknowledged meanwhile."""
    now, offset = 0.0, 0
    ledger = Ledger(lambda: now)
    for now, records in halves(rate, 120):  # noqa: B007 - the ledger asks for it
        batch = ledger.accept(RecordBatch("t", 0, [None] * records, range(offset, offset + records)))
        assert batch is not None
        ledger.ack(batch)
        offset += records
        if ledger.oldest_uncommitted_s() > Limits().commit_s:
            break
    assert now == FLUSH_S + Limits().commit_s + FLUSH_S


@pytest.mark.parametrize("rate", RATES)
def test_watchdog_sees_one_batch_that_is_never_finished(rate: int) -> None:
    """However many are finished beside it."""
    now, offset, limit_s = 0.0, 0, 120.0
    ledger = Ledger(lambda: now)
    for now, records in halves(rate, 240):  # noqa: B007 - the ledger asks for it
        batch = ledger.accept(RecordBatch("t", 0, [None] * records, range(offset, offset + records)))
        assert batch is not None
        if offset:
            ledger.ack(batch)
        offset += records
        if ledger.oldest_unacked_s(["t"]) > limit_s:
            break
    assert now == FLUSH_S + limit_s + FLUSH_S


def minutes(rate: int, *, silent: int = 0, bad: float = 0.0) -> SourceHealth:
    read = max(0, 5 - silent) * 60 * rate
    return SourceHealth("web", silent, read, int(read * bad))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("ill", "kind"), [({"silent": 1}, "silent"), ({"bad": 0.21}, "refused")], ids=["silent", "refused"]
)
def test_alerts_of_an_ill_channel_are_held_back(rate: int, ill: dict[str, float], kind: str) -> None:
    """As of the first closed minute."""
    channels: dict[str, ChannelHealth] = {}
    for minute in range(60):
        observe(channels, minute, {"web/0": minutes(rate)})
        assert not channels["web"].trouble
    observe(channels, 60, {"web/0": minutes(rate, **ill)})  # type: ignore[arg-type]
    assert channels["web"].kind == kind


async def test_notifications_are_read_no_further_than_receivers_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of alerts and a receiver that hangs: what waits is bounded, and nothing is acknowledged."""
    app, hangs = OneApp(), asyncio.Event()

    async def deliver(*_: object) -> list[str]:
        await hangs.wait()
        return []

    agent = Notify(app, DEFAULTS, Topics("cx"))  # type: ignore[arg-type]
    monkeypatch.setattr(agent._webhooks["alert"], "deliver", deliver)
    monkeypatch.setattr(notify, "_message", lambda value: ("alert", value))
    batches = [RecordBatch("cx.notifications", 0, [b"x"] * 500, range(n * 500, n * 500 + 500)) for n in range(20)]
    running = asyncio.create_task(agent._run(batches))
    deadline = time.monotonic() + 60
    while sum(agent._waiting.values()) <= notify.UNDER_WAY:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert sum(agent._waiting.values()) == notify.UNDER_WAY + 500
    assert not app.one_lane.acked
    hangs.set()
    await asyncio.wait_for(running, 60)
    await agent._give_up()
    assert len(app.one_lane.acked) == len(batches)
