"""The dashboards of the areas: contact centre, digital, delivery and returns, stores."""

from streams.dashboards import chosen, sql
from streams.dashboards.grafana import DashboardSpec, Panel, PanelRow, link, override, registered, table
from streams.dashboards.look import Json
from streams.dashboards.scores import HIDDEN, breakdown, event_types, linked, scoreboard, tile, trend
from streams.dashboards.variables import standard
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi

OTHER_SERVICE_LEVELS = (
    "service_level_answered_only",
    "service_level_minus_short",
    "service_level_minus_abandon_within_t",
    "service_level_removed_within_t",
    "service_level_abandon_le_t_ok_minus_short",
)


def owned(catalogue: Catalogue, *owners: str) -> dict[str, Kpi]:
    """Return the KPIs of some owners."""
    return {kpi.id: kpi for kpi in catalogue if kpi.owner in owners}


def picked(catalogue: Catalogue, *ids: str) -> dict[str, Kpi]:
    """
    Return KPIs by their ids.

    Raises:
        KeyError: The catalogue has no such KPI.
    """
    return {kpi: catalogue[kpi] for kpi in ids}


def customer_link() -> Json:
    """Return the link from a customer's key to all that the customer did."""
    whom = f"var-kpi=volume&var-customer={linked('customer_choice')}"
    rest = "var-datasource=${datasource}&${__url_time_range}"
    return link("All events of this customer", f"/d/cx-explorer/kpi-explorer?{whom}&{rest}")


def events_panel(kpis: dict[str, Kpi], title: str = "Events behind these numbers") -> Panel:
    """Return the newest events that some KPIs look at; a customer's events are one click away."""
    return table(
        key="events",
        title=title,
        width=24,
        height=9,
        description="The newest 200 events of the types that the KPIs of this dashboard count, as they were sent. "
        "`outcome` says whether an event is counted, or came too late for it.",
        asked=sql.events(event_types(kpis.values())),
        overrides=(
            override("byName", "time", {"unit": "dateTimeAsIso", "custom.width": 190}),
            override("byName", "customer", {"links": [customer_link()]}),
            HIDDEN,
            override("byName", "data", {"custom.inspect": True}),
        ),
    )


def over_the_time(catalogue: Catalogue, *ids: str) -> PanelRow:
    """Return the row of tiles that a dashboard begins with."""
    return PanelRow("Over the selected time", tuple(tile(catalogue[kpi]) for kpi in ids))


def to_the_events(catalogue: Catalogue, kpis: dict[str, Kpi], area: str) -> tuple[PanelRow, ...]:
    """Return the rows that the dashboard of an area ends with: the chosen KPI, all of the area, the events behind."""
    return (
        chosen.row(catalogue),
        PanelRow("Everything of this area, rolling", (scoreboard(kpis, f"{area}, newest ${{window}}"),)),
        PanelRow("Events", (events_panel(kpis),)),
    )


@registered
def contact_centre(catalogue: Catalogue) -> DashboardSpec:
    """Queues, calls and chats, agents and what they solve."""
    kpis = owned(catalogue, "contact-centre")
    heads = (
        "service_level_all_offered", "abandonment", "asa", "queue_wait", "aht", "contacts_offered",
        "first_response_time", "fcr_disposition", "transfer_rate", "hold_rate", "agent_answer_rate", "qa_score",
    )  # fmt: skip
    return DashboardSpec(
        slug="contact-centre",
        title="Contact centre",
        description="Whether customers are answered in time, how long they wait, how many give up, and what is solved.",
        variables=standard(
            list(kpis.values()),
            "service_level_all_offered",
            segments=["contacts_offered"],
            units=["contacts_handled", "agent_answer_rate"],
        ),
        rows=(
            over_the_time(catalogue, *heads),
            PanelRow(
                "Course",
                tuple(
                    trend(catalogue[kpi]) for kpi in ("service_level_all_offered", "abandonment", "asa", "queue_wait")
                ),
            ),
            PanelRow(
                "Service level in its other variants", tuple(tile(catalogue[kpi]) for kpi in OTHER_SERVICE_LEVELS)
            ),
            PanelRow(
                "Queues and topics",
                (
                    breakdown(catalogue["service_level_all_offered"], "queue"),
                    breakdown(catalogue["abandonment"], "queue"),
                    breakdown(catalogue["queue_wait"], "queue"),
                    breakdown(catalogue["contacts_offered"], "topic"),
                ),
            ),
            PanelRow(
                "Agents and teams",
                (
                    breakdown(catalogue["aht"], "agentid"),
                    breakdown(catalogue["contacts_handled"], "unitid"),
                ),
            ),
            *to_the_events(catalogue, kpis, "Contact centre"),
        ),
    )


