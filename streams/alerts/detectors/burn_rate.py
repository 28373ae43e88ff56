"""The error budget of a promise burns too fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from msgspec import Meta

from streams.alerts.detectors.base import BOUNDS, Detector, Positive, Problem, Window, measured
from streams.alerts.facts import Facts, SeriesReading, length_of
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import count_of
from streams.kpis.arithmetic.intervals import PER_100, Z95, wilson
from streams.kpis.language.definition import Kpi


class BurnRate(Detector, frozen=True, kw_only=True):
    """
    The error budget of a promise burns too fast, over a long and over a short window alike.

    Burn is the share of misses over the share that the target allows. It cannot exceed 1/(1 - target): a promise of
    80 % burns at most 5 times, so factors made for 99.9 % would never fire.
    """

    method: ClassVar = "burn_rate"
    summary: ClassVar = ": the promise of {{ target | show }} is broken too often"
    summary_fa: ClassVar = ": وعدهٔ {{ target | show }} بیش از اندازه شکسته می‌شود"
    aggregators: ClassVar = ("ratio",)

    target: Annotated[float, Meta(description="The promise, in the KPI's unit.")]
    factor: Annotated[Positive, Meta(description="Burn at which it fires; below 1/(1 - target).")]
    long: Annotated[Window, Meta(description="Window that shows it matters.")]
    short: Annotated[Window, Meta(description="Window that shows it still goes on; shorter.")]

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: None) -> tuple[Verdict, None]:
        """
        Judge whether the error budget of a promise burns too fast, over a long window and over a short one.

        Burn is the share of misses over the share that the target allows. The long window must also break the promise
        beyond chance (its 95 % Wilson interval), so that three misses of five do not page. It has recovered when the
        short window keeps the promise.
        """
        long, short = reading.window(self.long), reading.window(self.short)
        found = measured(facts, long)
        value, n, lo, hi = found
        budget = budget_of(facts, self.target)
        if budget <= 0 or not isinstance(long, list) or not isinstance(short, list) or not long[0] or not short[0]:
            why = "the target allows no misses" if budget <= 0 else "nothing came"
            return Verdict(None, None, value, n, lo, hi, reason=why, threshold=self.factor), None
        misses, recent = _misses(facts, long), _misses(facts, short)
        burns = misses / (n * budget), recent / (short[0] * budget)
        sure = wilson(misses, n, Z95)[0] > budget
        burn = min(burns)
        reason = (
            f"burns its budget {burns[0]:.2f} times too fast over {self.long} ({misses} of {n} missed)"
            f" and {burns[1]:.2f} times over {self.short} ({recent} of {short[0]}), limit {self.factor:g}"
        )
        return Verdict(
            breach=burn >= self.factor * (1 - 1e-12) and sure,
            recovered=burns[1] <= 1,
            value=value,
            n=n,
            lo=lo,
            hi=hi,
            baseline=self.target,
            statistic=burn,
            reason=reason if sure else f"{reason}; {n} are too few to be sure",
            threshold=self.factor,
        ), None

    def windows(self, window: str) -> frozenset[str]:
        """Return its own two windows."""
        return frozenset((self.long, self.short))

    def compared_with(self, verdict: Verdict, reading: SeriesReading) -> tuple[int, str]:
        """Return how many answers the short window holds."""
        short = reading.window(self.short)
        return 0 if short is None else count_of(short), f"in {self.short}"

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """Refuse a promise without a budget, and a factor that is never reached."""
        if kpi.unit == PER_100:
            yield "kpi", f"a budget is a share of trials, and {kpi.id} is a rate per 100 of other events"
            return
        low, high = BOUNDS[kpi.unit]
        if not low < self.target < high:
            yield "target", f"target {self.target:g} must lie between {low:g} and {high:g} {kpi.unit}"
            return
        most = 1 / budget_of(Facts.of(kpi), self.target)
        if self.factor >= most:
            yield (
                "factor",
                (
                    f"factor {self.factor:g} can never be reached: {self.target:g} {kpi.unit} leave a budget that "
                    f"burns at most {most:.3g} times as fast as planned; try {most * 0.6:.2g}"
                ),
            )
        if length_of(self.short) >= length_of(self.long):
            yield "short", f"short window {self.short} must be shorter than the long one, {self.long}"


def budget_of(facts: Facts, target: float) -> float:
    """Return the share of misses that a target allows."""
    # In the KPI's unit first: 100 - 80 is exact, 1 - 0.8 is not.
    return (facts.factor - target if facts.direction == "up" else target) / facts.factor


def _misses(facts: Facts, acc: list[int]) -> int:
    n, hits = acc
    return min(n, max(0, n - hits if facts.direction == "up" else hits))
