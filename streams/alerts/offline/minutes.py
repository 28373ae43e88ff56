"""Closed minutes made of what each minute held: history and tests are judged as a merge partition would judge them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from streams.kpis.arithmetic.accumulators import Acc, add_all, is_empty
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.rolling.admission import SHARD_BITS, Registry, SeriesLimits
from streams.kpis.rolling.closed import ClosedMinute, SeriesIndex
from streams.kpis.rolling.health import SourceHealths, SourceMinutes
from streams.kpis.rolling.pages import Page
from streams.kpis.rolling.retention import Archive, Retention
from streams.kpis.rolling.void_series import Rules, VoidSeries
from streams.kpis.rolling.windows import Windows

_EVICTED_EVERY: Final = 60

SMALL: Final = 64
"""Series of a page that is not packed while it is kept: to pack and unpack takes longer than all else of few series."""

_NOBODY: Final[Mapping[str, tuple[int, int]]] = {}


class Minutes:
    """Closes minutes one after the other; pages, rolling windows and health of sources are those of the merge."""

    def __init__(
        self, windows: Sequence[str] = WINDOWS, lasting: Container[str] = (), voids: Rules = MappingProxyType({})
    ) -> None:
        """
        Start with nothing.

        Args:
            windows: Rolling windows to keep.
            lasting: Ids of KPIs whose accumulators last (`Aggregator.lasting`).
            voids: Of which KPIs sums may have no value, and when; none where minutes begin in the middle of history,
                as nobody knows then which hits came before.

        Raises ValueError for a name that is no window.
        """
        # What is stored was admitted when it came: the cap has done its work.
        self._registry = Registry(SeriesLimits(lambda _kpi: 1 << 62, 1 << 62), lasting)
        self._archive = Archive(Retention.of(windows))
        self._windows = Windows(windows, self._registry.left, self._registry.lasting)
        self._index = SeriesIndex(self._registry)
        self._is_void = VoidSeries(voids, self._registry, self._index).is_unseen if voids else None
        self._health = SourceHealths()
        self._warm: list[Page] = []

    def close(
        self, minute: int, sums: Mapping[str, Acc], sources: Mapping[str, tuple[int, int]] = _NOBODY
    ) -> ClosedMinute:
        """
        Close a minute, later than any before; the view is valid until the next one.

        Args:
            minute: Unix seconds // 60.
            sums: What exactly this minute holds, by series key.
            sources: Records read, and those of them that were refused, by source: `web/0`.
        """
        for page in self._warm:
            page.cool()
        self._warm = []
        by_shard: dict[int, list[tuple[int, Acc]]] = {}
        for key, acc in sums.items():
            if not is_empty(acc):
                number = self._registry.admit(key)
                by_shard.setdefault(number >> SHARD_BITS, []).append((number, acc))
        for shard, contributions in by_shard.items():
            page = self._archive.pages.at(minute, shard, 0)
            add_all(page.open(), contributions)
            if len(page.open()) > SMALL:
                page.save()
                self._warm.append(page)
        for source, (read, bad) in sources.items():
            if read:
                self._health.sources.setdefault(source, SourceMinutes()).minutes[minute] = (read, bad)
        self._health.prune(minute)
        self._windows.advance(minute, self._archive.pages, self._archive.hours)
        self._windows.forget_touched()
        if minute % _EVICTED_EVERY == 0:
            self._archive.evict(minute, len(self._registry.names))
        known = self._index, self._registry, self._windows, self._archive.pages, self._health
        return ClosedMinute(minute, *known, self._is_void)
