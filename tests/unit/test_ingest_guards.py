"""The ingest agent when its clock is in doubt, or most records are bad: what it holds, tells, and lets go of."""

import json
import time
from datetime import UTC, datetime

import pytest
from faust.types import TP

from streams import metrics
from streams.agents import clocks, records
from streams.agents.ingest import Ingest
from streams.agents.sources import Source
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
from streams.events import orders
from streams.events.clock import Clock
from streams.events.frozen import NEVER, FrozenRange, SourceHead, Tally
from streams.events.orders import SourceOrder
from streams.kpis.catalogue.catalogue import Catalogue
from streams.settings import Settings
from tests.harness import twin

TOPICS = Topics("cx")
WEB, APP = TOPICS.sources[:2]
CATALOGUE = Catalogue.load()


def event(number: int, ahead_s: float = 0.0, source: str = "/shop") -> bytes:
    at = datetime.fromtimestamp(time.time() + ahead_s, UTC).isoformat()
    return json.dumps({
        "specversion": "1.0", "id": f"e{number}", "source": source, "type": "cx.session.started", "time": at,
        "subject": "c1", "channel": "web", "data": {},
    }).encode()  # fmt: skip


class Run:
    """An ingest stage over the source partitions of a broker in memory, driven by hand."""

    def __init__(self, **settings: float) -> None:
        self.app = twin.Application(twin.Broker(), 1)
        self.clock = Clock()
        self.stage = Ingest(self.app, Settings(partitions=1, **settings), TOPICS, CATALOGUE, self.clock)  # type: ignore[arg-type]
        self._next = {WEB: 0, APP: 0, TOPICS.control: 0}

    async def start(self) -> "Run":
        await self.app.begin()
        return self

    async def read(self, topic: str, *values: bytes, appended: float | None = None) -> RecordBatch:
        """Have a batch read, and the timer tick."""
        first = self._next[topic]
        self._next[topic] += len(values)
        batch = RecordBatch(topic, 0, list(values), range(first, first + len(values)), appended=appended)
        await self.stage.take(batch)
        await self.stage.tick()
        return batch

    def say(self, ahead_s: float) -> None:
        """Have ClickHouse and Kafka say that the right time is so far ahead of the worker's clock."""
        for reference in ("clickhouse", "kafka"):
            self.clock.measured(reference, time.time() + ahead_s, 0.1, clocks.steady())

    @property
    def held(self) -> set[str]:
        """Topics of the partitions that are held."""
        return {tp.topic for tp in self.stage.lane.held}

    def done(self, topic: str) -> int:
        """How many records of a source are acknowledged."""
        return self.app.broker.committed.get(TP(topic, 0), 0)

    def tally(self, topic: str) -> tuple[int, int]:
        """Records counted and bad, of the blocks of a source."""
        blocks = map(records.decode_block, self.app.broker.values(TOPICS.blocks))
        own = [block.tally for block in blocks if block.topic == topic]
        return sum(tally.counted for tally in own), sum(tally.bad for tally in own)


