"""
What a merge partition keeps of the past, and how coarsely.

Minutes up to a day behind the newest closed one are kept as they are. Windows longer than that step by the hour at
their far end, so of minutes beyond it the sum of each hour is enough; and of what no window needs, the total.

Something moves from page to page only when all it holds was published before the last marker. What takes something in
is written before what it took in is deleted, and names it: a crash in between repeats nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from streams.kpis.arithmetic.accumulators import add_all
from streams.kpis.language.lengths import FINE_MINUTES, window_minutes
from streams.kpis.rolling.journal import Record, base_key, base_totals, page_key
from streams.kpis.rolling.packing import Totals, add_up, pack, unpack
from streams.kpis.rolling.pages import HOUR_PART, Page, Pages

SLACK_MINUTES: Final = 10


class Retention(NamedTuple):
    """For how many minutes behind the newest closed one what is kept."""

    minutes: int
    """As minutes."""
    hours: int
    """As hours, those kept as minutes included."""

    @classmethod
    def of(cls, windows: Iterable[str], slack: int = SLACK_MINUTES) -> Retention:
        """Return what windows need; raises ValueError for a name that is no window."""
        longest = max(map(window_minutes, windows), default=0)
        if longest <= FINE_MINUTES:
            return cls(longest + slack, longest + slack)
        return cls(FINE_MINUTES + slack, longest + 60 + slack)

    @property
    def hourly(self) -> bool:
        """Whether anything is kept as hours."""
        return self.hours > self.minutes

    def last_hour(self, closed: int) -> int:
        """Return the last minute before the first hour that is kept as minutes."""
        return (closed - self.minutes + 1) // 60 * 60 - 1

    def last_gone(self, closed: int) -> int:
        """Return the last minute that no window needs."""
        return closed - self.hours


class Archive:
    """Pages of minutes and hours, and the totals of all that came before."""

    def __init__(self, retention: Retention) -> None:
        self.pages = Pages()
        """By minute."""
        self.hours = Pages()
        """By the first minute of the hour."""
        self._retention = retention
        self._bases: dict[int, bytes] = {}
        self._tombstones: list[Page] = []

    def restore(self, pages: Iterable[Page], hours: Iterable[Page], bases: dict[int, bytes], gone: list[Page]) -> None:
        """Take over what was saved; `gone` are pages that others contain, to be deleted."""
        for page in pages:
            self.pages.put(page)
        for hour in hours:
            self.hours.put(hour)
        self._bases, self._tombstones = bases, gone

    def before(self) -> Totals:
        """Return the totals of what is no longer in any page."""
        return base_totals(self._bases)

    def evict(self, closed: int, series: int) -> tuple[list[Page], list[Record]]:
        """
        Move what became old; return the minutes that are gone, and the records that say so.

        Args:
            closed: The newest closed minute that the last marker knows.
            series: More than the largest series number.
        """
        gone_to = self._retention.last_gone(closed)
        hourly_to = self._retention.last_hour(closed) if self._retention.hourly else gone_to
        leaving = [page for page in self.pages.between(None, max(gone_to, hourly_to)) if page.is_published]
        expired = self.hours.between(None, gone_to - 59)
        if not (leaving or expired or self._tombstones):
            return [], []
        for page in leaving:
            self.pages.remove(page)
        for hour in expired:
            self.hours.remove(hour)
        self._tombstones += [*leaving, *expired]
        records = self._to_hours([page for page in leaving if page.minute > gone_to], series)
        records += self._to_bases([*(page for page in leaving if page.minute <= gone_to), *expired])
        records += [(page_key(page), None) for page in self._tombstones]
        self._tombstones = []
        return leaving, records

    def _to_hours(self, pages: Sequence[Page], series: int) -> list[Record]:
        by_hour: dict[tuple[int, int], list[Page]] = {}
        for page in pages:
            by_hour.setdefault((page.minute // 60 * 60, page.home), []).append(page)
        records: list[Record] = []
        for (minute, shard), alike in by_hour.items():
            hour = self.hours.at(minute, shard, HOUR_PART)
            parts = [hour.save()] if hour.packed else []
            totals = add_up([*parts, *(page.packed for page in alike if page.packed is not None)], series)
            for page in alike:
                if page.packed is None:  # a page that was never saved is not packed only to be added up
                    add_all(totals, page.read().items())
            hour.packed, hour.totals = pack(totals, absorbed=[page.name for page in alike]), None
            records.append((page_key(hour), hour.packed))
        return records

    def _to_bases(self, pages: Sequence[Page]) -> list[Record]:
        by_shard: dict[int, list[Page]] = {}
        for page in pages:
            by_shard.setdefault(page.home, []).append(page)
        records: list[Record] = []
        for shard, alike in sorted(by_shard.items()):
            base = self._bases.get(shard)
            totals = unpack(base) if base else {}
            for page in alike:
                add_all(totals, page.read().items())
            absorbed = [page.name for page in self._tombstones if page.home == shard]
            self._bases[shard] = pack(totals, absorbed=absorbed)
            records.append((base_key(shard), self._bases[shard]))
        return records
