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

What fired is over when the same evidence for normal, added up from its best moment, has reached half the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log, sqrt
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, ParamError, Positive, Problem, Window, bounds_of, measured
from streams.alerts.detectors.learning import Normal, learn
from streams.alerts.facts import Facts, Moments, SeriesReading, before, length_of, moments, show
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.definition import Kpi

KNOWN: Final = 5.0
"""The change looked for must be so many standard errors of the normal value before anything is judged."""

GAP: Final = "5m"
"""What is younger teaches nothing: trouble that has just begun shows in the sum, which stops the learning, by then."""

SPREAD_N: Final = 30
"""Answers from which a spread can be learnt."""

PAGE_FAILURES: Final = 10
"""Bad answers that a page must stand on."""

AMOUNTS: Final = frozenset({"seconds", "milliseconds", "hours", "days", "currency"})
"""Units of what cannot be negative and is often skewed."""

_RAREST = 1e-3  # promoters and detractors are never impossible
_LOUDEST = 0.99
_EXTREME = 1e-6  # shares of exactly none or all would make one answer infinite evidence
_OVERSHOOT = 1.166  # 2·0.583: mean overshoot of a normal random walk over both its barriers, in its own deviations


class CusumState(msgspec.Struct, array_like=True, frozen=True):
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


class CusumLevel(msgspec.Struct, frozen=True):
    """Normal and worse level of a series, and what an answer is evidence of: a·hits + b·others, or a·Σx + b·n."""

    good: float
    bad: float
    """In the KPI's unit."""
    per_hit: float
    per_other: float
    """Of ratios and of Poisson: evidence of a hit and of a trial that is none."""
    slope: float = 0.0
    offset: float = 0.0
    """Of means and NPS: evidence per unit of the value, and of an answer whose value is 0."""

    def step(self, facts: Facts, acc: Acc | None) -> float:
        """Return the evidence of a minute."""
        if acc is None:
            return 0.0
        assert type(acc) is list
        if facts.aggregator == "ratio":
            return acc[1] * self.per_hit + (acc[0] - acc[1]) * self.per_other
        total = facts.factor * (acc[1] - acc[2]) if facts.aggregator == "nps" else acc[1] / facts.scale
        return self.slope * total + self.offset * acc[0]


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
    sd: Annotated[
        Positive | None, Meta(description="Standard deviation of one answer; learnt from `baseline` if left out.")
    ] = None

    def check(self) -> None:
        """Demand one normal value and one worse value."""
        if (self.p0 is None) == (self.baseline is None):
            raise ParamError("p0", "give either 'p0', the normal value, or 'baseline', the window to learn it from")
        if (self.p1 is None) == (self.delta is None):
            raise ParamError("p1", "give either 'p1', the value worth an alert, or 'delta', how far from normal it is")
        if self.p0 is not None and self.p0 == self.p1:
            raise ParamError("p1", "'p1' equals 'p0': nothing would ever be worse")

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: CusumState | None
    ) -> tuple[Verdict, CusumState]:
        """Judge a series with the minute that has just closed."""
        state = memory or CusumState(total=self.head_start * self.h)
        normal = state.normal
        if normal is None or knows_too_little(self, facts, normal):
            # Nothing was judged by it yet. The whole of what there is now says more than both lessons, which overlap.
            normal = _learnt_normal(self, facts, window, reading, None) or normal
        elif not state.minutes and not state.fired and normal.is_due(reading.minute):
            normal = _learnt_normal(self, facts, window, reading, normal)
        acc = reading.in_minute()
        seen = reading.window(window)
        value, n, lo, hi = measured(facts, seen or None)
        level = level_of(self, facts, normal)
        if isinstance(level, str):
            return Verdict(None, None, value, n, lo, hi, reason=level), msgspec.structs.replace(state, normal=normal)
        state = advance(level, self, facts, acc, state, normal)
        threshold = threshold_of(self.h, state)
        reason = (
            f"evidence {state.total:.2f} against {threshold:.2f} that {show(level.good, facts.unit)}"
            f" became {show(level.bad, facts.unit)}, from {state.n} answers in {state.minutes} min,"
            f" {state.bad} of them bad"
        )
        return Verdict(
            breach=state.fired,
            recovered=not state.fired,
            value=value,
            n=n,
            lo=lo,
            hi=hi,
            baseline=level.good,
            baseline_n=0 if normal is None else round(normal.n),
            statistic=state.total,
            reason=reason,
            threshold=threshold,
        ), state

    def windows(self, window: str) -> frozenset[str]:
        """Return the rule's window, and of a learnt normal value its baseline without what is young."""
        return super().windows(window) | ({learnt_before(window)} if self.baseline else frozenset())

    def without_evidence(self, memory: CusumState | None) -> CusumState | None:
        """Return a memory of the normal value alone."""
        return None if memory is None else CusumState(normal=memory.normal)

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


