"""What a merge partition has counted: partials added up to pages, which are saved, and pages with rows to publish."""

from __future__ import annotations

from collections.abc import Iterable

from streams.kpis.arithmetic.accumulators import Acc, add_all, is_empty
from streams.kpis.folding.partials import Partial
from streams.kpis.rolling.admission import SHARD_BITS, Registry
from streams.kpis.rolling.journal import Marker, Record, SavedMerge, page_key
from streams.kpis.rolling.packing import Totals
from streams.kpis.rolling.pages import Page
from streams.kpis.rolling.retention import Archive
from streams.kpis.rolling.window_pair import WindowPair


class PageStore:
    """Pages of one merge partition, and how far each source is in them."""

    def __init__(self, registry: Registry, archive: Archive, windows: WindowPair) -> None:
        self.offset = -1
        """Offset of the newest partial."""
        self.applied: dict[str, int] = {}
        """Last record counted, by source."""
        self.stopped: dict[str, str] = {}
        """Sources of which nothing is counted any more, and why: their ranges contradict each other."""
        self.repeats = 0
        """Partials ignored because their records were counted before."""
        self.unpublished: dict[Page, None] = {}
        """Pages with rows to publish, in the order in which they were touched."""
        self._registry = registry
        self._archive = archive
        self._windows = windows
        self._replay_until = -1
        self._collected: dict[Page, Totals] = {}
        self._dirty: dict[Page, None] = {}
        self._unpacked: dict[Page, None] = {}

    @property
    def replaying(self) -> bool:
        """Return whether partials are still missing that saved pages contain."""
        return self.offset < self._replay_until

    @property
    def collected(self) -> int:
        """Totals of series and minutes that came since they were last added to pages."""
        return sum(map(len, self._collected.values()))

    def is_stopped(self, partial: Partial, offset: int) -> bool:
        """Tell whether nothing is counted of a source, as its ranges contradict each other: this one, or one before."""
        applied = self.applied.get(partial.source, -1)
        if partial.first <= applied < partial.last:
            self.stopped.setdefault(
                partial.source,
                f"records {partial.first} to {partial.last} came at offset {offset},"
                f" but those up to {applied} are counted",
            )
        return partial.source in self.stopped

    def add(self, partial: Partial, offset: int) -> bool:
        """Count a partial that holds records; False when they were counted before."""
        if partial.last <= self.applied.get(partial.source, -1):
            self.repeats += 1
            return False
        for minute, series in partial.deltas.items():
            self._collect(minute, series, offset, partial)
        self.applied[partial.source] = partial.last
        return True

    def _collect(self, minute: int, series: dict[str, Acc], offset: int, partial: Partial) -> None:
        """Add up what a partial has for one minute with what came since the last flush."""
        numbers = self._registry.numbers
        by_shard: dict[int, list[tuple[int, Acc]]] = {}
        for key, acc in series.items():
            if is_empty(acc):
                continue
            number = numbers.get(key)
            if number is None:
                number = self._registry.admit(key, acc, partial.channel, offset, partial.brought.get(key, ""))
            by_shard.setdefault(number >> SHARD_BITS, []).append((number, acc))
        if by_shard:
            self._windows.begin(minute, series)
        for shard, contributions in by_shard.items():
            page = self._archive.pages.at(minute, shard, offset)
            if page.fence >= offset:  # saved, but perhaps not published before the crash
                self._touch(page, [number for number, _ in contributions])
                continue
            page.fence = offset
            add_all(self._collected.setdefault(page, {}), contributions)

    def add_collected(self) -> None:
        """Add what was collected to pages and windows: once a flush, since all sources bring the same series."""
        collected, self._collected = self._collected, {}
        counted = []
        for page, totals in collected.items():
            contributions = list(totals.items())
            self._keep_unpacked(page).update(totals)
            add_all(page.open(), contributions)
            page.dirty = True
            self._dirty[page] = None
            counted.append((page.minute, contributions))
        self._windows.add(counted)

    def _touch(self, page: Page, numbers: Iterable[int]) -> None:
        """Have series of a page published again."""
        self._keep_unpacked(page).update(numbers)
        self._windows.touch(page.minute, numbers)

    def _keep_unpacked(self, page: Page) -> set[int]:
        """Keep a page unpacked and return its unpublished series."""
        page.hot = True
        if page.pending is None:
            page.pending = set()
        self._unpacked[page] = None
        self.unpublished[page] = None
        return page.pending

    def page_records(self) -> list[Record]:
        """Return the pages that changed since the last call."""
        records: list[Record] = [(page_key(page), page.save()) for page in self._dirty]
        self._dirty.clear()
        return records

    def evict(self, closed: int) -> list[Record]:
        """Move what became old, as of the closed minute that the last marker knows; return the records that say so."""
        gone, records = self._archive.evict(closed, len(self._registry.names))
        for page in gone:
            self._unpacked.pop(page, None)
        return records

    def pack(self) -> None:
        """Give back the memory of unpacked pages that nobody touched since the last call."""
        self._unpacked = {page: None for page in self._unpacked if not page.cool()}

    def restore(self, saved: SavedMerge, marker: Marker) -> None:
        """Take over what was saved."""
        self.offset, self.applied, self.stopped = marker.fence, marker.applied.copy(), marker.stopped.copy()
        self._archive.restore(saved.pages, saved.hours, saved.bases, saved.absorbed)
        self._replay_until = max([self._registry.decided, *(page.fence for page in saved.pages)])

    def touch_after(self, closed: int | None) -> None:
        """Have all pages behind a closed minute published again."""
        pages = self._archive.pages
        for page in pages.between(closed, max(pages.newest or 0, 0)):
            if page.inherited:
                self._windows.touch(page.minute, page.read())
            else:
                self._touch(page, page.open())
