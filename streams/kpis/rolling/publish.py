"""What is published of a KPI: a value never stands alone, it carries n, interval, definition and maturity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from streams.kpis.aggregators import empty, measure
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import parse_series
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.outputs import Maturity, MinuteRow, RollingSum

_KNOWN: Final = 1 << 13
"""Sums whose values are remembered: small series hold the same few numbers, in one window after the other."""

_NAMED: Final = 1 << 16
"""Series whose labels are remembered as they are published."""


class PublishedMinute(msgspec.Struct, frozen=True):
    """The accumulator of a series in one minute; the minute is the sum over its parts, newest revision of each."""

    kpi: str
    labels: dict[str, str]
    minute: int
    """Start of the minute, Unix seconds."""
    part: int
    revision: int
    n: int
    fields: list[int]
    bins: dict[int, int]


class PublishedValue(msgspec.Struct, frozen=True):
    """A KPI over a window that ends at `at`; the newest revision of the same key counts."""

    kpi: str
    labels: dict[str, str]
    window: str
    stat: str
    """Which quantile, e.g. `p90`; empty for a KPI with one value."""
    at: int
    """End of the window, Unix seconds."""
    value: float | None
    """In the KPI's unit; None when n is 0."""
    n: int
    lo: float | None
    hi: float | None
    """95 % interval; None where none exists."""
    definition: str
    maturity: Maturity
    revision: int


def quantile_name(q: float) -> str:
    """Return the name of a quantile: 0.5 is `p50`, 0.999 is `p99.9`."""
    return f"p{q * 100:g}"


class Publisher:
    """Turns rows of the merge state into what is published, by the definitions of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._derivations = Derivations(catalogue)
        self._kpis = {kpi.id: (kpi, kpi.definition_id) for kpi in catalogue}
        self._known: dict[tuple[str | int, ...], list[tuple[str, Measure]]] = {}
        self._named: dict[str, tuple[Kpi | None, str, str, dict[str, str]]] = {}

    def minute(self, row: MinuteRow) -> PublishedMinute:
        """Return the published form of a minute row."""
        _, kpi, _, labels = self._named.get(row.series) or self._name(row.series)
        flat = isinstance(row.acc, list)
        return PublishedMinute(
            kpi,
            labels,
            row.minute * 60,
            row.part,
            row.revision,
            count_of(row.acc),
            row.acc if flat else [],  # type: ignore[arg-type]
            {} if flat else row.acc,  # type: ignore[arg-type]
        )

    def values(self, row: RollingSum) -> list[PublishedValue]:
        """Return the published values of a window: one, or one per quantile of the KPI."""
        definition, kpi, name, labels = self._named.get(row.series) or self._name(row.series)
        if definition is None:
            # It was removed from the catalogue; what is stored of it stays as it is.
            return []
        return [
            PublishedValue(kpi, labels, row.window, stat, row.at, value, n, lo, hi, name, row.maturity, row.revision)
            for stat, (value, n, lo, hi) in self._measures(definition, row)
        ]

    def _name(self, series: str) -> tuple[Kpi | None, str, str, dict[str, str]]:
        """Return the KPI of a series, None if there is no such, its id, the name of its definition, and the labels."""
        if len(self._named) >= _NAMED:
            self._named.clear()
        kpi, labels = parse_series(series)
        known, name = self._kpis.get(kpi, (None, ""))
        found = self._named[series] = known, kpi, name, dict(labels)
        return found

    def _measures(self, kpi: Kpi, row: RollingSum) -> Sequence[tuple[str, Measure]]:
        if kpi.derive is not None:
            return self._derivations.measures(kpi, row.inputs)
        if row.void:
            nothing = Measure(None, count_of(row.acc or empty(kpi.aggregator)), None, None)
            return [(stat, nothing) for stat, _ in _stats(kpi)]
        if not isinstance(row.acc, list):
            return _measured(kpi, row.acc)
        held: tuple[str | int, ...] = (kpi.id, *row.acc)
        found = self._known.get(held)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[held] = _measured(kpi, row.acc)
        return found


def _stats(kpi: Kpi) -> list[tuple[str, float]]:
    """Return the names of a KPI's values, and which quantiles they are."""
    return [(quantile_name(q), q) for q in kpi.quantiles] or [("", 0.5)]


def _measured(kpi: Kpi, acc: Acc) -> list[tuple[str, Measure]]:
    acc = acc or empty(kpi.aggregator)
    return [
        (stat, measure(kpi.aggregator, acc, kpi.scale, unit=kpi.unit, q=q, within=kpi.range)) for stat, q in _stats(kpi)
    ]
