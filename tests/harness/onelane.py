"""A stage's surroundings in memory: one lane, one table, and what was sent; for tests that drive a stage by hand."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from faust.types import TP

from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.outgoing import Outgoing


def _keep(function: Any) -> Any:
    return function


class OneLane:
    """The lane: batches are those given to `batches`, and what is acknowledged or held is remembered."""

    def __init__(self) -> None:
        self.topic = None
        self.assignment: Assignment | None = None
        self.held: frozenset[TP] = frozenset()
        self.acked: list[RecordBatch] = []
        self.report_lag: Callable[..., None] = lambda *_: None
        self.on_assigned = self.on_finish = _keep

    def hold(self, tp: TP) -> None:
        self.held |= {tp}

    def resume(self, tp: TP) -> None:
        self.held -= {tp}

    def ack(self, *batches: RecordBatch) -> int:
        for batch in batches:
            batch.release()
        self.acked += batches
        return len(batches)

    def caught_up(self, _topic: str, _partition: int) -> bool:
        return True

    async def batches(self, stream: Sequence[RecordBatch]) -> AsyncIterator[RecordBatch]:
        for batch in stream:
            yield batch


class OneTable:
    """The table: what was written, by partition and key."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[bytes, bytes]] = {}

    def load(self, partition: int) -> dict[bytes, bytes]:
        return self.entries.get(partition, {})

    async def write_many(self, _generation: int, entries: Iterable[tuple[int, bytes, bytes | None]]) -> None:
        for partition, key, value in entries:
            known = self.entries.setdefault(partition, {})
            if value is None:
                known.pop(key, None)
            else:
                known[key] = value


class OneApp:
    """The application."""

    def __init__(self) -> None:
        self.one_lane = OneLane()
        self.table = OneTable()
        self.sent: list[Outgoing] = []

    def lane(self, *_topics: str, **_options: Any) -> OneLane:
        return self.one_lane

    def fenced_table(self, _name: str) -> OneTable:
        return self.table

    def agent(self, *_topics: Any, **_options: Any) -> Callable[[Any], Any]:
        return _keep

    def timer(self, _every_s: float) -> Callable[[Any], Any]:
        return _keep

    async def produce(self, _generation: int, records: Iterable[Outgoing]) -> None:
        self.sent += records
