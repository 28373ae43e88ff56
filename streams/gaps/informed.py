"""
"You said, we did": of the customers whose feedback led to a change, who was told, and how soon?

The outer loop: a change says for whom it was made (`cx.feedback.implemented`, its subject being the customer), and the
customer is told of it (`cx.customer.informed` with the same `change`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from streams.experiments.judging import Sums, estimate
from streams.kpis.arithmetic.intervals import Measure, student_factor
from streams.value.measures import percent

WITHIN_S: Final = 30 * 86_400
"""How soon customers are to be told, by default."""
_DAY: Final = 86_400
_FEWEST_CHANGES: Final = 5


class ImplementedFor(NamedTuple):
    """A change that was made for a customer; moments in Unix seconds, None: never."""

    change: str
    customer: str
    implemented: int
    informed: int | None
    asked: int | None = None
    """When the customer had said something last before it."""


@dataclass(frozen=True, slots=True)
class InformedRate:
    """
    One change, or all of them.

    Attributes:
        change: Its name; empty: all.
        customers: For whom it was made.
        rate: Percent told in time, of those whose time is over; Wilson's 95 % interval for a change. For all of them
            changes are the independent units, since customers of one are told together.
        pending: Those whose time is not over, told or not: to count who was told already would flatter.
        late: Told, but too late.
        days_to_tell: Median days from change to telling, of those told; None: nobody was.
        days_to_change: Median days from the customer's words to the change; None: not known.
    """

    change: str
    customers: int
    rate: Measure
    pending: int
    late: int
    days_to_tell: float | None
    days_to_change: float | None


def informed_rates(rows: Iterable[ImplementedFor], until: int, within_s: int = WITHIN_S) -> list[InformedRate]:
    """
    Return the rate of all changes, then that of each, the lowest first; none if nothing was changed.

    What is known ends at `until`. A customer counts once for a change, from the first time it was made for them.
    """
    first: dict[tuple[str, str], ImplementedFor] = {}
    for one in rows:
        known = first.setdefault((one.change, one.customer), one)
        if one.implemented < known.implemented:
            first[one.change, one.customer] = one
    changes: dict[str, list[ImplementedFor]] = {}
    for one in first.values():
        changes.setdefault(one.change, []).append(one)
    if not changes:
        return []
    by_change = [_rate(name, found, until, within_s) for name, found in changes.items()]
    by_change.sort(key=lambda one: (one.rate.value is None, one.rate.value or 0.0, -one.customers, one.change))
    everyone = _rate("", [*first.values()], until, within_s)
    return [_by_changes(everyone, by_change), *by_change]


def _rate(change: str, found: list[ImplementedFor], until: int, within_s: int) -> InformedRate:
    informed = [
        (one.informed - one.implemented, one.implemented + within_s <= until)
        for one in found
        if one.informed is not None and one.informed <= until
    ]
    in_time = sum(is_over and after <= within_s for after, is_over in informed)
    pending = sum(one.implemented + within_s > until for one in found)
    waited = [one.implemented - one.asked for one in found if one.asked is not None]
    return InformedRate(
        change,
        len(found),
        percent(in_time, len(found) - pending),
        pending,
        sum(after > within_s for after, _ in informed),
        median(after for after, _ in informed) / _DAY if informed else None,
        median(waited) / _DAY if waited else None,
    )


def _by_changes(everyone: InformedRate, by_change: list[InformedRate]) -> InformedRate:
    """Give the rate of all changes the interval of a ratio over changes; none for too few of them."""
    pairs = [(one.rate.n, one.rate.n * (one.rate.value or 0.0)) for one in by_change if one.rate.n]
    sums = Sums(
        len(pairs),
        sum(n for n, _ in pairs),
        sum(informed for _, informed in pairs),
        sum(n * n for n, _ in pairs),
        sum(n * informed for n, informed in pairs),
        sum(informed * informed for _, informed in pairs),
    )
    known = estimate(sums) if len(pairs) >= _FEWEST_CHANGES else None
    rate, ends = everyone.rate, (None, None)
    if known is not None and known.variance > 0:
        half = student_factor(known.n - 1) * known.variance**0.5
        ends = (max(0.0, known.value - half), min(100.0, known.value + half))
    return InformedRate(
        everyone.change,
        everyone.customers,
        Measure(rate.value, rate.n, *ends),
        everyone.pending,
        everyone.late,
        everyone.days_to_tell,
        everyone.days_to_change,
    )
