"""The store stage while partitions move: nothing of an earlier assignment is inserted any more."""

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP

from streams import metrics
from streams.agents import records
from streams.agents import store as store_agent
from streams.agents.store import StoreStage
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import StaleGenerationError
from streams.events.intake import Tally
from streams.kpis.rolling.publish import PublishedMinute
from streams.settings import Settings
from streams.storage import salvage
from streams.storage.connection import Address, RefusedRowsError, UnreachableError
from streams.storage.rows import Block, pack_events
from streams.storage.salvage import HeldSources, Inserted
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

    def query(self, sql: str, *_args: Any, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(result_rows=[[1_000_000]] if "now64" in sql else [])

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
        def ask() -> float:
            self.require_live(generation)
            return 60.0

        return ask


def store_on(server: Any) -> tuple[Application, StoreStage]:
    app = Application(twin.Broker(), 1)
    writer = Writer(Address("http://127.0.0.1:1", "cx", "writer", ""), first_pause_s=0.01)
    writer._link._client = server
    return app, StoreStage(app, Settings(), TOPICS, writer)  # type: ignore[arg-type]


def one_block() -> RecordBatch:
    block = records.BlockRecord(
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
        self.holds = HeldSources(self.troubles)

    def forget(self) -> None:
        self.holds.forget()

    def insert_cases(self, _rows: Any, _token: str) -> list[SetAside]:
        return []

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
    store = StoreStage(app, Settings(), TOPICS, rows)  # type: ignore[arg-type]
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


class Refusing(twin.Database):
    """A store that takes nothing of one source, or of one table, for as long as it is told to."""

    def __init__(self, broker: twin.Broker) -> None:
        super().__init__(broker)
        self.refused: tuple[str, int] | None = None
        self.letters: list[SetAside] = []

    def insert_blocks(self, blocks: Sequence[Block]) -> Inserted:
        held = {(block.topic, block.partition) for block in blocks} & {self.refused}
        super().insert_blocks([block for block in blocks if (block.topic, block.partition) not in held])
        for source in held:
            self.holds.hold(source, "closed")
        letters, self.letters = self.letters, []
        return Inserted(dict.fromkeys(held, "closed"), letters)

    def insert_kpi_minutes(self, rows: Sequence[Any], token: str) -> list[SetAside]:
        if self.refused == ("kpi_minutes", 0):
            self.holds.hold(self.refused, "closed")
            raise RefusedRowsError("closed", by_server=True)
        return super().insert_kpi_minutes(rows, token)

    def freed(self) -> None:
        if self.refused is not None:
            self.holds.free(self.refused)
        self.refused = None


def block_at(offset: int, partition: int, channel: str = "web") -> RecordBatch:
    topic = f"cx.touchpoints.{channel}"
    events = pack_events(topic, partition, [offset], [b"{}"])
    block = records.BlockRecord(topic, partition, offset, offset, 0.0, Tally(1, 1), events, [])
    return RecordBatch(TOPICS.blocks, partition, [records.encode_block(block)], range(offset, offset + 1))


def refusing() -> tuple[twin.Application, StoreStage, Refusing]:
    broker = twin.Broker()
    app, database = twin.Application(broker, 3), Refusing(broker)
    return app, StoreStage(app, Settings(), TOPICS, database), database  # type: ignore[arg-type]


def test_one_partition_that_is_held_holds_no_other_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stored nor acknowledged, with all behind it; once it is taken, all is stored once and in order."""
    monkeypatch.setattr(salvage, "FIRST_PAUSE_S", 0.0)

    async def scenario() -> None:
        app, store, database = refusing()
        database.refused = ("cx.touchpoints.web", 1)
        await app.begin()
        for offset in range(3):
            for partition in range(3):
                await store.take(block_at(offset, partition))
            await store.flush()
            assert app.broker.committed == {TP(TOPICS.blocks, 0): offset + 1, TP(TOPICS.blocks, 2): offset + 1}
        assert {block.partition for block in database.blocks} == {0, 2}
        database.freed()
        await store.flush()
        assert app.broker.committed == {TP(TOPICS.blocks, partition): 3 for partition in range(3)}
        assert [block.first for block in database.blocks if block.partition == 1] == [0, 1, 2]
        assert len(database.blocks) == 9

    asyncio.run(scenario())


def test_what_is_held_is_left_alone_until_its_pause_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """New records of its partition line up behind it and are not even looked at."""
    monkeypatch.setattr(salvage, "FIRST_PAUSE_S", 3600.0)

    async def scenario() -> None:
        app, store, database = refusing()
        database.refused = ("cx.touchpoints.web", 1)
        await app.begin()
        await store.take(block_at(0, 1))
        await store.flush()
        database.refused = None
        await store.take(block_at(1, 1))
        await store.take(block_at(0, 0))
        await store.flush()
        assert [block.partition for block in database.blocks] == [0]
        behind: dict[tuple[str, int], int] = {}
        monkeypatch.setattr(store.lane, "report_lag", lambda *given: behind.update({given[:2]: given[2]}))
        store.observe()
        assert behind[TOPICS.blocks, 1] == 2, "what is held is behind, too"
        assert behind[TOPICS.blocks, 0] == 0
        database.holds.free(("cx.touchpoints.web", 1))
        database.holds.hold(("kpi_values", 0), "something else")
        database.holds.sources["kpi_values", 0].next_try = 0.0
        await store.flush()
        assert [(block.partition, block.first) for block in database.blocks] == [(0, 0), (1, 0), (1, 1)]

    asyncio.run(scenario())


def test_a_table_of_kpis_that_is_refused_holds_neither_events_nor_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "FIRST_PAUSE_S", 0.0)

    async def scenario() -> None:
        app, store, database = refusing()
        database.refused = ("kpi_minutes", 0)
        await app.begin()
        await store.take(block_at(0, 0))
        await store.take(RecordBatch(TOPICS.kpis, 0, [minutes_of(1)], range(1)))
        await store.flush()
        assert app.broker.committed == {TP(TOPICS.blocks, 0): 1}
        database.freed()
        await store.flush()
        assert app.broker.committed == {TP(TOPICS.blocks, 0): 1, TP(TOPICS.kpis, 0): 1}
        assert (len(database.blocks), len(database.minutes)) == (1, 1)

    asyncio.run(scenario())


def test_what_is_set_aside_is_told_on_the_topic_of_dead_letters() -> None:
    async def scenario() -> None:
        app, store, database = refusing()
        database.letters = [SetAside("cx.touchpoints.web", 1, 5, "counted", b"\xff{", "no such value", 12.5)]
        await app.begin()
        await store.take(block_at(0, 0))
        await store.flush()
        [(key, value)] = app.broker.topics[TP(TOPICS.dead_letters, 1)]
        assert key == b"cx.touchpoints.web/1/5"
        told = msgspec.json.decode(value or b"")
        assert (told["reason"], told["offset"], told["payload"]) == ("refused_by_store", 5, "/3s=")
        assert told["message"] == "the event is counted, but its row is refused by ClickHouse: no such value"
        assert app.broker.committed == {TP(TOPICS.blocks, 0): 1}

    asyncio.run(scenario())


def test_rows_set_aside_are_counted_from_zero_on() -> None:
    """Else the first one is no increase, and nobody is alarmed."""
    refusing()
    samples = [sample for family in metrics.SET_ASIDE.collect() for sample in family.samples]
    tables = {sample.labels["table"] for sample in samples if sample.name.endswith("_total")}
    assert tables == {"events", "alerts", "cases", "kpi_minutes", "kpi_values"}


def test_what_is_taken_counts_as_behind_until_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a worker looked idle for as long as an insert took."""

    async def reported() -> tuple[dict[str, int], dict[str, int]]:
        app, store = store_on(Server())
        behind: dict[str, int] = {}
        monkeypatch.setattr(
            store.lane, "report_lag", lambda topic, _partition, waiting: behind.update({topic: waiting})
        )
        await app.begin()
        await store.take(one_block())
        before = behind.copy()
        await store.flush()
        return before, behind

    assert asyncio.run(reported()) == (
        {TOPICS.blocks: 1},
        dict.fromkeys((TOPICS.blocks, TOPICS.kpis, TOPICS.alerts, TOPICS.cases), 0),
    )


def test_the_timer_waits_for_no_insert_and_tells_what_has_ended_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that is kept for longer than its period complains; an error in it ends the worker."""
    going_on: list[asyncio.Event] = []

    async def broken(_: StoreStage) -> bool:
        await going_on[-1].wait()
        raise RuntimeError("cannot go on")

    async def scenario() -> None:
        _, store = store_on(Server())
        going_on.append(asyncio.Event())
        await asyncio.wait_for(store.tick(), 90)
        await asyncio.wait_for(store.tick(), 90)
        going_on[-1].set()
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="cannot go on"):
            await store.tick()

    monkeypatch.setattr(StoreStage, "flush_live", broken)
    asyncio.run(scenario())
