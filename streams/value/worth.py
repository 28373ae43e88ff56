"""What customers bring: lifetime value so far and to come, revenue per active customer, and by returning ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from statistics import NormalDist, fmean
from typing import Final, NamedTuple

from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.value.measures import mean, percent, ratio_percent
from streams.value.purchases import Purchase

_Z_OF_TWO: Final = NormalDist().inv_cdf(1 - 0.05 / 4)
"""For two intervals that hold together with 95 %."""


class Worth(NamedTuple):
    """
    What one customer has brought so far, in one currency.

    Attributes:
        value: Paid orders less what was given back: the historic lifetime value.
        orders: Paid ones.
        purchases: Orders of which something is left.
        frequency: Purchases after the first, as models of the gamma-gamma kind take them.
        monetary: Their mean amount; None where there are none, never 0 or below.
    """

    customer: str
    value: float
    orders: int
    purchases: int
    frequency: int
    monetary: float | None


def worth_of(purchases: Iterable[Purchase]) -> dict[str, dict[str, Worth]]:
    """
    Return what each customer with a paid order has brought, by currency.

    Orders without an amount are left out: nobody knows what they are worth.
    """
    amounts: dict[str, dict[str, list[tuple[int, str, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in purchases:
        if one.net is not None:
            amounts[one.currency][one.customer].append((one.at, one.order, one.net))
    return {
        currency: {customer: _worth(customer, sorted(found)) for customer, found in sorted(customers.items())}
        for currency, customers in sorted(amounts.items())
    }


def _worth(customer: str, found: Sequence[tuple[int, str, float]]) -> Worth:
    kept = [net for *_, net in found if net > 0]
    after = kept[1:]
    return Worth(customer, fsum(kept), len(found), len(kept), len(after), fmean(after) if after else None)


def historic(worths: Mapping[str, Worth]) -> Measure:
    """Return the mean lifetime value so far over customers with a paid order, those whose money went back included."""
    return mean([one.value for one in worths.values()])


def monthly(customers: Iterable[tuple[float, float]]) -> Measure:
    """
    Return the mean over customers of (revenue / months since joining): not all revenue by all customers.

    Raises:
        ValueError: The months of a customer are not above 0.
    """
    rates = []
    for revenue, months in customers:
        if not months > 0:
            raise ValueError(f"months since joining is {months}, expected more than 0")
        rates.append(revenue / months)
    return mean(rates)


def simple(order_value: float, frequency: float, lifespan: float) -> float:
    """
    Return the lifetime value as mean order × orders per time × lifespan in that time: 50 × 5 × 3 = 750.

    Raises:
        ValueError: One of them is below 0.
    """
    if not min(order_value, frequency, lifespan) >= 0:
        raise ValueError(f"expected no part below 0, got {order_value}, {frequency}, {lifespan}")
    return order_value * frequency * lifespan


def predictive(arpu: float | None, churn: float | None, margin: float = 1.0) -> float | None:
    """
    Return the lifetime value to come: ARPU × margin / churn; None where one is unknown, or nobody leaves.

    Args:
        arpu: Of a period.
        churn: Of a period of the same length, as a share from 0 to 1.
        margin: What is left of revenue, from 0 to 1.

    Raises:
        ValueError: A share is outside 0 to 1.
    """
    for name, share in (("churn", churn), ("margin", margin)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}, expected a share from 0 to 1")
    return arpu * margin / churn if arpu is not None and churn else None


def predicted(revenues: Sequence[float], lost: int, start: int, margin: float = 1.0) -> Measure:
    """
    Return the lifetime value to come of one who buys now, with its interval.

    The interval takes the ends of ARPU and of churn together, each wide enough that both hold with 95 %. Where churn
    may be 0 there is no upper end.

    Args:
        revenues: Of each active customer of the period.
        lost: How many customers of the start are not there any more.
        start: How many there were.
        margin: What is left of revenue, from 0 to 1.
    """
    arpu, churn = mean(revenues, _Z_OF_TWO), percent(lost, start, _Z_OF_TWO)
    if arpu.value is None or churn.value is None:
        return NOTHING._replace(n=start)
    value = predictive(arpu.value, churn.value / 100, margin)
    if value is None or arpu.lo is None or churn.hi is None:
        return Measure(value, start, None, None)
    hi = None if arpu.hi is None or not churn.lo else predictive(arpu.hi, churn.lo / 100, margin)
    return Measure(value, start, predictive(arpu.lo, churn.hi / 100, margin), hi)


def revenue_by_customer(purchases: Iterable[Purchase], since: int, until: int) -> dict[str, dict[str, float]]:
    """
    Return what each active customer brought in a period, by currency.

    Active is who has a paid order in it. A refund belongs to the period of its order, whenever it comes.
    """
    parts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in purchases:
        if one.net is not None and since <= one.at < until:
            parts[one.currency][one.customer].append(one.net)
    return {
        currency: {customer: fsum(amounts) for customer, amounts in sorted(customers.items())}
        for currency, customers in sorted(parts.items())
    }


def arpu(purchases: Iterable[Purchase], since: int, until: int) -> dict[str, Measure]:
    """Return the revenue per active customer of a period, by currency; one person with two cards is one."""
    found = revenue_by_customer(purchases, since, until)
    return {currency: mean([*customers.values()]) for currency, customers in found.items()}


def mean_of_periods(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values of periods, each counting the same; those without a value are left out."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def repeat_share(purchases: Iterable[Purchase], since: int, until: int) -> dict[str, Measure]:
    """
    Return the share of the revenue of a period that came from purchases after a customer's first, by currency.

    Args:
        purchases: All there are: the first of a customer may lie before the period.
        since: Start, included.
        until: End, not included.
    """
    bought: set[str] = set()
    parts: dict[str, dict[str, tuple[list[float], list[float]]]] = defaultdict(dict)
    for one in sorted(purchases, key=lambda one: (one.at, one.customer, one.order)):
        if not one.counts:
            continue
        if one.net is not None and since <= one.at < until:
            again, whole = parts[one.currency].setdefault(one.customer, ([], []))
            whole.append(one.net)
            if one.customer in bought:
                again.append(one.net)
        bought.add(one.customer)
    return {
        currency: ratio_percent([(fsum(again), fsum(whole)) for again, whole in customers.values()])
        for currency, customers in sorted(parts.items())
    }
