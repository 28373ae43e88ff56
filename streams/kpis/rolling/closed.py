"""What a merge partition knows as of its newest closed minute, to be looked at only: the judge of alerts reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streams.kpis.arithmetic.accumulators import Acc, add_all, merge_acc
from streams.kpis.language.series import SEPARATOR
from streams.kpis.rolling.admission import SHARD_BITS, Registry
from streams.kpis.rolling.health import Lately, SourceHealths
from streams.kpis.rolling.packing import Totals
from streams.kpis.rolling.pages import Page, Pages
from streams.kpis.rolling.windows import Windows


class SeriesIndex:
    """Series keys by KPI, in the order in which they were met."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen = 0
        self._by_kpi: dict[str, list[str]] = {}

    def of(self, kpi: str) -> Sequence[str]:
        """Return all series keys of a KPI."""
        names = self._registry.names
        for key in names[self._seen :]:
            self._by_kpi.setdefault(key.partition(SEPARATOR)[0], []).append(key)
        self._seen = len(names)
        return self._by_kpi.get(kpi, ())


class ClosedMinute:
    """One closed minute with all windows that end with it; valid until the next one is closed."""

    def __init__(
        self,
        minute: int,
        index: SeriesIndex,
        registry: Registry,
        windows: Windows,
        pages: Pages,
        health: SourceHealths,
        is_void: Callable[[int, Acc, Windows, Totals], bool] | None = None,
    ) -> None:
        self.minute = minute
        self._index = index
        self._numbers = registry.numbers
        self._windows = windows
        self._pages = pages
        self._health = health
        self._is_void = is_void
        self._totals: Totals | None = None
        self._sums: dict[str, Totals] = {}
        self._read_pages: dict[Page, Totals] = {}

    def series(self, kpi: str) -> Sequence[str]:
        """Return the series keys known of a KPI, all groupings."""
        return self._index.of(kpi)

    def in_minute(self, key: str) -> Acc | None:
        """Return what exactly this minute holds of a series; None when it holds nothing."""
        if self._totals is None:
            self._totals = self._read()
        number = self._numbers.get(key)
        return None if number is None else self._unless_void(number, self._totals)

    def window(self, key: str, name: str) -> Acc | None:
        """
        Return the sum of a series over a kept window that ends with this minute; None when it holds nothing.

        Raises KeyError for a window that is not kept.
        """
        sums = self._sums.get(name)
        if sums is None:
            sums = self._sums[name] = self._windows.sums(name)
        number = self._numbers.get(key)
        return None if number is None else self._unless_void(number, sums)

    def latest(self, key: str, minutes: int) -> Acc | None:
        """Return what a series has in this minute and those before it, so many in all; None when it holds nothing."""
        number = self._numbers.get(key)
        if number is None:
            return None
        found: Totals = {}
        for page in self._pages.between(self.minute - minutes, self.minute):
            if page.home != number >> SHARD_BITS:
                continue
            if page not in self._read_pages:  # packed ones would be unpacked for every series
                self._read_pages[page] = page.read()
            if (acc := self._read_pages[page].get(number)) is not None:
                add_all(found, [(number, acc)])
        return self._unless_void(number, found)

    def _unless_void(self, number: int, sums: Totals) -> Acc | None:
        """Return what is held of a series, unless it has no value."""
        acc = sums.get(number)
        if acc is None or (self._is_void is not None and self._is_void(number, acc, self._windows, sums)):
            return None
        return acc

    def lately(self) -> Mapping[str, Lately]:
        """Return how each source has done, by name."""
        return self._health.as_of(self.minute)

    def _read(self) -> Totals:
        totals: Totals = {}
        for page in self._pages.between(self.minute - 1, self.minute):
            for number, acc in page.read().items():
                known = totals.get(number)
                if known is None:
                    totals[number] = acc.copy()
                else:
                    merge_acc(known, acc)
        return totals


class OpenMinutes:
    """The newest closed minute with what has come since; valid until something is added, or the next one is closed."""

    def __init__(self, closed: ClosedMinute, begun: ClosedMinute) -> None:
        self.closed = closed
        self.ahead = begun.minute - closed.minute
        """How many minutes have begun since."""
        self.window = begun.window
        """As `ClosedMinute.window`, of windows that end with the newest minute that has begun."""
        self.latest = begun.latest
        """As `ClosedMinute.latest`, of those minutes."""
        self.lately = begun.lately
        """As `ClosedMinute.lately`, as of the newest of them."""
