"""
CUSUM: evidence of a lasting worse level, added up answer by answer until it is enough (Page 1954, Biometrika 41).

Each answer adds the logarithm of how much likelier it is at the worse level than at the normal one (Moustakides 1986:
nothing sees such a change sooner at the same rate of false alarms); below zero the sum starts anew. In natural-log
units the threshold means the same for every KPI. Steps of a closed minute with n answers, for a KPI of which more is
better:

| KPI | step | from |
|---|---|---|
| ratio, k hits | k·ln(p1/p0) + (n - k)·ln((1 - p1)/(1 - p0)) | Bernoulli |
| ratio whose hits outnumber trials | k·ln(p1/p0) - n·(p1 - p0) | Poisson |
| NPS, x = 1, 0, -1 | θ·Σx - n·ln M(θ), M the mean of e^(θx) at the normal level | the same tilted to the worse mean |
| mean of times and amounts | n·a·ln(μ0/μ1) + a·Σx·(1/μ0 - 1/μ1), a = μ0²/s² | gamma: they are skewed |
| other means | n·(δ/s²)·(μ0 - x̄ - δ/2) | normal: the classical k = δ/2; with δ = s, h counts s |

Nobody knows the order of answers inside a minute, hence the sum moves by whole minutes: it depends on n and k only, and
is set to zero, and compared with the threshold, at the end of a minute. Sums that would have crossed the threshold and
come back inside a minute are not seen, which only lowers the rate of false alarms.

That rate is per answer, e^-h times a constant, and people live in days. So `h` is meant for up to one answer a minute,
and with λ answers a minute in the run the threshold is h + ln λ: as many false alarms a day at 5,000 as at one.

The normal value is learnt, and frozen as long as the sum is above zero (`learning`). Not knowing it exactly would mean
more false alarms: an error of ε multiplies their rate by about e^(2hε/δ), on average by e^(2(h·e/δ)²) with the standard
error e. Taken to the bad side by h·e²/δ, the rate is what it was meant to be.

Who looks for a *collapse* does not wait for minutes to close: the newest ones, the open one among them, must have
fallen by so much, and are held against the level that they have. The threshold is higher by `SURER`, so that taking the
likeliest level, and looking this often, adds next to nothing to false alarms.

What fired is over when the same evidence for normal, added up from its best moment, has reached half the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, ParamError, Positive, Problem, Window, bounds_of, measured
from streams.alerts.detectors.cusum_levels import (
    CusumLevel,
    counted,
    deviation_of,
    evidence_text,
    knows_too_little,
    learnt_before,
    level_of,
    levels_between,
    threshold_of,
    total_of,
)
from streams.alerts.detectors.learning import Normal, learn
from streams.alerts.detectors.noise import CHANCE, Noise, Spread, level_variances, observe
from streams.alerts.facts import Facts, Moments, OpenReading, SeriesReading, badness, before, length_of, moments
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.language.definition import Kpi

SPREAD_N: Final = 30
"""Answers from which a spread can be learnt."""

SURE: Final = 2.0
"""Evidence of so many times the threshold need not last: by chance it is rarer by e^h again."""

SURER: Final = 5.0
"""What evidence of a collapse must have beyond the threshold: by chance it is rarer by e^5, which is 150 times."""

LONGEST: Final = 5
"""Minutes in which a collapse is looked for, the open one among them."""

PAGE_FAILURES: Final = 10
"""Bad answers that a page must stand on."""


class CusumState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is remembered of a series."""

    total: float = 0.0
    """The sum, in natural-log units."""
    n: int = 0
    minutes: int = 0
    bad: int = 0
    """Answers, minutes and bad answers since the sum was last zero."""
    fired: bool = False
    back: float = 0.0
    """While it has fired: evidence that all is normal again."""
    normal: Normal | None = None
    back_n: int = 0
    back_minutes: int = 0
    """Answers and minutes of that evidence."""
    noise: Noise | None = None
    """How the series varies beyond chance; None where the normal value is given, and before it is known."""

    def with_noise(self, normal: Normal | None, noise: Noise | None) -> CusumState:
        """Return the same evidence with what is known by now."""
        return CusumState(
            self.total, self.n, self.minutes, self.bad, self.fired, self.back, normal, self.back_n, self.back_minutes,
            noise,
        )  # fmt: skip


