"""What a KPI counts, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.events.ranges import PIPELINE_COUNTS
from streams.events.types import COUNTS
from streams.kpis.language.definition import Kpi

_COUNTS: Final[Mapping[str, str]] = {**COUNTS, **PIPELINE_COUNTS}
_NAMED: Final = 8


def counted(kpi: Kpi) -> str:
    """Say what a KPI counts, or measures on each of; empty: it is made of other KPIs."""
    if not kpi.of.events:
        return ""
    of = _units(kpi.of.events)
    if kpi.aggregator == "distinct" and kpi.of.value:
        return f"each {kpi.of.value.text} once in a window, whatever it does; n counts {of}"
    if kpi.hits is None or kpi.nested:
        return of
    hits = _units(kpi.hits.events)
    return f"{of} and {hits}" if kpi.aggregator == "level" else f"{hits} by {of}"


def _units(events: Iterable[str]) -> str:
    units = list(dict.fromkeys(_COUNTS.get(event, f"events {event}") for event in events))
    return ", ".join(units) if len(units) <= _NAMED else "events of all those types"
