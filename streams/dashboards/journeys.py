"""The dashboards on what relations say: journeys, and what customers had lived through. Without relations: none."""

from collections.abc import Iterable

from streams.dashboards.areas import over_the_time, to_the_events
from streams.dashboards.grafana import DashboardSpec, Panel, PanelRow, registered
from streams.dashboards.scores import breakdown, trend
from streams.dashboards.variables import standard
from streams.events.types import DERIVED_TYPES
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi

_JOURNEYS = (
    "first_contact_resolution", "reply_time", "cart_abandonment", "checkout_drop_off", "payment_success",
    "visit_bounce", "promise_kept", "return_rate", "repurchase", "journey_completion", "journey_support",
    "service_completion",
)  # fmt: skip
_EXPERIENCE = (
    "experience_join", "csat_after_wait", "csat_after_delivery", "nps_after_delivery", "effort_by_contacts",
    "survey_response", "survey_fatigue", "cases_contacted_in_time", "rescue", "informed",
)  # fmt: skip


@registered
def journeys(catalogue: Catalogue) -> DashboardSpec | None:
    """Where customers are on their way, and where they leave it."""
    kpis = {kpi.id: kpi for kpi in catalogue if kpi.event_types & DERIVED_TYPES.keys() and kpi.id not in _EXPERIENCE}
    return _board(
        catalogue,
        kpis,
        _JOURNEYS,
        slug="journeys",
        title="Journeys",
        description="What becomes of contacts, carts, promises and customers: said by relations, of the events of one "
        "customer. Who is still inside a waiting time is pending, and in no share.",
        trends=("first_contact_resolution", "cart_abandonment", "promise_kept", "journey_completion"),
        parts=(
            ("stage_moves", "from_stage", "to_stage"),
            ("stage_time", "from_stage"),
            ("cart_abandonment", "last_step"),
            ("checkout_drop_off", "furthest"),
            ("first_contact_resolution", "topic"),
            ("promise_kept", "carrier"),
        ),
    )


@registered
def experience(catalogue: Catalogue) -> DashboardSpec | None:
    """What customers say, by what they had lived through."""
    kpis = {kpi.id: kpi for kpi in catalogue if kpi.id in _EXPERIENCE}
    return _board(
        catalogue,
        kpis,
        _EXPERIENCE,
        slug="experience",
        title="Experience",
        description="What customers say beside what they had lived through before: waits, delays, contacts. Each "
        "answer is a row of the view `experience`.",
        trends=("csat_after_wait", "csat_after_delivery", "survey_response", "cases_contacted_in_time"),
        parts=(
            ("csat_after_wait", "wait"),
            ("csat_after_delivery", "delay"),
            ("nps_after_delivery", "delay"),
            ("effort_by_contacts", "contacts"),
        ),
    )


def _board(
    catalogue: Catalogue,
    kpis: dict[str, Kpi],
    heads: Iterable[str],
    *,
    slug: str,
    title: str,
    description: str,
    trends: Iterable[str],
    parts: Iterable[tuple[str, ...]],
) -> DashboardSpec | None:
    """Return a dashboard of those KPIs that are counted, None if none is: relations may run in part."""
    shown = [kpi for kpi in heads if kpi in kpis]
    if not shown:
        return None
    tables = (breakdown(kpis[kpi], *labels) for kpi, *labels in parts if kpi in kpis)
    rows: list[tuple[str, tuple[Panel, ...]]] = [
        ("Course", tuple(trend(kpis[kpi]) for kpi in trends if kpi in kpis)),
        ("Parts", tuple(tables)),
    ]
    return DashboardSpec(
        slug=slug,
        title=title,
        description=description,
        variables=standard(list(kpis.values()), shown[0], segments=shown, units=shown),
        rows=(
            over_the_time(catalogue, *shown),
            *(PanelRow(name, panels) for name, panels in rows if panels),
            *to_the_events(catalogue, kpis, title),
        ),
    )
