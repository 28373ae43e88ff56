"""
Pages: the totals of up to 1,024 series in one minute, packed to a few bytes per series when nobody touches them.

The packed form is what is kept in memory, what is written to the changelog, and what a restart reads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Final

from streams.kpis.rolling.packing import Name, Totals, decode, pack, unpack

HOUR_PART: Final = -1
"""Part of a page that holds an hour, named by its first minute; there never is another of that hour and shard."""


class Page:
    """
    Totals of one shard of series in one minute, or in one hour that is long past.

    A page whose minute was evicted and comes back starts anew under another `part`; the minute is the sum of its parts.
    A page with a shard below zero is inherited: it holds what was published before the topics were made anew. It counts
    in windows and totals, but nothing is added to it, and none of its minutes is published again.
    """

    __slots__ = ("dirty", "fence", "hot", "minute", "packed", "part", "pending", "shard", "totals")

    def __init__(self, minute: int, shard: int, part: int) -> None:
        self.minute = minute
        self.shard = shard
        self.part = part
        self.fence = -1
        """Offset of the last partial it contains; older ones change nothing any more."""
        self.totals: Totals | None = {}
        self.packed: bytes | None = None
        self.dirty = False
        """Changed since it was packed."""
        self.hot = False
        """Touched since the last marker."""
        self.pending: set[int] | None = None
        """Series whose rows are still to be published."""

    @classmethod
    def restored(cls, minute: int, shard: int, part: int, packed: bytes) -> Page:
        """Return a page as it was saved."""
        page = cls(minute, shard, part)
        page.fence, page.packed, page.totals = decode(packed).fence, packed, None
        return page

    @property
    def name(self) -> Name:
        """What names the page among all that ever were."""
        return self.minute, self.shard, self.part

    @property
    def is_published(self) -> bool:
        """Whether all it holds was published before the last marker."""
        return not (self.hot or self.dirty or self.pending)

    @property
    def inherited(self) -> bool:
        """Whether it was published before the topics were made anew."""
        return self.shard < 0

    @property
    def home(self) -> int:
        """The shard of its series, whose totals take it in when it is evicted."""
        return ~self.shard if self.inherited else self.shard

    def read(self) -> Totals:
        """Return the totals, to be looked at only; a packed page stays packed."""
        if self.totals is not None:
            return self.totals
        assert self.packed is not None
        return unpack(self.packed)

    def open(self) -> Totals:
        """Return the totals and keep them unpacked."""
        self.totals = self.read()
        return self.totals

    def save(self) -> bytes:
        """Return the packed form."""
        if self.dirty or self.packed is None:
            self.packed = pack(self.read(), self.fence)
            self.dirty = False
        return self.packed

    def cool(self) -> bool:
        """Give the unpacked form back to memory unless it was just needed; tell whether it is gone."""
        if self.dirty or self.hot:
            self.hot = False
            return False
        self.totals, self.pending = None, self.pending or None
        return True


class Pages:
    """All pages, by minute."""

    def __init__(self) -> None:
        self._by_minute: dict[int, dict[int, Page]] = {}
        self._minutes: list[int] = []

    def __iter__(self) -> Iterator[Page]:
        for minute in self._minutes:
            yield from self._by_minute[minute].values()

    def __len__(self) -> int:
        return sum(map(len, self._by_minute.values()))

    @property
    def newest(self) -> int | None:
        """The newest minute there is a page of."""
        return self._minutes[-1] if self._minutes else None

    @property
    def oldest(self) -> int | None:
        """The oldest minute there is a page of."""
        return self._minutes[0] if self._minutes else None

    def at(self, minute: int, shard: int, part: int) -> Page:
        """Return the page of a minute and shard; if there is none, a new one of the given part."""
        shards = self._by_minute.get(minute)
        page = shards.get(shard) if shards else None
        if page is None:
            page = Page(minute, shard, part)
            self.put(page)
        return page

    def put(self, page: Page) -> None:
        """Take a page in."""
        if page.minute not in self._by_minute:
            self._by_minute[page.minute] = {}
            insort(self._minutes, page.minute)
        self._by_minute[page.minute][page.shard] = page

    def newest_where(self, after: int | None, wanted: Callable[[Page], bool]) -> int | None:
        """Return the newest minute after another with a page that is wanted."""
        return next((page.minute for page in reversed(self.between(after, self.newest or 0)) if wanted(page)), None)

    def between(self, after: int | None, last: int) -> list[Page]:
        """Return the pages later than the minute `after` (None: all), up to and including the minute `last`."""
        start = 0 if after is None else bisect_right(self._minutes, after)
        end = bisect_right(self._minutes, last)
        return [page for minute in self._minutes[start:end] for page in self._by_minute[minute].values()]

    def remove(self, page: Page) -> None:
        """Forget a page."""
        shards = self._by_minute[page.minute]
        del shards[page.shard]
        if not shards:
            del self._by_minute[page.minute]
            del self._minutes[bisect_left(self._minutes, page.minute)]