def threshold_of(h: float, state: CusumState) -> float:
    """Return the threshold at the pace of the run: `h` up to one answer a minute."""
    return h + log(state.n / state.minutes) if state.n > state.minutes > 0 else h


def advance(
    level: CusumLevel, params: Cusum, facts: Facts, acc: Acc | None, state: CusumState, normal: Normal | None
) -> CusumState:
    """Return the state after a minute; it depends on what the minute holds, not on the order in which it came."""
    step = level.step(facts, acc)
    if state.fired:
        back = max(0.0, state.back - step)
        if back >= threshold_of(params.h, state) / 2:
            return CusumState(normal=normal)
    total = state.total + step
    if total <= 0 and not state.fired:
        return CusumState(normal=normal)
    n, bad = _counted(facts, acc)
    after = CusumState(max(0.0, total), state.n + n, state.minutes + 1, state.bad + bad, state.fired, normal=normal)
    if state.fired:
        return msgspec.structs.replace(after, back=back)
    if after.total > threshold_of(params.h, after) and after.bad >= params.min_failures:
        return msgspec.structs.replace(after, fired=True)
    return after


def level_of(params: Cusum, facts: Facts, normal: Normal | None) -> CusumLevel | str:
    """Return the levels to tell apart, or why there are none."""
    sign = -1.0 if facts.direction == "up" else 1.0
    if normal is None and (params.p0 is None or (facts.aggregator != "ratio" and params.sd is None)):
        return "no normal value is known yet"
    good = params.p0
    if good is None:
        assert normal is not None
        good = normal.mean + sign * caution(params, sign, normal)
    bad = params.p1 if params.p1 is not None else good + sign * (params.delta or 0.0)
    change = sign * (bad - good)
    if change <= 0:
        return f"normal is {show(good, facts.unit)}, no better than {show(bad, facts.unit)}"
    if normal is not None and knows_too_little(params, facts, normal):
        return f"normal is known to {show(normal.error, facts.unit)} only, from {normal.n:.0f} answers"
    if facts.aggregator == "ratio":
        return _shares(good / facts.factor, bad / facts.factor, facts)
    spread = params.sd or sqrt(normal.variance if normal is not None else 0.0)
    if spread <= 0:
        return "all answers were the same until now"
    variance = spread * spread
    if facts.aggregator == "nps":
        return _scores(good, bad, variance, facts.factor)
    if facts.unit in AMOUNTS and good > 0:
        bad = max(bad, good / 10)
        shape = good * good / variance
        return CusumLevel(good, bad, 0.0, 0.0, shape * (1 / good - 1 / bad), shape * log(good / bad))
    slope = (bad - good) / variance
    return CusumLevel(good, bad, 0.0, 0.0, slope, -slope * (good + bad) / 2)


def knows_too_little(params: Cusum, facts: Facts, normal: Normal) -> bool:
    """Tell whether a learnt normal value is not sure enough to look for the change; where it is no change, it is."""
    if params.p0 is not None:
        return False
    sign = -1.0 if facts.direction == "up" else 1.0
    change = params.delta if params.delta is not None else sign * ((params.p1 or 0.0) - normal.mean)
    return 0 < change < KNOWN * normal.error


def learnt_before(window: str) -> str:
    """Return the window whose answers teach nothing yet."""
    return GAP if length_of(window) > length_of(GAP) else window


