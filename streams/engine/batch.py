"""What one agent event carries: a contiguous slice of one partition, as read from the broker."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import faust
from faust.types import TP

#: Of a confirmation: the topic's records have the time at which the broker took them.
LOG_APPEND_TIME = 1


class RecordBatch:
    """All records of one partition that one fetch returned, in offset order.

    Attributes:
        topic: Topic the records were read from.
        partition: Partition of the topic.
        values: Raw record values; `None` is a record without a value. Emptied by `release()`.
        offsets: Offset of each value: a `range`, or a list where the log has holes.
        since: Offset from which on all records are here, up to the last one: below the first there may be a hole.
        max_timestamp_ms: Largest broker timestamp in the batch, milliseconds since 1970.
        appended: When the newest record came, as the broker says (Unix s); None where senders say it.
        nbytes: Size of the fetched data before decompression.
        generation: Assignment the batch belongs to; batches of an older one must not be processed.
    """

    __slots__ = (
        "_on_release",
        "appended",
        "generation",
        "max_timestamp_ms",
        "nbytes",
        "offsets",
        "partition",
        "released",
        "since",
        "topic",
        "values",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        values: list[bytes | None],
        offsets: Sequence[int],
        *,
        max_timestamp_ms: int = 0,
        nbytes: int = 0,
        appended: float | None = None,
    ) -> None:
        if len(values) != len(offsets):
            raise ValueError(f"{topic}/{partition}: {len(values)} values but {len(offsets)} offsets")
        self.topic = topic
        self.partition = partition
        self.values = values
        self.offsets = offsets
        self.since = offsets[0] if len(offsets) else 0
        self.max_timestamp_ms = max_timestamp_ms
        self.nbytes = nbytes
        self.appended = appended
        self.generation = -1
        self.released = False
        self._on_release: Callable[[TP], None] | None = None

    @property
    def tp(self) -> TP:
        """Topic and partition as Faust names them."""
        return TP(self.topic, self.partition)

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.offsets[0]

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return self.offsets[-1]

    def __len__(self) -> int:
        return len(self.offsets)

    def __repr__(self) -> str:
        return f"<RecordBatch {self.topic}/{self.partition} [{self.first_offset}..{self.last_offset}]>"

    def release(self) -> None:
        """Free the values and let the partition be fetched again. This is not the acknowledgement.

        Calling it twice is harmless.
        """
        self.values = []
        if not self.released:
            self.released = True
            if self._on_release is not None:
                self._on_release(self.tp)

    def on_release(self, callback: Callable[[TP], None]) -> None:
        """Call `callback`, once, when the agent needs the values no longer."""
        self._on_release = callback

    def trimmed(self, start: int) -> RecordBatch | None:
        """The part at and after offset `start`; `None` when nothing is left."""
        if start <= self.first_offset:
            return self
        cut = bisect_left(self.offsets, start)
        if cut == len(self.offsets):
            return None
        rest = RecordBatch(
            self.topic,
            self.partition,
            self.values[cut:],
            self.offsets[cut:],
            max_timestamp_ms=self.max_timestamp_ms,
            nbytes=self.nbytes,
            appended=self.appended,
        )
        rest.since = max(start, self.since)
        return rest


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """The batches of one partition, in order, as one; whoever releases it releases all of them."""
    first, last = batches[0], batches[-1]
    whole = last.last_offset - first.first_offset + 1 == sum(map(len, batches))
    appended = [batch.appended for batch in batches]
    one = RecordBatch(
        first.topic,
        first.partition,
        list(chain.from_iterable(batch.values for batch in batches)),
        range(first.first_offset, last.last_offset + 1) if whole else [n for batch in batches for n in batch.offsets],
        max_timestamp_ms=max(batch.max_timestamp_ms for batch in batches),
        nbytes=sum(batch.nbytes for batch in batches),
        appended=None if None in appended else max(filter(None, appended)),
    )
    one.since, one.generation = first.since, first.generation

    def release(_tp: TP) -> None:
        for batch in batches:
            batch.release()

    one.on_release(release)
    return one


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the batch to the agent as it is: Faust's conductor must not decode anything."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> None:
        """A batch has no key."""

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:  # noqa: ARG002
        """The message's value is the batch."""
        return message.value
