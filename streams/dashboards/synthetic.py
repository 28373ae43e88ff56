"""What came of synthetic journeys, as a row of the dashboard of the pipeline."""

from streams.dashboards import sql
from streams.dashboards.grafana import PanelRow, override, table
from streams.dashboards.scores import breakdown
from streams.kpis.catalogue.catalogue import Catalogue

_SENDERS = f"""
SELECT toString(source) AS source, toString(channel) AS channel, count() AS events, uniqExact(type) AS types,
    uniqExact(subject) AS customers, max(time) AS newest
FROM events
WHERE $__timeFilter(ingested_at) AND synthetic AND {sql.chosen("channel", "channel")}
GROUP BY source, channel
ORDER BY events DESC
LIMIT 100
"""  # noqa: S608 - written from constants


def row(catalogue: Catalogue) -> PanelRow:
    """Return how many runs of each path succeed, how long events take, and who sends synthetic events at all."""
    senders = table(
        key="synthetic_senders",
        title="Who sends synthetic events",
        width=24,
        height=8,
        description="By source. They are in no KPI: a source of yours that is not /cx/synthetic hides its customers.",
        asked=_SENDERS,
        overrides=(
            override("byRegexp", "/^(events|types|customers)$/", {"unit": "short"}),
            override("byName", "newest", {"unit": "dateTimeAsIso"}),
        ),
    )
    return PanelRow(
        "Synthetic journeys",
        (breakdown(catalogue["synthetic_success"], "path"), breakdown(catalogue["synthetic_latency"], "leg"), senders),
    )
