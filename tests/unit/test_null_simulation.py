"""
The promise of the shipped pages, in short: few false alarms, and falls seen soon. `python -m bench.nullsim` is the
long form of the same code.

Seeds are fixed. Bounds are four standard errors off what is expected, so that another version of the generator changes
nothing, while twice the false alarms, or a third more answers, show.
"""

import math

import numpy as np
import pytest

from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.cusum_levels import false_alarms_per_day, level_of
from streams.alerts.detectors.floor import Floor
from streams.alerts.facts import Facts
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.machine import Policy
from streams.alerts.rules.parsing import load_rules, parse_rules
from streams.alerts.types import SourceHealth
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from tests.harness.closed import Closed
from tests.harness.nullsim import DAY, Rule, delays, drawn, false_rate, firings, null_rate, shipped
from tests.harness.nullsim import RULES as RULES_FOLDER

pytestmark = pytest.mark.slow

PER_DAY = 0.05
"""False episodes per day and series that pages may have."""

PAGES = shipped("page")
CSAT = shipped(kpi="csat")
LEARNING = [rule for rule in CSAT if isinstance(rule.params, Cusum)]


def within(rate: float, series_days: float) -> float:
    """The most that a rate may come out as, by luck, in so many days."""
    return rate + 4 * math.sqrt(rate / series_days)


def test_pages_are_silent_while_nothing_happens() -> None:
    """All pages on CSAT together."""
    csat = [rule for rule in PAGES if rule.kpi == "csat"]
    found = null_rate(csat, series=60, days=5)
    name = "csat all" if len(csat) > 1 else csat[0].name
    assert found[name].per_day <= within(PER_DAY, 60 * 5)


@pytest.mark.parametrize("rule", LEARNING, ids=lambda rule: rule.name)
def test_what_learns_is_silent_while_nothing_happens(rule: Rule) -> None:
    """Each rule on its own, whatever its severity."""
    assert null_rate([rule], series=60, days=5)[rule.name].per_day <= within(PER_DAY, 60 * 5)


def test_a_fall_is_seen_soon() -> None:
    """85 → 75 % in a median of at most 200 answers, 85 → 65 % in 70, by at least one default rule."""
    small, large = delays(LEARNING, 0.75, series=150), delays(LEARNING, 0.65, series=150, answers=400)
    assert min(delay.median for delay in small.values()) <= 200
    assert min(delay.median for delay in large.values()) <= 70
    assert min(delay.missed for delay in large.values()) <= 0.02


def test_every_page_on_a_ratio_is_simulated() -> None:
    """The long form would otherwise pass by leaving rules out."""
    book = load_rules([RULES_FOLDER], Catalogue.load(), defaults=False)
    wanted = {rule.alert for rule in book if rule.severity == "page" and rule.kpi.aggregator == "ratio"}
    assert {rule.name for rule in PAGES} == wanted
    assert len(wanted) >= 6


@pytest.mark.parametrize("rule", [rule for rule in PAGES if isinstance(rule.params, Floor)], ids=lambda r: r.name)
def test_a_floor_is_silent_where_its_rule_says_that_all_is_well(rule: Rule) -> None:
    """Two days of twenty series at the level of recovery."""
    assert null_rate([rule], series=20, days=2)[rule.name].per_day <= within(PER_DAY, 40)


def test_the_simulation_counts_what_the_formula_expects() -> None:
    """A rule with known levels, at a rate that can be counted: the whole way from drawing to the state machine."""
    params = Cusum(p0=85.0, p1=75.0, h=4.0, min_failures=1)
    level = level_of(params, Facts("ratio", "up", "percent"), None)
    wanted = false_alarms_per_day(level, Facts("ratio", "up", "percent"), 4.0)
    # What has fired is over after half as much evidence for normal, and only then can fire again.
    found = null_rate([Rule("known", "1h", params, Policy(flaps=0))], series=60, days=6)["known"]
    assert found.per_day == pytest.approx(wanted, rel=0.25)
    assert found.lo < found.per_day < found.hi


def test_no_false_alarm_at_all_is_not_certainty() -> None:
    assert false_rate([0] * 100, 30.0) == (0.0, 0.0, 0.001)


RULES = """
groups:
  - name: simulated
    owner: nobody
    rules:
      - {alert: Erosion, kpi: csat, by: [agentid], method: cusum, window: 1h, severity: ticket,
         params: {baseline: 24h, delta: 15, h: 4}, keep_firing_for: 10m, min_denominator: 100}
      - {alert: Fallen, kpi: csat, by: [agentid], method: ztest, window: 1h, severity: ticket, for: 3m,
         params: {baseline: 24h, z: 2.6}, min_n: 30, min_denominator: 100}
"""


def test_the_judge_fires_when_the_simulation_says_so() -> None:
    """More than a day of three series, the last hours of them worse: every firing of the product's judge, in its minute."""
    book = parse_rules(RULES, Catalogue.load())
    vectorised = drawn(np.random.default_rng(77), 3, DAY)
    worse = drawn(np.random.default_rng(78), 3, DAY // 3, good=0.72)
    n, hits = (
        np.vstack([np.diff(one, axis=0), np.diff(two, axis=0)]) for one, two in zip(vectorised, worse, strict=True)
    )
    vectorised = vectorised.of(n, hits)
    wanted = {}
    for name, rule in book.rules.items():
        policy = Policy(for_=rule.for_minutes, keep_firing_for=rule.keep_firing_minutes)
        plain = Rule(name, rule.window, rule.params, policy, rule.min_n, rule.min_denominator)
        wanted[name] = firings(plain, vectorised)
    judge, closed = Judge(book), Closed()
    health = [SourceHealth(channel, 0, 3000, 0) for channel in ("web", "app", "store", "call_center")]
    keys = [series_key("csat", (("agentid", f"a{number}"),)) for number in range(3)]
    found = {name: [[] for _ in keys] for name in book.rules}
    start = 28_000_800  # midnight, as in the simulation
    for minute in range(len(n)):
        held = {key: [int(n[minute, at]), int(hits[minute, at])] for at, key in enumerate(keys) if n[minute, at]}
        for transition in judge.step(closed.close(start + minute, held, health)):
            if transition.new == "firing" and transition.old != "firing":
                found[transition.rule][int(transition.labels["agentid"][1:])].append(minute)
    assert found == wanted
    assert all(sum(map(len, each)) >= 3 for each in found.values())
    assert not judge.take_faults()