class Cusum(Detector, frozen=True, kw_only=True):
    """
    Evidence of a lasting worse level, added up minute by minute: for erosion.

    Each answer adds the log-likelihood of `p1` against `p0`, whatever the KPI, and `h` counts natural-log units; of a
    mean score that is the classical sum with slack k = δ/2, and where δ is one deviation, `h` counts deviations.
    `h` is meant for one answer a minute; with more, the threshold rises by the logarithm of their number.
    A learnt normal value that is not better than `p1` cannot be judged: no verdict.
    """

    method: ClassVar = "cusum"
    memory: ClassVar = CusumState
    memory_bytes: ClassVar = 1_600
    by_minutes: ClassVar = True
    aggregators: ClassVar = ("ratio", "mean", "nps")

    p0: Annotated[float | None, Meta(description="The normal value; or give `baseline`.")] = None
    baseline: Annotated[
        Window | None, Meta(description="Window from which the normal value is learnt; or give `p0`.")
    ] = None
    p1: Annotated[float | None, Meta(description="The value that is worth an alert; or give `delta`.")] = None
    delta: Annotated[
        Positive | None, Meta(description="How far from normal is worth an alert, in the KPI's unit; or give `p1`.")
    ] = None
    h: Annotated[Positive, Meta(description="Evidence at which it fires; 7 to 9; docs/DETECTION.md.")] = 8.0
    min_failures: Annotated[
        int, Meta(ge=1, le=10**6, description="Bad answers that the run must hold, so that one person cannot page.")
    ] = 10
    head_start: Annotated[
        float,
        Meta(ge=0, lt=1, description="Part of `h` that a fresh series begins with: sees soon what is bad already."),
    ] = 0.0
    margin: Annotated[
        float, Meta(ge=0, description="Change that is not worth telling however sure it is, in the KPI's unit.")
    ] = 0.0
    collapse: Annotated[
        Positive | None,
        Meta(description="Change that does not wait for the minute to close, in the KPI's unit; left out: all wait."),
    ] = None
    sd: Annotated[
        Positive | None, Meta(description="Standard deviation of one answer; learnt from `baseline` if left out.")
    ] = None

    def check(self) -> None:
        """Demand one normal value and one worse value."""
        if (self.p0 is None) == (self.baseline is None):
            raise ParamError("p0", "give either 'p0', the normal value, or 'baseline', the window to learn it from")
        if (self.p1 is None) == (self.delta is None):
            raise ParamError("p1", "give either 'p1', the value worth an alert, or 'delta', how far from normal it is")
        if self.delta is not None and self.margin >= self.delta:
            raise ParamError(
                "margin", f"margin {self.margin:g} leaves nothing of the change of {self.delta:g} to look for"
            )
        if self.collapse is not None and self.delta is not None and self.collapse <= self.delta:
            raise ParamError("collapse", f"collapse {self.collapse:g} must be more than the change of {self.delta:g}")
        if self.p0 is not None and self.p0 == self.p1:
            raise ParamError("p1", "'p1' equals 'p0': nothing would ever be worse")

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: CusumState | None
    ) -> tuple[Verdict, CusumState]:
        """Judge a series with the minute that has just closed."""
        state = memory or CusumState(total=self.head_start * self.h)
        normal = state.normal
        sure = normal is not None and not knows_too_little(self, facts, normal)
        if normal is None or not sure:
            # Nothing was judged by it yet. The whole of what there is now says more than both lessons, which overlap.
            normal = _learnt_normal(self, facts, window, reading, None) or normal
        elif not state.minutes and not state.fired and normal.is_due(reading.minute):
            normal = _learnt_normal(self, facts, window, reading, normal)
        if normal is not state.normal:
            sure = normal is not None and not knows_too_little(self, facts, normal)
        spread = self._spread(state, normal)
        acc = reading.in_minute()
        seen = reading.window(window)
        value, n, lo, hi = measured(facts, seen or None)
        offset = _offset_of(state, normal, reading.minute)
        level = level_of(self, facts, normal, spread, offset, sure=sure)
        if isinstance(level, str):
            noise = self._observed(facts, acc, state, normal, reading.minute, offset) if sure else state.noise
            return Verdict(None, None, value, n, lo, hi, reason=level), state.with_noise(normal, noise)
        state = advance(level, self, facts, acc, state, normal, spread)
        if sure:
            state = state.with_noise(normal, self._observed(facts, acc, state, normal, reading.minute, offset))
        if state.minutes or (memory is not None and memory.fired):
            times = spread.of(state.n, state.minutes)
            threshold = threshold_of(self.h, state.n, state.minutes, times)
            run = state.total / times, threshold, state.n, state.minutes, state.bad
            reason = evidence_text(level, facts, *run, times=times)
        else:  # which is so in most minutes, and has been since the last one
            times, threshold, reason = 1.0, self.h, "no evidence of a change"
        return Verdict(
            breach=state.fired,
            recovered=not state.fired,
            value=value,
            n=n,
            lo=lo,
            hi=hi,
            baseline=level.good,
            baseline_n=0 if normal is None else round(normal.n),
            statistic=state.total / times,
            reason=reason,
            threshold=threshold,
            is_sure=state.fired and state.total >= SURE * threshold * times,
        ), state

    @property
    def glances(self) -> bool:
        """Whether it looks for a collapse."""
        return self.collapse is not None

    @property
    def memory_key(self) -> str:
        """The parameters but for the collapse looked for, of which nothing is remembered."""
        return repr(msgspec.structs.replace(self, collapse=None)).replace(", collapse=None", "")

    def glance(
        self, facts: Facts, reading: OpenReading, memory: CusumState | None
    ) -> tuple[Verdict, CusumState] | None:
        """Judge the newest minutes, first the open one alone, then with those before it: is it a collapse?"""
        state = memory or CusumState()
        spread = self._spread(state, state.normal)
        good = self._good(facts, state, spread, reading.minute)
        newest = reading.latest(1)
        if good is None or (newest is not None and not self._fell(facts, good, newest)):
            return None
        for minutes in range(1, min(reading.ahead + 1, LONGEST) + 1):
            seen = reading.latest(minutes)
            if seen is None or not self._fell(facts, good, seen):
                continue
            value, _, lo, hi = measured(facts, seen)
            levels = levels_between(facts, good, value or 0.0, deviation_of(self, state.normal))
            if isinstance(levels, str):
                continue
            n, bad = counted(facts, seen)
            times = spread.of(n, minutes)
            total, threshold = levels.step(facts, seen) / times, threshold_of(self.h + SURER, n, minutes, times)
            if bad < self.min_failures or total <= threshold:
                continue
            reason = evidence_text(levels, facts, total, threshold, n, minutes, bad, times=times, still_open=True)
            verdict = Verdict(
                breach=True,
                recovered=False,
                value=value,
                n=n,
                lo=lo,
                hi=hi,
                baseline=levels.good,
                baseline_n=0 if state.normal is None else round(state.normal.n),
                statistic=total,
                reason=reason,
                threshold=threshold,
                window=f"{minutes}m",
                is_sure=True,
                ahead=reading.ahead,
            )
            return verdict, msgspec.structs.replace(state, fired=True)
        return None

    def _good(self, facts: Facts, state: CusumState, spread: Spread, minute: int) -> float | None:
        """Return the normal level; None while it is not known."""
        known = level_of(self, facts, state.normal, spread, _offset_of(state, state.normal, minute))
        return None if isinstance(known, str) else known.good

    def _fell(self, facts: Facts, good: float, acc: Acc) -> bool:
        """Return whether a sum is worse than normal by the collapse looked for."""
        value = measured(facts, acc).value
        return value is not None and self.collapse is not None and badness(facts, value - good) >= self.collapse

    def _spread(self, state: CusumState, normal: Normal | None) -> Spread:
        """Return how runs vary; where the normal value is given, by chance."""
        if normal is None or self.baseline is None:
            return CHANCE
        return Spread(level_variances(state.noise, normal.variance), normal.variance)

    def _observed(
        self, facts: Facts, acc: Acc | None, state: CusumState, normal: Normal | None, minute: int, offset: float
    ) -> Noise | None:
        """Return what is known of the noise after a minute, given a normal value that is known well enough."""
        if normal is None or self.baseline is None:
            return state.noise
        n = count_of(acc) if acc is not None else 0
        total, known = total_of(facts, acc), state.noise or Noise()
        return observe(
            known, minute, total, n, normal.mean, normal.variance, normal.error**2,
            teaches=not state.fired, rests=not state.minutes, offset=offset,
        )  # fmt: skip

    def windows(self, window: str) -> frozenset[str]:
        """Return the rule's window, and of a learnt normal value its baseline without what is young."""
        return super().windows(window) | ({learnt_before(window)} if self.baseline else frozenset())

    def without_evidence(self, memory: CusumState | None) -> CusumState | None:
        """Return a memory of the normal value and the noise alone."""
        return None if memory is None else CusumState(normal=memory.normal, noise=memory.noise)

    def compared_with(self, verdict: Verdict, reading: SeriesReading) -> tuple[int, str] | None:
        """Return what the normal value stands on; None if it is given."""
        return super().compared_with(verdict, reading) if self.p0 is None else None

    @classmethod
    def default_min_n(cls, kpi: Kpi) -> int:
        """Return one: it counts bad answers instead, whatever the window."""
        return 1

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """Refuse levels that no answer could tell apart."""
        low, high = bounds_of(kpi)
        worse = -1 if kpi.direction == "up" else 1
        p1 = self.p1
        if p1 is None and self.p0 is not None and self.delta is not None:
            p1 = self.p0 + worse * self.delta
        for key, value in (("p0", self.p0), ("p1" if self.p1 is not None else "delta", p1)):
            # At the ends a single answer would be infinite evidence.
            if value is not None and not low < value < high:
                yield key, f"{key} puts it at {value:g}, which must lie between {low:g} and {high:g} {kpi.unit}"
        if self.p0 is not None and p1 is not None and (p1 - self.p0) * worse <= 0:
            side = "below" if worse < 0 else "above"
            yield "p1", f"{p1:g} is not worse than normal, {self.p0:g}: {kpi.id} is worse {side} it"
        if kpi.aggregator != "ratio" and self.p0 is not None and self.sd is None:
            yield (
                "sd",
                f"'sd' is missing: with 'p0' given, nothing tells the spread of one answer of a {kpi.aggregator}",
            )
        if kpi.aggregator == "ratio" and self.sd is not None:
            yield "sd", "'sd' means nothing for a ratio: its spread follows from its value"

    def page_misfits(self) -> Iterable[Problem]:
        """Refuse to wake somebody for a handful of answers."""
        if self.min_failures < PAGE_FAILURES:
            yield "min_failures", f"a page needs {PAGE_FAILURES} bad answers, not {self.min_failures}"


