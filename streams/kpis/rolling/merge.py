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

from streams.kpis.arithmetic.accumulators import Acc, add_all, is_empty
from streams.kpis.folding.partials import Partial
from streams.kpis.language.lengths import WINDOWS, window_end
from streams.kpis.language.series import SEPARATOR
from streams.kpis.rolling.admission import SHARD_BITS, Registry, SeriesLimits
from streams.kpis.rolling.balance import MemoryBalance
from streams.kpis.rolling.closed import ClosedMinute, SeriesIndex
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.derived_series import DerivedSeries
from streams.kpis.rolling.health import SourceHealths
from streams.kpis.rolling.journal import Marker, Record, marker_record, page_key, read_back
from streams.kpis.rolling.outputs import Maturity, MinuteRow, Outputs, RollingSum
from streams.kpis.rolling.packing import Totals
from streams.kpis.rolling.pages import Page
from streams.kpis.rolling.retention import SLACK_MINUTES, Archive, Retention
from streams.kpis.rolling.throttle import PublishingThrottle, steps_to
from streams.kpis.rolling.void_series import Rules, VoidSeries
from streams.kpis.rolling.watermarks import HISTORY_S, Watermarks
from streams.kpis.rolling.windows import Settled, Windows

LIMITS: Final = SeriesLimits(lambda _kpi: 10_000)


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
            open_every_s: shortest time between two publications of open windows, half of it of minutes (see `Pace`).
            limits: how many series there may be.
            delayed: ids of KPIs that count events later than they happen: of no minute do they say that it has begun.
            lasting: ids of KPIs whose accumulators last (`Aggregator.lasting`).
            derivations: which series are made of others, all of them of this partition.
            voids: of which KPIs sums may have no value, and when.

        Raises ValueError for an unknown window.
        """
        self.registry = Registry(limits, lasting)
        self._derived = DerivedSeries(derivations, self.registry) if derivations else None
        self.watermarks = Watermarks(idle_s=idle_s, grace_s=grace_s, expected=expected)
        self._archive = Archive(Retention.of(windows, slack_minutes))
        self.pages, self._hours = self._archive.pages, self._archive.hours
        self.repeats = 0
        """Partials ignored because their records were counted before."""
        self.stopped: dict[str, str] = {}
        """Sources of which nothing is counted any more, and why: their ranges contradict each other."""
        self.behind = 0
        """Minutes that are due, but were too many to be closed in one go."""
        self.sent_seq = 0
        """Number of the last transition of an alert that was sent for good; saved with the marker for the judge."""
        self.health = SourceHealths()
        self._closed, self._open = (Windows(windows, self.registry.left, self.registry.lasting) for _ in range(2))
        self._balance = MemoryBalance(self.registry, self._open, self._closed, self._archive)
        self._delayed, self._throttle = delayed, PublishingThrottle(open_every_s)
        self._offset = self._replay_until = -1
        self._applied: dict[str, int] = {}
        self._marked = Marker()
        self._published: int | None = None
        self._series = SeriesIndex(self.registry)
        self._voids = VoidSeries(voids or {}, self.registry, self._series)
        self._begun: int | None = None
        self._collected: dict[Page, Totals] = {}
        self._unseen: dict[int, Totals] = {}
        self._dirty: dict[Page, None] = {}
        self._unpacked: dict[Page, None] = {}
        self._unpublished: dict[Page, None] = {}

    @property
    def fence(self) -> int:
        """Offset of the last partial that the last marker covers; -1 before the first."""
        return self._marked.fence

    @property
    def closed(self) -> int | None:
        """The newest closed minute: no more is expected for it or any before."""
        return self._closed.as_of

    @property
    def unpublished(self) -> int:
        """What still waits to be published: pages with rows, and windows of open minutes."""
        return len(self._unpublished) + self._open.waiting

    @property
    def collected(self) -> int:
        """Totals of series and minutes that came since the last flush, and that only a flush packs again."""
        return sum(map(len, self._collected.values()))

    @property
    def replaying(self) -> bool:
        """Tell whether partials are still missing that saved pages contain; until then nothing is published."""
        return self._offset < self._replay_until

    def apply(self, partial: Partial, offset: int) -> bool:
        """
        Add a partial; tell whether it was new.

        Ranges of a source are frozen before they are sent. If some records of one were counted before and some not, its
        state was lost, and neither counting nor skipping it is right: its source is `stopped`, and the others go on.

        Raises ValueError and TypeError, also of `dirty_records` and `drain_outputs`, when a series changed its
        aggregator. The state must then be thrown away and restored.
        """
        if self._balance.is_due and offset > self._offset:
            self._catch_up()
            self._balance.settle()
        self._offset = max(self._offset, offset)
        active = partial.first <= partial.last
        applied = self._applied.get(partial.source, -1)
        if active and partial.first <= applied < partial.last:
            self.stopped.setdefault(
                partial.source,
                f"records {partial.first} to {partial.last} came at offset {offset},"
                f" but those up to {applied} are counted",
            )
        if partial.source in self.stopped:
            self.watermarks.report(partial.source, None, caught_up=True)
            return False
        if active:
            if partial.last <= applied:
                self.repeats += 1
                return False
            for minute, series in partial.deltas.items():
                self._collect(minute, series, offset, partial)
            self._applied[partial.source] = partial.last
            if partial.tally is not None:
                self.health.note(partial.source, partial.tally, partial.minutes)
                # Who sends nothing but refused records or repetitions is as silent as who sends nothing.
                active = partial.tally.counted > 0
        self.watermarks.report(partial.source, partial.watermark, partial.caught_up, active=active)
        return True

    def dirty_records(self) -> list[Record]:
        """
        Return what changed since the last call, to be written in this order; pages behind retention are evicted.

        A caller that cannot write them must throw the state away and restore it.
        """
        if self.replaying:
            return []
        self._settle()
        records = [*self._balance.records(self._offset), *((page_key(page), page.save()) for page in self._dirty)]
        if self._marked.closed is not None:
            gone, moved = self._archive.settle(self._marked.closed, len(self.registry.names))
            records += moved
            for page in gone:
                self._unpacked.pop(page, None)
        self._dirty.clear()
        return records

    def drain_outputs(
        self, now: float, judge: Callable[[ClosedMinute], bool] | None = None, horizon_s: float = 86_400.0
    ) -> Outputs:
        """
        Close what is due at `now` (unix seconds) and return the rows to publish.

        A `judge` is shown every minute within `horizon_s` behind `now`, one after the other, as soon as it is closed,
        until it says no: what is published must not wait for too many of them. `behind` then tells to come again at
        once. After a restart it is shown the minutes after the last published one again.
        """
        outputs = Outputs([], [])
        self.behind = 0
        if self.replaying:
            return outputs
        self._settle()
        watermark = self.watermarks.advance(now)
        if self.closed is not None and self.closed == self._published:
            self._publish(self._closed.touched(), outputs)
        catching_up = self.watermarks.catching_up
        open_due = self._throttle.due(now, history=self.watermarks.reads_history(now))
        due = open_due.minutes or not catching_up
        steps = shown = range(0)
        if watermark is not None:
            target = int(watermark // 60) - 1
            self._balance.aims_at(target)
            if due:
                steps = steps_to(self.closed, target, rows=self._closed.rows, catching_up=catching_up)
            if judge is not None:
                oldest = self.pages.oldest if self.closed is None else self.closed + 1
                first = target if oldest is None else oldest
                shown = range(max(int((now - horizon_s) // 60), first), target + 1)
        if open_due.minutes or steps or shown or outputs.values:
            self._catch_up()
        for minute in shown or steps:
            self._closed.advance(minute, self.pages, self._hours)
            if minute in steps:
                self._publish_closed(outputs)
            if shown and judge is not None:
                known = self._series, self.registry, self._closed, self.pages, self.health
                view = ClosedMinute(minute, *known, self._voids.is_unseen)
                if not judge(view):
                    break
        if shown and self.closed is not None:
            self.behind = shown[-1] - self.closed
        if self.closed != self._published and (open_due.minutes or (due and not self.behind)):
            self._publish_closed(outputs)
        self._publish_minutes(outputs, open_due.minutes)
        if self.closed is not None and (newest := -1 if self._open.as_of is None else self._open.as_of) <= self.closed:
            if newest < self.closed:  # left behind, or not begun: it would miss pages that are evicted meanwhile
                self._open.copy_from(self._closed)
            self._open.forget_touched()
        else:
            short, long = open_due.short and not catching_up, open_due.long and not catching_up
            # Of a total the row as of the newest minute is read: that cannot wait when others go out before it.
            total = long or bool(outputs.values)
            self._publish(self._open.touched(short=short, long=long, total=total), outputs, "open")
        self._throttle.published(now, open_due, outputs, self.closed, self._open.short)
        return outputs

    def closes(self, now: float) -> bool:
        """Tell whether sources have said what closes a minute at `now` (unix seconds) that is no history."""
        at = self.watermarks.reported(now)
        return at is not None and now - at < HISTORY_S and self.closed is not None and at // 60 - 1 > self.closed

    def marker(self) -> tuple[bytes, bytes]:
        """Return key and value of the record that says: everything up to here is saved and published."""
        if not self.replaying:
            if self._published is not None:
                self.health.prune(self._published)
            self._marked = Marker(
                self._offset,
                self._applied.copy(),
                self.watermarks.sources.copy(),
                self.watermarks.value,
                self._published,
                self._open.as_of,
                self.health.copy(),
                self.sent_seq,
                self.stopped.copy(),
            )
            self._unpacked = {page: None for page in self._unpacked if not page.cool()}
            self._balance.batch_ends()
        return marker_record(self._marked)

    def restore(self, records: Iterable[Record]) -> None:
        """
        Take over the records of a changelog, in the order they were written; only on a new state.

        Raises ValueError for records that are not ours or not complete.
        """
        saved = read_back(records)
        marker = self._marked = saved.marker
        self._offset, self._applied, self._published = marker.fence, marker.applied.copy(), marker.closed
        self.health, self.sent_seq, self.stopped = SourceHealths(marker.health), marker.sent_seq, marker.stopped.copy()
        self.watermarks.restore(marker.watermark, marker.reports.copy())
        self.registry.restore(saved.series, saved.admitted)
        self._archive.restore(saved.pages, saved.hours, saved.bases, saved.absorbed)
        self._replay_until = max([self.registry.decided, *(page.fence for page in saved.pages)])
        names = self.registry.names
        begun = self.pages.newest_where(marker.newest, lambda page: self._has_begun(names[n] for n in page.read()))
        known = [minute for minute in (marker.newest, marker.closed, begun) if minute is not None]
        if known:
            self._start_windows(max(known), marker.closed)
        for page in self.pages.between(marker.closed, max(self.pages.newest or 0, 0)):
            if page.inherited:
                self._touch_windows(page.minute, page.read())
            else:
                self._touch(page, page.open())
        self._balance.restore(saved.admitted)

    def _has_begun(self, keys: Iterable[str]) -> bool:
        """Tell whether a minute with these series has begun, or only will hold what was counted ahead."""
        return any(key.partition(SEPARATOR)[0] not in self._delayed for key in keys)

    def _start_windows(self, newest: int, closed: int | None) -> None:
        before, series = self._archive.before(), len(self.registry.names)
        if closed is None:
            self._open.start(newest, self.pages, before, series)
            return
        self._closed.start(closed, self.pages, before, series, self._hours)
        self._open.copy_from(self._closed)
        if newest > closed:
            self._open.advance(newest, self.pages, self._hours)
            self._open.forget_touched()

    def _collect(self, minute: int, series: dict[str, Acc], offset: int, partial: Partial) -> None:
        """Add up what a partial has for one minute with what came since the last flush."""
        numbers = self.registry.numbers
        by_shard: dict[int, list[tuple[int, Acc]]] = {}
        for key, acc in series.items():
            if is_empty(acc):
                continue
            number = numbers.get(key)
            if number is None:
                number = self.registry.admit(key, acc, partial.channel, offset, partial.brought.get(key, ""))
            by_shard.setdefault(number >> SHARD_BITS, []).append((number, acc))
        if by_shard and self._has_begun(series):
            self._begun = minute if self._begun is None else max(self._begun, minute)
        for shard, contributions in by_shard.items():
            page = self.pages.at(minute, shard, offset)
            if page.fence >= offset:  # saved, but perhaps not published before the crash
                self._touch(page, [number for number, _ in contributions])
                continue
            page.fence = offset
            add_all(self._collected.setdefault(page, {}), contributions)

    def _settle(self) -> None:
        """Add what was collected to the pages, and to the closed windows; the open ones learn of it by `_catch_up`."""
        # Once a flush and not with each partial, since all sources bring the same series.
        collected, self._collected = self._collected, {}
        closed = self.closed
        for page, totals in collected.items():
            contributions = list(totals.items())
            self._hold(page).update(totals)
            add_all(page.open(), contributions)
            page.dirty = True
            self._dirty[page] = None
            if closed is not None and page.minute <= closed:
                self._closed.add(page.minute, contributions)
            add_all(self._unseen.setdefault(page.minute, {}), contributions)

    def _catch_up(self) -> None:
        """Bring the open windows up to the pages: only when they are published, as each series is in all of them."""
        unseen, self._unseen = self._unseen, {}
        as_of = self._open.as_of
        for minute, totals in unseen.items():
            if as_of is not None and minute <= as_of:
                self._open.add(minute, list(totals.items()))
        if self._begun is not None and (as_of is None or self._begun > as_of):
            self._open.advance(self._begun, self.pages, self._hours)

    def _touch(self, page: Page, numbers: Iterable[int]) -> None:
        """Have series of a page published again."""
        self._hold(page).update(numbers)
        self._touch_windows(page.minute, numbers)

    def _touch_windows(self, minute: int, numbers: Iterable[int]) -> None:
        """Have the windows of series that hold a minute published again."""
        for windows in (self._open, self._closed):
            if windows.as_of is not None and minute <= windows.as_of:
                windows.touch(minute, numbers)

    def _hold(self, page: Page) -> set[int]:
        """Keep a page unpacked and return its unpublished series."""
        page.hot = True
        if page.pending is None:
            page.pending = set()
        self._unpacked[page] = None
        self._unpublished[page] = None
        return page.pending

    def _publish_closed(self, outputs: Outputs) -> None:
        """Add rows of all closed sums as of the newest closed minute."""
        if self.closed is not None and self._open.as_of is not None and self._open.as_of <= self.closed:
            self._closed.take_over(self._open)
        self._publish(self._closed.advanced(), outputs)
        self._published = self.closed

    def _publish_minutes(self, outputs: Outputs, include_open: bool) -> None:
        """Add the unpublished rows of closed minutes, and of open ones when it is time for them."""
        names, closed = self.registry.names, self.closed
        for page in list(self._unpublished):
            if not include_open and (closed is None or page.minute > closed):
                continue
            totals = page.read()
            outputs.minutes.extend(
                MinuteRow(names[number], page.minute, page.part, totals[number].copy(), page.fence)
                for number in page.pending or ()
            )
            page.pending = None
            del self._unpublished[page]

    def _publish(self, sums: Iterable[Settled], outputs: Outputs, maturity: Maturity = "closed") -> None:
        """Add rows of rolling sums; with the same content, closed ones have the higher revision."""
        windows = self._closed if maturity == "closed" else self._open
        if windows.as_of is None:
            return
        names, at = self.registry.names, window_end(windows.as_of)
        revision = 2 * self._offset + (maturity == "closed")
        windows.touch_all(self._voids.changed(windows))
        for window, settled in sums:
            void = self._voids.among(settled, windows, window)
            for n, acc in settled:
                outputs.values.append(RollingSum(names[n], window, at, acc.copy(), maturity, revision, (), n in void))
            if self._derived is not None:
                derived = self._derived.touched_by(settled, windows.sums(window))
                outputs.values.extend(
                    RollingSum(key, window, at, {}, maturity, revision, given) for key, given in derived
                )