@registered
def digital(catalogue: Catalogue) -> DashboardSpec:
    """Search, chat, purchase, and what goes wrong on the way."""
    kpis = owned(catalogue, "digital", "sales") | picked(catalogue, "bot_containment", "first_response_time")
    return DashboardSpec(
        slug="digital",
        title="Digital: search, chat, purchase",
        description="Whether visitors find, get help, buy and pay, on the web and in the app.",
        variables=standard(list(kpis.values()), "conversion", segments=["conversion", "orders"], units=["csat"]),
        rows=(
            over_the_time(
                catalogue,
                "zero_result_searches",
                "bot_containment",
                "conversion",
                "payment_failure",
                "orders",
                "revenue",
                "apdex",
                "bounce",
                "error_sessions",
                "request_failure",
                "crash_rate",
                "rage_clicks",
            ),
            PanelRow(
                "Search",
                (trend(catalogue["zero_result_searches"]), breakdown(catalogue["zero_result_searches"], "channel")),
            ),
            PanelRow(
                "Chat", (trend(catalogue["bot_containment"]), breakdown(catalogue["first_response_time"], "subchannel"))
            ),
            PanelRow(
                "Purchase",
                (
                    trend(catalogue["conversion"]),
                    trend(catalogue["payment_failure"]),
                    breakdown(catalogue["conversion"], "channel"),
                    breakdown(catalogue["payment_failure"], "method"),
                    breakdown(catalogue["payment_failures"], "channel", "code"),
                    trend(catalogue["orders"]),
                ),
            ),
            PanelRow(
                "Quality",
                (
                    trend(catalogue["apdex"]),
                    trend(catalogue["error_sessions"]),
                    breakdown(catalogue["apdex"], "page"),
                    breakdown(catalogue["frustrated_clicks"], "kind"),
                ),
            ),
            *to_the_events(catalogue, kpis, "Digital"),
        ),
    )


@registered
def delivery(catalogue: Catalogue) -> DashboardSpec:
    """From the carrier to the customer, and back."""
    kpis = owned(catalogue, "logistics")
    asked = kpis | picked(catalogue, "csat")
    return DashboardSpec(
        slug="delivery",
        title="Delivery and returns",
        description="Whether deliveries come in time, whole and complete, what a late one costs in satisfaction, "
        "and how returns go.",
        variables=standard(list(asked.values()), "delivery_lateness", segments=["delivery_lateness"], units=["csat"]),
        rows=(
            over_the_time(
                catalogue,
                "delivery_lateness",
                "damage_rate",
                "incomplete_deliveries",
                "failed_deliveries",
                "overdue_deliveries",
                "proactive_delay_notices",
                "return_requests",
                "returns_received",
                "refunds",
                "refund_time",
            ),
            PanelRow(
                "Delivery",
                (
                    trend(catalogue["delivery_lateness"]),
                    breakdown(catalogue["csat_mean"], "delivery", title="Satisfaction by how the delivery went"),
                    breakdown(catalogue["delivery_lateness"], "carrier"),
                    breakdown(catalogue["delivery_lateness"], "region"),
                    breakdown(catalogue["damage_rate"], "carrier"),
                    breakdown(catalogue["failed_deliveries"], "reason"),
                ),
            ),
            PanelRow(
                "Returns and refunds",
                (
                    trend(catalogue["return_requests"]),
                    trend(catalogue["refund_time"]),
                    breakdown(catalogue["return_requests"], "reason"),
                    breakdown(catalogue["refund_time"], "channel"),
                ),
            ),
            *to_the_events(catalogue, kpis, "Delivery and returns"),
        ),
    )


@registered
def store(catalogue: Catalogue) -> DashboardSpec:
    """Shops: who comes, waits, buys."""
    kpis = owned(catalogue, "stores")
    asked = kpis | picked(catalogue, "csat")
    return DashboardSpec(
        slug="store",
        title="Store",
        description="Whether visitors of shops are served soon, buy, and leave satisfied.",
        variables=standard(
            list(asked.values()), "footfall_conversion", segments=["csat"], units=["store_visitors", "store_queue_wait"]
        ),
        rows=(
            over_the_time(
                catalogue,
                "store_visitors",
                "store_transactions",
                "footfall_conversion",
                "store_queue_wait",
                "store_queue_abandonment",
                "store_queue_observed",
            ),
            PanelRow(
                "Course",
                tuple(
                    trend(catalogue[kpi])
                    for kpi in ("footfall_conversion", "store_queue_wait", "store_visitors", "store_queue_abandonment")
                ),
            ),
            PanelRow(
                "Shops",
                (
                    breakdown(catalogue["footfall_conversion"], "unitid"),
                    breakdown(catalogue["store_queue_wait"], "unitid"),
                    breakdown(catalogue["store_queue_abandonment"], "unitid"),
                    breakdown(catalogue["csat"], "unitid"),
                    breakdown(catalogue["store_queue_wait"], "service"),
                    breakdown(catalogue["store_queue_observed"], "unitid"),
                ),
            ),
            *to_the_events(catalogue, kpis, "Stores"),
        ),
    )
