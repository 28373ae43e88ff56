"""The packed states of all customers of one partition: who needs a step next, and what has to be saved of them."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from streams.relations.journal import CustomerPart, Kept, Record, SavedCustomers, bucket_record

BUCKETS: Final = 256
_OVERHEAD: Final = 256
"""Bytes that a record of a bucket costs besides its content."""
_FEW: Final = 1_024
NOTHING: Final[Kept] = (b"", None)


class _SavedPart(NamedTuple):
    step: int
    key: bytes


class Customers:
    """
    States by customer, in buckets by the hash of the customer's key.

    What steps save are parts. As many bytes as they take are spent on writing whole buckets, those first whose
    changes are oldest: so a changelog holds about twice what all states take, and what is saved is written about twice.
    """

    def __init__(self) -> None:
        self._buckets: list[dict[str, Kept]] = [{} for _ in range(BUCKETS)]
        self._wakes: list[tuple[int, str]] = []
        """A heap with a moment for each customer who needs a step, which may lie before the moment when they do."""
        self._awake: set[str] = set()
        """Those whose moment was taken out of it."""
        self._sizes = [0] * BUCKETS
        self._changed: dict[int, int] = {}
        """By bucket, the first step that changed it since it was saved; the oldest first."""
        self._parts: list[_SavedPart] = []
        self._owed = 0
        self.count = 0
        self.bytes = 0

    def restore(self, saved: SavedCustomers) -> set[str]:
        """Take over what was saved; return the customers who are ahead of the marker."""
        ahead: set[str] = set()
        for number, bucket in saved.buckets.items():
            for subject, kept in bucket.customers:
                self._put(number, subject, kept)
        for key, _, part in saved.parts:
            self._parts.append(_SavedPart(part.step, key))
            for subject, kept in part.customers:
                number = _bucket_of(subject)
                bucket_of = saved.buckets.get(number)
                if bucket_of is None or part.step > bucket_of.step:
                    self._put(number, subject, kept)
                    self._changed.setdefault(number, part.step)
            if part.step > saved.marker.step.number:
                ahead |= {subject for subject, _ in part.customers}
        return ahead

    def get(self, subject: str) -> bytes:
        """Return a customer's state, empty if nothing is known."""
        return self._kept(subject)[0]

    def _kept(self, subject: str) -> Kept:
        return self._buckets[_bucket_of(subject)].get(subject, NOTHING)

    def put(self, subject: str, kept: Kept, step: int) -> None:
        """Replace a customer's state by what a step has made of it."""
        number = _bucket_of(subject)
        self._put(number, subject, kept)
        self._changed.setdefault(number, step)

    def _put(self, number: int, subject: str, kept: Kept) -> None:
        bucket = self._buckets[number]
        before = bucket.get(subject, NOTHING)
        self.bytes += len(kept[0]) - len(before[0])
        self.count += bool(kept[0]) - bool(before[0])
        if kept[0]:
            bucket[subject] = kept
        else:
            bucket.pop(subject, None)
        self._wake(subject, before[1], kept[1])

    def _wake(self, subject: str, before: int | None, at: int | None) -> None:
        if at is not None and (before is None or at < before or subject in self._awake):
            if len(self._wakes) > 2 * self.count + _FEW:
                self._wakes = [(at, subject) for bucket in self._buckets for subject, (_, at) in bucket.items() if at]
                heapq.heapify(self._wakes)
            heapq.heappush(self._wakes, (at, subject))
        self._awake.discard(subject)

    def wakes_at(self) -> int | None:
        """Return the next moment at which somebody needs a step though nothing comes."""
        while self._wakes:
            at, subject = self._wakes[0]
            now = self._kept(subject)[1]
            if now == at:
                return at
            if now is None or now < at:
                heapq.heappop(self._wakes)
            else:
                heapq.heapreplace(self._wakes, (now, subject))
        return None

    def due(self, until: int) -> set[str]:
        """Return the customers who need a step at a watermark; they are to be put again."""
        found = set()
        while (at := self.wakes_at()) is not None and at <= until:
            found.add(heapq.heappop(self._wakes)[1])
        self._awake |= found
        return found

    def saved(self, key: bytes, step: int, size: int) -> None:
        """Take note that a part was saved, of so many bytes."""
        self._parts.append(_SavedPart(step, key))
        self._owed += size

    def bucket_records(self, step: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the buckets that are due to be saved once a step is done."""
        while self._changed:
            number = next(iter(self._changed))
            if self._owed < self._sizes[number] + _OVERHEAD:
                return
            del self._changed[number]
            key, value = bucket_record(number, CustomerPart(step, list(self._buckets[number].items())))
            self._sizes[number] = len(value)
            self._owed -= len(value) + _OVERHEAD
            yield key, value

    def superseded(self, step: int) -> list[Record]:
        """Return what deletes the parts that the saved buckets contain, once a step is done."""
        needed = min(self._changed.values(), default=step + 1)
        gone = [part for part in self._parts if part.step < needed]
        self._parts = [part for part in self._parts if part.step >= needed]
        return [(part.key, None) for part in gone]

    def states(self) -> Iterator[bytes]:
        """Yield all states."""
        for bucket in self._buckets:
            for state, _ in bucket.values():
                yield state


def _bucket_of(subject: str) -> int:
    return crc32(subject.encode()) % BUCKETS


def chunks(subjects: Iterable[str], size: int) -> Iterator[Sequence[str]]:
    """Yield customers in the order of their keys, so many at a time."""
    ordered = sorted(subjects)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