async def test_a_slow_clock_holds_a_partition_until_the_clocks_agree(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty minutes behind: no dead letter, nothing acknowledged; set right, all of it is counted."""
    run = await Run().start()
    run.say(1_200)
    batch = await run.read(WEB, event(0), event(1, 1_200), event(2, 1_200))
    other = await run.read(APP, event(3))
    assert run.tally(WEB) == (1, 0)
    assert run.done(WEB) == 0
    assert not batch.released, "back-pressure stops the partition"
    assert run.held == {WEB}
    assert "web/0 waits from offset 1 on: the worker's clock is 1200 s behind clickhouse and kafka" in caplog.text
    assert metrics.CLOCK_HELD.labels("web", "0")._value.get() == 1
    assert run.tally(APP) == (1, 0), "what nobody doubts goes on"
    assert run.done(APP) == len(other)

    more = await run.read(WEB, event(4, 1_200))
    assert not more.released
    run.say(1_200)
    run.clock.measured("clickhouse", time.time(), 0.1, clocks.steady())
    run.clock.measured("kafka", time.time(), 0.1, clocks.steady())
    # The references have come to our time, so these events are of the future indeed.
    await run.stage.tick()
    assert run.tally(WEB) == (1, 3)
    assert run.done(WEB) == 4
    assert not run.held
    assert metrics.CLOCK_HELD.labels("web", "0")._value.get() == 0


async def test_a_clock_set_right_counts_what_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    run = await Run().start()
    run.say(1_200)
    await run.read(WEB, event(1, 1_200), event(2, 1_200))
    assert run.tally(WEB) == (0, 0)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 1_200)
    await run.stage.tick()
    assert run.tally(WEB) == (2, 0)


async def test_a_clock_hours_ahead_takes_nothing_in_meanwhile() -> None:
    """It would close minutes that still fill. One reference alone stops nothing: it may be the one that is wrong."""
    run = await Run().start()
    run.say(-7_200)
    await run.read(WEB, event(0, -7_200))
    assert run.tally(WEB) == (0, 0)
    run.clock.measured("kafka", time.time(), 0.1, clocks.steady())
    await run.stage.tick()
    assert run.tally(WEB) == (1, 0)


async def test_a_hostile_sender_of_future_times_stops_nobody() -> None:
    """Nine records of ten, under many names: dead letters each, and honest ones beside them are counted."""
    run = await Run().start()
    run.say(0)
    for start in range(0, 30_000, 3_000):
        values = [
            event(n, 1_200 if n % 2 else 1e9, f"/evil/{n}") if n % 10 else event(n) for n in range(start, start + 3_000)
        ]
        await run.read(WEB, *values)
    assert run.tally(WEB) == (3_000, 27_000)
    assert not run.held


@pytest.mark.parametrize("known", [True, False])
async def test_bad_records_stop_their_partition_alone(
    known: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topic, partition, offset, why, and the ways out are said."""
    run = await Run().start()
    if known:
        run.say(0)
    await run.read(WEB, *(event(number) for number in range(2_000)))
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 1)
    await run.read(WEB, *[b"{}"] * 2_500)
    await run.read(APP, event(2_099))
    assert run.tally(WEB) == (2_000, 0)
    assert run.tally(APP) == (1, 0)
    said = caplog.text
    assert "web/0 stopped at offset 2000 of topic cx.touchpoints.web, partition 0: 2500 of the 2500" in said
    assert "0 of them are in the dead letters" in said
    assert "cx sources skip web/0" in said
    assert metrics.BREAKER.labels("web", "0")._value.get() == 1
    assert metrics.BREAKER_OFFSET.labels("web", "0")._value.get() == 2_000

    await run.read(WEB, event(2_098))
    assert run.stage._sources[TP(WEB, 0)].held, "what comes meanwhile waits"
    assert metrics.CLOCK_HELD.labels("web", "0")._value.get() == 0, "and not for the clock"


