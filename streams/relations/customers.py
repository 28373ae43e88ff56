"""The packed states of all customers of one partition: who needs a step next, and what has to be saved of them."""

import heapq
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from streams.relations.journal import CustomerBucket, Record, SavedCustomers, bucket_record, read_bucket
from streams.relations.pages import CustomerPage, Kept, hash_of, pages_of

BUCKETS: Final = 256
MOST_BYTES: Final = 64 * 2**20
"""Of states that are not on pages, in all partitions of a worker."""
LEAST: Final = 16_384
"""Bytes of parts for which a bucket is written at least: to write small ones again and again costs more than to keep
the parts."""
_OVERHEAD: Final = 256
"""Bytes that a record of a bucket costs besides its content, and a customer who is not on a page besides the state."""
_FEW: Final = 1_024
RESTORED_BYTES: Final = 64 * 2**20
"""Of parts that are put on pages at once."""
_PACKED: Final = 5
"""So many times larger they are than their records."""
_TWICE: Final = 16
"""If parts take more than this fraction of what buckets take, most pages are not as they were saved any more."""
NOTHING: Final[Kept] = (b"", None)


class _SavedPart(NamedTuple):
    step: int
    key: bytes


class _Bucket:
    """
    Customers by hash: those asked for lately one by one, all others on pages, where older states of some of those are.

    Attributes:
        changed: Those of whom pages have an older state, or none.
        bytes: What those one by one take.
    """

    def __init__(self) -> None:
        self.recent: dict[str, Kept] = {}
        self.changed: set[str] = set()
        self.bytes = 0
        self.set([])

    def set(self, pages: list[CustomerPage]) -> None:
        """Have other pages."""
        self.pages = pages
        self._firsts = [page.first for page in pages]
        self.wakes = _least(page.wakes for page in pages)

    def on_page(self, subject: str, number: int) -> Kept:
        """Return what a page has of a customer."""
        place = bisect_right(self._firsts, number) - 1
        return self.pages[place].customers().get(subject, NOTHING) if place >= 0 else NOTHING

    def fold(self) -> None:
        """Put all that changed on pages."""
        groups: dict[int, dict[str, Kept]] = {}
        for subject, kept in self.recent.items():
            place = bisect_right(self._firsts, hash_of(subject)) - 1
            if subject in self.changed:
                groups.setdefault(place, {})[subject] = kept
            elif kept[1] is not None:
                page = self.pages[place]
                page.wakes = _least([page.wakes, kept[1]])
        pages = [*pages_of(groups.pop(-1, {}).items())]
        for place, page in enumerate(self.pages):
            if place in groups:
                pages += pages_of((page.customers() | groups[place]).items(), page.first)
            else:
                pages.append(page)
        self.changed.clear()
        self.set(pages)

    def put_on_pages(self, customers: dict[str, Kept]) -> None:
        """Have newer states of some customers on pages; only while there are none but on pages."""
        self.recent, self.changed = customers, set(customers)
        self.fold()
        self.recent = {}

    def due(self, until: int) -> dict[str, Kept]:
        """Return the customers on pages who need a step by a moment; from now on none does before the next one."""
        found: dict[str, Kept] = {}
        for page in self.pages:
            if page.wakes is not None and page.wakes <= until:
                waiting = {one: kept for one, kept in page.customers().items() if one not in self.recent}
                due = {one: kept for one, kept in waiting.items() if kept[1] is not None and kept[1] <= until}
                found |= due
                page.wakes = _least(kept[1] for one, kept in waiting.items() if one not in due)
        self.wakes = _least(page.wakes for page in self.pages)
        return found

    def states(self) -> Iterator[bytes]:
        """Yield all states."""
        for page in self.pages:
            yield from (state for one, (state, _) in page.customers().items() if one not in self.recent)
        yield from (state for state, _ in self.recent.values() if state)


