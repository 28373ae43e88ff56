"""
The scorecard of customer experience: six dimensions, each shown by one or more KPIs that stand for it (proxies).

A dimension cannot be measured itself. So each proxy is a KPI of the catalogue, with its formula, and there is no score
for a dimension or for all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.gaps.samples import MeasureDifference, difference
from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.kpis.language.definition import Kpi


class Dimension(NamedTuple):
    """One of the six dimensions, what it is about, and the ids of its proxies."""

    name: str
    about: str
    proxies: tuple[str, ...]


DIMENSIONS: Final = (
    Dimension("communication", "many channels, and no need to switch", ("reachable_channels", "matters_over_channels")),
    Dimension("personalisation", "what is offered fits", ("offers_accepted",)),
    Dimension("problem solving", "fast, and for good", ("resolution_time", "fcr_disposition")),
    Dimension("empathy", "how our people sound", ("agent_tone",)),
    Dimension("integration", "no customer has to repeat anything", ("transfer_rate", "repeat_contacts")),
    Dimension("transparency", "we announce bad news, in time", ("proactive_delay_notices", "delivery_lateness")),
)  # fmt: skip


class ProxyReading(NamedTuple):
    """The value of a KPI over a span, its maturity, the id of its definition, and why it has no value."""

    measure: Measure
    maturity: str
    definition: str
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class ScoredProxy:
    """
    One proxy.

    Attributes:
        dimension: What it stands for.
        name: Id of the KPI.
        kpi: Its definition; None: it is not counted, because the relation that makes its events does not run.
        now: Its value in the span.
        before: Its value in the span before, of the same length.
        change: `now` minus `before`; None: one of them has no value.
        verdict: The change in words, or why there is none.
    """

    dimension: Dimension
    name: str
    kpi: Kpi | None
    now: ProxyReading
    before: ProxyReading
    change: MeasureDifference | None
    verdict: str


_UNREAD: Final = ProxyReading(NOTHING, "", "")


def scorecard(
    kpis: Mapping[str, Kpi], now: Mapping[str, ProxyReading], before: Mapping[str, ProxyReading]
) -> list[ScoredProxy]:
    """
    Return all proxies in the order of dimensions; `kpis` are the definitions of those that are counted, by id.

    One is better or worse only if the interval of its difference to the span before excludes zero (`difference`).
    """
    return [
        _scored(dimension, name, kpis.get(name), now.get(name, _UNREAD), before.get(name, _UNREAD))
        for dimension in DIMENSIONS
        for name in dimension.proxies
    ]


def _scored(dimension: Dimension, name: str, kpi: Kpi | None, now: ProxyReading, before: ProxyReading) -> ScoredProxy:
    change = difference(now.measure, before.measure)
    if kpi is None:
        verdict = "no data: its relation does not run"
    elif now.measure.value is None:
        verdict = now.why_not or "no data"
    elif change is None:
        verdict = "nothing before"
    elif change.lo is None:
        verdict = "without an interval"
    else:
        good = change.sign * {"up": 1, "down": -1}.get(kpi.direction, 0)
        verdict = {1: "better", -1: "worse", 0: "no change shown"}[good]
    return ScoredProxy(dimension, name, kpi, now, before, change, verdict)