def advance(
    level: CusumLevel,
    params: Cusum,
    facts: Facts,
    acc: Acc | None,
    state: CusumState,
    normal: Normal | None,
    spread: Spread = CHANCE,
) -> CusumState:
    """Return the state after a minute; it depends on what the minute holds, not on the order in which it came."""
    if acc is None and not state.fired and state.total <= 0:
        return CusumState(normal=normal, noise=state.noise)
    step = level.step(facts, acc)
    n, bad = counted(facts, acc)
    back, back_n, back_minutes = 0.0, 0, 0
    if state.fired:
        back = max(0.0, state.back - step)
        if back > 0:
            back_n, back_minutes = state.back_n + n, state.back_minutes + 1
        times = spread.of(back_n, back_minutes)
        if back >= threshold_of(params.h, back_n, back_minutes, times) * times / 2:
            return CusumState(normal=normal, noise=state.noise)
    total = state.total + step
    if total <= 0 and not state.fired:
        return CusumState(normal=normal, noise=state.noise)
    after = CusumState(
        max(0.0, total), state.n + n, state.minutes + 1, state.bad + bad, state.fired, back, normal, back_n,
        back_minutes, state.noise,
    )  # fmt: skip
    if state.fired or after.bad < params.min_failures:
        return after
    times = spread.of(after.n, after.minutes)
    if after.total > threshold_of(params.h, after.n, after.minutes, times) * times:
        return msgspec.structs.replace(after, fired=True)
    return after


