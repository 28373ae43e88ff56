"""
Whether predicted churn holds: of customers with a risk of 10 % one in ten has to leave.

Measures of ranking, such as AUC, do not see a model that says five times too much; whatever multiplies the probability
does. So a model that is not calibrated gives no risk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import fsum, inf, log, sqrt
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.kpis.arithmetic.distributions import chi_square_tail, normal_tail
from streams.kpis.arithmetic.intervals import Measure
from streams.value.measures import percent

FEWEST_EACH: Final = 10
"""Customers who left, and who stayed, below which nothing is said."""
UNLIKELY: Final = 0.01
"""Below this probability what came is not what was predicted by chance."""
TOLERANCE: Final = 0.1
"""Errors below this part of the churn rate do not matter, however certain they are."""
_LEAST_EXPECTED: Final = 5.0
_EDGE: Final = 1e-15
"""A probability of 0 or 1 counts as so far from it, else one mistake would make the log loss infinite."""

Verdict: TypeAlias = Literal[
    "calibrated",
    "not calibrated, not used",
    "no better than the churn rate itself, not used",
    "too few customers to judge, not used",
]


class RiskBin(NamedTuple):
    """Customers of about the same predicted risk: how many, how many left, and the mean risk (0 to 1)."""

    n: int
    churned: int
    predicted: float

    @property
    def observed(self) -> Measure:
        """The share who left, in percent."""
        return percent(self.churned, self.n)


@dataclass(frozen=True, slots=True)
class Calibration:
    """
    Predictions held against what came.

    Attributes:
        bins: Customers by predicted risk, the lowest first.
        observed: The share who left, in percent.
        mean_predicted: Mean predicted risk, 0 to 1.
        expected: How many were predicted to leave; `churned` of them did.
        error: Expected calibration error: mean distance of predicted and observed over customers, bin by bin.
        brier: Mean squared error of the risks.
        brier_of_rate: The same if the observed rate were predicted for everybody.
        log_loss: Mean negative logarithm of the probability of what came.
        auc: Probability that one who left had the higher risk than one who stayed; None where one kind is missing.
        p: Probability of a deviation at least as large by chance: chi-square over bins, Spiegelhalter's z.
        verdict: Whether the risks may be used, in words.
    """

    bins: Sequence[RiskBin]
    observed: Measure
    churned: int
    mean_predicted: float
    expected: float
    error: float
    brier: float
    brier_of_rate: float
    log_loss: float
    auc: float | None
    p: float
    verdict: Verdict

    @property
    def usable(self) -> bool:
        """Whether the risks may be shown and multiplied."""
        return self.verdict == "calibrated"

    @property
    def per_thousand(self) -> float:
        """How many of 1,000 customers are predicted to leave."""
        return 1_000 * self.mean_predicted


def calibration_of_bins(bins: Iterable[RiskBin]) -> Calibration | None:
    """
    Hold bins against what came, as if all customers of a bin had its mean risk; None: there is no customer.

    Raises:
        ValueError: A bin has more who left than there are, or a risk outside 0 to 1.
    """
    found = sorted((one for one in bins if one.n), key=lambda one: (one.predicted, one))
    for one in found:
        if not (0 <= one.churned <= one.n and 0 <= one.predicted <= 1):
            raise ValueError(f"{one}: expected 0 to {one.n} who left, and a risk from 0 to 1")
    return _judged(found, found)


def calibration(predictions: Iterable[tuple[float, bool]], bins: int = 10) -> Calibration | None:
    """
    Hold the risk of each customer against whether the customer left; None: there is no customer.

    Customers are binned by rank of risk, into about as many per bin; equal risks are never parted.

    Raises:
        ValueError: A risk is outside 0 to 1, or there is no bin.
    """
    known = sorted(predictions)
    if bins < 1 or any(not 0 <= risk <= 1 for risk, _ in known):
        raise ValueError("expected one bin or more, and risks from 0 to 1")
    equal: list[RiskBin] = []
    grouped: dict[int, list[RiskBin]] = {}
    before = 0
    for risk, group in groupby(known, key=lambda one: one[0]):
        left = [churned for _, churned in group]
        one = RiskBin(len(left), sum(left), risk)
        equal.append(one)
        grouped.setdefault(before * bins // len(known), []).append(one)
        before += one.n
    return _judged(equal, [_together(parts) for parts in grouped.values()])


def _together(parts: Sequence[RiskBin]) -> RiskBin:
    n = sum(one.n for one in parts)
    return RiskBin(n, sum(one.churned for one in parts), fsum(one.n * one.predicted for one in parts) / n)


def _judged(equal: Sequence[RiskBin], bins: Sequence[RiskBin]) -> Calibration | None:
    """Judge: exact measures by `equal`, whose customers have one risk each, the rest by bins."""
    if not equal:
        return None
    whole = _together(equal)
    rate = whole.churned / whole.n
    error = fsum(one.n * abs(one.predicted - one.churned / one.n) for one in bins) / whole.n
    brier = fsum(
        one.churned * (1 - one.predicted) ** 2 + (one.n - one.churned) * one.predicted**2 for one in equal
    ) / whole.n  # fmt: skip
    p = _chance(equal, bins)
    if min(whole.churned, whole.n - whole.churned) < FEWEST_EACH:
        verdict: Verdict = "too few customers to judge, not used"
    elif p < UNLIKELY and error > TOLERANCE * rate:
        verdict = "not calibrated, not used"
    elif brier >= rate * (1 - rate):
        verdict = "no better than the churn rate itself, not used"
    else:
        verdict = "calibrated"
    return Calibration(
        bins, whole.observed, whole.churned, whole.predicted, whole.n * whole.predicted, error, brier,
        rate * (1 - rate), _log_loss(equal) / whole.n, _auc(equal), p, verdict,
    )  # fmt: skip


def _log_loss(equal: Iterable[RiskBin]) -> float:
    losses = []
    for one in equal:
        risk = min(max(one.predicted, _EDGE), 1 - _EDGE)
        losses += [-one.churned * log(risk), -(one.n - one.churned) * log(1 - risk)]
    return fsum(losses)


def _auc(equal: Sequence[RiskBin]) -> float | None:
    won, stayed = 0.0, 0
    for _, group in groupby(equal, key=lambda one: one.predicted):
        left, kept = (
            sum(column) for column in zip(*((one.churned, one.n - one.churned) for one in group), strict=True)
        )
        won += left * (stayed + kept / 2)
        stayed += kept
    left = sum(one.churned for one in equal)
    return won / (left * stayed) if left and stayed else None


def _chance(equal: Sequence[RiskBin], bins: Sequence[RiskBin]) -> float:
    """
    Return the probability of what came, if the risks are right: the smaller one of two tests, doubled.

    By bins whether as many left as predicted; by single customers whether risks are too certain, or not certain enough.
    """
    return min(1.0, 2 * min(_chance_of_bins(bins), _chance_of_certainty(equal)))


def _chance_of_bins(bins: Sequence[RiskBin]) -> float:
    """
    Return the probability by chi-square, one degree of freedom per group.

    Neighbours are taken together until five are expected to leave and five to stay, below which chi-square errs
    (Hosmer and Lemeshow, Applied Logistic Regression, 2nd ed., 2000, ch. 5.2.2; not fitted to these data, so no degree
    is lost).
    """
    groups: list[RiskBin] = []
    for one in bins:
        if groups and not _is_enough(groups[-1]):
            groups[-1] = _together([groups[-1], one])
        else:
            groups.append(one)
    if len(groups) > 1 and not _is_enough(groups[-1]):
        last = groups.pop()
        groups[-1] = _together([groups[-1], last])
    chi2 = 0.0
    for one in groups:
        expected = one.n * one.predicted
        variance, off = expected * (1 - one.predicted), one.churned - expected
        chi2 += off * off / variance if variance else (inf if off else 0.0)
    return 0.0 if chi2 == inf else chi_square_tail(chi2, len(groups))


def _chance_of_certainty(equal: Sequence[RiskBin]) -> float:
    """Return the probability of a Brier score so far from what the risks promise (Spiegelhalter, Stat. Med. 1986)."""
    off = fsum((one.churned - one.n * one.predicted) * (1 - 2 * one.predicted) for one in equal)
    variance = fsum(one.n * (1 - 2 * one.predicted) ** 2 * one.predicted * (1 - one.predicted) for one in equal)
    if variance <= 0:
        return 0.0 if off else 1.0
    return 2 * normal_tail(abs(off) / sqrt(variance))


def _is_enough(group: RiskBin) -> bool:
    expected = group.n * group.predicted
    return min(expected, group.n - expected) >= _LEAST_EXPECTED
