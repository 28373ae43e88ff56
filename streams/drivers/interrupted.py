"""
Before and after a change: a segmented regression of a KPI by steps of time (interrupted time series).

y = β₀ + β₁·t + β₂·after + β₃·after·(t - t₀) + season + e, steps weighted by their n: β₂ is the change of level at t₀,
β₃ that of the slope (Wagner and others, J. Clin. Pharm. Ther. 2002; Bernal, Cummins and Gasparrini, Int. J. Epidemiol.
2017).

Neighbouring steps resemble each other: e is autoregressive, ρ to the power of the steps between two. How much, a few
dozen steps do not tell, and errors of Newey and West for such series are too small: at 60 steps with ρ = 0.3 their 95 %
intervals hold the truth in 84 %. So no ρ is chosen: the intervals are of all of them, each as likely as its restricted
likelihood says (Harville, Biometrika 1974; with flat priors it is the posterior, of which the mixture of Student's
distributions is exact). They are right where neighbours differ from each other as such a process says, and about right
elsewhere.

With a control group that the change did not reach, y is the difference to it, so that what moves both is taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import Final, NamedTuple

import numpy as np

from streams.drivers.regression import Numbers, TooFewAnswersError
from streams.kpis.arithmetic.distributions import student_quantile, student_tail

FEWEST_STEPS: Final = 10
"""Steps before and after, each, below which nothing is said."""
_ALIKE: Final = tuple(0.04 * place for place in range(25))
"""How much neighbouring steps may resemble each other: from not at all to nearly wholly."""
_TAIL: Final = 0.025
_UNLIKELY: Final = 1e-4
_HALVINGS: Final = 40


class SeriesStep(NamedTuple):
    """One step of time: its number, counted in steps, the KPI's value in it, and of how many that is."""

    number: int
    value: float
    n: int
    season: str = ""
    """Steps of the same season, such as a day of the week, are expected to be alike."""


class SeriesShift(NamedTuple):
    """A change in the KPI's unit, and its 95 % interval."""

    value: float
    lo: float
    hi: float

    @property
    def sign(self) -> int:
        """Return 1 or -1 if the interval is above or below zero, and else 0."""
        return (self.lo > 0) - (self.hi < 0)


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """
    What a series did at a change.

    Attributes:
        before: Steps before it.
        after: Steps after it.
        mean_before: Mean of the steps before, weighted by n.
        mean_after: Likewise after.
        level: The change of level at once.
        slope: The change of the slope, a step.
        average: How far steps after it lie, in the mean, from where the line before would have gone.
        trend: The slope before, a step.
        alike: How much neighbouring steps resemble each other, 0 to 1.
        controlled: Whether it is the difference to a control group.
    """

    before: int
    after: int
    mean_before: float
    mean_after: float
    level: SeriesShift
    slope: SeriesShift
    average: SeriesShift
    trend: SeriesShift
    alike: float
    controlled: bool

    @property
    def verdict(self) -> str:
        """Return what that means, and how far it may be trusted."""
        words = {1: "higher than before", -1: "lower than before", 0: "no change shown"}[self.average.sign]
        how = "less a control group" if self.controlled else "association: no control group"
        return f"{words} ({how})"


def less_control(treated: Sequence[SeriesStep], control: Sequence[SeriesStep]) -> list[SeriesStep]:
    """Return the difference of two series over steps that both have; its n is what the two are worth, n₁n₂/(n₁+n₂)."""
    known = {one.number: one for one in control}
    found = []
    for one in treated:
        other = known.get(one.number)
        if other is not None:
            n = one.n * other.n / (one.n + other.n) if one.n and other.n else 0
            found.append(one._replace(value=one.value - other.value, n=max(1, round(n))))
    return found


