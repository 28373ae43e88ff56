import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.engine import BatchApp, RecordBatch
from streams.engine.watchdog import EXIT_CODE, Limits, Watchdog

# Loops have all the time: this machine may let them wait.
LIMITS = Limits(rebalance_s=0.0, commit_s=0.0, loop_s=600.0, stop_s=0.0)
PATIENCE_S = 90.0


@pytest.fixture
async def app() -> AsyncIterator[BatchApp]:
    """A worker that is well; its consumer thread is played by a running event loop."""
    app = BatchApp("watched", brokers="127.0.0.1:1", partitions=1)
    app.lane("slow", stall_limit_s=None)
    app.lane("quick", stall_limit_s=0.0)
    thread = app.batch_consumer.thread
    thread.thread_loop.close()
    loop = thread.thread_loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever)
    running.start()
    app.loop = asyncio.get_running_loop()
    yield app
    if loop.is_closed():
        return
    loop.call_soon_threadsafe(loop.stop)
    running.join()
    loop.close()


def deliver(app: BatchApp, topic: str) -> RecordBatch:
    batch = app.batch_consumer.ledger.accept(RecordBatch(topic, 0, [b"x"], range(1)))
    assert batch is not None
    batch.generation = app.generation
    return batch


async def complaints(app: BatchApp, limits: Limits = LIMITS, looks: int = 2) -> list[str]:
    """What is found when the worker's loop keeps running between the looks."""
    watchdog = Watchdog(app, limits)
    found: list[str] = []
    for _ in range(looks):
        found = list(watchdog.complaints())
        await asyncio.sleep(0.02)
    return found


async def test_a_worker_that_is_well_is_left_alone(app: BatchApp) -> None:
    app.lanes[1].ack(deliver(app, "quick"))
    app.batch_consumer.ledger.committed(TP("quick", 0), 1)
    deliver(app, "slow")
    assert await complaints(app, looks=10) == []


async def test_a_rebalance_that_does_not_end(app: BatchApp) -> None:
    app.rebalancing = True
    [complaint] = await complaints(app)
    assert "partitions have been moving" in complaint
    app.rebalancing = False
    assert await complaints(app) == []


async def test_an_agent_that_does_not_finish_unless_it_stopped_on_purpose(app: BatchApp) -> None:
    batch = deliver(app, "quick")
    [complaint] = await complaints(app)
    assert "the agent of quick has not finished a batch" in complaint
    app.lanes[1].hold(batch.tp)
    assert await complaints(app) == []
    app.lanes[1].end()
    assert len(await complaints(app)) == 1


async def test_acknowledged_records_that_nobody_commits(app: BatchApp) -> None:
    app.lanes[1].ack(deliver(app, "quick"))
    [complaint] = await complaints(app)
    assert "have not been committed" in complaint


async def test_an_agent_that_has_ended(app: BatchApp) -> None:
    async def agent() -> None:
        pass

    task = asyncio.ensure_future(agent())
    await task
    app.agents["dead"] = SimpleNamespace(_actors=[SimpleNamespace(actor_task=task)])
    [complaint] = await complaints(app)
    assert complaint == "the agent dead has ended"


async def test_a_blocked_loop_of_the_worker(app: BatchApp) -> None:
    watchdog = Watchdog(app, replace(LIMITS, loop_s=0.05))
    assert list(watchdog.complaints()) == []
    time.sleep(0.06)  # noqa: ASYNC251 - the loop is blocked, that is the point
    assert any("event loop of the worker has not answered" in told for told in watchdog.complaints())


async def test_a_loop_that_answers_late_is_left_alone(app: BatchApp) -> None:
    watchdog = Watchdog(app, replace(LIMITS, loop_s=0.05))
    for name in ("worker", "consumer thread"):
        watchdog._beats[name] = time.monotonic() - 1
    assert len(list(watchdog.complaints())) == 2
    deadline = time.monotonic() + PATIENCE_S
    while list(watchdog.complaints()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_a_dead_consumer_thread(app: BatchApp) -> None:
    loop = app.batch_consumer.thread.thread_loop
    loop.call_soon_threadsafe(loop.stop)
    while loop.is_running():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    loop.close()
    [complaint] = await complaints(app)
    assert "event loop of the consumer thread" in complaint


async def test_a_shutdown_that_does_not_end_and_nothing_else_while_stopping(app: BatchApp) -> None:
    app.rebalancing = True
    app.failure = OSError("send failed")
    [complaint] = await complaints(app)
    assert "has been stopping" in complaint


async def test_an_error_that_recovery_swallowed(app: BatchApp) -> None:
    """Faust's own recovery loop runs here, with a table that cannot apply a record."""
    watchdog = Watchdog(app, Limits())
    logging.getLogger("faust.tables.recovery").addHandler(watchdog._swallowed)
    recovery, tp = app.tables.recovery, TP("changelog", 0)
    broken = SimpleNamespace(recovery_buffer_size=1, on_changelog_event=raising)
    recovery.active_tps.add(tp)
    recovery.tp_to_table[tp] = broken
    app.flow_control.resume()
    await app.tables.changelog_queue.put(SimpleNamespace(message=SimpleNamespace(tp=tp, offset=4)))
    reading = asyncio.ensure_future(recovery._slurp_changelogs(recovery))
    deadline = time.monotonic() + PATIENCE_S
    while watchdog._swallowed.first is None or recovery.active_offsets.get(tp) != 4:  # the record counts as recovered
        assert time.monotonic() < deadline, recovery.active_offsets
        await asyncio.sleep(0.01)
    assert not app.crashed
    [complaint] = [text for text in watchdog.complaints() if "applied" in text]
    assert "a changelog record could not be applied" in complaint
    reading.cancel()
    await asyncio.wait([reading])
    logging.getLogger("faust.tables.recovery").removeHandler(watchdog._swallowed)


async def raising(_event: Any) -> None:
    raise RuntimeError("cannot apply")


def test_the_process_ends_with_its_own_exit_code_and_says_why() -> None:
    code = "from streams.engine.watchdog import end_process; end_process('tables do not recover')"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == EXIT_CODE
    assert "Worker ended by its watchdog: tables do not recover" in ended.stderr
    assert "thread" in ended.stderr


async def test_the_thread_ends_the_process_at_the_first_complaint(app: BatchApp) -> None:
    app.rebalancing = True
    reasons: list[str] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(reason: str) -> None:
        reasons.append(reason)
        loop.call_soon_threadsafe(ended.set)

    watchdog = Watchdog(app, Limits(rebalance_s=0.05, check_every_s=0.02), end)
    watchdog.start()
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    watchdog._thread.join(PATIENCE_S)
    assert not watchdog._thread.is_alive()
    assert len(reasons) == 1
    logging.getLogger("faust.tables.recovery").removeHandler(watchdog._swallowed)
