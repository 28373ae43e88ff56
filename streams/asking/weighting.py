"""Who answered against who was served: answers weighted back to all customers, and what that costs in certainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from streams.kpis.arithmetic.intervals import Z95, wilson

FEWEST_ANSWERS: Final = 10
"""Answers of a group below which it is not covered."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """
    One group of customers.

    Attributes:
        served: How many there are, asked or not.
        answers: How many of them answered.
        share: Of those who answered, the share that is satisfied, from 0 to 1; None: nobody answered.
    """

    name: str
    served: int
    answers: int
    share: float | None

    def __post_init__(self) -> None:
        """
        Check the numbers.

        Raises:
            ValueError: They cannot be those of a group.
        """
        if not 0 <= self.answers <= self.served:
            raise ValueError(f"{self.name}: expected answers from 0 to the {self.served} served, not {self.answers}")
        if (self.share is None) != (self.answers == 0) or not 0 <= (self.share or 0.0) <= 1:
            raise ValueError(f"{self.name}: expected a share from 0 to 1 of {self.answers} answers, not {self.share}")


@dataclass(frozen=True, slots=True)
class WeightedShare:
    """
    A share of satisfied customers, estimated from the shares of groups.

    Attributes:
        value: From 0 to 1.
        se: Its standard error.
        lo, hi: The 95 % interval.
        effective_n: As many answers of a simple random sample would be as certain (Kish): (Σw)² / Σw².
        weights: By group: for how many answers one answer stands; 1 on average.
    """

    value: float
    se: float
    lo: float
    hi: float
    effective_n: float
    weights: dict[str, float]


@dataclass(frozen=True, slots=True)
class SurveyBias:
    """
    What answers say plainly, and weighted.

    Attributes:
        answers: How many there are.
        naive: The share of satisfied ones among all answers; None: there are none.
        weighted: Of all customers; None: a group has no answer at all, or nobody was served.
        covered: Of the groups with enough answers alone; None: there are none.
        not_covered: Groups with too few answers.
        covered_share: Of the customers served, the share that is in covered groups.
    """

    answers: int
    naive: float | None
    weighted: WeightedShare | None
    covered: WeightedShare | None
    not_covered: tuple[str, ...]
    covered_share: float

    def weight(self, name: str) -> float | None:
        """Return for how many answers one of a group stands; None: it has none, or none is known."""
        found = self.weighted or self.covered
        return found.weights.get(name) if found else None


def weigh(strata: Sequence[Stratum], fewest: int = FEWEST_ANSWERS) -> SurveyBias:
    """
    Weight answers so that each group counts as it was served (post-stratification).

    Value Σ W p, variance Σ W² p (1 - p) / n, W being the share of a group in all served (Cochran, Sampling Techniques,
    3rd ed., 1977, ch. 5A.9). Where no group shows any spread, the interval is Wilson's for the effective n.

    Raises:
        ValueError: Two groups have one name.
    """
    if len({one.name for one in strata}) < len(strata):
        raise ValueError(f"a group is given twice: {', '.join(sorted(one.name for one in strata))}")
    served = sum(one.served for one in strata)
    answers = sum(one.answers for one in strata)
    met = [one for one in strata if one.served]
    covered = [one for one in met if one.answers >= max(1, fewest)]
    hits = sum(one.answers * (one.share or 0.0) for one in strata)
    return SurveyBias(
        answers,
        hits / answers if answers else None,
        _weighted(met) if met and all(one.answers for one in met) else None,
        _weighted(covered) if covered else None,
        tuple(one.name for one in met if one not in covered),
        sum(one.served for one in covered) / served if served else 0.0,
    )


def _weighted(strata: Sequence[Stratum]) -> WeightedShare:
    """Estimate the share of all customers of groups each of which has an answer."""
    served, answers = sum(one.served for one in strata), sum(one.answers for one in strata)
    weights = {one.name: one.served / served / (one.answers / answers) for one in strata}
    value = variance = 0.0
    for one in strata:
        share, part = one.share or 0.0, one.served / served
        value += part * share
        variance += part * part * share * (1 - share) / one.answers
    effective = answers * answers / sum(one.answers * weights[one.name] ** 2 for one in strata)
    if variance > 0:
        half = Z95 * sqrt(variance)
        lo, hi = max(0.0, value - half), min(1.0, value + half)
    else:
        # All groups are of one mind each; as many answers as they are worth could have come out otherwise.
        hits = round(value * effective)
        lo, hi = wilson(hits, max(1, round(effective)))
        lo, hi = min(lo, value), max(hi, value)
    return WeightedShare(value, sqrt(variance), lo, hi, effective, weights)
