"""What was handed to agents, what they acknowledged, and hence what may be committed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from time import monotonic

from faust.types import TP

from streams.engine.batch import RecordBatch


class _Entry:
    __slots__ = ("acked", "batch", "delivered_at")

    def __init__(self, batch: RecordBatch, delivered_at: float) -> None:
        self.batch = batch
        self.delivered_at = delivered_at
        self.acked = False


class Ledger:
    """Batches in flight per partition, in the order they were delivered.

    Only the unbroken run of acknowledged batches at the head of a partition may be committed:
    one that waits holds back all that follow it, whatever their state.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._entries: defaultdict[TP, deque[_Entry]] = defaultdict(deque)
        self._position: dict[TP, int] = {}
        self._committable_since: dict[TP, float] = {}

    def accept(self, batch: RecordBatch) -> RecordBatch | None:
        """Drop what was delivered before, enter the rest, and return it; `None` if nothing is new."""
        tp = batch.tp
        rest = batch.trimmed(self._position.get(tp, 0))
        if rest is None:
            return None
        self._entries[tp].append(_Entry(rest, self._clock()))
        self._position[tp] = rest.last_offset + 1
        return rest

    def ack(self, batch: RecordBatch) -> bool:
        """Mark `batch` as done. False when it is not in flight (any more)."""
        tp = batch.tp
        entries = self._entries[tp]
        for entry in entries:
            if entry.batch is batch:
                entry.acked = True
                break
        else:
            return False
        if entries[0].acked:
            self._committable_since.setdefault(tp, self._clock())
        return True

    def position(self, tp: TP) -> int | None:
        """Offset of the next record to deliver; `None` before the first delivery."""
        return self._position.get(tp)

    def unreleased(self, tp: TP) -> int:
        """Batches whose values an agent still holds."""
        return sum(not entry.batch.released for entry in self._entries.get(tp, ()))

    def is_full(self, tp: TP, batches: int, nbytes: int) -> bool:
        """Whether an agent still holds the values of so many batches, and so many bytes as they were fetched."""
        held = [entry.batch.nbytes for entry in self._entries.get(tp, ()) if not entry.batch.released]
        return len(held) >= batches and sum(held) >= nbytes

    def committable(self, tp: TP) -> int | None:
        """Offset to commit for `tp` (the next one to read), `None` when there is nothing new."""
        offset = None
        for entry in self._entries.get(tp, ()):
            if not entry.acked:
                break
            offset = entry.batch.last_offset + 1
        return offset

    def partitions_to_commit(self) -> list[TP]:
        """Partitions whose oldest batch is acknowledged."""
        return [tp for tp, entries in self._entries.items() if entries and entries[0].acked]

    def committed(self, tp: TP, offset: int) -> None:
        """Forget everything below the committed `offset`."""
        entries = self._entries.get(tp)
        while entries and entries[0].acked and entries[0].batch.last_offset < offset:
            entries.popleft()
        if entries and entries[0].acked:
            self._committable_since[tp] = self._clock()
        else:
            self._committable_since.pop(tp, None)

    def oldest_unacked_s(self, topics: Iterable[str], but: Collection[TP] = ()) -> float:
        """Seconds the oldest unacknowledged batch of `topics` has waited, `but` some partitions; 0 if none."""
        wanted = set(topics)
        oldest = min(
            (
                entry.delivered_at
                for tp, entries in list(self._entries.items())
                if tp.topic in wanted and tp not in but
                for entry in list(entries)
                if not entry.acked
            ),
            default=None,
        )
        return 0.0 if oldest is None else self._clock() - oldest

    def oldest_uncommitted_s(self) -> float:
        """Seconds since an acknowledged head could have been committed; 0 when none waits."""
        since = min(list(self._committable_since.values()), default=None)
        return 0.0 if since is None else self._clock() - since

    def clear(self) -> None:
        """Start over: a new assignment reads from the committed offsets again."""
        self._entries.clear()
        self._position.clear()
        self._committable_since.clear()
