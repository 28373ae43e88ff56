"""Which rows of a merge partition are published, and when: closed sums, open ones as often as they are due, minutes."""

from __future__ import annotations

from collections.abc import Iterable

from streams.kpis.language.lengths import window_end
from streams.kpis.rolling.admission import Registry
from streams.kpis.rolling.derived_series import DerivedSeries
from streams.kpis.rolling.outputs import Maturity, MinuteRow, Outputs, RollingSum
from streams.kpis.rolling.store import PageStore
from streams.kpis.rolling.throttle import Due, PublishingThrottle
from streams.kpis.rolling.void_series import VoidSeries
from streams.kpis.rolling.window_pair import WindowPair
from streams.kpis.rolling.windows import WindowSums


class RowPublisher:
    """Turns what pages and windows hold into rows, each once."""

    def __init__(
        self,
        registry: Registry,
        store: PageStore,
        windows: WindowPair,
        derived: DerivedSeries | None,
        voids: VoidSeries,
        open_every_s: float,
    ) -> None:
        self.closed: int | None = None
        """The newest closed minute whose sums were published."""
        self._names = registry.names
        self._store = store
        self._windows = windows
        self._derived = derived
        self._voids = voids
        self._throttle = PublishingThrottle(open_every_s)

    @property
    def waiting(self) -> int:
        """How many pages have rows to publish, and how many windows of open minutes."""
        return len(self._store.unpublished) + self._windows.open.waiting

    @property
    def closed_waits(self) -> bool:
        """Return whether the sums as of the newest closed minute were not published yet."""
        return self._windows.closed.as_of != self.closed

    def due(self, now: float, *, history: bool, at_rest: bool) -> Due:
        """Tell what of open minutes it is time for at `now` (Unix s)."""
        return self._throttle.due(now, history=history, at_rest=at_rest)

    def published(self, now: float, due: Due, outputs: Outputs) -> None:
        """Take note of what was published at `now` (Unix s)."""
        self._throttle.published(now, due, outputs, self._windows.closed.as_of, self._windows.open.short)

    def revised(self, outputs: Outputs) -> None:
        """Add rows of closed sums that were published and have changed since."""
        if self._windows.closed.as_of is not None and not self.closed_waits:
            self._sums(self._windows.closed.touched(), outputs, "closed")

    def closed_sums(self, outputs: Outputs) -> None:
        """Add rows of all closed sums as of the newest closed minute."""
        self._sums(self._windows.closed.advanced(), outputs, "closed")
        self.closed = self._windows.closed.as_of

    def minutes(self, outputs: Outputs, *, include_open: bool) -> None:
        """Add the unpublished rows of closed minutes, and of open ones when it is time for them."""
        names, closed, unpublished = self._names, self._windows.closed.as_of, self._store.unpublished
        for page in list(unpublished):
            if not include_open and (closed is None or page.minute > closed):
                continue
            totals = page.read()
            outputs.minutes.extend(
                MinuteRow(names[number], page.minute, page.part, totals[number].copy(), page.fence)
                for number in page.pending or ()
            )
            page.pending = None
            del unpublished[page]

    def open_sums(self, outputs: Outputs, due: Due, *, catching_up: bool) -> None:
        """Add rows of open sums that are due; none while sources catch up."""
        if self._windows.nothing_open:
            self._windows.skip_open()
            return
        short, long = due.short and not catching_up, due.long and not catching_up
        # Of a total the row as of the newest minute is read: that cannot wait when others go out before it.
        total = long or bool(outputs.values)
        self._sums(self._windows.open.touched(short=short, long=long, total=total), outputs, "open")

    def _sums(self, sums: Iterable[WindowSums], outputs: Outputs, maturity: Maturity) -> None:
        """Add rows of rolling sums; with the same content, closed ones have the higher revision."""
        windows = self._windows.closed if maturity == "closed" else self._windows.open
        if windows.as_of is None:
            return
        names, at = self._names, window_end(windows.as_of)
        revision = 2 * self._store.offset + (maturity == "closed")
        windows.touch_all(self._voids.changed(windows))
        for window, published in sums:
            void = self._voids.among(published, windows, window)
            outputs.values.extend(
                [
                    RollingSum(names[n], window, at, acc.copy(), maturity, revision, (), n in void)
                    for n, acc in published
                ]
            )
            if self._derived is not None:
                derived = self._derived.touched_by(published, windows.sums(window))
                outputs.values.extend(
                    RollingSum(key, window, at, {}, maturity, revision, given) for key, given in derived
                )
