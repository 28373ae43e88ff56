"""The value against what this hour of the week usually has."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from streams.alerts.detectors.base import Detector, ParamError, Season, Z, measured
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
from streams.alerts.types import Verdict
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.intervals import Measure

_DAY: Final = "24h"

MOST: Final = 2.0
"""Times as many deviations as `z` that a band is wide at most."""


class Seasonal(Detector, frozen=True, kw_only=True):
    """The value is far from what this hour of the week usually has, by median and MAD over some weeks."""

    method: ClassVar = "seasonal"
    sees_silence: ClassVar = True
    aggregators: ClassVar = ("count", "sum", "ratio", "mean", "nps", "quantile")
    sided: ClassVar = False

    weeks: Annotated[int, Meta(ge=2, le=26, description="Weeks of history to learn from.")] = 6
    min_weeks: Annotated[
        int, Meta(ge=2, le=26, description="Weeks an hour must have been seen in; until then nothing is judged.")
    ] = 3
    z: Annotated[
        Z, Meta(description="How many (robust) standard deviations away is unusual; more while weeks are few.")
    ] = 4.0
    margin: Annotated[float, Meta(ge=0, description="Further distance that is still usual, in the KPI's unit.")] = 0.0
    calendar: Annotated[
        str, Meta(description="Calendar whose zone, weekend and holidays tell hours of the week apart; UTC if none.")
    ] = ""

    def check(self) -> None:
        """Refuse more weeks than are read."""
        if self.min_weeks > self.weeks:
            raise ParamError("min_weeks", f"min_weeks = {self.min_weeks} is more than weeks = {self.weeks}")

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: None) -> tuple[Verdict, None]:
        """
        Judge a window against what this hour of the week usually has.

        The band is `z` standard deviations, of the weeks and of the window's own sample together, and `margin` beyond.
        A spread from few weeks is hardly known, and so the band is wider: as rare by Student's distribution as `z` is
        by the normal one.
        What else is in the last day counts too: a value that the last 24 hours had all along is no seasonal anomaly
        (levels are the business of other methods). Counts and sums have rhythms that make a day's mean say nothing, so
        for them only the hour counts.
        """
        acc = reading.window(window)
        found = measured(facts, acc)
        baseline = reading.expected(window)
        if baseline is None or baseline.weeks < self.min_weeks:
            weeks = 0 if baseline is None else baseline.weeks
            why = f"this time of the week was seen in {weeks} weeks, {self.min_weeks} needed"
            return Verdict(None, None, *found, reason=why, threshold=self.z), None
        if found.value is None and facts.aggregator in ADDITIVE:
            found = Measure(0.0, 0, None, None)
        if found.value is None:
            return Verdict(
                None, None, *found, baseline.value, round(baseline.n), reason="nothing came", threshold=self.z
            ), None
        deviation = sqrt(baseline.spread**2 + noise_of(facts, acc, baseline))
        limit = limit_of(self.z, baseline, deviation)
        change = found.value - baseline.value
        z = change / deviation if deviation > 0 else 0.0
        bad = badness(facts, z)
        beyond = badness(facts, change) > limit * deviation + self.margin
        reason = (
            f"{show(found.value, facts.unit)} is {abs(z):.2f} deviations {side_word(change)} than the usual"
            f" {show(baseline.value, facts.unit)} at this {baseline.level} ({baseline.weeks} weeks), limit {limit:.3g}"
        )
        if self.margin:
            reason += f" and {show(self.margin, facts.unit)}"
        if beyond and _is_level_of_the_day(facts, window, reading, found.value):
            beyond = False
            reason += "; but so was the whole last day"
        return Verdict(
            breach=beyond,
            recovered=bad <= limit / 2,
            value=found.value,
            n=found.n,
            lo=found.lo,
            hi=found.hi,
            baseline=baseline.value,
            baseline_n=round(baseline.n),
            statistic=z,
            reason=reason,
            threshold=limit,
        ), None

    def windows(self, window: str) -> frozenset[str]:
        """Return the rule's window and the last day."""
        return frozenset((window, _DAY))

    def season(self) -> Season:
        """Return what its own parameters say."""
        return Season(self.weeks, self.min_weeks, self.calendar)


def limit_of(z: float, baseline: Expected, deviation: float) -> float:
    """
    Return the deviations that are as rare as `z` normal ones, given how well the spread is known.

    Only the spread between weeks is uncertain, not the noise of the sample, hence more degrees of freedom where that is
    most of the deviation (Welch 1947, Biometrika 34). By the expansion of Student's distribution of Abramowitz & Stegun
    (26.7.5), and never more than twice `z`: nobody knows how so rare values of a series are spread.
    """
    if not (baseline.spread > 0 and deviation > 0):
        return z
    part = (baseline.spread / deviation) ** 4 / baseline.freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160
    return min(MOST * z, z + part * (first + part * (second + part * (third + part * fourth))))


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
            if facts.is_rate:  # one hit more: a rate of exactly none does have noise
                return facts.factor**2 * (share + 1 / n) / n
            # One hit and one miss more: shares of exactly none or all do have noise.
            share = (share * n + 1) / (n + 2)
            return facts.factor**2 * share * (1 - share) / n
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
    """Return whether the 24 hours before the window were as bad as the window is, within their own noise."""
    if facts.aggregator in ADDITIVE or length_of(window) >= length_of(_DAY):
        return False
    found = measured(facts, before(reading, _DAY, window))
    if found.value is None or found.lo is None or found.hi is None:
        return False
    half = (found.hi - found.lo) / 2
    return badness(facts, value - found.value) <= half
