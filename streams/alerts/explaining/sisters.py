"""
Causes that another KPI of the same events knows: payments fail everywhere alike, but almost all with one code.

A sister counts events of the KPI's own types, in the same direction, by labels that the KPI does not have. It is asked
only where nothing in the KPI's own groupings stands out, and names a cause by the same search (`explain`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from streams.alerts.explaining.explain import SURE, Reader, explain
from streams.alerts.facts import Facts, badness
from streams.alerts.types import Contribution
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import series_key

AT_MOST: Final = 5
"""Sisters of a KPI that are asked."""

LIKELIER: Final = 2.0
"""
How much likelier one kind of failures is to have become more than all kinds at once, in natural-log units (seven
times), before anything is known: new trouble is of one kind. With it 45 of 45 simulated outages were named in their
first minutes, with 1.0 two fewer; where ten failures of all kinds rise alike, one is named by chance one time in four.
"""


class SisterSeries(NamedTuple):
    """The series of a sister, before and after."""

    known: Iterable[str]
    """Keys of them all."""
    read: Reader
    minutes: tuple[int, int]
    """How long reference and window were collected."""


def sisters_of(kpi: Kpi, catalogue: Iterable[Kpi]) -> list[Kpi]:
    """Return the KPIs that can tell more of the same events; those of fewest event types, the nearest, come first."""
    own = {name for grouping in kpi.groupings for name in grouping}
    found = [
        other
        for other in catalogue
        if other.id != kpi.id
        and other.derive is None
        and other.direction == kpi.direction != "none"
        # More of what is good is no cause of anything bad, and less of it an effect.
        and (other.aggregator not in ADDITIVE or other.direction == "down")
        and (other.aggregator in ADDITIVE or kpi.aggregator not in ADDITIVE)
        and other.event_types <= kpi.event_types
        and any(set(grouping) - own for grouping in other.groupings)
    ]
    return sorted(found, key=lambda other: (len(other.event_types), other.id))[:AT_MOST]


def explain_by_sisters(
    kpi: Kpi,
    labels: Mapping[str, str],
    catalogue: Iterable[Kpi],
    series_of: Callable[[Kpi], SisterSeries | None],
) -> Contribution | None:
    """
    Return the surest cause that a sister of a KPI knows, None if none stands out.

    Args:
        kpi: What changed.
        labels: Of the series that changed.
        catalogue: All KPIs.
        series_of: Gives the series of a sister; None if there are none.
    """
    found: list[Contribution] = []
    for sister in sisters_of(kpi, catalogue):
        series = series_of(sister)
        if series is None:
            continue
        facts = Facts.of(sister)
        within = labels if any(set(labels) < set(grouping) for grouping in sister.groupings) else {}
        parts = explain(
            facts,
            series_key(sister.id, tuple(within.items())),
            series.known,
            series.read,
            minutes=series.minutes,
            surer=-LIKELIER,
        )
        if not parts or not parts[0].labels or badness(facts, parts[0].statistic or 0.0) < SURE:
            continue
        found.append(msgspec.structs.replace(parts[0], kpi=sister.id))
    return max(found, key=lambda part: abs(part.statistic or 0.0), default=None)
