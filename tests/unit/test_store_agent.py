"""The store stage while partitions move: nothing of an earlier assignment is inserted any more."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from streams.agents import records
from streams.agents import store as store_agent
from streams.agents.store import Store
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import StaleGenerationError
from streams.events.intake import Tally
from streams.kpis.publish import PublishedMinute
from streams.settings import Settings
from streams.storage.connection import Address, UnreachableError
from streams.storage.rows import pack_events
from streams.storage.salvage import Holds, Inserted
from streams.storage.setaside import SetAside
from streams.storage.trouble import Troubles
from streams.storage.writer import Writer
from tests.harness import twin

TOPICS = Topics("cx")


class Server:
    """Takes inserts; the first one hangs until it is let go, and then fails as a timeout does."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.tables: list[str] = []
        self.hangs, self.go_on = threading.Event(), threading.Event()
        self._hang = hangs

    def query(self, *_args: Any, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(result_rows=[])

    def raw_insert(self, table: str, _names: Any, body: Any, **_options: Any) -> None:
        assert list(body), "an insert has rows"
        self.tables.append(table)
        if self._hang and len(self.tables) == 1:
            self.hangs.set()
            self.go_on.wait(90)
            raise UnreachableError("timed out")


class Application(twin.Application):
    """An application whose permits do not count as steps: the thread that asks is not stopped."""

    def permit(self, generation: int) -> Any:
        return lambda: self.require_live(generation)


def store_on(server: Any) -> tuple[Application, Store]:
    app = Application(twin.Broker(), 1)
    writer = Writer(Address("http://127.0.0.1:1", "cx", "writer", ""), first_pause_s=0.01)
    writer._link = SimpleNamespace(client=lambda: server)  # type: ignore[assignment]
    return app, Store(app, Settings(), TOPICS, writer)  # type: ignore[arg-type]


def one_block() -> RecordBatch:
    block = records.Block(
        "cx.touchpoints.web", 0, 0, 0, 0.0, Tally(1, 1), pack_events("cx.touchpoints.web", 0, [0], [b"{}"]), []
    )
    return RecordBatch(TOPICS.blocks, 0, [records.encode_block(block)], range(1))


def minutes_of(*numbers: int) -> bytes:
    rows = [PublishedMinute("csat", {}, 60 * number, 0, 1, 1, [1, 1], {}) for number in numbers]
    return records.encode_kpis(records.KpiRecord(at=0.0, minutes=rows, values=[]))


def test_an_insert_that_hangs_is_not_repeated_once_partitions_have_moved() -> None:
    """Repeated, it would store what the new owner, who found nothing of it, has stored under another token."""

    async def moved() -> list[str]:
        server = Server(hangs=True)
        app, store = store_on(server)
        await app.begin()
        await store.take(one_block())
        flush = asyncio.create_task(store.flush())
        assert await asyncio.to_thread(server.hangs.wait, 90)
        app.generation += 1
        store.lane.assignment = None
        taken = asyncio.create_task(store._take_over(Assignment(app.generation, {TOPICS.blocks: (0,)})))
        await asyncio.sleep(0.05)
        assert not taken.done(), "the next assignment waits for what is still under way"
        server.go_on.set()
        with pytest.raises(StaleGenerationError):
            await flush
        await taken
        first = server.tables.copy()
        store.lane.assignment = Assignment(app.generation, {TOPICS.blocks: (0,)})
        await store.take(one_block())
        await store.flush()
        assert server.tables[len(first) :] == ["events", "outcomes"], "the new assignment stores again"
        return first

    assert asyncio.run(moved()) == ["events"]


def test_an_insert_ends_without_rows_when_its_assignment_ends_while_the_server_waits_for_them() -> None:
    """Stopped between the head of a request and its rows, and continued when somebody else owns the partition."""

    class Waiting(Server):
        def raw_insert(self, table: str, names: Any, body: Any, **options: Any) -> None:
            app.generation += 1
            super().raw_insert(table, names, body, **options)

    async def ended() -> list[str]:
        await app.begin()
        await store.take(one_block())
        with pytest.raises(StaleGenerationError):
            await store.flush()
        return server.tables

    server = Waiting()
    app, store = store_on(server)
    assert asyncio.run(ended()) == []


class Rows:
    """Stands for the writer: keeps what it is given, in order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.minutes: list[tuple[list[int], str]] = []
        self.on_retry: Any = None
        self.troubles = Troubles()
        self.holds = Holds(self.troubles)

    def forget(self) -> None:
        self.holds.forget()

    def insert_alerts(self, _rows: Any, _token: str) -> list[SetAside]:
        return []

    def insert_kpi_values(self, _rows: Any, _token: str) -> list[SetAside]:
        return []

    def under(self, _permit: Any) -> "Rows":
        return self

    def stored(self, _partitions: Any) -> dict[Any, Any]:
        return {}

    def insert_blocks(self, _blocks: Any) -> Inserted:
        self.order.append("events")
        return Inserted({}, [])

    def insert_kpi_minutes(self, rows: Any, token: str) -> list[SetAside]:
        self.order.append("minutes")
        self.minutes.append(([row[1] for row in rows], token))
        return []


def stored(*batches: RecordBatch) -> Rows:
    """What a flush of these batches stores."""

    async def flush() -> None:
        await app.begin()
        for batch in batches:
            await store.take(batch)
        await store.flush()

    app, rows = twin.Application(twin.Broker(), 1), Rows()
    store = Store(app, Settings(), TOPICS, rows)  # type: ignore[arg-type]
    asyncio.run(flush())
    return rows


def test_many_rows_are_stored_in_parts_each_once_and_under_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two inserts under one token would be one: ClickHouse drops the second."""
    monkeypatch.setattr(store_agent, "ROWS_HELD", 3)
    payloads: list[bytes | None] = [minutes_of(1, 2), minutes_of(3), minutes_of(4, 5, 6, 7), minutes_of(8)]
    minutes = stored(RecordBatch(TOPICS.kpis, 0, payloads, range(4))).minutes
    assert [numbers for numbers, _ in minutes] == [[1, 2, 3], [4, 5, 6, 7], [8]]
    assert len({token for _, token in minutes}) == 3


def test_what_people_wait_for_is_stored_before_events() -> None:
    assert stored(one_block(), RecordBatch(TOPICS.kpis, 0, [minutes_of(1)], range(1))).order == ["minutes", "events"]
