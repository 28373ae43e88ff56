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

_DAY: Final = 1440

LASTS: Final = 2
"""Baselines for which their rate is expected to go on, where it is not known what is usual at this hour."""


class AbsenceState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered while next to nothing comes: how much came per minute before."""

    per_minute: float
    since: int
    """The minute in which it was seen that too little comes."""
    n: int = 0
    """What came from the beginning of that minute's window on, of series whose window is too short to judge."""
    expected: float = 0.0
    """What was to be expected in that time."""
    minutes: int = 0
    """How long that is; 0 where the window is long enough."""
    fired: bool = True


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

        Where so little is to be expected in the window that silence means nothing, it is judged over all the time in
        which too little has come, as soon as enough was to be expected in it: after minutes or hours. Without history
        nobody knows that the rate of two hours ago is to be expected still: it may be night.
        """
        minutes = length_of(window)
        acc = reading.window(window)
        n = 0 if acc is None else count_of(acc)
        per_minute = memory.per_minute if memory is not None else self._rate_before(reading, window)
        expected = reading.expected(window)
        mean, dispersion, text = per_minute * minutes, 0.0, f"after the rate of {self.baseline}"
        if expected is not None and expected.n < mean:
            mean, dispersion, text = expected.n, expected.dispersion, f"at this {expected.level}"
        few = n <= self.at_most * mean
        if mean < self.min_expected:
            if memory is None or memory.minutes:
                return self._judge_longer(reading, window, memory, n, mean, dispersion, text)
            # Trouble that began is over, not unknown, when nothing is to be expected any more.
            return self._quiet(n, mean, text, over=True), None
        chance = negative_binomial_cdf(n, mean, dispersion) if few else 1.0
        breach = few and chance < self.p_value
        reason = f"{n} came in {window}, {mean:.0f} were to be expected {text}"
        if breach:
            reason += f" (p = {chance:.1g}); {silence_of(reading.sources())}"
            memory = AbsenceState(per_minute, reading.minute if memory is None else memory.since)
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

    def _judge_longer(
        self,
        reading: SeriesReading,
        window: str,
        memory: AbsenceState | None,
        n: int,
        mean: float,
        dispersion: float,
        text: str,
    ) -> tuple[Verdict, AbsenceState | None]:
        """Judge over all the time since too little comes."""
        minutes = length_of(window)
        per_minute = self._rate_before(reading, window) if memory is None else memory.per_minute
        has_history = reading.expected(window) is not None
        fired = memory is not None and memory.fired
        ended = fired and memory is not None and mean / minutes < self.at_most * memory.expected / memory.minutes
        if n > self.at_most * mean or mean <= 0 or ended:
            return self._quiet(n, mean, text, over=fired), None
        if memory is None:
            memory = AbsenceState(per_minute, reading.minute, n, mean, minutes, fired=False)
        else:
            acc = reading.in_minute()
            goes_on = has_history or memory.minutes < LASTS * length_of(self.baseline)
            memory = msgspec.structs.replace(
                memory,
                n=memory.n + (0 if acc is None else count_of(acc)),
                expected=memory.expected + (mean / minutes if goes_on else 0.0),
                minutes=memory.minutes + 1,
            )
        if not has_history:
            # The rate itself is known from so many events only.
            dispersion = 1 / (per_minute * (length_of(self.baseline) - minutes))
        chance = negative_binomial_cdf(memory.n, memory.expected, dispersion)
        enough = memory.expected >= self.min_expected and memory.n <= self.at_most * memory.expected
        if not fired and not (enough and chance < self.p_value):
            return self._quiet(memory.n, memory.expected, text), memory
        reason = (
            f"{memory.n} came in {memory.minutes} min, {memory.expected:.0f} were to be expected {text}"
            f" (p = {chance:.1g}); {silence_of(reading.sources())}"
        )
        return Verdict(
            breach=True,
            recovered=False,
            value=float(memory.n),
            n=memory.n,
            baseline=memory.expected,
            baseline_n=round(memory.expected),
            statistic=chance,
            reason=reason,
            threshold=self.p_value,
            window=f"{memory.minutes}m" if memory.minutes < _DAY else f"{memory.minutes // 60}h",
        ), msgspec.structs.replace(memory, fired=True)

    def _rate_before(self, reading: SeriesReading, window: str) -> float:
        """Return what came per minute of the baseline, before the window."""
        earlier = before(reading, self.baseline, window)
        return 0.0 if earlier is None else count_of(earlier) / (length_of(self.baseline) - length_of(window))

    def _quiet(self, n: int, mean: float, text: str, *, over: bool = False) -> Verdict:
        reason = f"{n} came, {mean:.1f} were to be expected {text}: too few for silence to mean anything"
        breach, recovered = (False, True) if over else (None, None)
        return Verdict(breach, recovered, float(n), n, baseline=mean, reason=reason, threshold=self.p_value)

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
