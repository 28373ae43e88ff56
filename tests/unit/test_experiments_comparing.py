"""Experiments as they are planned, and their arms beside the control."""

from pathlib import Path

import pytest

from streams.experiments.comparing import ArmResult, assignment_of, compare
from streams.experiments.definition import Experiment, Metric, load_experiments
from streams.experiments.judging import PastSums, Sums, always_valid, estimate
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError

CATALOGUE = Catalogue.load()
GOAL, OTHER, GUARD = Metric("csat", 5.0), Metric("nps", 10.0), Metric("payment_failure", 2.0, guardrail=True)


def _sums(n: int, share: float) -> tuple[Sums, PastSums]:
    """Customers with one answer each."""
    hits = round(n * share)
    sums = Sums(n, n, 100.0 * hits, n, 100.0 * hits, 10_000.0 * hits)
    return sums, PastSums(0, 0.0, 0.0, 0.0, 0.0, 0.0, sums)


def _results(metrics: tuple[Metric, ...], metric: Metric, **arms: tuple[Sums, PastSums]) -> dict[str, ArmResult]:
    experiment = Experiment("x", arms={"control": 1, "a": 1, "b": 1}, metrics=metrics)
    return {one.arm: one for one in compare(experiment, "control", metric, CATALOGUE[metric.kpi], arms)}


def test_goals_and_arms_share_alpha_and_a_guardrail_has_all_of_it() -> None:
    arms = {"control": _sums(400, 0.7), "a": _sums(400, 0.6), "b": _sums(400, 0.7)}
    for metrics, metric, alpha in (
        ((GOAL,), GOAL, 0.05 / 2), ((GOAL, OTHER), GOAL, 0.05 / 4), ((GOAL, OTHER, GUARD), GUARD, 0.05),
    ):  # fmt: skip
        found = _results(metrics, metric, **arms)["a"]
        here, there = estimate(arms["a"][0]), estimate(arms["control"][0])
        assert here is not None
        assert there is not None
        assert found.difference == pytest.approx(-10.0)
        assert found.interval == pytest.approx(
            always_valid(-10.0, here.variance + there.variance, metric.effect, alpha)
        )  # fmt: skip


def test_the_direction_of_the_kpi_decides_what_is_worse() -> None:
    arms = {"control": _sums(4_000, 0.70), "a": _sums(4_000, 0.50)}
    assert _results((GOAL,), GOAL, **arms)["a"].verdict == "worse"
    assert _results((GUARD,), GUARD, **arms)["a"].verdict == "better", "of failures fewer are better"
    same = {"control": _sums(90_000, 0.05), "a": _sums(90_000, 0.05)}
    assert _results((GUARD,), GUARD, **same)["a"].verdict == "safe"
    assert _results((Metric("payment_failure", 2.0),), Metric("payment_failure", 2.0), **same)["a"].verdict == (
        "not known yet"
    )


def test_nothing_is_compared_with_too_few_customers_or_without_a_control() -> None:
    few = _results((GOAL,), GOAL, control=_sums(400, 0.7), a=_sums(9, 0.1))["a"]
    assert (few.customers, few.interval, few.verdict) == (9, None, "")
    alone = _results((GOAL,), GOAL, a=_sums(400, 0.7), b=_sums(400, 0.7))
    assert [one.interval for one in alone.values()] == [None, None]
    assert _results((GOAL,), GOAL) == {}


def test_the_control_comes_first() -> None:
    arms = {"a": _sums(40, 0.7), "control": _sums(40, 0.7), "b": _sums(40, 0.7)}
    assert [*_results((GOAL,), GOAL, **arms)] == ["control", "a", "b"]


def test_an_arm_that_nobody_planned_is_held_against_nothing_and_one_that_lacks_against_the_plan() -> None:
    assert not assignment_of({"control": 1, "a": 1}, {"control": 500, "a": 500, "stray": 900}).mismatch
    assert assignment_of({"control": 1, "a": 1}, {"control": 500}).mismatch
    assert assignment_of({}, {"control": 700, "a": 300}).mismatch, "equal shares without a plan"
    for found in ({}, {"control": 500}):
        judged = assignment_of({}, found)
        assert (judged.mismatch, judged.judged) == (False, False)


PLAN = """- id: checkout
  question: Is it better?
  owner: digital
  arms: {control: 1, short: 1}
  goals:
    - {kpi: csat, effect: 5}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("short: 1", "short: -1", 4, "the planned share of 'short' must be above 0, not -1"),
        ("short: 1", "short: .nan", 4, "'short' must be finite"),
        ("short: 1", "short: half", 4, "'short' must be a number, not 'half'"),
        (", short: 1", "", 4, "an experiment has two arms or more, each with its planned share"),
        ("kpi: csat,", "kpi: csatt,", 6, "no KPI 'csatt'; did you mean 'csat'?"),
        ("kpi: csat,", "kpi: queue_wait,", 6, "'queue_wait' cannot be compared by customer"),
        ("effect: 5", "effect: 0", 6, "'effect' must be above 0, not 0"),
        ("  owner", "  alpha: abc\n  owner", 3, "'alpha' must be a number, not 'abc'"),
        ("  owner", "  alpha: 0.9\n  owner", 3, "'alpha' must be above 0 and 0.5 at most, not 0.9"),
        ("  goals", "  goal: 1\n  goals", 5, "unknown key 'goal'"),
        ("  owner: digital\n", "", 1, "'owner' is missing"),
        ("effect: 5}\n", "effect: 5}\n    - {kpi: csat, effect: 3}\n", 5, "'csat' stands twice among goals and guardrails"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    assert load_experiments([file], CATALOGUE)["checkout"].arms == {"control": 1, "short": 1}
    file.write_text(PLAN.replace(old, new))
    with pytest.raises(CatalogueError) as refused:
        load_experiments([file], CATALOGUE)
    assert any(f"plan.yaml:{line}: " in one and said in one for one in refused.value.problems), refused.value.problems


def test_an_experiment_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN + PLAN)
    with pytest.raises(CatalogueError, match="there is another experiment 'checkout'"):
        load_experiments([file], CATALOGUE)


@pytest.mark.parametrize("metric", [GOAL, GUARD])
@pytest.mark.parametrize(("control", "a"), [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_customers_who_are_all_alike_make_nothing_sure(metric: Metric, control: float, a: float) -> None:
    found = _results((metric,), metric, control=_sums(12, control), a=_sums(12, a))["a"]
    assert (found.difference, found.interval, found.verdict) == (100 * (a - control), None, "not known yet")
