"""
The state of one merge partition: totals per series and minute, rolling windows, and what is to be published of them.

Pure: partials and the time come in, rows and records go out. The agent may die between any two of its steps:

1. `apply` each partial of `cx.kpi.partials`, in order, for about half a second;
2. write `dirty_records()` to the changelog, in order, and wait;
3. publish `drain_outputs(now)`, and wait;
4. write `marker()` to the changelog, and wait;
5. acknowledge partials up to `fence`.

A new owner calls `restore` with the records and applies again from `fence + 1`. Rows are cumulative and carry a
revision that grows with what they contain: of all rows of a key, the one with the highest is right.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from streams.events.scalars import DERIVED
from streams.kpis.folding.partials import Partial
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.rolling.admission import Registry, SeriesLimits
from streams.kpis.rolling.balance import MemoryBalance
from streams.kpis.rolling.closed import ClosedMinute, OpenMinutes, SeriesIndex
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.derived_series import DerivedSeries
from streams.kpis.rolling.health import SourceHealths
from streams.kpis.rolling.journal import Marker, Record, marker_record, read_back
from streams.kpis.rolling.outputs import VALUE_FORM, Outputs
from streams.kpis.rolling.pages import Pages
from streams.kpis.rolling.retention import SLACK_MINUTES, Archive, Retention
from streams.kpis.rolling.rows import RowPublisher
from streams.kpis.rolling.store import PageStore
from streams.kpis.rolling.throttle import steps_to
from streams.kpis.rolling.void_series import Rules, VoidSeries
from streams.kpis.rolling.watermarks import HISTORY_S, Watermarks
from streams.kpis.rolling.window_pair import WindowPair
from streams.kpis.rolling.windows import Windows

LIMITS: Final = SeriesLimits(lambda _kpi: 10_000)

_UNSEEN: Final = 20_000
"""Totals of history that may wait for windows; few of them are cheaper to bring in together."""


class MergeState:
    """Totals, windows and watermarks of one merge partition."""

    def __init__(
        self,
        *,
        windows: Sequence[str] = WINDOWS,
        slack_minutes: int = SLACK_MINUTES,
        idle_s: float = 10.0,
        grace_s: float = 10.0,
        expected: Iterable[str] = (),
        open_every_s: float = 1.0,
        limits: SeriesLimits = LIMITS,
        delayed: Container[str] = frozenset(),
        lasting: Container[str] = frozenset(),
        derivations: Derivations | None = None,
        voids: Rules | None = None,
    ) -> None:
        """
        Start with nothing.

        Args:
            windows: rolling windows to keep, besides the total since the beginning.
            slack_minutes: how much longer than windows need it something is kept.
            idle_s: silence after which a source that is caught up no longer holds the watermark.
            grace_s: how long expected sources may take to send their first partial.
            expected: sources known to exist.
            open_every_s: shortest time between two publications of open windows (see `PublishingThrottle`).
            limits: how many series there may be.
            delayed: ids of KPIs that count events later than they happen (see `WindowPair`).
            lasting: ids of KPIs whose accumulators last (`Aggregator.lasting`).
            derivations: which series are made of others, all of them of this partition.
            voids: of which KPIs sums may have no value, and when.

        Raises ValueError for an unknown window.
        """
        self.registry = Registry(limits, lasting)
        self.watermarks = Watermarks(idle_s=idle_s, grace_s=grace_s, expected=expected)
        self.health = SourceHealths()
        self.behind = 0
        """Minutes that are due, but were too many to be closed in one go."""
        self._archive = Archive(Retention.of(windows, slack_minutes))
        self._windows = WindowPair(windows, self.registry, self._archive, delayed)
        self._store = PageStore(self.registry, self._archive, self._windows)
        self._series = SeriesIndex(self.registry)
        self._voids = VoidSeries(voids or {}, self.registry, self._series)
        derived = DerivedSeries(derivations, self.registry) if derivations else None
        self._rows = RowPublisher(self.registry, self._store, self._windows, derived, self._voids, open_every_s)
        self._balance = MemoryBalance(self.registry, self._windows.open, self._windows.closed, self._archive)
        self._marked = Marker()
        self._totals_wait = False

    @property
    def pages(self) -> Pages:
        """The pages of minutes, to be looked at only."""
        return self._archive.pages

    @property
    def fence(self) -> int:
        """Offset of the last partial that the last marker covers; -1 before the first."""
        return self._marked.fence

    @property
    def closed(self) -> int | None:
        """The newest closed minute: no more is expected for it or any before."""
        return self._windows.closed.as_of

    @property
    def unpublished(self) -> int:
        """What still waits to be published: pages with rows, and windows of open minutes."""
        return self._rows.waiting

    @property
    def collected(self) -> int:
        """Totals of series and minutes that came since the last flush, and that only a flush packs again."""
        return self._store.collected

    @property
    def replaying(self) -> bool:
        """Return whether partials are still missing that saved pages contain; until then nothing is published."""
        return self._store.replaying

    @property
    def repeats(self) -> int:
        """Partials ignored because their records were counted before."""
        return self._store.repeats

    @property
    def stopped(self) -> dict[str, str]:
        """Sources of which nothing is counted any more, and why: their ranges contradict each other."""
        return self._store.stopped

    def apply(self, partial: Partial, offset: int) -> bool:
        """
        Add a partial; tell whether it was new.

        Ranges of a source are frozen before they are sent. If some records of one were counted before and some not, its
        state was lost, and neither counting nor skipping it is right: its source is `stopped`, and the others go on.

        Raises ValueError and TypeError, also of `dirty_records` and `drain_outputs`, when a series changed its
        aggregator. The state must then be thrown away and restored.
        """
        store = self._store
        if self._balance.is_due and offset > store.offset:
            self._windows.catch_up()
            self._balance.rebalance()
        store.offset = max(store.offset, offset)
        if self._totals_wait and offset > self.fence:  # else rows could have the revision of those they replace
            self._windows.touch_totals()
            self._totals_wait = False
        if store.is_stopped(partial, offset):
            self.watermarks.report(partial.source, None, caught_up=True)
            return False
        active = partial.first <= partial.last
        if active:
            if not store.add(partial, offset):
                return False
            if partial.tally is not None:
                self.health.note(partial.source, partial.tally, partial.minutes)
                # Who sends nothing but refused records or repetitions is as silent as who sends nothing.
                active = partial.tally.counted > 0
        if partial.channel != DERIVED:
            # What relations say comes later by its nature: minutes of what channels send do not wait for it.
            self.watermarks.report(partial.source, partial.watermark, partial.caught_up, active=active)
        return True

    def dirty_records(self) -> list[Record]:
        """
        Return what changed since the last call, to be written in this order; pages behind retention are evicted.

        A caller that cannot write them must throw the state away and restore it.
        """
        if self.replaying:
            return []
        self._store.add_collected()
        records = [*self._balance.records(self._store.offset), *self._store.page_records()]
        if self._marked.closed is not None:
            records += self._store.evict(self._marked.closed)
        return records

    def drain_outputs(
        self,
        now: float,
        judge: Callable[[ClosedMinute], bool] | None = None,
        horizon_s: float = 86_400.0,
        *,
        at_rest: bool = False,
    ) -> Outputs:
        """
        Close what is due at `now` (unix seconds) and return the rows to publish; `at_rest`: nothing came meanwhile.

        A `judge` is shown every minute within `horizon_s` behind `now`, one after the other, as soon as it is closed,
        until it says no: what is published must not wait for too many of them. `behind` then tells to come again at
        once. After a restart it is shown the minutes after the last published one again.
        """
        outputs = Outputs([], [])
        self.behind = 0
        if self.replaying:
            return outputs
        self._store.add_collected()
        watermark = self.watermarks.advance(now)
        self._rows.revised(outputs)
        catching_up = self.watermarks.catching_up
        open_due = self._rows.due(now, history=self.watermarks.reads_history(now), at_rest=at_rest)
        due = open_due.minutes or not catching_up
        steps = shown = passed = range(0)
        if watermark is not None:
            target = int(watermark // 60) - 1
            self._balance.aims_at(target)
            if due:
                steps = steps_to(self.closed, target, rows=self._windows.closed.rows, catching_up=catching_up)
            elif self._windows.unseen > _UNSEEN:
                # Though it is not published yet: what had added up by then would hold up everything else.
                passed = steps_to(self.closed, target, rows=0, catching_up=True)
            if judge is not None:
                shown = range(max(int((now - horizon_s) // 60), self._first_unclosed(target)), target + 1)
        if open_due.minutes or steps or shown or passed or outputs.values:
            self._windows.catch_up()
        if shown and judge is not None:
            self._close_for(judge, shown, steps, outputs)
        else:
            for minute in passed:
                self._windows.close(minute)
            for minute in steps:
                self._windows.close(minute)
                self._rows.closed_sums(outputs)
        if self._rows.closed_waits and (open_due.minutes or (due and not self.behind)):
            self._rows.closed_sums(outputs)
        self._rows.minutes(outputs, include_open=open_due.minutes)
        self._rows.open_sums(outputs, open_due, catching_up=catching_up)
        self._rows.published(now, open_due, outputs)
        return outputs

    def _first_unclosed(self, target: int) -> int:
        """Return the first minute to close: without one that is closed, the oldest with a page."""
        oldest = self.pages.oldest if self.closed is None else self.closed + 1
        return target if oldest is None else oldest

    def _close_for(
        self, judge: Callable[[ClosedMinute], bool], shown: range, published: range, outputs: Outputs
    ) -> None:
        """Close minutes one after the other and show them to a judge until it says no."""
        for minute in shown:
            self._windows.close(minute)
            if minute in published:
                self._rows.closed_sums(outputs)
            if not judge(self._as_of(minute, self._windows.closed)):
                break
        if self.closed is not None:
            self.behind = shown[-1] - self.closed

    def open_minutes(self, now: float) -> OpenMinutes | None:
        """
        Return what has come since the newest closed minute, as far as the open windows know of it.

        None: nothing has, at `now` (Unix s) history is read, or windows are behind what came. No minute begins here by
        clocks that are ahead.
        """
        closed, begun = self._windows.closed.as_of, self._windows.open.as_of
        waits = self.replaying or self.behind or self._windows.unseen
        if waits or closed is None or begun is None or self.watermarks.reads_history(now):
            return None
        newest = min(begun, int(now // 60))
        if newest <= closed:
            return None
        return OpenMinutes(self._as_of(closed, self._windows.closed), self._as_of(newest, self._windows.open))

    def _as_of(self, minute: int, windows: Windows) -> ClosedMinute:
        return ClosedMinute(
            minute, self._series, self.registry, windows, self.pages, self.health, self._voids.is_unseen
        )

    def closes(self, now: float) -> bool:
        """Return whether sources have said what closes a minute at `now` (unix seconds) that is no history."""
        at = self.watermarks.reported(now)
        return at is not None and now - at < HISTORY_S and self.closed is not None and at // 60 - 1 > self.closed

    def marker(self) -> tuple[bytes, bytes]:
        """Return key and value of the record that says: everything up to here is saved and published."""
        if not self.replaying:
            published = self._rows.closed
            if published is not None:
                self.health.prune(published)
            self._marked = Marker(
                fence=self._store.offset,
                applied=self._store.applied.copy(),
                reports=self.watermarks.sources.copy(),
                watermark=self.watermarks.value,
                closed=published,
                newest=self._windows.open.as_of,
                health=self.health.copy(),
                stopped=self.stopped.copy(),
                passed=self._rows.closed_waits or self._totals_wait,
                form=VALUE_FORM,
            )
            self._store.pack()
            self._balance.batch_ends()
        return marker_record(self._marked)

    def restore(self, records: Iterable[Record]) -> None:
        """
        Take over the records of a changelog, in the order they were written; only on a new state.

        Raises ValueError for records that are not ours or not complete.
        """
        saved = read_back(records)
        marker = self._marked = saved.marker
        self._rows.closed = marker.closed
        self.health = SourceHealths(marker.health)
        self.watermarks.restore(marker.watermark, marker.reports.copy())
        self.registry.restore(saved.series, saved.admitted)
        self._store.restore(saved, marker)
        self._windows.restore(marker.newest, marker.closed)
        self._totals_wait = marker.passed or marker.form != VALUE_FORM
        self._store.touch_after(marker.closed)
        self._balance.restore(saved.admitted)
