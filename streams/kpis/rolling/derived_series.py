"""Which series of a merge partition make up derived ones, and what those are made of right now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.rolling.admission import Registry
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.packing import Totals


class DerivedSeries:
    """The derived series of one merge partition."""

    def __init__(self, derivations: Derivations, registry: Registry) -> None:
        self._derivations = derivations
        self._names = registry.names
        self._seen = 0
        self._made_of: dict[str, list[int]] = {}
        self._feeds: dict[int, list[str]] = {}

    def touched_by(
        self, published: Sequence[tuple[int, Acc]], sums: Totals
    ) -> Iterator[tuple[str, tuple[tuple[str, Acc], ...]]]:
        """Yield the derived series of which an input is published, with all inputs as a window holds them."""
        self._look()
        feeds = self._feeds
        touched = dict.fromkeys(key for number, _ in published if number in feeds for key in feeds[number])
        for key in touched:
            yield key, self.inputs(key, sums)

    def inputs(self, key: str, sums: Totals) -> tuple[tuple[str, Acc], ...]:
        """Return the inputs of a derived series that hold anything."""
        self._look()
        return tuple((self._names[n], sums[n].copy()) for n in self._made_of.get(key, ()) if n in sums)

    def _look(self) -> None:
        """Take note of series that are new."""
        for number in range(self._seen, len(self._names)):
            for key in self._derivations.of(self._names[number]):
                self._made_of.setdefault(key, []).append(number)
                self._feeds.setdefault(number, []).append(key)
        self._seen = len(self._names)
