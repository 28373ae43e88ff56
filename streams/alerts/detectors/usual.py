"""Detectors that know what is usual at this time: the seasonal band, and absence of what should have come."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

import msgspec

from streams.alerts.detectors.params import Absence, Seasonal
from streams.alerts.facts import (
    Expected,
    Facts,
    Moments,
    SeriesReading,
    badness,
    before,
    length_of,
    moments,
    show,
    side_word,
)
from streams.alerts.types import SourceHealth, Verdict
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.distributions import negative_binomial_cdf
from streams.kpis.arithmetic.intervals import Measure

_NOTHING = Measure(None, 0, None, None)
_MOST_BAD: Final = 0.5


class AbsenceState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered while next to nothing comes: how much came per minute before."""

    per_minute: float
    since: int


def seasonal(params: Seasonal, facts: Facts, window: str, reading: SeriesReading) -> Verdict:
    """
    Judge a window against what this hour of the week usually has.

    The band is `z` standard deviations, of the weeks and of the window's own sample together, and `margin` beyond.
    What else is in the last day counts too: a value that the last 24 hours had all along is no seasonal anomaly
    (levels are the business of other methods). Counts and sums have rhythms that make a day's mean say nothing, so
    for them only the hour counts.
    """
    acc = reading.window(window)
    found = _measured(facts, acc)
    baseline = reading.expected(window)
    if baseline is None or baseline.weeks < params.min_weeks:
        weeks = 0 if baseline is None else baseline.weeks
        why = f"this time of the week was seen in {weeks} weeks, {params.min_weeks} needed"
        return Verdict(None, None, *found, reason=why, threshold=params.z)
    if found.value is None and facts.aggregator in ADDITIVE:
        found = Measure(0.0, 0, None, None)
    if found.value is None:
        return Verdict(None, None, *found, baseline.value, round(baseline.n), reason="nothing came", threshold=params.z)
    deviation = sqrt(baseline.spread**2 + noise_of(facts, acc, baseline))
    change = found.value - baseline.value
    z = change / deviation if deviation > 0 else 0.0
    bad = badness(facts, z)
    beyond = badness(facts, change) > params.z * deviation + params.margin
    reason = (
        f"{show(found.value, facts.unit)} is {abs(z):.2f} deviations {side_word(change)} than the usual"
        f" {show(baseline.value, facts.unit)} at this {baseline.level} ({baseline.weeks} weeks), limit {params.z:g}"
    )
    if params.margin:
        reason += f" and {show(params.margin, facts.unit)}"
    if beyond and _is_level_of_the_day(facts, window, reading, found.value):
        beyond = False
        reason += "; but so was the whole last day"
    return Verdict(
        breach=beyond,
        recovered=bad <= params.z / 2,
        value=found.value,
        n=found.n,
        lo=found.lo,
        hi=found.hi,
        baseline=baseline.value,
        baseline_n=round(baseline.n),
        statistic=z,
        reason=reason,
        threshold=params.z,
    )


def noise_of(facts: Facts, acc: Acc | None, baseline: Expected) -> float:
    """
    Return the variance of a window's value that comes from its being a sample, were all as usual.

    Shares and counts are taken at their usual value; the spread of answers is not remembered by the hour, so that of
    means, NPS and quantiles is the window's own. A sum's noise is in the spread between weeks.
    """
    match facts.aggregator:
        case "count":
            return baseline.value
        case "ratio" if acc is not None:
            share = baseline.value / facts.factor
            n = max(1, count_of(acc))
            # One hit and one miss more: shares of exactly none or all do have noise.
            share = (share * n + 1) / (n + 2) if share <= 1 else share
            return facts.factor**2 * (share * (1 - share) if share < 1 else share) / n
        case "quantile":
            one = measure("quantile", acc or {}, facts.scale, q=facts.q, z=1.0)
            if one.lo is None or one.hi is None:
                return float("inf")
            return ((one.hi - one.lo) / 2) ** 2
        case _:
            seen = moments(facts, acc)
            return 0.0 if seen is None else _variance(facts, seen) / seen.n


def _variance(facts: Facts, seen: Moments) -> float:
    """Return the variance of an answer; one answer alone tells nothing of it."""
    if seen.n < 2:
        return float("inf")
    return max(seen.variance, facts.factor**2 / seen.n if facts.aggregator == "nps" else 0.0)


def _is_level_of_the_day(facts: Facts, window: str, reading: SeriesReading, value: float) -> bool:
    """Tell whether the 24 hours before the window were as bad as the window is, within their own noise."""
    if facts.aggregator in ADDITIVE or length_of(window) >= length_of(_DAY):
        return False
    found = _measured(facts, before(reading, _DAY, window))
    if found.value is None or found.lo is None or found.hi is None:
        return False
    half = (found.hi - found.lo) / 2
    return badness(facts, value - found.value) <= half


_DAY: Final = "24h"


def absence(
    params: Absence, window: str, reading: SeriesReading, state: AbsenceState | None
) -> tuple[Verdict, AbsenceState | None]:
    """
    Judge whether next to nothing came where much was to be expected.

    Expected is the pace of the baseline window, frozen while nothing comes; where the usual volume of this hour is
    known, the lower of the two, so that a shop that closes is not absent. The volume at this hour varies from week to
    week: then few events are less of a surprise (negative binomial instead of Poisson).
    """
    minutes = length_of(window)
    acc = reading.window(window)
    n = 0 if acc is None else count_of(acc)
    if state is None:
        earlier = before(reading, params.baseline, window)
        pace = 0.0 if earlier is None else count_of(earlier) / (length_of(params.baseline) - minutes)
    else:
        pace = state.per_minute
    baseline = reading.expected(window)
    mean, dispersion, text = pace * minutes, 0.0, f"after the pace of {params.baseline}"
    if baseline is not None and baseline.n < mean:
        mean, dispersion, text = baseline.n, baseline.dispersion, f"at this {baseline.level}"
    if mean < params.min_expected:
        reason = f"{n} came, {mean:.1f} were to be expected {text}: too few for silence to mean anything"
        # Trouble that began is over, not unknown, when nothing is to be expected any more.
        breach, recovered = (None, None) if state is None else (False, True)
        verdict = Verdict(breach, recovered, float(n), n, baseline=mean, reason=reason, threshold=params.p_value)
        return verdict, None
    few = n <= params.at_most * mean
    chance = negative_binomial_cdf(n, mean, dispersion) if few else 1.0
    breach = few and chance < params.p_value
    reason = f"{n} came in {window}, {mean:.0f} were to be expected {text}"
    if breach:
        reason += f" (p = {chance:.1g}); {silence_of(reading.sources())}"
        state = state or AbsenceState(pace, reading.minute)
    elif not few:
        state = None
    return Verdict(
        breach=breach,
        recovered=not few,
        value=float(n),
        n=n,
        baseline=mean,
        baseline_n=round(mean),
        statistic=chance,
        reason=reason,
        threshold=params.p_value,
    ), state


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


def _measured(facts: Facts, acc: Acc | None) -> Measure:
    if acc is None:
        return _NOTHING
    return measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q, within=facts.within)
