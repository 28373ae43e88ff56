"""
Alerts on a simulated company: a dead collector is one alert, and the first-named cause of an incident is the right one.

The short form of `python -m tests.bench.explaining`.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random

import pytest

from streams.alerts.judge import Judge
from streams.alerts.parsing import load_rules
from streams.kpis.catalogue import Catalogue
from streams.producers.simulator import Plan
from tests.harness.explaining import SPOILT, Calm, known_incident
from tests.harness.simulated import closed_minutes

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "deploy" / "rules"
CALM, DEAD, AFTER = 75, 15, 20


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        ("collector-dead:web", ("ChannelSilent", "web")),
        ("collector-dead:store", ("StoreChannelSilent", "store")),
        ("bad-schema:app", ("ChannelSilent", "app")),
    ],
)
def test_a_dead_collector_is_one_alert(incident, expected):
    """All shipped rules, on all KPIs: of what the company's own bad moments do not explain, one thing is passed on."""
    assert passed_on(f"{incident}@+{CALM}m+{DEAD}m") - passed_on() == {expected}


@cache
def passed_on(*incidents: str) -> set[tuple[str, ...]]:
    """Return rule and label values of what fires and is held back by nothing."""
    catalogue = Catalogue.load()
    judge, found = Judge(load_rules([RULES], catalogue)), []
    start = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
    plan = Plan(start=start, seed=5, rate=20.0, flat=True, incidents=incidents)
    for view in closed_minutes(plan, catalogue, CALM + DEAD + AFTER):
        found += [t for t in judge.step(view) if t.new == "firing" and t.inhibited_by is None]
    assert judge.take_faults() == []
    return {(t.rule, *t.labels.values()) for t in found}


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
