"""
Alerts on a simulated company: a dead collector is one alert, and the first-named cause of an incident is the right one.

The short form of `python -m bench.explaining`.
"""

from functools import cache
from random import Random

import pytest

from streams.producers.simulator import Plan
from tests.harness.explaining import CATALOGUE, SHIPPED_SEE, SPOILT, START, Calm, alarms, first_alarm, known_incident

pytestmark = pytest.mark.slow

CALM, DEAD, AFTER = 75, 15, 20


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        ("collector-dead:web", {("ChannelSilent", "web")}),
        ("collector-dead:store", {("StoreChannelSilent", "store")}),
        ("bad-schema:app", {("RecordsRefused", "app"), ("ChannelSpoilt", "app")}),
    ],
)
def test_an_ill_channel_is_one_page(incident, expected):
    """All shipped rules, on all KPIs: of what the company's own bad moments do not explain, one thing is passed on."""
    assert passed_on(f"{incident}@+{CALM}m+{DEAD}m") - passed_on() == expected


@cache
def passed_on(*incidents: str) -> set[tuple[str, ...]]:
    """Return rule and label values of what fires and is held back by nothing."""
    plan = Plan(start=START, seed=5, rate=20.0, flat=True, incidents=incidents)
    return {(t.rule, *t.labels.values()) for t in alarms(plan, CALM + DEAD + AFTER, CATALOGUE)}


@pytest.mark.parametrize("incident", [name for name in SHIPPED_SEE if ":" not in name or "schema" in name])
def test_shipped_rules_see_every_incident_of_the_simulator(incident):
    """Within half an hour, in a run that was started 40 minutes before; and name who is hit."""
    case = first_alarm(incident, seed=21)
    assert case.caught is not None, case.name
    assert case.right, f"{case.name}, named {case.named}"


@pytest.mark.parametrize("incident", ["payment-outage", "slow-site", "app-crash-release"])
def test_the_cause_of_a_known_incident_is_named(incident):
    """Everybody, where everybody is hit; the new release, where it is that."""
    case = known_incident(incident, seed=11, rate=40.0, minutes=30)
    assert case.caught is not None
    assert case.right, f"named {case.named}"


def test_the_part_that_was_spoilt_is_named():
    """At least 19 of 20, with parts, labels and severities drawn by lot."""
    calm = Calm(12, minutes=50)
    drawn = [calm.spoil(kpi, Random(f"{kpi} {number}")) for kpi in SPOILT for number in range(5)]
    caught = [case for case in drawn if case is not None and case.caught is not None]
    assert len(caught) >= 8
    wrong = [f"{case.name}: {case.named}" for case in caught if not case.right]
    assert len(wrong) <= len(caught) / 20, wrong
