"""Readings of KPIs for tests of the live page."""

from dataclasses import replace

from streams.board.poller import Known, Numbers
from streams.board.readings import ALL, KpiInfo, Latest, PublishedReading
from streams.events.touchpoints import load_touchpoints
from streams.kpis.arithmetic.intervals import wilson

NOW = 1_800_000_000
CSAT = KpiInfo(
    id="csat", name="Customer satisfaction", name_fa="رضایت مشتری", unit="percent", direction="up", aggregator="ratio",
    groupings=((), ("channel",), ("channel", "touchpoint")),
)  # fmt: skip
VOLUME = KpiInfo(id="volume", name="Events", name_fa="رویدادها", groupings=((), ("channel",)))
TOUCHPOINTS = load_touchpoints()


def share(hits: int, n: int, at: int = NOW, **changes: object) -> PublishedReading:
    lo, hi = wilson(hits, n)
    return replace(PublishedReading(at, 100 * hits / n, n, 100 * lo, 100 * hi), **changes)


def known(**changes: object) -> Known:
    """Return what a page knows on which CSAT is 80 % of 100 answers."""
    numbers = Numbers(values={("csat", ALL, ""): Latest(share(80, 100))}, closed_until=NOW)
    made = Known(infos={"csat": CSAT, "volume": VOLUME}, windows=["5m", "15m"], numbers={"15m": numbers}, newest=NOW)
    return replace(made, **changes)
