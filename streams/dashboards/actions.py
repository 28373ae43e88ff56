"""The dashboard of what to do first about drivers of satisfaction, beside the scores that it would move."""

# ruff: noqa: S608 - statements are written from constants

from typing import Final

from streams.dashboards import worth
from streams.dashboards.areas import over_the_time, picked, to_the_events
from streams.dashboards.grafana import (
    DashboardSpec,
    Panel,
    PanelRow,
    drawn,
    graph_options,
    override,
    registered,
    table,
    target,
)
from streams.dashboards.scores import trend
from streams.dashboards.variables import listed_values, standard
from streams.drivers.definition import OUTCOMES
from streams.kpis.catalogue.catalogue import Catalogue

_SCORES: Final = ("csat", "nps", "ces")
_OUTCOME: Final = "outcome IN (${outcome:singlequote})"
_SAID: Final = (
    "Association, not cause, unless `basis` is an experiment. Of the newest run of `cx drivers actions --publish`;"
    " `judged_at` says when that was."
)

_RANKED: Final = f"""
SELECT place, toString(action) AS action, toString(driver) AS driver, level, toString(goal) AS goal,
    toString(owner) AS owner, days, gain, gain_lo, gain_hi, each, customers, money, at_stake,
    toString(currency) AS currency, worth, toString(basis) AS basis, shown, how, n, judged_at
FROM actions_now
WHERE {_OUTCOME} AND standing = 'ranked'
ORDER BY place
"""
_REST: Final = f"""
SELECT toString(standing) AS standing, toString(driver) AS driver, toString(action) AS action, level,
    toString(goal) AS goal, gain, gain_lo, gain_hi, q, customers, at_stake, why, n, judged_at
FROM actions_now
WHERE {_OUTCOME} AND standing != 'ranked'
ORDER BY standing DESC, gain DESC
"""
_MET: Final = f"""
SELECT toString(driver) AS driver, customers, -each AS effect, gain, gain_lo, gain_hi, n
FROM (SELECT * FROM actions_now WHERE {_OUTCOME} AND isNotNull(each) ORDER BY customers DESC LIMIT 1 BY driver)
ORDER BY gain DESC
"""
_RUNS: Final = f"""
SELECT judged_at AS time, if(action = '', driver, action) AS name, max(gain) AS points
FROM driver_actions
WHERE $__timeFilter(judged_at) AND {_OUTCOME} AND isNotNull(gain)
GROUP BY time, name
ORDER BY time, name
"""
_COLUMNS: Final = (
    override("byRegexp", "/^(customers|at_stake|n)$/", {"unit": "short", "decimals": 0}),
    override("byRegexp", "/^(gain|gain_lo|gain_hi|each|effect|q|money|worth|level|days)$/", {"decimals": 2}),
    override("byName", "judged_at", {"unit": "dateTimeAsIso", "custom.width": 170}),
    override("byRegexp", "/^(how|why)$/", {"custom.width": 320, "custom.inspect": True}),
)


@registered
def board(catalogue: Catalogue) -> DashboardSpec:
    """Return the dashboard of drivers and actions."""
    kpis = picked(catalogue, *_SCORES)
    return DashboardSpec(
        slug="actions",
        title="Drivers and actions",
        description="What customers live through where they are less satisfied, and what to do first about it: gain, "
        "customers, value at stake, owner and effort; and what customers are worth.",
        variables=(
            *standard(list(kpis.values()), "csat", segments=["csat"], units=["csat"]),
            listed_values("outcome", "Outcome", [*OUTCOMES], chosen="csat"),
        ),
        rows=(
            PanelRow("What to do first", (_ranked(), _rest())),
            PanelRow("Whom it affects, and how much", (_met(), _runs())),
            worth.row(),
            over_the_time(catalogue, *_SCORES),
            PanelRow("Course", tuple(trend(catalogue[kpi]) for kpi in _SCORES)),
            *to_the_events(catalogue, kpis, "Drivers and actions"),
        ),
    )


def _ranked() -> Panel:
    return table(
        key="actions/ranked",
        title="Actions, the most worthwhile first",
        asked=_RANKED,
        description="By worth: points for each customer × customers a month × money of each a month / days of work. "
        f"{_SAID}",
        overrides=_COLUMNS,
    )


def _rest() -> Panel:
    return table(
        key="actions/rest",
        title="Without a place: nobody has a plan, or it is not sure yet",
        asked=_REST,
        description=f"Sure drivers that no action is about, and what is not kept at 5 % false discoveries. {_SAID}",
        overrides=_COLUMNS,
    )


def _met() -> Panel:
    return table(
        key="actions/drivers",
        title="Drivers: importance and performance",
        width=12,
        asked=_MET,
        description="Many customers and a large effect on each: that is where to begin. The effect is that on who is "
        f"above the limit, the gain that of the mean of all answers. {_SAID}",
        overrides=_COLUMNS,
    )


def _runs() -> Panel:
    return Panel(
        key="actions/runs",
        title="Gain, run by run",
        type="timeseries",
        width=12,
        height=9,
        description="What there is to gain, as runs of the selected time found it: what was done shows as less. "
        "Points of the outcome; intervals stand in the tables.",
        targets=(target(_RUNS, "timeseries"),),
        defaults=drawn("none", decimals=2),
        options=graph_options(),
    )
