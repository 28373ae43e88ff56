"""What each customer is worth in one line, and what of it has changed since it was last sent."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from streams.value.purchases import Purchase
from streams.value.risk import ChurnScore
from streams.value.tiers import TierBasis, tiers
from streams.value.worth import worth_of

_CENTS: Final = 2


class CustomerValue(NamedTuple):
    """
    What a customer is worth.

    Attributes:
        tier: By lifetime value, among customers of the same currency.
        clv: Lifetime value so far.
        currency: In which the customer bought most often.
        orders: Purchases of it.
        churn_risk: The newest probability to leave, of a model that may be used; None: there is none.
        model: Which gave it; empty: none.
    """

    tier: str
    clv: float
    currency: str
    orders: int
    churn_risk: float | None = None
    model: str = ""


def values_of(
    purchases: Sequence[Purchase],
    basis: TierBasis = "customers",
    limits: Sequence[float] | None = None,
    scores: Iterable[ChurnScore] = (),
    usable: AbstractSet[str] = frozenset(),
) -> dict[str, CustomerValue]:
    """
    Return what each customer with a purchase of known worth is worth.

    Currencies are never added up: who bought in several counts in that of most purchases.

    Args:
        purchases: Less what was given back.
        basis: Of what the limits are percents, as of `tiers`.
        limits: Where tiers end.
        scores: Risks to leave; those of `usable` models count, the newest of each customer.
        usable: Models that may be used.
    """
    bought: dict[str, Counter[str]] = defaultdict(Counter)
    for one in purchases:
        if one.net:
            bought[one.customer][one.currency] += 1
    own = {customer: min(found, key=lambda name: (-found[name], name)) for customer, found in bought.items()}
    newest: dict[str, ChurnScore] = {}
    for score in scores:
        known = newest.get(score.customer)
        if score.model in usable and (known is None or (score.at, score.model) > (known.at, known.model)):
            newest[score.customer] = score
    values = {}
    for currency, worths in worth_of(purchases).items():
        mine = {customer: one.value for customer, one in worths.items() if own.get(customer) == currency}
        for tier in tiers(mine, basis, limits):
            for customer in tier.customers:
                score_of = newest.get(customer)
                values[customer] = CustomerValue(
                    tier.name, round(mine[customer], _CENTS), currency, worths[customer].purchases,
                    None if score_of is None else round(score_of.risk, _CENTS), score_of.model if score_of else "",
                )  # fmt: skip
    return values


class SentValue(NamedTuple):
    """What was published of a customer, and when, Unix milliseconds."""

    value: CustomerValue
    at: int


def changed(
    now: Mapping[str, CustomerValue], sent: Mapping[str, SentValue]
) -> Iterator[tuple[str, CustomerValue, SentValue | None]]:
    """Yield, by id, each customer of whom something is new, with what was published before; None: nothing was."""
    for customer in sorted(now):
        before = sent.get(customer)
        if before is None or before.value != now[customer]:
            yield customer, now[customer], before


def event_of(customer: str, value: CustomerValue, before: SentValue | None, order: Sequence[str]) -> dict[str, Any]:
    """
    Return the event that tells of a change; whoever sends it fills in the time.

    The same change since the same event has the same id, so that a run that is repeated says nothing twice. `order`
    names tiers, the most valuable first.
    """
    named = "\x1f".join(map(repr, (customer, value, before)))
    data = {name: found for name, found in value._asdict().items() if found not in {None, ""}}
    if before is not None and before.value.tier != value.tier:
        data["previous"] = before.value.tier
        if {before.value.tier, value.tier} <= {*order}:
            data["direction"] = "up" if order.index(value.tier) < order.index(before.value.tier) else "down"
    return {
        "id": blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(), "source": "/cx/value",
        "type": "cx.customer.valued", "subject": customer, "channel": "web", "data": data,
    }  # fmt: skip
