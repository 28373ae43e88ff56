"""Customer value of one period: who stayed, who came back, and what they brought in each currency."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final, NamedTuple

from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.language.steps import Steps, clock_of
from streams.value.loyalty import CustomerRetention, Returns, month_name, retention_of, returns
from streams.value.measures import mean
from streams.value.purchases import Purchase
from streams.value.worth import historic, predicted, repeat_share, revenue_by_customer, simple, worth_of

_FIRST: Final = 631_152_000
_LAST: Final = 4_102_444_800
"""1990 and 2100: no store holds what is outside."""
_DAY: Final = 86_400
_YEAR: Final = 365 * _DAY


class Period(NamedTuple):
    """
    A time, and the one before it of the same kind, in Unix seconds.

    Attributes:
        before: Where the one before begins; it ends where this one begins.
        since: Start, included.
        until: End, not included.
        month: Its name, if it is a month.
    """

    before: int
    since: int
    until: int
    month: str = ""


def month_named(name: str, steps: Steps) -> Period:
    """
    Return a month of the zone and the calendar of steps, such as `1403-12`.

    Raises:
        ValueError: The calendar has no such month from 1990 to 2100.
    """
    bounds = steps.bounds(_FIRST, _LAST)
    names = {month_name(steps, at): place for place, at in enumerate(bounds[:-1])}
    place = names.get(name, 0)
    if not place:
        known = [*names]
        raise ValueError(f"no month {name!r} of the {steps.calendar} calendar, expected {known[1]} to {known[-1]}")
    return Period(bounds[place - 1], bounds[place], bounds[place + 1], name)


def last_whole_month(as_of: int, steps: Steps) -> Period:
    """Return the newest month that is over at a moment."""
    bounds = [at for at in steps.bounds(as_of - 100 * _DAY, as_of) if at <= as_of]
    before, since, until = bounds[-3:]
    return Period(before, since, until, month_name(steps, since))


class MoneyOfPeriod(NamedTuple):
    """
    What customers brought in a period, in one currency.

    Attributes:
        revenue: Of paid orders, less what was given back of them.
        order_value: Mean of what is left of purchases; n of purchases.
        arpu: Revenue per active customer.
        repeat_share: Percent of revenue from purchases after a customer's first.
        historic: Mean lifetime value up to the end of the period, over all customers with a paid order.
        predicted: Lifetime value to come, of one who buys in the period: ARPU × margin / churn.
        simple: Mean order × orders per customer × years assumed, the first two of the year up to the end of the period;
            None if no years are.
    """

    revenue: float
    order_value: Measure
    arpu: Measure
    repeat_share: Measure | None
    historic: Measure
    predicted: Measure
    simple: float | None


@dataclass(frozen=True, slots=True)
class PeriodValue:
    """
    Customer value of one period.

    Attributes:
        complete: Whether the period is over: else who has not bought yet still may.
        loyalty: Customers who bought in the period before, held against those who bought in this one.
        returned: Of those whose first purchase lies in the period.
        money: By currency.
    """

    period: Period
    complete: bool
    loyalty: CustomerRetention
    returned: Returns
    money: Mapping[str, MoneyOfPeriod]


def value_of(
    purchases: Sequence[Purchase],
    period: Period,
    as_of: int,
    zone: str,
    *,
    days: int = 30,
    margin: float = 1.0,
    lifespan: float | None = None,
) -> PeriodValue:
    """
    Return customer value of a period, from all purchases there are, those before the period included.

    Args:
        purchases: Of any time, less what was given back.
        period: What is asked about.
        as_of: How far purchases are known, Unix seconds.
        zone: Time zone in which days begin.
        days: In which customers are to come back.
        margin: What is left of revenue, from 0 to 1.
        lifespan: Years for which a customer is assumed to stay.

    Raises:
        ValueError: Days are below 1, or margin or lifespan cannot be.
        KeyError: There is no such zone.
    """
    known = [one for one in purchases if one.at < min(as_of, period.until)]
    before = {one.customer for one in known if one.counts and period.before <= one.at < period.since}
    now = {one.customer for one in known if one.counts and one.at >= period.since}
    loyalty = retention_of(before, now)
    first: dict[str, int] = {}
    for one in purchases:
        if one.counts and one.at < as_of:
            first[one.customer] = min(one.at, first.get(one.customer, one.at))
    joined = {customer for customer, at in first.items() if period.since <= at < period.until}
    clock = clock_of(zone)
    days_of: dict[str, set[int]] = defaultdict(set)
    for one in purchases:
        if one.counts and one.at < as_of and one.customer in joined:
            days_of[one.customer].add(clock.local(one.at) // _DAY)
    worths, shares = worth_of(known), repeat_share(known, period.since, period.until)
    lost = loyalty.start - (loyalty.end - loyalty.new)
    money = {}
    for currency, revenues in revenue_by_customer(known, period.since, period.until).items():
        each, year = [*revenues.values()], period.until - _YEAR
        bought_here = [one for one in known if one.currency == currency and one.net]
        money[currency] = MoneyOfPeriod(
            fsum(each), mean([one.net or 0.0 for one in bought_here if one.at >= period.since]), mean(each),
            shares.get(currency), historic(worths[currency]), predicted(each, lost, loyalty.start, margin),
            None if lifespan is None else _simple([one for one in bought_here if one.at >= year], lifespan),
        )  # fmt: skip
    last_day = clock.local(as_of) // _DAY - 1
    return PeriodValue(period, period.until <= as_of, loyalty, returns(days_of, days, last_day), money)


def _simple(purchases: Sequence[Purchase], lifespan: float) -> float:
    nets = [one.net or 0.0 for one in purchases]
    customers = len({one.customer for one in purchases})
    return simple(fsum(nets) / len(nets), len(nets) / customers, lifespan) if nets else 0.0
