"""Readings of KPIs for tests of the live page."""

from dataclasses import replace

from streams.board.readings import KpiInfo, PublishedReading
from streams.events.touchpoints import load_touchpoints
from streams.kpis.arithmetic.intervals import wilson

NOW = 1_800_000_000
CSAT = KpiInfo(
    id="csat", name="Customer satisfaction", unit="percent", direction="up", aggregator="ratio",
    groupings=((), ("channel",), ("channel", "touchpoint")),
)  # fmt: skip
VOLUME = KpiInfo(id="volume", name="Events", groupings=((), ("channel",)))
TOUCHPOINTS = load_touchpoints()


def share(hits: int, n: int, at: int = NOW, **changes: object) -> PublishedReading:
    lo, hi = wilson(hits, n)
    return replace(PublishedReading(at, 100 * hits / n, n, 100 * lo, 100 * hi), **changes)
