"""An application in memory: the engine's promises without Faust, Kafka or threads, and with a stop between any two steps.

A `Broker` outlives the applications that run on it, as Kafka and ClickHouse outlive workers. Whatever is appended,
acknowledged or inserted is one step; `Broker.stop_at` ends the application before that step, as a kill does.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from faust.types import TP

from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.outgoing import Outgoing, StaleGenerationError
from streams.engine.stage import Stage
from streams.engine.state import Entry
from streams.storage.cases import CASE_COLUMNS
from streams.storage.rows import Block
from streams.storage.salvage import HeldSources, Inserted
from streams.storage.setaside import SetAside
from streams.storage.trouble import Troubles
from streams.storage.writer import Stored

GENERATION = 1


class Stopped(BaseException):
    """The process is killed here."""


class Broker:
    """Topics, changelogs and committed offsets."""

    def __init__(self) -> None:
        self.topics: defaultdict[TP, list[tuple[bytes | None, bytes | None]]] = defaultdict(list)
        self.changelogs: defaultdict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)
        self.committed: dict[TP, int] = {}
        self.steps = 0
        self.stop_at: int | None = None

    def step(self) -> None:
        """Count a step that is about to be taken.

        Raises:
            Stopped: It is the one to stop before.
        """
        self.steps += 1
        if self.steps == self.stop_at:
            raise Stopped

    def send(self, topic: str, partition: int, value: bytes | None, key: bytes | None = None) -> None:
        """Append a record."""
        self.topics[TP(topic, partition)].append((key, value))

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, partition after partition."""
        return [value for tp in sorted(self.topics) if tp.topic == topic for _, value in self.topics[tp] if value]


class Table:
    """A changelog whose records are there as soon as they are written."""

    def __init__(self, app: "Application", name: str) -> None:
        self._app, self.name = app, name

    def load(self, partition: int) -> dict[bytes, bytes]:
        return dict(self._app.broker.changelogs[self.name, partition])

    async def write_many(self, generation: int, entries: Iterable[Entry]) -> None:
        self._app.require_live(generation)
        for partition, key, value in entries:
            self._app.broker.step()
            log = self._app.broker.changelogs[self.name, partition]
            if value is None:
                log.pop(key, None)
            else:
                log[key] = value


class Lane:
    """Batches of one stage."""

    def __init__(self, app: "Application", topics: Sequence[str], stall_limit_s: float | None) -> None:
        self.topic, self.topics, self.stall_limit_s = None, tuple(topics), stall_limit_s
        self.assignment: Assignment | None = None
        self.held: frozenset[TP] = frozenset()
        self.positions: dict[TP, int] = {}
        self.lags: dict[TP, int] = {}
        self._app = app
        self.assigned: Any = None
        self.finished: Any = None

    def on_assigned(self, callback: Any) -> None:
        self.assigned = callback

    def on_finish(self, callback: Any) -> None:
        self.finished = callback

    def ack(self, *batches: RecordBatch) -> int:
        for batch in batches:
            self._app.broker.step()
            self._app.broker.committed[batch.tp] = batch.last_offset + 1
            batch.release()
        return len(batches)

    def hold(self, tp: TP) -> None:
        self.held |= {tp}

    def resume(self, tp: TP) -> None:
        self.held -= {tp}

    def caught_up(self, topic: str, partition: int) -> bool:
        tp = TP(topic, partition)
        return self.positions.get(tp, 0) >= len(self._app.broker.topics[tp])

    def report_lag(self, topic: str, partition: int, waiting: int = 0) -> None:
        self.lags[TP(topic, partition)] = waiting


