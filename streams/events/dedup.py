"""Which events were seen already: the ids of one source partition, bounded, exact as long as it is asked in order."""

from collections import deque

import msgspec
import xxhash

ID_SIZE = 16


def digest(event_id: str) -> bytes:
    """Return 128 bits of an event id: collisions are out of reach (10⁻²⁰ at a billion ids), and memory is bounded."""
    return xxhash.xxh3_128_digest(event_id.encode())


class Segment(msgspec.Struct, frozen=True):
    """The ids accepted in one frozen range, in order of arrival, and the newest event time among them (Unix s)."""

    first: int
    last: int
    ids: bytes
    newest: float

    def __len__(self) -> int:
        return len(self.ids) // ID_SIZE

    def split(self) -> list[bytes]:
        """Return the ids one by one."""
        ids = self.ids
        return [ids[i : i + ID_SIZE] for i in range(0, len(ids), ID_SIZE)]


class SeenIds:
    """
    The last `limit` ids of a source, forgotten by whole segments in the order of arrival.

    `horizon` is the newest event time (Unix s) among all forgotten ids.
    An event at or before it can no longer be proven new; the intake calls such an event late, so nothing is ever
    counted twice, however small the limit.
    """

    def __init__(self, limit: int, horizon: float = float("-inf")) -> None:
        self.limit = limit
        self.horizon = horizon
        self._ids: set[bytes] = set()
        self._segments: deque[Segment] = deque()
        self.total = 0

    def __contains__(self, event_id: bytes) -> bool:
        return event_id in self._ids

    def __len__(self) -> int:
        return self.total

    def among(self, ids: set[bytes]) -> set[bytes]:
        """Return those of `ids` that were seen."""
        return self._ids & ids

    def add(self, segment: Segment, now: float) -> list[Segment]:
        """Remember a segment at `now` (Unix s); return the segments that had to be forgotten for it."""
        self._ids.update(segment.split())
        self._segments.append(segment)
        self.total += len(segment)
        forgotten: list[Segment] = []
        while self.total > self.limit and len(self._segments) > 1:
            oldest = self._segments.popleft()
            self._ids.difference_update(oldest.split())
            self.total -= len(oldest)
            if len(oldest):
                # One device whose clock runs ahead must not make everybody else late.
                self.horizon = max(self.horizon, min(oldest.newest, now))
            forgotten.append(oldest)
        return forgotten
