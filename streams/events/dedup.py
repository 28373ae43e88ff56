"""Which events were seen already: the ids of one source partition, bounded, exact as long as it is asked in order."""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

ID_SIZE: Final = 8
_IDS: Final = np.dtype("<u8")
_GROWTH: Final = 4
"""How many times as long as the next younger run a run must be to stay apart."""


def digest(event_id: str) -> int:
    """Return 64 bits of an event id: among 200,000 that are remembered, one new event in 10¹⁴ is taken for known."""
    return xxhash.xxh3_64_intdigest(event_id.encode())


def join_ids(ids: Sequence[int]) -> bytes:
    """Return ids as they are written down: eight bytes each, little-endian."""
    return np.fromiter(ids, _IDS, len(ids)).tobytes()


class Segment(msgspec.Struct, frozen=True):
    """The ids accepted in one frozen range, in order of arrival, and the newest event time among them (Unix s)."""

    first: int
    last: int
    ids: bytes
    newest: float

    def __len__(self) -> int:
        return len(self.ids) // ID_SIZE

    def sorted(self) -> NDArray[Any]:
        """Return the ids in ascending order, each once."""
        return np.unique(np.frombuffer(self.ids, _IDS))


class SeenIds:
    """
    The last `limit` ids of a source, forgotten by whole segments in the order of arrival.

    `horizon` is the newest event time (Unix s) among all forgotten ids.
    An event at or before it can no longer be proven new; the intake calls such an event late, so nothing is ever
    counted twice, however small the limit.

    The ids are kept in few sorted runs, the oldest first: 8 bytes each, where a set of objects needs a hundred.
    """

    def __init__(self, limit: int, horizon: float = float("-inf")) -> None:
        self.limit = limit
        self.horizon = horizon
        self._runs: list[NDArray[Any]] = []
        self._segments: deque[Segment] = deque()
        self.total = 0

    def __contains__(self, event_id: int) -> bool:
        return bool(self.among([event_id]))

    def __len__(self) -> int:
        return self.total

    def among(self, ids: Collection[int]) -> set[int]:
        """Return those of `ids` that were seen."""
        found: set[int] = set()
        asked = np.sort(np.fromiter(ids, _IDS, len(ids)))
        for run in self._runs:
            places = np.searchsorted(run, asked)
            places[places == len(run)] = 0  # beyond the largest: whatever stands first is another one
            hits = run[places] == asked
            if hits.any():
                found.update(asked[hits].tolist())
        return found

    def add(self, segment: Segment, now: float) -> list[Segment]:
        """Remember a segment at `now` (Unix s); return the segments that had to be forgotten for it."""
        self._segments.append(segment)
        self.total += len(segment)
        if len(segment):
            self._runs.append(segment.sorted())
            while len(self._runs) > 1 and len(self._runs[-2]) < _GROWTH * len(self._runs[-1]):
                younger = self._runs.pop()
                self._runs[-1] = np.sort(np.concatenate((self._runs[-1], younger)), kind="stable")
        forgotten: list[Segment] = []
        while self.total > self.limit and len(self._segments) > 1:
            oldest = self._segments.popleft()
            self.total -= len(oldest)
            if len(oldest):
                self._remove(oldest)
                # One device whose clock runs ahead must not make everybody else late.
                self.horizon = max(self.horizon, min(oldest.newest, now))
            forgotten.append(oldest)
        return forgotten

    def _remove(self, oldest: Segment) -> None:
        """Take the ids of the oldest segment out of the oldest run, which holds them all."""
        left = np.delete(self._runs[0], np.searchsorted(self._runs[0], oldest.sorted()))
        if len(left):
            self._runs[0] = left
        else:
            self._runs.pop(0)
