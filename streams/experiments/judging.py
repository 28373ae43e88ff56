"""
The mathematics of experiments, on sums of customers.

Customers are what is shared out, so they are what is counted: answers and orders of one customer go together. A KPI of
an arm is a ratio of sums over its customers, Σy / Σx: satisfied answers by answers, or orders by customers (x = 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, floor, lgamma, log, log1p, sqrt
from typing import Final, NamedTuple

from streams.kpis.arithmetic.distributions import chi_square_tail

MISMATCH_P: Final = 0.001
"""Below this probability an assignment is not by chance (Fabijan et al., KDD 2019)."""
FEWEST_ASSIGNED: Final = 100
"""Customers below which an assignment is not judged."""
FEWEST_EXPECTED: Final = 10
"""Customers of an arm by the plan below which chi-square errs: of two arms the probability is exact then."""
FEWEST_KNOWN: Final = 10
"""Customers of an arm with data below which it is not compared."""

_NEVER: Final = 1e-18
"""So small a part of a sum of probabilities adds nothing to it."""


@dataclass(frozen=True, slots=True)
class ArmSplit:
    """
    How customers were shared out, held against the plan.

    Attributes:
        n: Customers.
        chi2: The statistic of the chi-square test.
        p: Probability of an assignment at least as far from the plan by chance; exact for two arms, one of them small.
        mismatch: Whether it is so improbable that results mean nothing.
        judged: Whether there are enough customers to say so.
    """

    n: int
    chi2: float
    p: float
    mismatch: bool
    judged: bool


def judge_assignment(counts: Sequence[int], planned: Sequence[float]) -> ArmSplit:
    """
    Hold counts of customers against planned shares, of which only the proportions matter.

    Chi-square of k - 1 degrees of freedom; an arm that got nobody counts as any other. Arms to which the plan gives
    fewer than 10 customers are taken together; what is left of two arms then is judged by the exact probability.

    Raises:
        ValueError: There are not as many shares as counts, fewer than two, or a share is not above 0.
    """
    if len(counts) != len(planned) or len(counts) < 2 or min(planned) <= 0:
        raise ValueError(f"expected a share above 0 for each of two or more arms, not {planned} for {counts}")
    n, whole = sum(counts), sum(planned)
    if not n:
        return ArmSplit(0, 0.0, 1.0, mismatch=False, judged=False)
    expected = [n * share / whole for share in planned]
    arms = sorted(zip(expected, counts, strict=True))
    chi2, judged = _chi2(arms), n >= FEWEST_ASSIGNED
    while len(arms) > 2 and arms[0][0] < FEWEST_EXPECTED:
        small, next_one = arms[:2]
        arms = sorted([(small[0] + next_one[0], small[1] + next_one[1]), *arms[2:]])
    if len(arms) > 2 or (judged and arms[0][0] >= FEWEST_EXPECTED):
        p = chi_square_tail(_chi2(arms), len(arms) - 1)
    else:
        p = _binomial_p(arms[0][1], n, arms[0][0] / n)
    return ArmSplit(n, chi2, p, judged and p < MISMATCH_P, judged)


def _chi2(arms: Iterable[tuple[float, int]]) -> float:
    return sum((count - expected) ** 2 / expected for expected, count in arms)


def _binomial_p(hits: int, n: int, share: float) -> float:
    """Return the probability of all outcomes that are no likelier than this one."""
    if share > 0.5:
        hits, share = n - hits, 1 - share
    whole, yes, no = lgamma(n + 1), log(share), log1p(-share)

    def likely(k: int) -> float:
        return exp(whole - lgamma(k + 1) - lgamma(n - k + 1) + k * yes + (n - k) * no)

    found, mode = likely(hits) * (1 + 1e-9), floor((n + 1) * share)
    total = sum(one for one in map(likely, range(mode + 1)) if one <= found)
    # Above the mode the likelihood only falls: what is passed over is likelier, and what is left out beyond is nothing.
    k = max(hits, mode + 1)
    while k <= n and likely(k) > found:
        k += 1
    while k <= n and (one := likely(k)) > _NEVER * total:
        total += one
        k += 1
    return min(1.0, total)


class Sums(NamedTuple):
    """Sums over customers of an arm: how many, Σx, Σy, Σx², Σxy, Σy²."""

    n: int
    x: float
    y: float
    xx: float
    xy: float
    yy: float


class Estimate(NamedTuple):
    """A KPI of an arm: its value, the variance of that, and of how many customers it is."""

    value: float
    variance: float
    n: int


def estimate(sums: Sums) -> Estimate | None:
    """
    Return Σy / Σx with its variance by the delta method, customers being the independent units.

    Variance: n / (n - 1) · Σ(y - value · x)² / (Σx)² (Cochran, Sampling Techniques, 3rd ed., 1977, ch. 2.11; for
    experiments Deng, Knoblich and Lu, KDD 2018). None: fewer than two customers, or nothing to divide by.
    """
    n, x, y, xx, xy, yy = sums
    if n < 2 or x <= 0:
        return None
    value = y / x
    spread = max(0.0, yy - 2 * value * xy + value * value * xx)
    return Estimate(value, n / (n - 1) * spread / (x * x), n)


class Interval(NamedTuple):
    """A difference and where it lies."""

    lo: float
    hi: float

    @property
    def excludes_zero(self) -> bool:
        """Whether no difference at all is ruled out."""
        return self.lo > 0 or self.hi < 0


def always_valid(difference: float, variance: float, scale: float, alpha: float = 0.05) -> Interval:
    """
    Return the interval of a difference that holds at all looks together, however often one looks.

    A confidence sequence by a normal mixture: half the width is √(V (V + τ²) / τ² · (2 ln(1/α) + ln((V + τ²) / V))), V
    the variance of the difference and τ the scale, in the unit of the KPI (Robbins, Ann. Math. Stat. 1970; Johari et
    al., KDD 2017). It is narrowest for the difference the scale is chosen for, and holds for all.

    Raises:
        ValueError: The scale is not above 0, or alpha not between 0 and 1.
    """
    if scale <= 0 or not 0 < alpha < 1:
        raise ValueError(f"expected a scale above 0 and alpha between 0 and 1, not {scale} and {alpha}")
    if variance <= 0:
        return Interval(difference, difference)
    mixture = scale * scale
    total = variance + mixture
    half = sqrt(variance * total / mixture * (2 * log(1 / alpha) + log(total / variance)))
    return Interval(difference - half, difference + half)


def intersection(intervals: Iterable[Interval]) -> Interval | None:
    """Return what intervals of several looks have in common; None: nothing, which has a probability below alpha."""
    found = [*intervals]
    lo, hi = max(one.lo for one in found), min(one.hi for one in found)
    return Interval(lo, hi) if lo <= hi else None


class PastSums(NamedTuple):
    """
    Sums over customers of an arm for whom it is known what they did before they were assigned.

    Attributes:
        n: How many they are.
        y: Σ of what they did after.
        yy: Σ of its squares.
        b: Σ of what they had done before.
        bb: Σ of its squares.
        yb: Σ of the products.
        new: Sums of those without a past; their x is 1 each.
    """

    n: int
    y: float
    yy: float
    b: float
    bb: float
    yb: float
    new: Sums


def adjusted(arms: Mapping[str, PastSums]) -> tuple[float, dict[str, Estimate]] | None:
    """
    Return θ, and the mean of each arm with what was known before taken out (CUPED).

    y - θ (b - mean of b), θ pooled within the arms; customers without a past keep their y (Deng, Xu, Kohavi and Walker,
    WSDM 2013). θ is taken as known, which makes variances of few customers a little too small. None: no customer has
    a past that differs from the others', or an arm has fewer than two customers.
    """
    known = [past for past in arms.values() if past.n]
    between = sum(past.bb - past.b * past.b / past.n for past in known)
    if between <= 0 or any(past.n + past.new.n < 2 for past in arms.values()):
        return None
    theta = sum(past.yb - past.y * past.b / past.n for past in known) / between
    mean = sum(past.b for past in known) / sum(past.n for past in known)
    return theta, {arm: _adjusted(past, theta, mean) for arm, past in arms.items()}


def _adjusted(past: PastSums, theta: float, mean: float) -> Estimate:
    n = past.n + past.new.n
    total = past.y - theta * (past.b - past.n * mean) + past.new.y
    squares = (
        past.yy
        - 2 * theta * (past.yb - mean * past.y)
        + theta * theta * (past.bb - 2 * mean * past.b + past.n * mean * mean)
        + past.new.yy
    )
    return Estimate(total / n, max(0.0, squares - total * total / n) / (n - 1) / n, n)


def verdict_of(interval: Interval, direction: str, tolerated: float | None = None) -> str:
    """
    Say what an interval of "arm less control" means: better, worse, safe, or not known yet.

    Args:
        interval: Of the difference.
        direction: Whether the KPI is better when it goes `up` or `down`; with `none` there is only higher and lower.
        tolerated: Of a guardrail: how much worse it may get, in the unit of the KPI, to be called safe.
    """
    if direction == "none":
        return "higher" if interval.lo > 0 else "lower" if interval.hi < 0 else "not known yet"
    lo, hi = interval if direction == "up" else (-interval.hi, -interval.lo)
    if hi < 0:
        return "worse"
    if lo > 0:
        return "better"
    return "safe" if tolerated is not None and lo > -tolerated else "not known yet"
