"""The floor below which a value must not be, or the ceiling that it must not exceed."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import NormalDist
from typing import Annotated, ClassVar

from msgspec import Meta

from streams.alerts.detectors.base import Detector, ParamError, Problem, Z, bounds_of, measured
from streams.alerts.facts import Facts, SeriesReading, show
from streams.alerts.types import Verdict
from streams.kpis.aggregators import LASTING
from streams.kpis.language.definition import Kpi


class Floor(Detector, frozen=True, kw_only=True):
    """The value is on the wrong side of a target, and so is its whole interval: for collapse, and for promises."""

    method: ClassVar = "floor"
    lengthens: ClassVar = True
    summary: ClassVar = " against {{ target | show }}"
    summary_fa: ClassVar = " در برابر {{ target | show }}"
    aggregators: ClassVar = ("ratio", "mean", "nps", "quantile", "level")

    target: Annotated[float, Meta(description="What the value must not fall below (or rise above).")]
    confidence: Annotated[
        Annotated[float, Meta(gt=0.5, lt=1)] | None,
        Meta(description="Two-sided confidence of the interval; or give `z`."),
    ] = None
    z: Annotated[Z | None, Meta(description="Half-width of the interval in standard errors; 3.29 is 99.9 %.")] = None

    def check(self) -> None:
        """Refuse two widths of one interval."""
        if self.confidence is not None and self.z is not None:
            raise ParamError("z", "'confidence' and 'z' say the same: give one of them")
        if self.confidence is not None and 1 + self.confidence == 2:
            raise ParamError("confidence", f"confidence {self.confidence!r} is too near 1: no interval is as wide")

    @property
    def critical(self) -> float:
        """The half-width of the interval in standard errors; 3.29 (99.9 %) by default."""
        if self.z is not None:
            return self.z
        return NormalDist().inv_cdf((1 + (self.confidence or 0.999)) / 2)

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: None) -> tuple[Verdict, None]:
        """
        Judge whether the whole interval of a window is on the wrong side of a target.

        The interval is the KPI's own (`kpis.arithmetic.intervals`); a level is exact. It has recovered when the value
        itself is back on the right side; in between, nothing changes.
        """
        found = measured(facts, reading.window(window), self.critical)
        value, n, lo, hi = found
        up = facts.direction == "up"
        exact = facts.aggregator in LASTING  # nothing of it was sampled
        end = value if exact else hi if up else lo
        if value is None or end is None:
            why = "nothing came" if value is None else f"{n} answers are too few for an interval"
            return Verdict(None, None, value, n, lo, hi, reason=why, threshold=self.target), None
        breach = end < self.target if up else end > self.target
        reached = value >= self.target if up else value <= self.target
        seen = show(value, facts.unit)
        if not exact:
            side = "at most" if up else "at least"
            seen += f" of {n}, {side} {show(end, facts.unit)} with z = {self.critical:.3g}"
        return Verdict(
            breach=breach,
            recovered=reached,
            value=value,
            n=n,
            lo=lo,
            hi=hi,
            statistic=end,
            reason=f"{seen}; target {show(self.target, facts.unit)}",
            threshold=self.target,
        ), None

    def compared_with(self, verdict: Verdict, reading: SeriesReading) -> None:
        """Return None: it is compared with no other sample."""
        return

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """Refuse a target that no value reaches."""
        low, high = bounds_of(kpi)
        if not low <= self.target <= high:
            yield "target", f"target {self.target:g} is no value in {kpi.unit} ({low:g} to {high:g})"
        elif self.target == (low if kpi.direction == "up" else high):
            yield "target", f"nothing can be worse than {self.target:g} {kpi.unit}: it would never fire"
