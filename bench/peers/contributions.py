"""
What one event adds to the KPI minutes: the arithmetic that all peers share, so that only their engines differ.

Each event is decoded, validated and folded by this project's own compiled definitions, one event at a time as their
programming models ask for. KPIs that count an event later than it happens are left out: they need timers of their own.
"""

from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language.definition import Kpi

Sum: TypeAlias = "list[int] | dict[str, int]"
"""An accumulator as JSON carries it: bins have text for keys."""


def shared_kpis() -> list[Kpi]:
    """The KPIs of the comparison."""
    return [kpi for kpi in Catalogue.load() if not any(s and s.delay for s in (kpi.of, kpi.hits))]


@cache
def _folder() -> Folder:
    return Folder(shared_kpis())


def contributions(payload: bytes) -> Iterator[tuple[str, int, Sum]]:
    """Yield series, minute (Unix seconds // 60) and what is to be added."""
    event = decode_one(payload)
    if isinstance(event, Refusal):
        return
    for minute, series in _folder().fold([event]).items():
        for key, acc in series.items():
            yield key, minute, acc if isinstance(acc, list) else {str(bin_): n for bin_, n in acc.items()}


def merge(a: Sum, b: Sum) -> Sum:
    """Add up two sums."""
    if isinstance(a, list):
        return [x + y for x, y in zip(a, b, strict=True)]
    return {key: a.get(key, 0) + b.get(key, 0) for key in a.keys() | b.keys()}
