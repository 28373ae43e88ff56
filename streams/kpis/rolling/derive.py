"""
KPIs made of other KPIs: differences between channels, coverage, ratios of ratios, an index.

A derived KPI has no events of its own. It is computed from windows of its inputs as of the same minute, whenever one of
them is published, and travels as they do: value, n, interval, definition. All its inputs live in one merge partition.

Intervals of differences and sums come from the ends of the inputs' own by the square root of the sum of squares
(MOVER: Zou & Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27, 2008), so they
are as lopsided as shares near 0 or 100 % are; those of a quotient alike, of its logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, fsum, log, sqrt
from typing import Final, TypeAlias

from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.distributions import chi_square_tail
from streams.kpis.arithmetic.intervals import NOTHING, Z95, Measure
from streams.kpis.language.definition import Kpi
from streams.kpis.language.derivation import Derivation, Part
from streams.kpis.language.series import OTHER, parse_series, series_key

Inputs: TypeAlias = Sequence[tuple[str, Acc]]
"""Series keys and what their windows hold."""

_CERTAIN: Final = ("count", "sum")


class Derivations:
    """Which series of which KPIs make up which derived ones, and what comes out."""

    def __init__(self, kpis: Iterable[Kpi]) -> None:
        self._kpis = {kpi.id: kpi for kpi in kpis}
        self._uses: dict[str, list[tuple[Kpi, Part]]] = {}
        self._made_of: dict[tuple[str, ...], list[tuple[str, Sequence[str]]]] = {}
        for kpi in self._kpis.values():
            for part in kpi.derive.parts if kpi.derive else ():
                self._uses.setdefault(part.kpi, []).append((kpi, part))

    def __bool__(self) -> bool:
        return bool(self._uses)

    def of(self, series: str) -> list[str]:
        """Return the keys of the derived series that a series is an input of."""
        kpi, labels = parse_series(series)
        if kpi not in self._uses:
            return []
        group = kpi, *[name for name, _ in labels]
        made = self._made_of.get(group)
        if made is None:
            made = self._made_of[group] = list(self._derived(kpi, group[1:]))
        found = {series_key(one, tuple(label for label in labels if label[0] not in over)): None for one, over in made}
        return list(found)

    def _derived(self, kpi: str, names: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the KPIs that are made of a KPI's series with these labels, and over which of the labels."""
        for derived, part in self._uses[kpi]:
            rest = tuple(name for name in names if name not in part.over)
            if set(names) >= set(part.over) and rest in derived.groupings:
                yield derived.id, part.over

    def measures(self, kpi: Kpi, inputs: Inputs) -> list[tuple[str, Measure]]:
        """Return the values of a derived series by stat, the headline first; the order of the inputs never shows."""
        assert kpi.derive is not None
        held: dict[str, dict[tuple[tuple[str, str], ...], Measure]] = {}
        for key, acc in sorted(inputs, key=lambda pair: pair[0]):
            name, labels = parse_series(key)
            if name in self._kpis:
                held.setdefault(name, {})[labels] = self._measure(self._kpis[name], acc)
        return _HOW[kpi.derive.how](kpi, kpi.derive, held)

    @staticmethod
    def _measure(kpi: Kpi, acc: Acc) -> Measure:
        q = kpi.quantiles[0] if kpi.quantiles else 0.5
        found = measure(kpi.aggregator, acc, kpi.scale, unit=kpi.unit, q=q, within=kpi.range)
        # What is counted and not sampled is certain.
        return found._replace(lo=found.value, hi=found.value) if kpi.aggregator in _CERTAIN else found


_Held: TypeAlias = Mapping[str, Mapping[tuple[tuple[str, str], ...], Measure]]
_Stats: TypeAlias = list[tuple[str, Measure]]


def _over(part: Part, held: _Held) -> dict[tuple[str, ...], Measure]:
    """Return the measures of an input by the values of the labels it is looked over by; `other` is none of them."""
    found = {}
    for labels, one in held.get(part.kpi, {}).items():
        values = tuple(value for name, value in labels if name in part.over)
        if len(values) == len(part.over) and OTHER not in values:
            found[values] = one
    return found


def _single(part: Part, derivation: Derivation, held: _Held) -> Measure | None:
    """Return the measure of an input that has one series, if it has a value of enough answers."""
    of = held.get(part.kpi, {})
    one = next(iter(of.values())) if len(of) == 1 else None
    return one if one is not None and one.value is not None and one.n >= derivation.min_n else None


def _reach(one: Measure, *, down: bool) -> float | None:
    """Return how far the interval reaches below or above the value; None: nobody knows."""
    end = one.lo if down else one.hi
    if end is None:
        return None
    assert one.value is not None
    return max(0.0, one.value - end if down else end - one.value)


def _difference_of(first: Measure, second: Measure) -> Measure:
    assert first.value is not None
    assert second.value is not None
    value = first.value - second.value
    below, above = _reach(first, down=True), _reach(first, down=False)
    other_below, other_above = _reach(second, down=True), _reach(second, down=False)
    lo = None if below is None or other_above is None else value - sqrt(below**2 + other_above**2)
    hi = None if above is None or other_below is None else value + sqrt(above**2 + other_below**2)
    return Measure(value, min(first.n, second.n), lo, hi)


