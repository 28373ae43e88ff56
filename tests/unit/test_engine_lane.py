import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams import metrics
from streams.engine import Assignment, BatchApp, RecordBatch, StaleGenerationError
from streams.engine.outgoing import StateLostError


@pytest.fixture
async def app() -> AsyncIterator[BatchApp]:
    app = BatchApp("lanes", brokers="127.0.0.1:1, 127.0.0.1:2", partitions=4)
    thread_loop = app.batch_consumer.thread.thread_loop
    yield app
    thread_loop.close()


def live(app: BatchApp, generation: int) -> None:
    app.generation = app.live_generation = generation
    app.lease.answered(app.lease.now(), 0, generation)


def batch(generation: int, first: int = 0) -> RecordBatch:
    made = RecordBatch("t", 0, [b"x"], range(first, first + 1))
    made.generation = generation
    return made


async def settle() -> None:
    """Let every task go as far as it can without the test."""
    for _ in range(50):
        await asyncio.sleep(0)


class Stream:
    """Stands for Faust's stream: events are put by the test."""

    def __init__(self) -> None:
        self.enable_acks = True
        self.queue: asyncio.Queue[RecordBatch] = asyncio.Queue()

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield SimpleNamespace(value=await self.queue.get())


async def collect(lane: Any, stream: Stream, into: list[RecordBatch]) -> None:
    async for each in lane.batches(stream):
        into.append(each)  # noqa: PERF401 - the test looks while this waits


async def test_brokers_become_urls(app: BatchApp) -> None:
    assert [str(url) for url in app.conf.broker] == ["kafka://127.0.0.1:1", "kafka://127.0.0.1:2"]


async def test_a_session_longer_than_a_request_lengthens_the_request() -> None:
    app = BatchApp("long", brokers="127.0.0.1:1", partitions=1, broker_session_timeout=90.0)
    assert app.conf.broker_request_timeout == 90.0


async def test_batches_wait_for_the_state_and_stale_ones_are_dropped(app: BatchApp) -> None:
    lane = app.lane("t")
    loaded, order = asyncio.Event(), []

    @lane.on_assigned
    async def load(assignment: Assignment) -> None:
        await loaded.wait()
        order.append(("loaded", assignment.generation))

    stream, seen = Stream(), []
    reading = asyncio.ensure_future(collect(lane, stream, seen))
    live(app, 2)
    beginning = asyncio.ensure_future(lane.begin(Assignment(2, {"t": (0,)})))
    old, new = batch(1), batch(2)
    stream.queue.put_nowait(old)
    stream.queue.put_nowait(new)
    await settle()
    assert seen == []
    assert lane.assignment is None
    assert old.released
    loaded.set()
    await beginning
    await settle()
    assert order == [("loaded", 2)]
    assert seen == [new]
    assert not stream.enable_acks
    reading.cancel()


async def test_who_loses_partitions_while_taking_them_over_begins_nothing(app: BatchApp) -> None:
    """What writes while it loads its state is refused then; half of a state is no state."""
    lane = app.lane("t")
    begun = []

    @lane.on_assigned
    async def load(assignment: Assignment) -> None:
        if assignment.generation == 1:
            app.generation = app.live_generation = 2
            app.require_live(assignment.generation)
        begun.append(assignment.generation)

    live(app, 1)
    await lane.begin(Assignment(1, {"t": (0,)}))
    assert (lane.assignment, begun) == (None, [])
    await lane.begin(second := Assignment(2, {"t": (0,)}))
    assert (lane.assignment, begun) == (second, [2])


async def test_a_batch_waiting_for_state_is_dropped_when_partitions_move_on(app: BatchApp) -> None:
    lane = app.lane("t")
    stream, seen = Stream(), []
    reading = asyncio.ensure_future(collect(lane, stream, seen))
    live(app, 1)
    waiting = batch(1)
    stream.queue.put_nowait(waiting)
    await settle()
    await app.end_generation()
    await settle()
    assert waiting.released
    live(app, 2)
    await lane.begin(Assignment(2, {"t": (0,)}))
    await settle()
    assert seen == []
    reading.cancel()


async def test_an_assignment_that_ended_while_it_was_loaded_never_becomes_live(app: BatchApp) -> None:
    lane = app.lane("t")

    @lane.on_assigned
    async def load(_assignment: Assignment) -> None:
        await app.end_generation()

    live(app, 1)
    await lane.begin(Assignment(1, {"t": (0,)}))
    assert lane.assignment is None


