"""
The perception gap: how satisfied teams believe their customers to be, minus how satisfied customers say they are.

80 % of companies believed to be superior, 8 % of their customers agreed: a gap of 72 points (Bain & Company, Closing
the Delivery Gap, 2005).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple

from streams.gaps.samples import MeasureDifference, SayingPair, difference, sample_of
from streams.kpis.arithmetic.intervals import NOTHING, Measure, mean_interval

FEWEST_CUSTOMERS: Final = 30
"""Customers of a place below which there is no gap."""
FEWEST_OWN: Final = 5
"""Employees who estimate, below which there is no gap."""
_SCALE: Final = 1_000


class OwnEstimate(NamedTuple):
    """What one employee believes: the percentage of satisfied customers at a place."""

    place: str
    who: str
    percent: float


class SaidAtPlace(NamedTuple):
    """What one customer said at a place: satisfied answers, and all of them."""

    place: str
    customer: str
    satisfied: int
    answers: int


@dataclass(frozen=True, slots=True)
class PerceptionGap:
    """
    One place.

    Attributes:
        place: Where; empty: everywhere.
        own: Mean of what employees believe, in percent; n is how many employees.
        customers: The share that is satisfied, in percent; n is how many answers.
        people: How many customers these are of.
        gap: `own` minus `customers`, in percentage points; None: too few.
        verdict: What that means.
    """

    place: str
    own: Measure
    customers: Measure
    people: int
    gap: MeasureDifference | None
    verdict: str


@dataclass(frozen=True, slots=True)
class PerceptionGaps:
    """
    All places.

    Attributes:
        places: The widest gap first, then those with too few.
        pooled: All beliefs less all answers, wherever they are of.
        matched: The mean of the gaps of places, weighted by their answers; None: there is none.
        matched_answers: Of how many answers that is.
    """

    places: tuple[PerceptionGap, ...]
    pooled: PerceptionGap
    matched: MeasureDifference | None
    matched_answers: int


def own_measure(estimates: Iterable[tuple[str, float]]) -> Measure:
    """Return the mean of estimates (who, percent), each employee counting once with the mean of theirs."""
    by_person: dict[str, list[float]] = defaultdict(list)
    for who, percent in estimates:
        by_person[who].append(percent)
    whole = [round(_SCALE * sum(one) / len(one)) for one in by_person.values()]
    n = len(whole)
    if not n:
        return NOTHING
    # Beliefs are much alike: with ends of 0 and 100 in them their interval would say nothing, unless all are the same.
    ends = (None, None) if len(set(whole)) > 1 else (0.0, 100.0)
    lo, hi = mean_interval((n, sum(whole), sum(one * one for one in whole)), _SCALE, ends)
    return Measure(
        sum(whole) / (n * _SCALE), n, *(None if end is None else min(100.0, max(0.0, end)) for end in (lo, hi))
    )


def perception_gaps(
    own: Iterable[OwnEstimate],
    said: Iterable[SaidAtPlace],
    fewest_customers: int = FEWEST_CUSTOMERS,
    fewest_own: int = FEWEST_OWN,
) -> PerceptionGaps:
    """
    Hold beliefs against answers of the same place and span, where there are enough of both.

    We assess other places than customers answer of, so the pooled gap mixes places; the matched one, Σ n·gap / Σ n over
    places with n answers, does not.
    """
    believed: dict[str, list[tuple[str, float]]] = defaultdict(list)
    answered: dict[str, dict[str, SayingPair]] = defaultdict(dict)
    for estimate in own:
        believed[estimate.place].append((estimate.who, estimate.percent))
    for one in said:
        former = answered[one.place].get(one.customer, SayingPair(0.0, 0))
        answered[one.place][one.customer] = SayingPair(former.total + 100 * one.satisfied, former.answers + one.answers)
    found = [
        _gap(place, believed.get(place, []), answered.get(place, {}), fewest_customers, fewest_own)
        for place in sorted(believed.keys() | answered.keys())
    ]
    found.sort(key=lambda one: (one.gap is None, -one.gap.value if one.gap else 0.0, one.place))
    everyone: dict[str, SayingPair] = {}
    for customers in answered.values():
        for name, pair in customers.items():
            former = everyone.get(name, SayingPair(0.0, 0))
            everyone[name] = SayingPair(former.total + pair.total, former.answers + pair.answers)
    pooled = _gap("", [one for all_of in believed.values() for one in all_of], everyone, fewest_customers, fewest_own)
    known = [one for one in found if one.gap is not None]
    return PerceptionGaps(tuple(found), pooled, _matched(known), sum(one.customers.n for one in known))


def _gap(
    place: str,
    own: list[tuple[str, float]],
    answers: Mapping[str, SayingPair],
    fewest_customers: int,
    fewest_own: int,
) -> PerceptionGap:
    ours, theirs = own_measure(own), sample_of(answers.values(), 0.0, 100.0)
    if not ours.n or not theirs.answers:
        missing = "nobody of us estimates" if not ours.n else "no customer answers"
        return PerceptionGap(place, ours, theirs.measure, theirs.customers, None, f"no data: {missing}")
    if ours.n < fewest_own or theirs.customers < fewest_customers:
        few = f"of us (n < {fewest_own})" if ours.n < fewest_own else f"customers (n < {fewest_customers})"
        return PerceptionGap(place, ours, theirs.measure, theirs.customers, None, f"too few {few}")
    gap = difference(ours, theirs.measure)
    assert gap is not None
    verdict = {1: "we believe too much", -1: "better than believed", 0: "no gap shown"}[gap.sign]
    return PerceptionGap(place, ours, theirs.measure, theirs.customers, gap, verdict)


def _matched(known: list[PerceptionGap]) -> MeasureDifference | None:
    whole = sum(one.customers.n for one in known)
    if not whole:
        return None
    value = below = above = 0.0
    for one in known:
        assert one.gap is not None
        if one.gap.lo is None or one.gap.hi is None:
            return None
        weight = one.customers.n / whole
        value += weight * one.gap.value
        below += (weight * (one.gap.value - one.gap.lo)) ** 2
        above += (weight * (one.gap.hi - one.gap.value)) ** 2
    return MeasureDifference(value, value - sqrt(below), value + sqrt(above))