class Customers:
    """
    States by customer, in buckets by the hash of the customer's key.

    What steps save are parts. As many bytes as they take are spent on writing whole buckets, those first whose
    changes are oldest: so a changelog holds about twice what all states take, or some MiB, and what is saved is written
    about twice at most.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        """Start with none; so many bytes of states are not on pages, `MOST_BYTES` if left out."""
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self._buckets = [_Bucket() for _ in range(BUCKETS)]
        self._wakes: list[tuple[int, str]] = []
        """A heap with a moment for each customer not on a page who needs a step; they may need it later than that."""
        self._awake: set[str] = set()
        """Those whose moment was taken out of it."""
        self._sizes = [0] * BUCKETS
        self._changed: dict[int, int] = {}
        """By bucket, the first step that changed it since it was saved; the oldest first."""
        self._parts: list[_SavedPart] = []
        self._owed = 0
        self._recent, self._recent_bytes = 0, 0
        """How many customers are not on pages, and what they take."""
        self.count = 0

    @property
    def size(self) -> int:
        """Bytes that all states take."""
        return self._recent_bytes + sum(len(page.packed) for bucket in self._buckets for page in bucket.pages)

    def restore(self, saved: SavedCustomers, *, rewrites: bool = False) -> Generator[list[Record], None, set[str]]:
        """
        Take over what was saved, a little at a time; return the customers who are ahead of the marker.

        Nothing of `saved` is needed by whoever has given it.

        Args:
            saved: What a changelog says.
            rewrites: Whether buckets that are not as they were saved are yielded, to be saved: they are larger than all
                else. Where parts are few nothing is.
        """
        for number, bucket in saved.buckets.items():
            self._buckets[number].set(bucket.pages)
            self._sizes[number] = sum(len(page.packed) for page in bucket.pages)
        self._parts = [_SavedPart(part.step, part.key) for part in saved.parts]
        written = {number: bucket.step for number, bucket in saved.buckets.items()}
        saved.buckets.clear()  # so that a record is gone with the last of its pages
        done, size = saved.marker.step.number, sum(len(part.packed) for part in saved.parts)
        rewrites = rewrites and size * _TWICE > sum(self._sizes)
        ahead, first = set[str](), dict[int, int]()
        # All of them at once may be more than there is room for; to put them on pages one by one would take minutes.
        turns = 1 + size * _PACKED // RESTORED_BYTES
        for turn in range(turns):
            newest: dict[int, dict[str, Kept]] = {}
            for one in saved.parts:
                part = one.read()
                for subject, kept in part.customers:
                    number = hash_of(subject) % BUCKETS
                    if number % turns == turn and part.step > written.get(number, -1):
                        newest.setdefault(number, {})[subject] = kept
                        first.setdefault(number, part.step)
                if part.step > done:
                    ahead.update(subject for subject, _ in part.customers)
                yield []
            while newest:
                number, customers = newest.popitem()
                self._buckets[number].put_on_pages(customers)
                yield [self._bucket_record(number, done)] if rewrites else []
        if rewrites:  # what is ahead is in the buckets too, but a step that goes on may change it
            first = {hash_of(subject) % BUCKETS: done + 1 for subject in sorted(ahead)}
        self._changed = dict(sorted(first.items(), key=lambda one: one[1]))
        self.count = sum(page.count for bucket in self._buckets for page in bucket.pages)
        return ahead

    def get(self, subject: str) -> bytes:
        """Return a customer's state, empty if nothing is known."""
        number = hash_of(subject)
        return self._kept(subject, number, self._buckets[number % BUCKETS])[0]

    def put(self, subject: str, kept: Kept, step: int) -> None:
        """Replace a customer's state by what a step has made of it."""
        number = hash_of(subject)
        bucket = self._buckets[number % BUCKETS]
        before = self._kept(subject, number, bucket)
        bucket.recent[subject] = kept
        bucket.changed.add(subject)
        self._grow(bucket, len(kept[0]) - len(before[0]))
        self.count += bool(kept[0]) - bool(before[0])
        if kept[1] is not None and (before[1] is None or kept[1] < before[1] or subject in self._awake):
            self._wake(kept[1], subject)
        self._awake.discard(subject)
        self._changed.setdefault(number % BUCKETS, step)
        if self._recent_bytes > self._most_bytes:
            self._let_go(max(self._buckets, key=lambda one: one.bytes))

    def _kept(self, subject: str, number: int, bucket: _Bucket) -> Kept:
        kept = bucket.recent.get(subject)
        if kept is None:
            kept = bucket.on_page(subject, number)
            self._take_off(bucket, subject, kept)
            if kept[1] is not None:
                self._wake(kept[1], subject)
        return kept

    def _take_off(self, bucket: _Bucket, subject: str, kept: Kept) -> None:
        bucket.recent[subject] = kept
        self._recent += 1
        self._grow(bucket, len(kept[0]) + _OVERHEAD)

    def _grow(self, bucket: _Bucket, size: int) -> None:
        bucket.bytes += size
        self._recent_bytes += size

    def _let_go(self, bucket: _Bucket) -> None:
        bucket.fold()
        self._recent -= len(bucket.recent)
        self._recent_bytes -= bucket.bytes
        bucket.recent, bucket.bytes = {}, 0

    def _wake(self, at: int, subject: str) -> None:
        if len(self._wakes) > 2 * self._recent + _FEW:
            found = (one for bucket in self._buckets for one in bucket.recent.items())
            self._wakes = [(kept[1], one) for one, kept in found if kept[1] is not None]
            heapq.heapify(self._wakes)
        heapq.heappush(self._wakes, (at, subject))

    def wakes_at(self) -> int | None:
        """Return a moment before which nobody needs a step though nothing comes: the next one, or a little earlier."""
        return _least([self._recent_wakes_at(), *[bucket.wakes for bucket in self._buckets]])

    def _recent_wakes_at(self) -> int | None:
        while self._wakes:
            at, subject = self._wakes[0]
            now = self._buckets[hash_of(subject) % BUCKETS].recent.get(subject, NOTHING)[1]
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
        while (at := self._recent_wakes_at()) is not None and at <= until:
            found.add(heapq.heappop(self._wakes)[1])
        for bucket in self._buckets:
            if bucket.wakes is not None and bucket.wakes <= until:
                for subject, kept in bucket.due(until).items():
                    self._take_off(bucket, subject, kept)
                    found.add(subject)
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
            if self._owed < max(self._sizes[number], LEAST) + _OVERHEAD:
                return
            del self._changed[number]
            self._buckets[number].fold()
            key, value = self._bucket_record(number, step)
            self._owed -= max(len(value), LEAST) + _OVERHEAD
            yield key, value

    def _bucket_record(self, number: int, step: int) -> tuple[bytes, bytes]:
        """Return the record of a bucket all of which is on pages, to be saved."""
        bucket = self._buckets[number]
        key, value = bucket_record(number, CustomerBucket(step, bucket.pages))
        # Whoever keeps the record keeps the pages: they need not be there twice.
        bucket.set(read_bucket(value).pages)
        self._sizes[number] = len(value)
        return key, value

    def superseded(self, step: int) -> list[Record]:
        """Return what deletes the parts that the saved buckets contain, once a step is done."""
        needed = min(self._changed.values(), default=step + 1)
        gone = [part for part in self._parts if part.step < needed]
        self._parts = [part for part in self._parts if part.step >= needed]
        return [(part.key, None) for part in gone]

    def states(self) -> Iterator[bytes]:
        """Yield all states."""
        for bucket in self._buckets:
            yield from bucket.states()


def _least(moments: Iterable[int | None]) -> int | None:
    return min([at for at in moments if at is not None], default=None)


def chunks(subjects: Iterable[str], size: int, weights: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """Yield customers in the order of their keys, some at a time who weigh no more than `size`, one each or more."""
    lot: list[str] = []
    load = 0
    for subject in sorted(subjects):
        weighs = 1 + weights.get(subject, 0)
        if lot and load + weighs > size:
            yield lot
            lot, load = [], 0
        lot.append(subject)
        load += weighs
    if lot:
        yield lot
