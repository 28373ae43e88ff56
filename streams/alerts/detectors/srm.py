"""Sample ratio mismatch: an experiment gets other shares of customers than planned, so its results mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import lgamma, log
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, ParamError, Positive, Problem, measured
from streams.alerts.facts import Facts, SeriesReading
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import count_of
from streams.kpis.arithmetic.intervals import Z95, Measure
from streams.kpis.language.definition import Kpi

MINUTE = "1m"
_PRIOR = 100.0
"""Of how many customers the evidence of the prior is worth; it decides for which shifts the test is fastest."""


class ArmCounts(msgspec.Struct, frozen=True):
    """What came by variant since the experiment was first seen; of distinct customers, the most there were of arms."""

    counts: dict[str, int]


class Srm(Detector, frozen=True, kw_only=True):
    """
    The variants of an experiment get other shares than planned, at whatever minute one looks.

    All that came since the experiment began is held against the plan, by a test that may be looked at every minute. Of
    a KPI that counts distinct customers it is those of the window, with what their number is uncertain by allowed for.
    """

    method: ClassVar = "srm"
    aggregators: ClassVar = ("count", "distinct")
    sided: ClassVar = False
    memory: ClassVar[Any] = ArmCounts
    by_minutes: ClassVar = True
    summary: ClassVar = ""
    summary_fa: ClassVar = ""

    label: Annotated[str, Meta(min_length=1, description="Label that tells variants apart; the KPI must keep it.")]
    shares: Annotated[
        dict[str, Positive] | None,
        Meta(description="Planned shares by variant, of which only the proportions matter; equal if left out."),
    ] = None
    p_value: Annotated[
        float, Meta(gt=0, lt=0.5, description="Chance that an experiment that is as planned ever fires.")
    ] = 0.001
    repeats: Annotated[
        float,
        Meta(
            ge=1, le=1e6, description="Events of one customer, all in one variant, at least: counts are divided by it."
        ),
    ] = 1.0
    fewest: Annotated[int, Meta(ge=1, description="Events below which nothing is judged.")] = 100

    def check(self) -> None:
        """Refuse a plan of fewer than two variants."""
        if self.shares is not None and len(self.shares) < 2:
            raise ParamError("shares", f"'shares' names {len(self.shares)} variant: an experiment has two or more")

    def windows(self, window: str) -> frozenset[str]:
        """Return the rule's window, and the minute that is added each time."""
        return frozenset([window, MINUTE])

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: ArmCounts | None
    ) -> tuple[Verdict, ArmCounts]:
        """
        Hold all that came since the beginning against the plan; of distinct customers, those of the window.

        Who comes again and again is in one variant, and says no more than once. An arm that had customers enough to be
        none by mistake is not forgotten when nobody is left in it, until nobody is left in any.
        """
        found = measured(facts, reading.window(window))
        counted, repeats = dict(memory.counts) if memory else {}, self.repeats
        if facts.aggregator == "distinct":
            parts = {variant: measured(facts, acc) for variant, acc in reading.parts(self.label, window).items()}
            most, now = counted, {variant: round(one.value or 0) for variant, one in parts.items()}
            counted = dict.fromkeys(most, 0) | now
            kept = (
                {variant: max(n, most.get(variant, 0)) for variant, n in counted.items()} if any(now.values()) else {}
            )
            remembered = ArmCounts({variant: n for variant, n in kept.items() if n >= self.fewest})
            repeats = max(repeats, _inflation(parts[name] for name in self.shares or parts if name in parts))
        else:
            for variant, acc in reading.parts(self.label, MINUTE).items():
                counted[variant] = counted.get(variant, 0) + count_of(acc)
            remembered = ArmCounts(counted)
        planned = self.shares or dict.fromkeys(sorted(counted), 1.0)
        known = {variant: counted.get(variant, 0) for variant in planned}
        n = sum(known.values())
        if n < self.fewest or len(planned) < 2:
            why = f"{n} of {len(planned)} variants so far: at least {self.fewest} of two"
            return Verdict(None, None, *found, reason=why), remembered
        evidence = mismatch_evidence({name: count / repeats for name, count in known.items()}, planned)
        listed = ", ".join(f"{name} {count:,}" for name, count in known.items())
        limit = -log(self.p_value)
        counted_as = f"; counted as 1 of {repeats:.3g}" if repeats > 1 else ""
        return Verdict(
            breach=evidence >= limit,
            recovered=evidence <= 0,
            value=found.value,
            n=n,
            lo=found.lo,
            hi=found.hi,
            statistic=evidence,
            reason=(
                f"{listed}; planned {_proportions(planned)}{counted_as}; evidence {evidence:.1f}, fires at {limit:.1f}"
            ),
            threshold=limit,
        ), remembered

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """Refuse a label that the series are not split by."""
        if self.label in by:
            yield "label", f"each series has one {self.label!r} only: 'label' must not be in 'by'"
        elif tuple(sorted({*by, self.label})) not in kpi.groupings:
            yield "label", f"{kpi.id} is not kept by {' × '.join(sorted({*by, self.label}))}"


def mismatch_evidence(counts: Mapping[str, float], planned: Mapping[str, float]) -> float:
    """
    Return the logarithm of how much likelier counts are by any shares than by the planned ones.

    The Bayes factor of a Dirichlet-multinomial around the plan against the plan itself. While the plan is kept it is a
    martingale of mean 1, so it ever reaches 1/α with probability α at most, however often one looks (Lindon and Malek,
    Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022; Ville 1939).
    """
    whole, n = sum(planned.values()), sum(counts.values())
    found = lgamma(_PRIOR) - lgamma(_PRIOR + n)
    for name, share in planned.items():
        prior, count = _PRIOR * share / whole, counts.get(name, 0.0)
        found += lgamma(prior + count) - lgamma(prior) - count * log(share / whole)
    return found


def _inflation(parts: Iterable[Measure]) -> float:
    """Return how many times as much as by chance numbers of distinct customers vary, since they are estimates."""
    most = 1.0
    for one in parts:
        if one.value and one.lo is not None and one.hi is not None:
            error = max(one.hi - one.value, one.value - one.lo) / Z95
            most = max(most, 1 + error * error / one.value)
    return most


def _proportions(planned: Mapping[str, float]) -> str:
    whole = sum(planned.values())
    return ", ".join(f"{name} {100 * share / whole:.4g} %" for name, share in planned.items())
