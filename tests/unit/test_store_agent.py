"""The store agent while partitions move: nothing of an earlier assignment is inserted any more."""

import asyncio
import threading
from types import SimpleNamespace

from streams.agents import records
from streams.agents import store as store_agent
from streams.agents.store import Store
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.events.intake import Tally
from streams.kpis.publish import PublishedMinute
from streams.settings import Settings
from streams.storage.connection import Address, UnreachableError
from streams.storage.rows import pack_events
from streams.storage.writer import Writer

TOPICS = Topics("cx")
HERE = Assignment(1, {TOPICS.blocks: (0,)})


class HangingClient:
    """The first insert hangs until it is let go, and then fails as a timeout does; all others succeed."""

    def __init__(self) -> None:
        self.tables: list[str] = []
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def query(self, *_args, **_kwargs):
        return SimpleNamespace(result_rows=[])

    def raw_insert(self, table, *_args, **_kwargs):
        self.tables.append(table)
        if len(self.tables) == 1:
            self.hangs.set()
            self.go_on.wait(90)
            raise UnreachableError("timed out")


def store_with(client: HangingClient) -> tuple[Store, SimpleNamespace]:
    def keep(function):
        return function

    lane = SimpleNamespace(
        on_assigned=keep, on_finish=keep, topic=None, assignment=HERE, ack=lambda *_: 0, report_lag=lambda *_: None
    )
    app = SimpleNamespace(lane=lambda *_, **__: lane, agent=lambda *_, **__: keep, timer=lambda *_: keep)
    writer = Writer(Address("http://127.0.0.1:1", "cx", "writer", ""), first_pause_s=0.01)
    writer._client = client  # type: ignore[assignment]
    return Store(app, Settings(), TOPICS, writer), lane  # type: ignore[arg-type]


def one_block() -> RecordBatch:
    block = records.Block(
        "cx.touchpoints.web", 0, 0, 0, 0.0, Tally(1, 1), pack_events("cx.touchpoints.web", 0, [0], [b"{}"]), []
    )
    return RecordBatch(TOPICS.blocks, 0, [records.encode_block(block)], range(1))


def test_an_insert_that_hangs_is_not_repeated_once_partitions_have_moved() -> None:
    """Repeated, it would store what the new owner, who found nothing of it, has stored under another token."""

    async def moved() -> list[str]:
        client = HangingClient()
        store, lane = store_with(client)
        store._waiting = [one_block()]
        flush = asyncio.create_task(store.flush())
        assert await asyncio.to_thread(client.hangs.wait, 90)
        finish = asyncio.create_task(store._finish())
        await asyncio.sleep(0)
        finish.cancel()
        await asyncio.wait([finish])
        lane.assignment = None
        taken = asyncio.create_task(store._take_over(HERE))
        await asyncio.sleep(0.05)
        assert not taken.done(), "the next assignment waits for what is still under way"
        client.go_on.set()
        await asyncio.gather(flush, taken)
        first = client.tables.copy()
        lane.assignment = HERE
        store._waiting = [one_block()]
        await store.flush()
        assert client.tables[len(first) :] == ["events", "outcomes"], "the new assignment stores again"
        return first

    assert asyncio.run(moved()) == ["events"]


def minutes_of(*numbers: int) -> bytes:
    rows = [PublishedMinute("csat", {}, 60 * number, 0, 1, 1, [1, 1], {}) for number in numbers]
    return records.encode_kpis(records.KpiRecord(at=0.0, minutes=rows, values=[]))


def test_many_rows_are_stored_in_parts_each_once_and_under_a_token_of_its_own(monkeypatch) -> None:
    """Two inserts under one token would be one: ClickHouse drops the second."""
    monkeypatch.setattr(store_agent, "ROWS_HELD", 3)
    store, _ = store_with(HangingClient())
    stored: list[tuple[list[int], str]] = []
    inserts = SimpleNamespace(
        stored=lambda _partitions: {},
        insert_blocks=lambda _blocks: None,
        insert_kpi_minutes=lambda rows, token: stored.append(([row[1] for row in rows], token)),
    )
    store._writer = inserts  # type: ignore[assignment]
    payloads = [minutes_of(1, 2), minutes_of(3), minutes_of(4, 5, 6, 7), minutes_of(8)]
    store._store([0], [RecordBatch(TOPICS.kpis, 0, payloads, range(4))])
    assert [minutes for minutes, _ in stored] == [[1, 2, 3], [4, 5, 6, 7], [8]]
    assert len({token for _, token in stored}) == 3


def test_what_people_wait_for_is_stored_before_events() -> None:
    store, _ = store_with(HangingClient())
    order: list[str] = []
    store._writer = SimpleNamespace(  # type: ignore[assignment]
        stored=lambda _partitions: {},
        insert_blocks=lambda _blocks: order.append("events"),
        insert_kpi_minutes=lambda _rows, _token: order.append("minutes"),
    )
    store._store([0], [one_block(), RecordBatch(TOPICS.kpis, 0, [minutes_of(1)], range(1))])
    assert order == ["minutes", "events"]