def _gap(_kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    """The best less the worst; `z`, by how many standard errors they differ. The widest of several pairs is chosen."""
    [part] = derivation.parts
    found = [one for one in _over(part, held).values() if one.value is not None and one.n >= derivation.min_n]
    if len(found) < 2:
        return [("", NOTHING), ("z", NOTHING)]
    best, worst = max(found, key=_value), min(found, key=_value)
    gap = _difference_of(best, worst)
    error = None if gap.lo is None or gap.value is None else (gap.value - gap.lo) / Z95
    z = None if not error or gap.value is None else gap.value / error
    return [("", gap), ("z", Measure(z, gap.n, None, None))]


def _value(one: Measure) -> float:
    assert one.value is not None
    return one.value


def _coverage(_kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    """The share of the active label values for which there are answers enough; counted, so without an interval."""
    covering, active = derivation.parts
    places = {values for values, one in _over(active, held).items() if one.n}
    covered = {values for values, one in _over(covering, held).items() if one.n >= derivation.min_n}
    if not places:
        return [("", NOTHING)]
    return [("", Measure(100 * len(places & covered) / len(places), len(places), None, None))]


def _difference(_kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    first, second = (_single(part, derivation, held) for part in derivation.parts)
    return [("", NOTHING if first is None or second is None else _difference_of(first, second))]


def _quotient(kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    first, second = (_single(part, derivation, held) for part in derivation.parts)
    if first is None or second is None or not _value(second) > 0:
        return [("", NOTHING)]
    if kpi.unit == "percent" and _value(first) > _value(second):  # labels that had no room are in one of them only
        return [("", NOTHING)]
    factor, n = 100 if kpi.unit == "percent" else 1, min(first.n, second.n)
    value = factor * _value(first) / _value(second)
    ends = (first.lo, first.hi, second.lo, second.hi)
    if not all(end is not None and end > 0 for end in (*ends, value)):
        return [("", Measure(value, n, None, None))]
    below = sqrt(log(_value(first) / (first.lo or 1)) ** 2 + log((second.hi or 1) / _value(second)) ** 2)
    above = sqrt(log((first.hi or 1) / _value(first)) ** 2 + log(_value(second) / (second.lo or 1)) ** 2)
    if not below and not above:  # of two counts: certain what they were, and no more
        return [("", Measure(value, n, None, None))]
    return [("", Measure(value, n, value / exp(below), value * exp(above)))]


def _srm(_kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    """The probability of so uneven an assignment if all variants are meant to get as many; `chi2` is its statistic."""
    [part] = derivation.parts
    counts = [one.n for one in _over(part, held).values()]
    total = sum(counts)
    if len(counts) < 2 or total < derivation.min_n:
        return [("", NOTHING), ("chi2", NOTHING)]
    expected = total / len(counts)
    chi2 = fsum((count - expected) ** 2 for count in counts) / expected
    p = chi_square_tail(chi2, len(counts) - 1)
    return [("", Measure(p, total, None, None)), ("chi2", Measure(chi2, total, None, None))]


def _index(_kpi: Kpi, derivation: Derivation, held: _Held) -> _Stats:
    """The weighted mean of what is known, each from 0 to 100; `coverage` is the share of the weights that is known."""
    known = [(part, one) for part in derivation.parts if (one := _single(part, derivation, held)) is not None]
    weight = fsum(part.weight for part, _ in known)
    whole = fsum(part.weight for part in derivation.parts)
    n = min((one.n for _, one in known), default=0)
    coverage = Measure(100 * weight / whole if known else None, n, None, None)
    if not known or weight < derivation.covering * whole:
        return [("", NOTHING), ("coverage", coverage)]
    normed = [(part.weight / weight, _normed(part, one)) for part, one in known]
    value = fsum(share * _value(one) for share, one in normed)
    ends: list[float | None] = []
    for down in (True, False):
        reaches = [(share, _reach(one, down=down)) for share, one in normed]
        if any(reach is None for _, reach in reaches):
            ends.append(None)
        else:
            slack = sqrt(fsum((share * (reach or 0.0)) ** 2 for share, reach in reaches))
            ends.append(value - slack if down else value + slack)
    return [("", Measure(value, n, ends[0], ends[1])), ("coverage", coverage)]


def _normed(part: Part, one: Measure) -> Measure:
    """Return a measure with its value and interval on the way from worst, 0, to best, 100."""

    def normed(value: float | None) -> float | None:
        if value is None:
            return None
        return min(100.0, max(0.0, 100 * (value - part.worst) / (part.best - part.worst)))

    lo, hi = normed(one.lo), normed(one.hi)
    return Measure(normed(one.value), one.n, *((lo, hi) if part.best > part.worst else (hi, lo)))


_HOW: Final = {
    "gap": _gap,
    "coverage": _coverage,
    "difference": _difference,
    "quotient": _quotient,
    "srm": _srm,
    "index": _index,
}
