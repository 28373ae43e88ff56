"""
The aggregators: how one number is made of many events. One module each, with one class.

A module that is added here is found by being here: `AGGREGATORS` holds an instance of every class, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from streams.kpis.aggregators.base import MEASURES, Aggregator
from streams.kpis.arithmetic.accumulators import SCALE, Acc
from streams.kpis.arithmetic.intervals import Z95, Measure, Range, range_of

__all__ = ["ADDITIVE", "AGGREGATORS", "LASTING", "MEASURES", "Aggregator", "empty", "measure"]


def _found() -> Iterator[Aggregator]:
    for module in iter_modules(__path__):
        for kind in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(kind, type) and issubclass(kind, Aggregator) and kind.__dict__.get("name"):
                yield kind()


AGGREGATORS: Final[Mapping[str, Aggregator]] = MappingProxyType({kind.name: kind for kind in _found()})
"""All aggregators by name."""


LASTING: Final = frozenset(kind.name for kind in AGGREGATORS.values() if kind.lasting)
"""Names of those whose accumulators tell of all events since the beginning, in all windows."""

ADDITIVE: Final = tuple(kind.name for kind in AGGREGATORS.values() if kind.additive)
"""Names of those whose value grows with the length of the window."""


def empty(aggregator: str) -> Acc:
    """
    Return the identity of an aggregator: merging it changes nothing.

    Raises:
        ValueError: There is no such aggregator.
    """
    kind = AGGREGATORS.get(aggregator)
    if kind is None:
        raise ValueError(f"aggregator {aggregator!r}: expected one of {', '.join(AGGREGATORS)}")
    return kind.empty()


def measure(
    aggregator: str,
    acc: Acc,
    scale: int = SCALE,
    *,
    unit: str = "",
    q: float = 0.5,
    z: float = Z95,
    within: Range | None = None,
) -> Measure:
    """
    Compute a KPI from its accumulator.

    Args:
        aggregator: Name of one of `AGGREGATORS`.
        acc: The accumulator of that aggregator.
        scale: Steps per unit of measured values.
        unit: "percent" makes ratios and shares percentages; NPS is always in points from -100 to 100.
        q: Probability of the quantile.
        z: Normal quantile of the interval.
        within: Range of single answers of a mean; None: the one that the unit implies.

    Raises:
        KeyError: There is no such aggregator.
        TypeError: The accumulator is of another kind.
    """
    kind = AGGREGATORS[aggregator]
    if (type(acc) is dict) is not kind.binned:
        expected, got = ("bins", "fields") if kind.binned else ("fields", "bins")
        raise TypeError(f"{aggregator}: expected {expected}, got {got}")
    return kind.measure(acc, scale, unit, q, z, range_of(unit) if within is None else within)