async def test_lanes_are_told_of_partitions_without_records(app: BatchApp) -> None:
    told: list[Assignment] = []
    first, second = app.lane("a", "b"), app.lane("c")
    for lane in (first, second):

        @lane.on_assigned
        async def load(assignment: Assignment) -> None:
            told.append(assignment)

    app.on_rebalance_start()
    app.begin_recovery(set())
    app.consumer.assignment = lambda: {TP("a", 1), TP("a", 0), TP("b", 3), TP("changelog", 0)}
    app.batch_consumer.thread.sought_for = app.generation
    app.on_rebalance_end()
    await settle()
    assert [dict(assignment.partitions) for assignment in told] == [{"a": (0, 1), "b": (3,)}, {"c": ()}]
    assert told[0].owned == (0, 1, 3)
    assert told[0].tps == [TP("a", 0), TP("a", 1), TP("b", 3)]
    assert first.assignment == told[0]


async def test_the_generation_is_ours_even_when_the_broker_repeats_its_number(app: BatchApp) -> None:
    app.consumer.assignment = set
    for expected in (1, 2):
        app.consumer_generation_id = 7
        app.on_rebalance_start()
        app.begin_recovery(set())
        app.on_rebalance_end()
        assert app.live_generation == expected


async def test_one_lane_that_does_not_finish_does_not_keep_the_others_from_it(app: BatchApp) -> None:
    app.finish_timeout_s = 0.1
    stuck, quick = app.lane("a"), app.lane("b")
    finished = []

    @stuck.on_finish
    async def never() -> None:
        await asyncio.Event().wait()

    @quick.on_finish
    async def finish() -> None:
        finished.append("quick")

    live(app, 1)
    for lane in (stuck, quick):
        await lane.begin(Assignment(1, {}))
    app.batch_consumer.commit = nothing
    await asyncio.wait_for(app.finish_generation(), 90)
    assert finished == ["quick"]


async def nothing() -> None:
    """Nothing to commit."""


async def test_a_flush_that_fails_takes_the_worker_down_unless_it_was_only_too_late(app: BatchApp) -> None:
    lane = app.lane("a")
    failure: Exception = StaleGenerationError("moved")

    @lane.on_finish
    async def finish() -> None:
        raise failure

    live(app, 1)
    await lane.begin(Assignment(1, {}))
    app.batch_consumer.commit = nothing
    await app.finish_generation()
    assert app.failure is None
    failure = OSError("disk full")
    await app.finish_generation()
    assert app.failure is failure
    assert app.crashed


async def test_lag_and_caught_up_follow_what_was_delivered_and_the_agent(app: BatchApp) -> None:
    lane = app.lane("t")
    consumer = app.batch_consumer
    end: list[int | None] = [None]
    started: dict[TP, int] = {}
    consumer._thread = SimpleNamespace(known_end=lambda _tp: end[0], started_at=started, interrupt=lambda: None)
    live(app, 1)
    assert lane.lag("t", 0) is None
    await lane.begin(Assignment(1, {"t": (0,)}))
    assert lane.lag("t", 0) is None
    end[0] = 5
    assert lane.lag("t", 0) is None, "where reading starts is not known yet"
    assert not lane.caught_up("t", 0)
    started[TP("t", 0)] = 5
    assert (lane.lag("t", 0), lane.caught_up("t", 0)) == (0, True)
    # Two more are there: the agent has got one record and holds it, one waits in the fetcher.
    end[0] = 7
    assert (lane.lag("t", 0), lane.caught_up("t", 0)) == (2, False), "read by the fetcher is not delivered"
    held = consumer.ledger.accept(batch(1, first=5))
    assert held is not None
    assert (lane.lag("t", 0), lane.caught_up("t", 0)) == (1, False)
    held.release()
    last = consumer.ledger.accept(batch(1, first=6))
    assert last is not None
    assert (lane.lag("t", 0), lane.caught_up("t", 0)) == (0, False)
    last.release()
    assert lane.caught_up("t", 0)


# Fenced tables


class Sent:
    """Stands for the producer: everything is confirmed at once."""

    def __init__(self, app: BatchApp) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.ends: dict[tuple[str, int], int] = {}
        app.producer.send = self.send

    async def send(self, topic: str, key: bytes, value: bytes, partition: int, *_rest: Any) -> asyncio.Future[Any]:
        self.records.append((topic, partition, key, value))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        offset = self.ends.get((topic, partition), 0)
        self.ends[topic, partition] = offset + 1
        done.set_result(SimpleNamespace(offset=offset))
        return done


