"""An experiment as far as it has come: its assignment against the plan, and each arm beside the control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streams.experiments.definition import Experiment, Metric
from streams.experiments.judging import (
    FEWEST_KNOWN,
    ArmSplit,
    Estimate,
    Interval,
    PastSums,
    Sums,
    adjusted,
    always_valid,
    estimate,
    judge_assignment,
    verdict_of,
)
from streams.kpis.language.definition import Kpi


@dataclass(frozen=True)
class ArmResult:
    """
    One arm in one KPI.

    Attributes:
        arm: Its name.
        customers: Of whom the value is.
        value: Of the KPI; None: of nothing.
        difference: The value less that of the control; None: it is the control, or there are too few customers.
        interval: Where the difference lies, however often one looks; None: the customers of both arms are all alike.
        verdict: What that means; empty without a difference.
        adjusted: The difference with what customers had done before taken out, of KPIs by customer.
        adjusted_interval: Where that lies.
    """

    arm: str
    customers: int
    value: float | None
    difference: float | None = None
    interval: Interval | None = None
    verdict: str = ""
    adjusted: float | None = None
    adjusted_interval: Interval | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""

        def ends(interval: Interval | None) -> list[float] | None:
            return None if interval is None else [*interval]

        return {
            "arm": self.arm,
            "customers": self.customers,
            "value": self.value,
            "difference": self.difference,
            "interval": ends(self.interval),
            "verdict": self.verdict or None,
            "adjusted_difference": self.adjusted,
            "adjusted_interval": ends(self.adjusted_interval),
        }


def assignment_of(planned: Mapping[str, float], found: Mapping[str, int]) -> ArmSplit:
    """
    Hold customers by arm against the planned shares; without a plan the shares are taken for equal.

    An arm of the plan that got nobody is one that is missing. What nobody planned has no share to be held against.
    """
    arms = [*planned] or [*found]
    if len(arms) < 2:
        return ArmSplit(sum(found.values()), 0.0, 1.0, mismatch=False, judged=False)
    return judge_assignment([found.get(arm, 0) for arm in arms], [planned.get(arm, 1.0) for arm in arms])


def compare(
    experiment: Experiment, control: str, metric: Metric, kpi: Kpi, sums: Mapping[str, tuple[Sums, PastSums]]
) -> list[ArmResult]:
    """
    Return what each arm is in one KPI, the control first.

    Goals share the experiment's alpha, so that it holds for all of them and all arms together; a guardrail has all of
    it, since what would harm should be seen.
    """
    arms = sorted(sums, key=lambda arm: (arm != control, arm))
    known = {arm: estimate(sums[arm][0]) for arm in arms}
    alpha = experiment.alpha if metric.guardrail else experiment.alpha_of_each(len(arms) - 1)
    before = _adjusted(kpi, {arm: past for arm, (_, past) in sums.items()})
    results = []
    for arm in arms:
        here, there, n = known[arm], known.get(control), sums[arm][0].n
        value = None if here is None else here.value
        if arm == control or here is None or there is None or min(here.n, there.n) < FEWEST_KNOWN:
            results.append(ArmResult(arm, n, value))
            continue
        difference, interval = _less(here, there, metric, alpha)
        verdict = (
            "not known yet"
            if interval is None
            else verdict_of(interval, kpi.direction, metric.effect if metric.guardrail else None)
        )
        taken = _less(before[arm], before[control], metric, alpha) if {arm, control} <= before.keys() else (None, None)
        results.append(ArmResult(arm, n, value, difference, interval, verdict, *taken))
    return results


def _less(here: Estimate, there: Estimate, metric: Metric, alpha: float) -> tuple[float, Interval | None]:
    """Return a difference, and where it lies; None: all customers are alike, which says nothing of those to come."""
    difference, variance = here.value - there.value, here.variance + there.variance
    return difference, always_valid(difference, variance, metric.effect, alpha) if variance > 0 else None


def _adjusted(kpi: Kpi, arms: Mapping[str, PastSums]) -> Mapping[str, Estimate]:
    """Take out what customers had done before, of KPIs by customer: those of answers have other answers before."""
    found = adjusted(arms) if kpi.aggregator in {"count", "sum"} else None
    return {} if found is None else found[1]