async def test_ten_bad_events_a_second_stop_it_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute of good ones; what became dead letters before is bounded."""
    run = await Run().start()
    began = now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for half in range(240):
        bad = half >= 120
        await run.read(WEB, *([b"{}"] * 5 if bad else [event(half * 5 + n) for n in range(5)]))
        now += 0.5
        if run.held:
            break
    assert 60 < now - began <= 66
    assert run.tally(WEB)[1] <= 60


async def stopped(**settings: float) -> Run:
    """More bad records than a source may send; nothing of it read further."""
    run = await Run(**settings).start()
    await run.read(WEB, *[b"\x00\x00\x00\x00*{}"] * 2_500)
    assert run.tally(WEB) == (0, 0)
    assert WEB in run.held
    return run


async def test_an_order_lets_a_stopped_source_go_on_with_all_that_came_meanwhile() -> None:
    """Each record once: what is bad as a dead letter, what is good counted, also of what was read while it stood."""
    run = await stopped()
    reason = {"message": metrics.BREAKER_WHY._metrics}["message"]
    assert any(
        "schema-registry framing (schema 42)" in labels[3] and labels[4] == "00 00 00 00 2a 7b 7d" for labels in reason
    )
    meanwhile = await run.read(WEB, *(event(number) for number in range(10, 20)))
    assert not meanwhile.released
    order = SourceOrder("web/0", 0, 2_510, 0)
    await run.read(TOPICS.control, orders.encode(order))
    await run.stage.tick()
    await run.read(WEB, *(event(number) for number in range(20, 25)))
    assert run.tally(WEB) == (15, 2_500)
    assert run.done(WEB) == 2_515
    assert run.done(TOPICS.control) == 1
    assert len(run.app.broker.values(TOPICS.dead_letters)) == 2_500
    assert not run.held
    assert metrics.BREAKER.labels("web", "0")._value.get() == 0
    assert ("web", "0") not in metrics.BREAKER_OFFSET._metrics
    await run.read(TOPICS.control, orders.encode(order))
    assert run.tally(WEB) == (15, 2_500), "given twice, it is the same"


async def test_behind_an_order_a_source_is_watched_again() -> None:
    run = await stopped()
    await run.read(TOPICS.control, orders.encode(SourceOrder("web/0", 0, 1, 0)))
    assert run.tally(WEB) == (0, 2_500)
    await run.read(WEB, *[b"{}"] * 1_999)
    assert run.tally(WEB) == (0, 4_499), "what was let through is not held against it"
    await run.read(WEB, *[b"{}"] * 2_500)
    assert run.tally(WEB) == (0, 4_499)
    assert metrics.BREAKER_OFFSET.labels("web", "0")._value.get() == 4_499


async def test_an_order_of_another_epoch_or_place_or_none_at_all_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does it stop the worker."""
    run = await stopped()
    await run.read(
        TOPICS.control,
        orders.encode(SourceOrder("web/0", 0, 1, 1)),
        orders.encode(SourceOrder("web/1", 0, 1, 0)),
        orders.encode(SourceOrder("web/0", 1, 9_999, 0)),
        b"skip",
        b"",
        b"\x91" * 100_000,
        b"\x81\xa1x" + b"\x91" * 100_000,
    )
    assert run.tally(WEB) == (0, 0)
    assert run.held == {WEB}
    assert caplog.text.count("is of no source here") == 2
    assert caplog.text.count("is no order") == 4
    await run.read(APP, event(99))
    assert run.tally(APP) == (1, 0)


@pytest.mark.parametrize("every_s", [0.0, 2.0])
async def test_a_source_is_judged_by_when_the_broker_says_that_its_records_came(every_s: float) -> None:
    """Thirty bad ones, read at once: in ten seconds they came, or in none, which stops nothing."""
    run = await Run().start()
    for part in range(6):
        await run.read(WEB, *[b"no event"] * 5, appended=1_000.0 + every_s * part)
    assert run.held == ({WEB} if every_s else set())


@pytest.mark.parametrize(("first", "until"), [(5, 5), (-1, 5), (6, 5)])
def test_an_order_lets_something_through(first: int, until: int) -> None:
    with pytest.raises(ValueError, match="lets nothing through"):
        SourceOrder("web/0", first, until, 0)


def test_an_order_ends_before_the_offset_that_is_judged_again() -> None:
    order = SourceOrder("web/0", 5, 7, 0)
    assert [offset for offset in range(10) if order.covers(offset)] == [5, 6]


@pytest.mark.parametrize(("until", "stopped_again"), [(1_999, False), (0, True)])
def test_a_worker_that_takes_over_holds_nothing_against_a_source_that_an_order_let_through(
    until: int, stopped_again: bool
) -> None:
    """The ranges are in the changelog like any other; 18 bad records more would be too many with them."""
    now = time.time()
    ranges = [
        FrozenRange("web/0", first, last, now - age_s, SourceHead(first), SourceHead(last + 1, tally=tally), b"", NEVER)
        for first, last, age_s, tally in [(0, 1_998, 20, Tally(1_999, bad=1_999)), (1_999, 1_999, 10, Tally(1, 1))]
    ]
    order = SourceOrder("web/0", 0, until, 0) if until else None
    source = Source.restored(TP(WEB, 0), "web", ranges, order, Settings(), Clock())
    assert (source.breaker.take(now, 18, 18) is not None) is stopped_again
