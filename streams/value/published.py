"""The measures of a period as rows, of all customers and tier by tier."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from streams.kpis.arithmetic.intervals import Measure
from streams.value.periods import Period, PeriodValue, value_of
from streams.value.purchases import Purchase
from streams.value.tiers import TierBasis
from streams.value.valued import values_of

NEWCOMERS: Final = "new"
"""Who had bought nothing before the period, and has no tier yet."""


class ValueMeasure(NamedTuple):
    """
    One measure of a period.

    Attributes:
        measure: retention, churn, arpu, order_value, repeat_revenue_share, clv_historic, clv_predictive, or revenue.
        unit: percent, or money of the currency.
        tier: Of customers, as they were when the period began; empty: all of them.
        currency: Empty: the measure is of customers, not of money.
        value: None: there is none.
        lo: Lower end of the 95 % interval; None: there is none.
        hi: Upper end.
        n: Customers, of the value of an order purchases.
        complete: Whether the period is over.
    """

    measure: str
    unit: str
    tier: str
    currency: str
    value: float | None
    lo: float | None
    hi: float | None
    n: int
    complete: bool


def measures_of(
    purchases: Sequence[Purchase],
    period: Period,
    as_of: int,
    zone: str,
    basis: TierBasis = "customers",
    limits: Sequence[float] | None = None,
) -> list[ValueMeasure]:
    """
    Return the measures of a period, of all customers and of each tier.

    Tiers are those of the purchases before the period: by what it brought itself, the best would be those who stayed.
    Raises as `value_of`.
    """
    known = values_of([one for one in purchases if one.at < period.since], basis, limits)
    apart: dict[str, list[Purchase]] = defaultdict(list)
    for one in purchases:
        apart[known[one.customer].tier if one.customer in known else NEWCOMERS].append(one)
    parts: Mapping[str, Sequence[Purchase]] = {"": purchases, **dict(sorted(apart.items()))}
    return [
        row
        for tier, some in parts.items()
        for row in _rows(tier, value_of(some, period, as_of, zone))
        if row.n or not tier
    ]


def _rows(tier: str, found: PeriodValue) -> Iterator[ValueMeasure]:
    def row(name: str, unit: str, currency: str, measure: Measure) -> ValueMeasure:
        return ValueMeasure(
            name, unit, tier, currency, measure.value, measure.lo, measure.hi, measure.n, found.complete
        )

    yield row("retention", "percent", "", found.loyalty.retained)
    yield row("churn", "percent", "", found.loyalty.churned)
    for currency, money in found.money.items():
        yield row("arpu", "money", currency, money.arpu)
        yield row("order_value", "money", currency, money.order_value)
        yield row("clv_historic", "money", currency, money.historic)
        yield row("clv_predictive", "money", currency, money.predicted)
        if money.repeat_share is not None:
            yield row("repeat_revenue_share", "percent", currency, money.repeat_share)
        yield ValueMeasure("revenue", "money", tier, currency, money.revenue, None, None, money.arpu.n, found.complete)