class Application:
    """One process with its stages; `generation` may be set to another one, as when partitions move."""

    def __init__(self, broker: Broker, partitions: int) -> None:
        self.broker, self.partitions = broker, partitions
        self.generation = GENERATION
        self.stages: list[Stage] = []
        self.order: list[tuple[str, str, int]] = []
        self.log = logging.getLogger("twin")

    def lane(self, *topics: str, stall_limit_s: float | None = 120.0) -> Lane:
        return Lane(self, topics, stall_limit_s)

    def fenced_table(self, name: str, _sources: Sequence[str]) -> Table:
        return Table(self, name)

    def agent(self, _topic: Any, name: str) -> Callable[[Any], Any]:
        return lambda function: self.stages.append(function.__self__) if name else function

    def timer(self, _seconds: float) -> Callable[[Any], Any]:
        return lambda function: function

    def require_live(self, generation: int) -> None:
        if generation != self.generation:
            raise StaleGenerationError(f"generation {generation}, but {self.generation} is live")

    async def require_lease(self, generation: int) -> None:
        self.require_live(generation)

    def permit(self, generation: int) -> Callable[[], float]:
        def ask() -> float:
            self.require_live(generation)
            self.broker.step()
            return 60.0

        return ask

    async def produce(self, generation: int, records: Iterable[Outgoing]) -> list[int]:
        offsets = []
        for record in records:
            self.require_live(generation)
            self.broker.step()
            self.order.append(("emit", record.topic, record.partition))
            self.broker.send(record.topic, record.partition, record.value, record.key)
            offsets.append(len(self.broker.topics[TP(record.topic, record.partition)]) - 1)
        return offsets

    async def begin(self) -> None:
        """Give all partitions to every stage."""
        for stage in self.stages:
            owned = {topic: tuple(range(self.partitions)) for topic in stage.lane.topics}
            assignment = Assignment(self.generation, owned)
            stage.lane.positions = {tp: self.broker.committed.get(tp, 0) for tp in assignment.tps}  # type: ignore[attr-defined]
            await stage._take_over(assignment)
            stage.lane.assignment = assignment

    async def read(self, stage: Stage, batch_size: int) -> bool:
        """Give a stage one batch of each partition; tell whether there was any."""
        any_read = False
        for tp, position in list(stage.lane.positions.items()):  # type: ignore[attr-defined]
            records = self.broker.topics[tp][position : position + batch_size]
            if records:
                any_read = True
                stage.lane.positions[tp] = position + len(records)  # type: ignore[attr-defined]
                values = [value for _, value in records]
                await stage.take(RecordBatch(tp.topic, tp.partition, values, range(position, position + len(records))))
        return any_read

    async def run(self, later: Callable[[], None] = lambda: None, batch_size: int = 5) -> None:
        """Read and flush, stage by stage, until nothing is left to read; then flush once more, `later`."""
        await self.begin()
        while any([await self._round(stage, batch_size) for stage in self.stages]):
            pass
        later()
        for stage in self.stages:
            await stage.flush()

    async def _round(self, stage: Stage, batch_size: int) -> bool:
        read = await self.read(stage, batch_size)
        await stage.flush()
        return read


class Database:
    """A store that takes what it is given: a row that comes twice is there twice."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._permit: Callable[[], None] = broker.step
        self.on_retry: Any = None
        self.troubles = Troubles()
        self.holds = HeldSources(self.troubles)
        self.blocks: list[Block] = []
        self.minutes: dict[tuple[Any, ...], tuple[int, Any]] = {}
        self.values: dict[tuple[Any, ...], tuple[int, Any]] = {}
        self.alerts: dict[str, Any] = {}
        self.cases: dict[tuple[Any, ...], tuple[int, Any]] = {}

    def under(self, permit: Callable[[], None]) -> "Database":
        self._permit = permit
        return self

    def stored(self, _partitions: Sequence[int]) -> dict[tuple[str, int], Stored]:
        marks: dict[tuple[str, int], int] = {}
        for block in self.blocks:
            source = block.topic, block.partition
            marks[source] = max(block.last, marks.get(source, -1))
        return {source: Stored(mark, frozenset()) for source, mark in marks.items()}

    def forget(self) -> None:
        self.holds.forget()

    def insert_blocks(self, blocks: Sequence[Block]) -> Inserted:
        for block in blocks:
            self._permit()
            self.blocks.append(block)
        return Inserted({}, [])

    def insert_kpi_minutes(self, rows: Sequence[Any], _token: str) -> list[SetAside]:
        self._permit()
        for *key, accumulator, revision in rows:
            self._put(self.minutes, tuple(key), revision, accumulator)
        return []

    def insert_kpi_values(self, rows: Sequence[Any], _token: str) -> list[SetAside]:
        self._permit()
        for row in rows:
            key = row.series, row.window, row.stat, row.at
            self._put(self.values, key, row.revision, (row.value, row.n, row.lo, row.hi, row.closed))
        return []

    def insert_alerts(self, rows: Sequence[Any], _token: str) -> list[SetAside]:
        self._permit()
        for row in rows:
            self.alerts[row[0]] = row
        return []

    def insert_cases(self, rows: Sequence[Any], _token: str) -> list[SetAside]:
        self._permit()
        for row in rows:
            self._put(self.cases, (row[0],), row[CASE_COLUMNS.index("revision")], row)
        return []

    @staticmethod
    def _put(table: dict[tuple[Any, ...], tuple[int, Any]], key: tuple[Any, ...], revision: int, value: Any) -> None:
        if revision >= table.get(key, (-1, None))[0]:
            table[key] = revision, value
