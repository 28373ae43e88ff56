"""Who stays, who leaves, who comes back: retention, return within so many days, cohorts by month."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal, NamedTuple

from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.language.steps import Steps
from streams.value.measures import percent
from streams.value.purchases import Purchase


class CustomerRetention(NamedTuple):
    """
    Customers of the start who are still there at the end.

    Attributes:
        start: S, customers at the start.
        end: E, customers at the end.
        new: N, those of the end who were not there at the start.
        retained: (E - N) / S in percent; no value where S = 0.
        churned: What is missing to 100.
    """

    start: int
    end: int
    new: int
    retained: Measure
    churned: Measure


def retention(start: int, end: int, new: int) -> CustomerRetention:
    """
    Return retention and churn of counts: `new` are those who came in the period and are still there at its end.

    Raises:
        ValueError: Such counts cannot be: of `end` at least none and at most `start` are not new.
    """
    kept = end - new
    if min(start, end, new) < 0 or not 0 <= kept <= start:
        raise ValueError(f"of {end} customers at the end {new} are new: expected 0 to {start} who are not")
    return CustomerRetention(start, end, new, percent(kept, start), percent(start - kept, start))


def retention_of(start: Collection[str], end: Collection[str]) -> CustomerRetention:
    """Return retention and churn of the customers at the start and at the end, whoever came and left in between."""
    before, after = set(start), set(end)
    return retention(len(before), len(after), len(after - before))


@dataclass(frozen=True, slots=True)
class Returns:
    """
    Who came back within so many days.

    Attributes:
        days: After the day of the first order.
        share: Of customers who have had all these days, in percent: what may be shown.
        matured: These customers.
        returned: Those of them who came back.
        pending: Customers whose days are not over.
        provisional: Of all customers, and with all who came back so far: it rises by mere passing of time.
    """

    days: int
    share: Measure
    matured: Sequence[str]
    returned: Sequence[str]
    pending: Sequence[str]
    provisional: Measure


def returns(order_days: Mapping[str, Collection[int]], days: int, as_of: int) -> Returns:
    """
    Return who ordered again on a later day, at most `days` after the day of the first order.

    Args:
        order_days: Of each customer the days with an order, as numbers of days.
        days: 1 or more.
        as_of: The last day that is over; what comes after it is not looked at.

    Raises:
        ValueError: `days` is below 1.
    """
    if days < 1:
        raise ValueError(f"days is {days}, expected 1 or more: a second order on the same day is no return")
    matured: list[str] = []
    pending: list[str] = []
    back: set[str] = set()
    for customer in sorted(order_days):
        known = [day for day in order_days[customer] if day <= as_of]
        if not known:
            continue
        first = min(known)
        (matured if first + days <= as_of else pending).append(customer)
        if any(first < day <= first + days for day in known):
            back.add(customer)
    returned = [customer for customer in matured if customer in back]
    return Returns(
        days, percent(len(returned), len(matured)), matured, returned, pending,
        percent(len(back), len(matured) + len(pending)),
    )  # fmt: skip


class CohortMonth(NamedTuple):
    """
    What a cohort did in one month.

    Attributes:
        month: By the calendar, `1403-12`.
        active: Its customers who bought in it, in percent.
        revenue: What they brought, by currency.
        complete: Whether the month is over; else the numbers still rise.
    """

    month: str
    active: Measure
    revenue: Mapping[str, float]
    complete: bool


class Cohort(NamedTuple):
    """
    Customers whose first purchase was in one month.

    Attributes:
        months: The first month and all after it.
    """

    month: str
    size: int
    months: Sequence[CohortMonth]

    @property
    def complete(self) -> bool:
        """Whether nobody can join it any more."""
        return self.months[0].complete


def cohorts(
    purchases: Iterable[Purchase], zone: str, calendar: Literal["gregorian", "jalali"], as_of: int
) -> list[Cohort]:
    """
    Return customers by the month of their first purchase, and in which share they buy in each month after it.

    Args:
        purchases: All there are, since who bought before belongs to an earlier month.
        zone: Time zone in which months begin, at midnight.
        calendar: Whose months.
        as_of: How far purchases are known, Unix seconds; later ones are not looked at.

    Raises:
        KeyError: There is no such zone.
    """
    known = sorted((one for one in purchases if one.counts and one.at < as_of), key=lambda one: one.at)
    if not known:
        return []
    steps = Steps("month", 1, zone, calendar)
    bounds = steps.bounds(known[0].at, as_of)
    names = [month_name(steps, begin) for begin in bounds[:-1]]
    first: dict[str, int] = {}
    active: dict[tuple[int, int], set[str]] = defaultdict(set)
    amounts: dict[tuple[int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in known:
        month = bisect_right(bounds, one.at) - 1
        joined = first.setdefault(one.customer, month)
        active[joined, month].add(one.customer)
        if one.net is not None:
            amounts[joined, month][one.currency].append(one.net)
    found = []
    for joined in sorted(set(first.values())):
        size = len(active[joined, joined])
        months = [
            CohortMonth(
                names[month],
                percent(len(active.get((joined, month), ())), size),
                {name: fsum(parts) for name, parts in sorted(amounts.get((joined, month), {}).items())},
                bounds[month + 1] <= as_of,
            )
            for month in range(joined, len(names))
        ]
        found.append(Cohort(names[joined], size, months))
    return found


def month_name(steps: Steps, at: int) -> str:
    """Return the month of a moment in the zone and the calendar of steps, as `1403-12`."""
    return steps.day(at).rpartition("-")[0]
