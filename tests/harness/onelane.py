"""One lane in memory, for an agent that is no stage: it reads the batches it is given, and says what it has done."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from streams.engine.batch import RecordBatch


def _keep(function: Any) -> Any:
    return function


class OneLane:
    """The lane."""

    def __init__(self) -> None:
        self.topic = None
        self.acked: list[RecordBatch] = []
        self.report_lag: Callable[..., None] = lambda *_: None
        self.on_assigned = self.on_finish = _keep

    def ack(self, *batches: RecordBatch) -> int:
        self.acked += batches
        return len(batches)

    async def batches(self, stream: Sequence[RecordBatch]) -> AsyncIterator[RecordBatch]:
        for batch in stream:
            yield batch


class OneApp:
    """The application."""

    def __init__(self) -> None:
        self.one_lane = OneLane()

    def may_tell(self) -> bool:
        return True

    def lane(self, *_topics: str, **_options: Any) -> OneLane:
        return self.one_lane

    def agent(self, *_topics: Any, **_options: Any) -> Callable[[Any], Any]:
        return _keep
