"""What customers of one group said, with customers as the independent units, and how two groups differ."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot, sqrt
from typing import NamedTuple

from streams.drivers.strata import Side
from streams.experiments.judging import Sums, estimate
from streams.kpis.arithmetic.intervals import NOTHING, Measure, student_factor
from streams.value.measures import ratio_percent


class SayingPair(NamedTuple):
    """What one customer said: the sum of the answers' values, and how many answers there are."""

    total: float
    answers: int


@dataclass(frozen=True, slots=True)
class Sample:
    """
    Answers of a group of customers.

    Attributes:
        customers: How many there are.
        answers: Of all of them.
        measure: The mean of the answers, with its 95 % interval; n is the number of answers.
        variance: Of that mean, answers of one customer going together.
    """

    customers: int
    answers: int
    measure: Measure
    variance: float

    @property
    def side(self) -> Side:
        """Return it as a side of a comparison, one customer being one answer."""
        return Side(self.customers, self.measure.value or 0.0, self.variance * self.customers)


def sample_of(pairs: Iterable[SayingPair], low: float, high: float) -> Sample:
    """
    Return a group of customers, each value being between two ends.

    The mean is Σ total / Σ answers and its variance that of a ratio (`streams.experiments.judging.estimate`). A group
    that is all alike is not certain: its variance is that with one more customer at each end. The interval of a share
    (ends 0 and 100) is Wilson's, of as many customers as the share is worth; of other values Student's.
    """
    found = [*pairs]
    customers, answers = len(found), sum(one.answers for one in found)
    if not answers:
        return Sample(0, 0, NOTHING, 0.0)
    known = estimate(_sums(found))
    variance = 0.0 if known is None else known.variance
    if variance <= 1e-12 * (high - low) ** 2:
        widened = estimate(_sums([*found, SayingPair(low, 1), SayingPair(high, 1)]))
        assert widened is not None
        variance = widened.variance
    value = sum(one.total for one in found) / answers
    if (low, high) == (0.0, 100.0):
        share = ratio_percent([(one.total / 100, one.answers) for one in found])
        return Sample(customers, answers, Measure(value, answers, share.lo, share.hi), variance)
    half = student_factor(customers - 1) * sqrt(variance) if customers > 1 else None
    ends = (None, None) if half is None else (max(low, value - half), min(high, value + half))
    return Sample(customers, answers, Measure(value, answers, *ends), variance)


def _sums(pairs: Iterable[SayingPair]) -> Sums:
    found = [*pairs]
    return Sums(
        len(found),
        sum(one.answers for one in found),
        sum(one.total for one in found),
        sum(one.answers * one.answers for one in found),
        sum(one.answers * one.total for one in found),
        sum(one.total * one.total for one in found),
    )


class MeasureDifference(NamedTuple):
    """One value less another, with its 95 % interval; None: not known."""

    value: float
    lo: float | None
    hi: float | None

    @property
    def sign(self) -> int:
        """Return 1 or -1 if the interval is above or below zero, and else 0."""
        if self.lo is None or self.hi is None:
            return 0
        return (self.lo > 0) - (self.hi < 0)


def difference(first: Measure, second: Measure) -> MeasureDifference | None:
    """
    Return one measure less another, independent of it; None: one has no value.

    The interval is made of both intervals (MOVER; Newcombe, Statistics in Medicine 1998; Zou and Donner, Statistics in
    Medicine 2008): each end is as far as the ends of both lie from their values, the distances being added in squares.
    """
    if first.value is None or second.value is None:
        return None
    value = first.value - second.value
    if first.lo is None or first.hi is None or second.lo is None or second.hi is None:
        return MeasureDifference(value, None, None)
    return MeasureDifference(
        value,
        value - hypot(first.value - first.lo, second.hi - second.value),
        value + hypot(first.hi - first.value, second.value - second.lo),
    )
