"""Absence of what should have come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, Positive, Season, Window
from streams.alerts.facts import Facts, SeriesReading, before, length_of
from streams.alerts.types import SourceHealth, Verdict
from streams.kpis.arithmetic.accumulators import count_of
from streams.kpis.arithmetic.distributions import negative_binomial_cdf

_MOST_BAD: Final = 0.5


class AbsenceState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered while next to nothing comes: how much came per minute before."""

    per_minute: float
    since: int


class Absence(Detector, frozen=True, kw_only=True):
    """Next to nothing comes though much was expected: a dead collector, not a quiet moment."""

    method: ClassVar = "absence"
    memory: ClassVar = AbsenceState
    sees_silence: ClassVar = True
    is_absence: ClassVar = True
    summary: ClassVar = " where {{ baseline | show }} were expected"
    summary_fa: ClassVar = " در حالی که {{ baseline | show }} انتظار می‌رفت"
    aggregators: ClassVar = ("count",)
    sided: ClassVar = False

    baseline: Annotated[Window, Meta(description="Window whose rate is expected to go on.")] = "1h"
    p_value: Annotated[
        float, Meta(gt=0, lt=0.5, description="Chance of so few events by luck (Poisson) below which it fires.")
    ] = 1e-6
    min_expected: Annotated[Positive, Meta(description="Events to be expected before silence means anything.")] = 20.0
    at_most: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the expected volume that still counts as absent; 0 is silence.")
    ] = 0.2

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: AbsenceState | None
    ) -> tuple[Verdict, AbsenceState | None]:
        """
        Judge whether next to nothing came where much was to be expected.

        Expected is the rate of the baseline window, frozen while nothing comes; where the usual volume of this hour is
        known, the lower of the two, so that a shop that closes is not absent. The volume at this hour varies from week
        to week: then few events are less of a surprise (negative binomial instead of Poisson).
        """
        minutes = length_of(window)
        acc = reading.window(window)
        n = 0 if acc is None else count_of(acc)
        if memory is None:
            earlier = before(reading, self.baseline, window)
            per_minute = 0.0 if earlier is None else count_of(earlier) / (length_of(self.baseline) - minutes)
        else:
            per_minute = memory.per_minute
        baseline = reading.expected(window)
        mean, dispersion, text = per_minute * minutes, 0.0, f"after the rate of {self.baseline}"
        if baseline is not None and baseline.n < mean:
            mean, dispersion, text = baseline.n, baseline.dispersion, f"at this {baseline.level}"
        if mean < self.min_expected:
            reason = f"{n} came, {mean:.1f} were to be expected {text}: too few for silence to mean anything"
            # Trouble that began is over, not unknown, when nothing is to be expected any more.
            breach, recovered = (None, None) if memory is None else (False, True)
            verdict = Verdict(breach, recovered, float(n), n, baseline=mean, reason=reason, threshold=self.p_value)
            return verdict, None
        few = n <= self.at_most * mean
        chance = negative_binomial_cdf(n, mean, dispersion) if few else 1.0
        breach = few and chance < self.p_value
        reason = f"{n} came in {window}, {mean:.0f} were to be expected {text}"
        if breach:
            reason += f" (p = {chance:.1g}); {silence_of(reading.sources())}"
            memory = memory or AbsenceState(per_minute, reading.minute)
        elif not few:
            memory = None
        return Verdict(
            breach=breach,
            recovered=not few,
            value=float(n),
            n=n,
            baseline=mean,
            baseline_n=round(mean),
            statistic=chance,
            reason=reason,
            threshold=self.p_value,
        ), memory

    def season(self) -> Season:
        """Return the usual history: at an hour when little comes, little is not absence."""
        return Season()

    def compared_with(self, verdict: Verdict, reading: SeriesReading) -> None:
        """Return None: how much must be expected, `min_expected` says."""
        return


def silence_of(sources: Mapping[str, SourceHealth]) -> str:
    """Say whether it is the collectors that are silent, or the customers."""
    if not sources:
        return "nothing is known of its sources"
    silent = sorted(name for name, health in sources.items() if health.silent_minutes > 0)
    degraded = sorted(name for name, health in sources.items() if health.read and health.bad > _MOST_BAD * health.read)
    if silent:
        longest = max(sources[name].silent_minutes for name in silent)
        which = "all its sources" if len(silent) == len(sources) else ", ".join(silent)
        return f"{which} silent for up to {longest} min: the collector, not the customers"
    if degraded:
        return f"most records of {', '.join(degraded)} cannot be read: the collector, not the customers"
    return "its sources are alive: the customers stay away, or one kind of event is not sent"
