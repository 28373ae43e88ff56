"""
The voice of the customer: scores, and the words beside them.

Words come in any script. A text is wrapped in the signs U+2068 and U+2069 (first strong isolate of the Unicode
bidirectional algorithm), so that Persian in a table of English columns is read from the right, with its full stop at
the left end, and without turning its neighbours round.
"""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from streams.dashboards import sql
from streams.dashboards.areas import customer_link, over_the_time, owned, to_the_events
from streams.dashboards.experience import touchpoints_and_targets
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    override,
    plain,
    registered,
    table_custom,
    table_options,
    target,
)
from streams.dashboards.scores import HIDDEN, breakdown, stacked, trend
from streams.dashboards.variables import standard
from streams.kpis.catalogue.catalogue import Catalogue

_ISOLATED = "concat(char(0xE2, 0x81, 0xA8), words, char(0xE2, 0x81, 0xA9))"


@registered
def board(catalogue: Catalogue) -> DashboardSpec:
    """Return the dashboard of what customers say."""
    kpis = owned(catalogue, "customer-insight", "product", "people", "customer-care")
    return DashboardSpec(
        slug="voice",
        title="Voice of the customer",
        description="What customers answer, write and rate; how sure it is, where it comes from, and in whose words.",
        variables=standard(list(kpis.values()), "csat", segments=["csat", "nps"], units=["csat"]),
        rows=(
            over_the_time(catalogue, "csat", "nps", "ces", "net_sentiment", "review_score", "fcr_survey"),
            PanelRow("Course", tuple(trend(catalogue[kpi]) for kpi in ("csat", "nps", "ces", "net_sentiment"))),
            PanelRow("In their words", (_verbatims(), _right_to_left())),
            PanelRow(
                "Where",
                (
                    touchpoints_and_targets(catalogue["csat"]),
                    breakdown(catalogue["nps"], "channel", "touchpoint"),
                    breakdown(catalogue["csat"], "segment"),
                    breakdown(catalogue["nps"], "segment"),
                ),
            ),
            PanelRow(
                "Whether we listen",
                (
                    stacked(
                        "stars",
                        "Public reviews by stars",
                        sql.amounts("'review_stars'", "by = 'score'"),
                        "short",
                        catalogue["review_stars"].formula,
                        {"1": "#D55E00", "2": "#E69F00", "3": "#F0E442", "4": "#56B4E9", "5": "#0072B2"},
                        kpi="review_stars",
                    ),
                    breakdown(catalogue["surveys_answered"], "metric"),
                    breakdown(catalogue["survey_dismissal"], "channel", "touchpoint"),
                    breakdown(catalogue["feedback_received"], "type"),
                ),
            ),
            PanelRow(
                "Whether we answer",
                (
                    trend(catalogue["cases_opened"]),
                    trend(catalogue["case_contact_time"]),
                    breakdown(catalogue["cases_opened"], "reason"),
                    breakdown(catalogue["case_contact_time"], "segment"),
                ),
            ),
            *to_the_events(catalogue, kpis, "Voice of the customer"),
        ),
    )


def verbatims(where: str, limit: int) -> str:
    """Ask for what customers wrote, the newest first."""
    return f"""
SELECT time, channel, touchpoint, score, {_ISOLATED} AS text, segment, customer,
    {sql.choice("customer")} AS customer_choice
FROM
(
    SELECT time, channel, touchpoint, score, text AS words, segment, customer, right_to_left
    FROM verbatims
    WHERE {sql.EVENT_FILTER}
)
{where}
ORDER BY time DESC
LIMIT {limit}
"""


def _verbatims() -> Panel:
    return _texts("verbatims", "Newest verbatims", verbatims("", 200), "left", "In whatever script they were written.")


def _right_to_left() -> Panel:
    asked = verbatims("WHERE right_to_left", 200)
    return _texts("verbatims-rtl", "تازه‌ترین نظرها", asked, "right", "Persian and Arabic only, aligned to the right.")


def _texts(key: str, title: str, asked: str, align: str, which: str) -> Panel:
    return Panel(
        key=key,
        title=title,
        type="table",
        width=12,
        height=12,
        description=f"What customers wrote in surveys, reviews and feedback of the selected time. {which} The score "
        f"is in the points of its "
        "own scale.",
        targets=(target(asked, "table"),),
        defaults=plain("none", custom=table_custom()),
        overrides=(
            override(
                "byName",
                "text",
                {
                    "custom.width": 420,
                    "custom.align": align,
                    "custom.inspect": True,
                    "custom.cellOptions": {"type": "auto", "wrapText": True},
                },
            ),
            override("byName", "time", {"unit": "dateTimeAsIso", "custom.width": 170}),
            override("byName", "customer", {"links": [customer_link()]}),
            HIDDEN,
        ),
        options={**table_options(), "cellHeight": "md"},
    )