def _scores(good: float, bad: float, variance: float, factor: float) -> CusumLevel:
    """Return the levels of a score of 1, 0 or -1, the worse one being the normal one tilted: p(x)·e^(θx)/M."""
    mean, worse = good / factor, min(max(bad / factor, -_LOUDEST), _LOUDEST)
    answered = min(variance / factor**2 + mean * mean, 1.0)
    up, down = max((answered + mean) / 2, _RAREST), max((answered - mean) / 2, _RAREST)
    still = max(1 - up - down, 0.0)
    # The mean of the tilted score is `worse`: a quadratic equation for t = e^θ.
    middle = worse * still
    root = sqrt(middle * middle + 4 * up * down * (1 - worse) * (1 + worse))
    t = (middle + root) / (2 * up * (1 - worse))
    return CusumLevel(good, factor * worse, 0.0, 0.0, log(t) / factor, -log(up * t + still + down / t))


def caution(params: Cusum, sign: float, normal: Normal) -> float:
    """Return how far to the bad side a learnt normal value is taken, in the KPI's unit."""
    change = params.delta if params.delta is not None else sign * ((params.p1 or 0.0) - normal.mean)
    return params.h * normal.error**2 / change if change > 0 else 0.0


def _shares(good: float, bad: float, facts: Facts) -> CusumLevel:
    factor = facts.factor
    if facts.is_rate:
        good = max(good, _EXTREME)
        bad = max(bad, good / 10)
        per_hit = log(bad / good)
        return CusumLevel(factor * good, factor * bad, per_hit + good - bad, good - bad)
    good = min(max(good, _EXTREME), 1 - _EXTREME)
    # A level beyond none or all stands for a tenth of what there is to lose.
    bad = max(bad, good / 10) if bad < good else min(bad, 1 - (1 - good) / 10)
    return CusumLevel(factor * good, factor * bad, log(bad / good), log((1 - bad) / (1 - good)))


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
    """Give a ratio as if half a hit and half a miss more had come: one never seen is not impossible."""
    if facts.aggregator != "ratio":
        return seen
    share = (seen.mean / facts.factor * seen.n + 0.5) / (seen.n + 1)
    return Moments(seen.n, facts.factor * share, facts.factor**2 * (share if facts.is_rate else share * (1 - share)))


def _counted(facts: Facts, acc: Acc | None) -> tuple[int, int]:
    """Return answers and bad answers of a minute; of a mean, where none is bad by itself, all of them."""
    if acc is None:
        return 0, 0
    assert type(acc) is list
    n = acc[0]
    if facts.aggregator == "ratio":
        return n, max(0, n - acc[1]) if facts.direction == "up" else acc[1]
    if facts.aggregator == "nps":
        return n, acc[2] if facts.direction == "up" else acc[1]
    return n, n


def false_alarms_per_day(
    level: CusumLevel, facts: Facts, h: float, per_minute: float = 1.0, variance: float = 0.0
) -> float:
    """
    Return about how often it fires per day while all is normal.

    Siegmund's approximation of the run length (Sequential Analysis, 1985, §10.2) for log-likelihood steps:
    (e^b - b - 1)/drift with b = h + 1.166·σ. Within a fifth of simulations at one answer a minute; with more, steps of
    whole minutes make it an upper limit. `variance` is that of an answer, needed for means and NPS.
    """
    drift, deviation = _drift(level, facts, variance)
    b = h + max(0.0, log(per_minute)) + _OVERSHOOT * deviation
    return 1440 * per_minute * drift / (exp(b) - b - 1)


def threshold_for(level: CusumLevel, facts: Facts, per_day: float, variance: float = 0.0) -> float:
    """Return the `h` at which it fires about `per_day` times a day while all is normal, at one answer a minute."""
    low, high = 0.5, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        if false_alarms_per_day(level, facts, middle, 1.0, variance) > per_day:
            low = middle
        else:
            high = middle
    return high


def _drift(level: CusumLevel, facts: Facts, variance: float) -> tuple[float, float]:
    """Return by how much an answer lowers the sum on average while all is normal, and its standard deviation."""
    if facts.aggregator != "ratio":
        return -(level.slope * level.good + level.offset), abs(level.slope) * sqrt(variance)
    share, a_hit = level.good / facts.factor, level.per_hit - level.per_other
    spread = sqrt(share if facts.is_rate else share * (1 - share))
    return -(share * a_hit + level.per_other), abs(a_hit) * spread
