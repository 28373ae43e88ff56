"""
Which series exist, under which number, and where a KPI stops growing.

Numbers are given in the order of arrival and never taken back, so pages can name series by number; a series that was
admitted once stays admitted, so a restart cannot move values between a label and `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from streams.kpis.series import OTHER, parse_series, series_key

SHARD_BITS: Final = 10
SHARD_SERIES: Final = 1 << SHARD_BITS
"""Series of one shard: neighbours in number share pages and records."""

_REFUSED_KEPT = 1 << 16


class Registry:
    """Numbers of series, with a cap per KPI and set of label names."""

    def __init__(self, cap: Callable[[str], int]) -> None:
        """`cap` gives for a KPI id how many series each of its groupings may have, not counting `other`."""
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []
        self.refused: Counter[str] = Counter()
        """Contributions counted under `other` since they were last taken, by KPI id."""
        self._cap = cap
        self._grown: set[int] = set()
        self._sizes: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._substitutes: dict[str, int] = {}

    def admit(self, key: str) -> int:
        """Return the number of a series; beyond the cap that of the series with all label values `other`."""
        number = self.numbers.get(key)
        if number is not None:
            return number
        kpi, labels = parse_series(key)
        substitute = self._substitutes.get(key)
        if substitute is not None:
            self.refused[kpi] += 1
            return substitute
        names = tuple(name for name, _ in labels)
        rest = series_key(kpi, tuple((name, OTHER) for name in names))
        if not names or key == rest:
            return self._append(key)
        if self._sizes[kpi, names] < self._cap(kpi):
            self._sizes[kpi, names] += 1
            return self._append(key)
        if len(self._substitutes) >= _REFUSED_KEPT:
            self._substitutes.clear()  # only a shortcut: what it knew is worked out again
        self.refused[kpi] += 1
        number = self.numbers.get(rest)
        self._substitutes[key] = number = self._append(rest) if number is None else number
        return number

    def take_refused(self) -> Counter[str]:
        """Return what was counted under `other` since the last call, by KPI id."""
        refused, self.refused = self.refused, Counter()
        return refused

    def grown(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the shards that got new series since the last call, in order, with all their series."""
        for shard in sorted(self._grown):
            yield shard, self.names[shard << SHARD_BITS : (shard + 1) << SHARD_BITS]
        self._grown.clear()

    def restore(self, shards: dict[int, list[str]]) -> None:
        """
        Take over saved shards.

        Raises ValueError when one is missing in between: the numbers of all later ones would be wrong.
        """
        for expected, shard in enumerate(sorted(shards)):
            if shard != expected or len(self.names) != shard << SHARD_BITS:
                raise ValueError(f"series shard {shard} found after {len(self.names)} series")
            for key in shards[shard]:
                kpi, labels = parse_series(key)
                if any(value != OTHER for _, value in labels):
                    self._sizes[kpi, tuple(name for name, _ in labels)] += 1
                self.numbers[key] = len(self.names)
                self.names.append(key)

    def _append(self, key: str) -> int:
        number = self.numbers[key] = len(self.names)
        self.names.append(key)
        self._grown.add(number >> SHARD_BITS)
        return number
