"""What customers are worth, as `cx value publish` measured it, as a row of the dashboard of actions."""

from typing import Final

from streams.dashboards.grafana import PanelRow, override, table

_PERIOD: Final = "if(month != '', month, concat(toString(toDate(since)), ' to ', toString(toDate(until)))) AS period"
_SAID: Final = (
    "Of the newest run of `cx value publish`; `measured_at` says when that was. n are customers, of order_value"
    " purchases; a measure without an interval has none. `open`: the period was not over, and numbers rise still."
)
_TIERS: Final = f"""
SELECT toString(measure) AS measure, toString(tier) AS tier, value, low, high, n, unit, period, maturity, measured_at
FROM (
    SELECT measure, if(tier = '', 'all customers', tier) AS tier, value, lo AS low, hi AS high, n,
        if(currency = '', toString(unit), toString(currency)) AS unit, {_PERIOD}, maturity, measured_at, until
    FROM value_measured
    ORDER BY until DESC, since DESC
    LIMIT 1 BY measure, tier, unit
)
ORDER BY measure, unit, tier != 'all customers', tier
"""  # noqa: S608 - written from constants
_PERIODS: Final = f"""
SELECT {_PERIOD}, toString(measure) AS measure, value, lo AS low, hi AS high, n,
    if(currency = '', toString(unit), toString(currency)) AS unit, maturity, measured_at
FROM value_measured
WHERE tier = '' AND measure IN ('retention', 'churn', 'repeat_revenue_share', 'arpu', 'revenue')
ORDER BY measure, unit, until DESC, since DESC
LIMIT 13 BY measure, unit
"""  # noqa: S608 - written from constants
_COLUMNS: Final = (
    override("byRegexp", "/^(value|low|high)$/", {"decimals": 2}),
    override("byName", "n", {"unit": "short", "decimals": 0}),
    override("byName", "measured_at", {"unit": "dateTimeAsIso", "custom.width": 170}),
)


def row() -> PanelRow:
    """Return who stays and what customers bring, by tier and period by period, with n and interval."""
    return PanelRow(
        "What customers are worth",
        (
            table(
                key="worth/tiers",
                title="Customer value, by tier",
                width=12,
                asked=_TIERS,
                description=f"Of the newest period. Tiers are those of when it began. {_SAID}",
                overrides=_COLUMNS,
            ),
            table(
                key="worth/periods",
                title="Customer value, period by period",
                width=12,
                asked=_PERIODS,
                description=f"Of all customers, the newest period first. {_SAID}",
                overrides=_COLUMNS,
            ),
        ),
    )
