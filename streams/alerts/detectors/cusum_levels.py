"""
The two levels that a CUSUM tells apart, what an answer is evidence of between them, and how often that cries wolf.

The steps by kind of KPI are those of the table in `cusum`.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from streams.alerts.detectors.learning import Normal
from streams.alerts.detectors.noise import CHANCE, Spread, level_error
from streams.alerts.facts import Facts, length_of, show
from streams.kpis.arithmetic.accumulators import Acc

if TYPE_CHECKING:
    from streams.alerts.detectors.cusum import Cusum

KNOWN: Final = 5.0
"""The change looked for must be so many standard errors of the normal value before anything is judged."""

GAP: Final = "5m"
"""What is younger teaches nothing: trouble that has just begun shows in the sum, which stops the learning, by then."""

WORTH_SAYING: Final = 1.1
"""Times as much as by chance that an alert speaks of."""

AMOUNTS: Final = frozenset({"seconds", "milliseconds", "hours", "days", "currency"})
"""Units of what cannot be negative and is often skewed."""

_RAREST = 1e-3  # promoters and detractors are never impossible
_LOUDEST = 0.99
_EXTREME = 1e-6  # shares of exactly none or all would make one answer infinite evidence
_OVERSHOOT = 1.166  # 2·0.583: mean overshoot of a normal random walk over both its barriers, in its own deviations


class CusumLevel(msgspec.Struct, frozen=True, gc=False):
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
        return self.slope * total_of(facts, acc) + self.offset * acc[0]


def levels_between(facts: Facts, good: float, bad: float, spread: float) -> CusumLevel | str:
    """Return what tells two levels apart, given the deviation of an answer, or why nothing does."""
    if facts.aggregator == "ratio":
        return _shares(good / facts.factor, bad / facts.factor, facts)
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


def total_of(facts: Facts, acc: Acc | None) -> float:
    """Return the sum of the answers of a minute, in the KPI's unit."""
    if acc is None:
        return 0.0
    assert type(acc) is list
    if facts.aggregator == "ratio":
        return facts.factor * acc[1]
    return facts.factor * (acc[1] - acc[2]) if facts.aggregator == "nps" else acc[1] / facts.scale


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


def threshold_of(h: float, n: int, minutes: int, times: float = 1.0) -> float:
    """Return the threshold of evidence at the pace of a run: `h` up to one independent answer a minute."""
    return h + log(n / minutes / times) if n > minutes * times > 0 else h


def level_of(
    params: Cusum,
    facts: Facts,
    normal: Normal | None,
    spread: Spread = CHANCE,
    offset: float = 0.0,
    *,
    sure: bool | None = None,
) -> CusumLevel | str:
    """
    Return the levels to tell apart, or why there are none.

    Args:
        params: The changes to tell.
        facts: The kind of numbers.
        normal: The normal value; None where it is given.
        spread: How runs vary.
        offset: What the hour does to the normal value.
        sure: Whether the normal value is known well enough; None: not looked at yet.
    """
    sign = sign_of(facts)
    if normal is None and (params.p0 is None or (facts.aggregator != "ratio" and params.sd is None)):
        return "no normal value is known yet"
    good = params.p0
    if good is None:
        assert normal is not None
        good = normal.mean + offset + sign * (caution(params, sign, normal, spread) + params.margin)
    bad = params.p1 if params.p1 is not None else good + sign * (params.delta or 0.0)
    change = sign * (bad - good)
    if change <= 0:
        return f"normal is {show(good, facts.unit)}, no better than {show(bad, facts.unit)}"
    if normal is not None and (knows_too_little(params, facts, normal) if sure is None else not sure):
        return f"normal is known to {show(normal.error, facts.unit)} only, from {normal.n:.0f} answers"
    return levels_between(facts, good, bad, deviation_of(params, normal))


def sign_of(facts: Facts) -> float:
    """Return on which side trouble lies: 1 above, -1 below."""
    return -1.0 if facts.direction == "up" else 1.0


def deviation_of(params: Cusum, normal: Normal | None) -> float:
    """Return the standard deviation of an answer."""
    return params.sd or sqrt(normal.variance if normal is not None else 0.0)


def knows_too_little(params: Cusum, facts: Facts, normal: Normal) -> bool:
    """Return whether a learnt normal value is not sure enough to look for the change; where it is no change, it is."""
    if params.p0 is not None:
        return False
    change = params.delta if params.delta is not None else sign_of(facts) * ((params.p1 or 0.0) - normal.mean)
    return 0 < change < KNOWN * normal.error


def learnt_before(window: str) -> str:
    """Return the window whose answers teach nothing yet."""
    return GAP if length_of(window) > length_of(GAP) else window


def caution(params: Cusum, sign: float, normal: Normal, spread: Spread = CHANCE) -> float:
    """Return how far to the bad side a learnt normal value is taken, in the KPI's unit."""
    change = params.delta if params.delta is not None else sign * ((params.p1 or 0.0) - normal.mean)
    if change <= 0:
        return 0.0
    wandering = level_error(spread.levels, normal.windows) if spread.levels else 0.0
    return params.h * (normal.error**2 + min(wandering, (change / KNOWN) ** 2)) / change


def counted(facts: Facts, acc: Acc | None) -> tuple[int, int]:
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


def evidence_text(
    level: CusumLevel,
    facts: Facts,
    evidence: float,
    threshold: float,
    n: int,
    minutes: int,
    bad: int,
    *,
    times: float,
    still_open: bool = False,
) -> str:
    """
    Return in words what speaks for a change.

    Args:
        level: Between what.
        facts: The kind of numbers.
        evidence: What there is, divided by `times`.
        threshold: What it is held against.
        n: Answers.
        minutes: In which they came.
        bad: How many of them are bad.
        times: How much more than by chance such runs vary.
        still_open: Whether the last of the minutes is not over.
    """
    during = f"{minutes} min" + (" of which the last is not over" if still_open else "")
    more = f"; such runs vary {times:.1f} times as much as by chance, which is allowed for"
    return (
        f"evidence {evidence:.2f} against {threshold:.2f} that {show(level.good, facts.unit)} became"
        f" {show(level.bad, facts.unit)}, from {n} answers in {during},"
        f" {bad} of them bad{more if times >= WORTH_SAYING else ''}"
    )


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
