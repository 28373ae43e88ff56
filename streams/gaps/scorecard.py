"""
The company's scorecard: what tells good from bad customer experience, in six dimensions, each by proxies.

A dimension is nothing that can be measured; what stands for it is. So each proxy is a KPI of the catalogue, with its
formula, and dimensions are not added up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.gaps.samples import MeasureDifference, difference
from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.kpis.language.definition import Kpi


class Dimension(NamedTuple):
    """One of the six, and the KPIs that stand for it."""

    name: str
    about: str
    proxies: tuple[str, ...]


DIMENSIONS: Final = (
    Dimension("communication", "many channels, and no need to change", ("reachable_channels", "matters_over_channels")),
    Dimension("personalisation", "what is offered fits", ("offers_accepted",)),
    Dimension("problem solving", "fast, and for good", ("resolution_time", "fcr_disposition")),
    Dimension("empathy", "how our people sound", ("agent_tone",)),
    Dimension("integration", "nobody has to say it twice", ("transfer_rate", "repeat_contacts")),
    Dimension("transparency", "bad news come from us, and before", ("proactive_delay_notices", "delivery_lateness")),
)  # fmt: skip


class ProxyReading(NamedTuple):
    """A KPI over a span: its value, whether more is expected of it, which definition it has, and why there is none."""

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
        name: Of the KPI.
        kpi: Its definition; None: it is not counted, since the relation that makes its events does not run.
        now: Its value in the span.
        before: Its value in the span before, of the same length.
        change: The first less the second; None: one is not known.
        verdict: What that means.
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
    Put the proxies together in the order of dimensions; `kpis` are those that are counted.

    A change is shown where the interval of the difference to the span before leaves out zero (`difference`).
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
