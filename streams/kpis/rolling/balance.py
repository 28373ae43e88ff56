"""When series of a merge partition give way to heavier ones, and what its windows then let go of or take back."""

from __future__ import annotations

from streams.kpis.rolling.admission import Admitted, Changes, Registry
from streams.kpis.rolling.journal import Record, admitted_record, series_record
from streams.kpis.rolling.retention import Archive
from streams.kpis.rolling.windows import Windows


class MemoryBalance:
    """
    Has series give way once a closed minute, between two batches.

    Only when the next batch has begun: what is decided is saved with it, and published under its revisions.
    """

    def __init__(self, registry: Registry, open_: Windows, closed: Windows, archive: Archive) -> None:
        self._registry = registry
        self._open = open_
        self._closed = closed
        self._archive = archive
        self._as_of: int | None = None
        self._aim: int | None = None
        self._returned: set[int] = set()
        self.is_due = False
        """Whether it is time when the next batch begins."""

    def aims_at(self, minute: int) -> None:
        """
        Take note of the minute up to which all are to be closed.

        A state that was lost may have published as much. Before the first aim is reached nobody gives way, else
        what was published would stay the last word on a series.
        """
        if self._aim is None:
            self._aim = minute

    def batch_ends(self) -> None:
        """See whether it is time."""
        closed = self._closed.as_of
        if closed is not None and self._aim is not None and closed >= self._aim:
            self.is_due, self._as_of = closed != self._as_of, closed

    def rebalance(self) -> None:
        """Have series give way to heavier ones, and take back those that are heavier again."""
        self.is_due = False
        if self._open.as_of is None:
            return
        weighed, windows = self._open.weighed()
        leaving, returning = self._registry.rebalance(weighed, windows)
        for sums in (self._open, self._closed):
            sums.let_go(leaving)
        if returning:
            back = set(returning)
            self._returned |= back
            before = {number: acc for number, acc in self._archive.before().items() if number in back}
            for sums in (self._open, self._closed):
                sums.take_back(back, self._archive.pages, before, len(self._registry.names), self._archive.hours)

    def records(self, offset: int) -> list[Record]:
        """Return what is to be saved of series before anything that was counted by it, up to an offset."""
        records = [series_record(shard, keys) for shard, keys in self._registry.grown()]
        admitted = self._registry.decide(offset, self._unpublished())
        return records if admitted is None else [*records, admitted_record(admitted)]

    def _unpublished(self) -> Changes:
        """Return the series of which it is not published yet that they gave way, or came back."""
        self._returned = {n for n in self._returned if self._open.waits(n) or self._closed.waits(n)}
        return Changes(sorted({*self._open.let_go_of, *self._closed.let_go_of}), sorted(self._returned))

    def restore(self, admitted: Admitted | None) -> None:
        """Have what was decided and perhaps not published be published again, by windows that are as they were."""
        if admitted is None:
            return
        for sums in (self._open, self._closed):
            sums.let_go(admitted.leaving)
            sums.touch_all(admitted.returning)
        self._returned = set(admitted.returning)
