"""Customers in tiers by what they are worth."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, fsum, inf
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.kpis.arithmetic.intervals import Measure
from streams.value.measures import mean, percent

TierBasis: TypeAlias = Literal["customers", "revenue"]
_SCALE: Final = 1_000_000
NAMES: Final = ("high", "middle", "low")
LIMITS: Final[Mapping[TierBasis, tuple[float, ...]]] = {"customers": (20.0, 50.0), "revenue": (50.0, 80.0)}
"""Where tiers end, in percent of customers or of revenue, the last one taking the rest."""


class ValueTier(NamedTuple):
    """
    Customers of about the same worth.

    Attributes:
        customers: The most valuable first; of equal worth by id.
        share: Of all customers, in percent.
        revenue: What they brought.
        revenue_share: Of all revenue, in percent; None where there is none.
        least: The worth of the least valuable; None where nobody is in it.
        each: The mean worth.
    """

    name: str
    customers: Sequence[str]
    share: Measure
    revenue: float
    revenue_share: float | None
    least: float | None
    each: Measure


def tiers(
    values: Mapping[str, float],
    basis: TierBasis = "customers",
    limits: Sequence[float] | None = None,
) -> list[ValueTier]:
    """
    Return customers in tiers, the most valuable first.

    By customers the first tier is the best 20 %, by revenue the fewest who together bring 50 %: whoever begins below
    the limit belongs to the tier. Who brought nothing is in the last tier. Ties go by id, so a run can be repeated.

    Args:
        values: What each customer brought, in one currency.
        basis: Of what the limits are percents.
        limits: Where each tier but the last one ends, rising, above 0 and below 100.

    Raises:
        ValueError: Limits do not rise between 0 and 100, or a value is below 0 or no number.
    """
    ends = [*(LIMITS[basis] if limits is None else limits)]
    if not all(low < high for low, high in zip([0.0, *ends], [*ends, 100.0], strict=True)):
        raise ValueError(f"limits {ends}: expected percents that rise, above 0 and below 100")
    if not all(0 <= value < inf for value in values.values()):
        raise ValueError("the value of a customer is below 0 or no number")
    names = NAMES if len(ends) + 1 == len(NAMES) else [f"tier {number + 1}" for number in range(len(ends) + 1)]
    ranked = sorted(values, key=lambda customer: (-values[customer], customer))
    # Whole numbers: sums of binary fractions would put who stands on a limit now here, now there.
    weights = [1 if basis == "customers" else round(values[customer] * _SCALE) for customer in ranked]
    total, before, tier = sum(weights), 0, 0
    reached = [ceil(Fraction(str(end)) * total / 100) for end in ends]
    members: list[list[str]] = [[] for _ in names]
    for customer, weight in zip(ranked, weights, strict=True):
        while tier < len(ends) and before >= reached[tier]:
            tier += 1
        members[tier if values[customer] else -1].append(customer)
        before += weight
    revenue = fsum(values.values())
    return [
        _tier(name, [(one, values[one]) for one in found], len(values), revenue)
        for name, found in zip(names, members, strict=True)
    ]


def _tier(name: str, found: Sequence[tuple[str, float]], customers: int, revenue: float) -> ValueTier:
    worths = [value for _, value in found]
    brought = fsum(worths)
    return ValueTier(
        name, [customer for customer, _ in found], percent(len(found), customers), brought,
        100 * brought / revenue if revenue else None, min(worths, default=None), mean(worths),
    )  # fmt: skip