def _offset_of(state: CusumState, normal: Normal | None, minute: int) -> float:
    """Return what the hour of a minute does to the normal value, as far as that is known."""
    return 0.0 if normal is None or state.noise is None else state.noise.offset(minute, sqrt(normal.variance))


def _learnt_normal(
    params: Cusum, facts: Facts, window: str, reading: SeriesReading, normal: Normal | None
) -> Normal | None:
    """Look at the baseline; where the normal value is given, only the spread is learnt, once, from what is there."""
    if params.baseline is not None:
        young = learnt_before(window)
        seen = moments(facts, before(reading, params.baseline, young))
        length = length_of(params.baseline) - length_of(young)
    elif facts.aggregator != "ratio" and params.sd is None and normal is None:
        seen, length = moments(facts, reading.window(window)), length_of(window)
    else:
        return normal
    if seen is None or seen.n < SPREAD_N:
        return normal
    return learn(normal, reading.minute, _cautious(facts, seen), length)


def _cautious(facts: Facts, seen: Moments) -> Moments:
    """Return a ratio as if half a hit and half a miss more had come: one never seen is not impossible."""
    if facts.aggregator != "ratio":
        return seen
    share = (seen.mean / facts.factor * seen.n + 0.5) / (seen.n + 1)
    return Moments(seen.n, facts.factor * share, facts.factor**2 * (share if facts.is_rate else share * (1 - share)))