def before_after(
    steps: Sequence[SeriesStep], change_at: int, *, weighted: bool = True, controlled: bool = False
) -> ChangeEffect:
    """
    Fit steps before the step `change_at` and after it; that step itself has both in it and is left out.

    `weighted`: each step counts by its n, which is right for shares and means and wrong for counts.

    Raises:
        TooFewAnswersError: There are fewer than `FEWEST_STEPS` on a side, or too few for their seasons.
    """
    used = sorted((one for one in steps if one.number != change_at and one.n > 0), key=lambda one: one.number)
    number = np.array([one.number for one in used], dtype=np.float64)
    after = number > change_at
    sides = int((~after).sum()), int(after.sum())
    if min(sides) < FEWEST_STEPS:
        raise TooFewAnswersError(
            f"{sides[0]} steps before the change and {sides[1]} after it are too few: at least {FEWEST_STEPS} of each"
        )
    y = np.array([one.value for one in used])
    weight = np.array([one.n if weighted else 1 for one in used], dtype=np.float64)
    since = np.where(after, number - change_at, 0.0)
    columns = [np.ones_like(y), number - change_at, after.astype(np.float64), since, *_seasons(used, after)]
    x = np.column_stack(columns)
    size = len(y)
    if size - x.shape[1] < FEWEST_STEPS:
        raise TooFewAnswersError(f"{size} steps are too few for {x.shape[1]} unknowns: longer spans, or longer steps")
    fits = _fits(x, y, weight, number)
    mean_since = float(np.average(since[after], weights=weight[after]))

    def shift(wanted: Mapping[int, float]) -> SeriesShift:
        step = np.zeros(x.shape[1])
        for place, factor in wanted.items():
            step[place] = factor
        return _interval([_of_step(fit, step) for fit in fits], size - x.shape[1])

    earlier, later = (float(np.average(y[side], weights=weight[side])) for side in (~after, after))
    return ChangeEffect(
        sides[0], sides[1], earlier, later,
        shift({2: 1.0}), shift({3: 1.0}), shift({2: 1.0, 3: mean_since}), shift({1: 1.0}),
        sum(fit.likely * fit.alike for fit in fits), controlled,
    )  # fmt: skip


def _seasons(used: Sequence[SeriesStep], after: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Numbers]:
    """Return a column for each season but the first, of those that both sides have."""
    names = np.array([one.season for one in used])
    both = sorted({*names[~after]} & {*names[after]})
    return [(names == name).astype(np.float64) for name in both[1:]]


class _Fit(NamedTuple):
    """What the series says if neighbouring steps resemble each other so much, and how likely that is."""

    alike: float
    likely: float
    beta: Numbers
    covariance: Numbers


def _fits(x: Numbers, y: Numbers, weight: Numbers, number: Numbers) -> list[_Fit]:
    """Fit once for each resemblance; steps that are missing keep their neighbours apart."""
    apart = np.abs(number[:, None] - number[None, :])
    scaled = np.column_stack([x, y]) * np.sqrt(weight)[:, None]
    free, found = len(y) - x.shape[1], []
    for alike in _ALIKE:
        root = np.linalg.cholesky(alike**apart)  # 0 to the power of 0 is 1
        whitened = np.linalg.solve(root, scaled)
        q, r = np.linalg.qr(whitened[:, :-1])
        inverse = np.linalg.inv(r)
        beta: Numbers = inverse @ (q.T @ whitened[:, -1])
        left = whitened[:, -1] - whitened[:, :-1] @ beta
        spread = max(float(left @ left), np.finfo(np.float64).tiny)
        logged = -np.log(np.diag(root)).sum() - np.log(np.abs(np.diag(r))).sum() - free / 2 * np.log(spread)
        found.append(_Fit(alike, float(logged), beta, inverse @ inverse.T * spread / free))
    best = max(one.likely for one in found)
    whole = sum(exp(one.likely - best) for one in found)
    return [one._replace(likely=exp(one.likely - best) / whole) for one in found]


def _of_step(fit: _Fit, step: Numbers) -> tuple[float, float, float]:
    """Return how likely a fit is, what a step is by it, and the standard error."""
    return fit.likely, float(step @ fit.beta), sqrt(max(0.0, float(step @ fit.covariance @ step)))


def _interval(parts: Sequence[tuple[float, float, float]], degrees: int) -> SeriesShift:
    """Return mean and ends of a mixture of Student's distributions, given as weight, centre and scale."""
    value = sum(likely * centre for likely, centre, _ in parts)
    kept = [one for one in parts if one[0] > _UNLIKELY]
    used = [(likely / sum(one[0] for one in kept), centre, se) for likely, centre, se in kept]
    reach = student_quantile(1e-6, degrees)

    def below(at: float) -> float:
        return sum(
            likely * (1 - tail if at >= centre else tail)
            for likely, centre, se in used
            for tail in [student_tail(abs(at - centre) / se, degrees)]
        )

    def end(share: float) -> float:
        low = min(centre - reach * se for _, centre, se in used)
        high = max(centre + reach * se for _, centre, se in used)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < share else (low, middle)
        return (low + high) / 2

    if min(se for _, _, se in used) <= 0:
        return SeriesShift(value, value, value)
    return SeriesShift(value, end(_TAIL), end(1 - _TAIL))