async def test_where_changelogs_end_is_committed_with_the_sources(
    app: BatchApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the next start sees that a changelog has lost its end."""
    committed: list[dict[TP, int]] = []

    async def commit(_self: Any, offsets: Any, _start_new_transaction: bool = True) -> bool:
        committed.append(offsets)
        return True

    monkeypatch.setattr(driver.Consumer, "_commit_offsets", commit)
    table, _sent = app.fenced_table("state"), Sent(app)
    live(app, 1)
    await table.claim(1, [1])
    await table.write(1, 1, [(b"k", b"one")])
    await app.batch_consumer._commit_offsets({TP("t", 1): 5})
    assert committed == [{TP("t", 1): 5, TP(table.changelog, 1): 2}]


@pytest.mark.parametrize(
    ("read", "begun", "beginning", "ended", "lost"),
    [
        (None, 0, 0, None, False),  # a first start
        (5, 0, 0, None, False),  # of a version that did not tell
        (5, 0, 0, 1, False),
        (5, 0, 0, 2, True),  # the leader lacks its newest records
        (5, 0, 1, 1, True),  # it was emptied
        (5, 1, 1, 1, False),  # it was restored since
        (None, 0, 1, 2, False),  # nothing was read that it would know of
    ],
)
async def test_who_takes_over_a_changelog_that_lost_something_ends(
    app: BatchApp,
    monkeypatch: pytest.MonkeyPatch,
    read: int | None,
    begun: int,
    beginning: int,
    ended: int | None,
    lost: bool,
) -> None:
    """Whoever went on would count again what it does not remember."""
    table, _sent, source = app.fenced_table("state", ["t"]), Sent(app), TP("t", 1)
    log, failed = TP(table.changelog, 1), []
    monkeypatch.setattr(type(app.consumer), "assignment", lambda _self: {source, log})

    async def fail(exc: BaseException) -> None:
        failed.append(exc)

    monkeypatch.setattr(app, "fail", fail)
    app.batch_consumer._thread = SimpleNamespace(
        committed={source: read, log: ended}, beginnings={source: 0, log: beginning}, begun={log: begun}
    )
    live(app, 1)
    await app._begin_generation(1)
    assert [type(one) for one in failed] == ([StateLostError] if lost else [])


async def test_a_table_keeps_partitions_apart_and_forgets_foreign_ones(app: BatchApp) -> None:
    table, sent = app.fenced_table("state"), Sent(app)
    live(app, 1)
    await table.claim(1, [1, 11])
    assert [record[:3] for record in sent.records] == [(table.changelog, p, b"%d/claim" % p) for p in (1, 11)]
    sent.records.clear()
    await table.write(1, 1, [(b"k", b"one"), (b"gone", b"x")])
    await table.write_many(1, [(11, b"k", b"eleven"), (1, b"gone", None)])
    assert table.changelog == "lanes-state-changelog"
    assert sent.records == [
        (table.changelog, 1, b"1/k", b"one"),
        (table.changelog, 1, b"1/gone", b"x"),
        (table.changelog, 11, b"11/k", b"eleven"),
        (table.changelog, 1, b"1/gone", None),
    ]
    assert table.load(1) == {b"k": b"one"}
    assert table.load(11) == {b"k": b"eleven"}
    app.begin_recovery({TP(table.changelog, 11), TP("t", 1)})
    assert table.load(1) == {}
    assert table.load(11) == {b"k": b"eleven"}


async def test_a_table_refuses_writes_of_a_past_assignment_before_it_changes_anything(app: BatchApp) -> None:
    table, sent = app.fenced_table("state"), Sent(app)
    live(app, 2)
    with pytest.raises(StaleGenerationError, match="generation 1, but 2 is live"):
        await table.write(1, 0, [(b"k", b"v")])
    await app.end_generation()
    with pytest.raises(StaleGenerationError, match="None is live"):
        await table.write(2, 0, [(b"k", b"v")])
    assert sent.records == []
    assert table.load(0) == {}


async def test_who_has_finished_nothing_yet_is_late_as_long_as_it_waits(
    app: BatchApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a record from the future make a partition that stands still look well."""
    lane, now = app.lane("t"), 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    consumer = app.batch_consumer
    consumer._thread = SimpleNamespace(known_end=lambda _tp: 9, started_at={TP("t", 0): 0}, interrupt=lambda: None)
    live(app, 1)
    await lane.begin(Assignment(1, {"t": (0,)}))
    late = metrics.LAG_SECONDS.labels("t", "0")._value
    first = consumer.ledger.accept(batch(1, first=5))
    assert first is not None
    for after_s in (0, 70):
        now = 1_000_000.0 + after_s
        lane.report_lag("t", 0, 1)
        assert late.get() == after_s
    first.max_timestamp_ms = int((now + 3_000) * 1_000)
    lane.ack(first)
    lane.report_lag("t", 0, 1)
    assert late.get() == 0
    now += 61
    lane.report_lag("t", 0, 1)
    assert late.get() == 61
