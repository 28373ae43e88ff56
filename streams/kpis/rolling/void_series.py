"""The series of a merge partition whose sums have no value, and when that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.lengths import TOTAL
from streams.kpis.language.series import Labels, parse_series, series_key
from streams.kpis.language.void import CURRENCY, Fields, VoidRule
from streams.kpis.rolling.admission import Registry
from streams.kpis.rolling.closed import SeriesIndex
from streams.kpis.rolling.packing import Totals
from streams.kpis.rolling.windows import Contributions, Windows

Rules: TypeAlias = Mapping[str, VoidRule]
"""By KPI id."""


class VoidSeries:
    """Tells of series which have no value; what it remembers is only what it said last."""

    def __init__(self, rules: Rules, registry: Registry, index: SeriesIndex) -> None:
        self._rules = rules
        self._numbers = registry.numbers
        self._names = registry.names
        self._index = index
        self._known: list[tuple[str, VoidRule, Labels] | None] = []
        self._scopes: dict[str, list[int]] = {}
        """Series that tell of hits, by KPI."""
        self._priced: dict[str, list[tuple[int, Labels]]] = {}
        """Series by currency with their other labels, by KPI."""
        self._said: dict[tuple[Windows, str], object] = {}

    def among(self, published: Contributions, windows: Windows, window: str) -> frozenset[int]:
        """Return which of the series have no value in a window."""
        if not self._rules:
            return frozenset()
        self._meet()
        sums = windows.sums(window)
        return frozenset(
            number for number, acc in published if self._known[number] and self.is_void(number, acc, windows, sums)
        )

    def is_void(self, number: int, acc: Acc, windows: Windows, sums: Totals) -> bool:
        """Return whether what a window holds of a series has no value; `sums` are those of that window."""
        self._meet()
        known = self._known[number]
        if known is None or type(acc) is not list:
            return False
        kpi, rule, labels = known

        def total_of(scope: Labels) -> Fields | None:
            found = windows.sums(TOTAL).get(self._numbers.get(series_key(kpi, scope), -1))
            return found if type(found) is list else None

        return rule.is_void(labels, acc, total_of, lambda beside: self._currencies(kpi, sums).get(beside, 0))

    def is_unseen(self, number: int, acc: Acc, windows: Windows, sums: Totals) -> bool:
        """Tell the same, but of hits alone: amounts of several currencies are no less when they are judged."""
        self._meet()
        known = self._known[number]
        return known is not None and known[1].place >= 0 and self.is_void(number, acc, windows, sums)

    def changed(self, windows: Windows) -> Sequence[int]:
        """
        Return the series that must be published again, since their KPI has something else without a value than before.

        That is so for all of them at first: what was said before a restart is not remembered.
        """
        self._meet()
        found: list[int] = []
        for kpi, rule in self._rules.items():
            says = self._state(kpi, rule, windows)
            if self._said.get((windows, kpi)) != says:
                self._said[windows, kpi] = says
                found += (self._numbers[key] for key in self._index.of(kpi) if key in self._numbers)
        return found

    def _state(self, kpi: str, rule: VoidRule, windows: Windows) -> object:
        if rule.place < 0:
            return [
                {beside for beside, currencies in self._currencies(kpi, windows.sums(name)).items() if currencies > 1}
                for name in windows.names
            ]
        totals = windows.sums(TOTAL)
        return {n for n in self._scopes.get(kpi, ()) if isinstance(acc := totals.get(n), list) and not rule.lacks(acc)}

    def _currencies(self, kpi: str, sums: Totals) -> dict[Labels, int]:
        """Return how many currencies a window holds, by the other labels."""
        found: dict[Labels, int] = {}
        for number, beside in self._priced.get(kpi, ()):
            acc = sums.get(number)
            if acc and acc[0]:
                found[beside] = found.get(beside, 0) + 1
        return found

    def _meet(self) -> None:
        for key in self._names[len(self._known) :]:
            kpi, labels = parse_series(key)
            rule = self._rules.get(kpi)
            number = len(self._known)
            self._known.append(None if rule is None else (kpi, rule, labels))
            if rule is not None and rule.place >= 0 and rule.scope(labels) == labels:
                self._scopes.setdefault(kpi, []).append(number)
            if rule is not None and rule.place < 0 and any(name == CURRENCY for name, _ in labels):
                beside = tuple(pair for pair in labels if pair[0] != CURRENCY)
                self._priced.setdefault(kpi, []).append((number, beside))
