"""
Orders less what was given back.

A refund takes away from the order that it names, at most what that was worth, and once. So no customer and no month is
ever worth less than nothing, and money of several currencies never meets.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum, isfinite
from typing import Final, Literal, NamedTuple, TypeAlias

_ROUNDING: Final = 1e-6
RefundKind: TypeAlias = Literal["cancelled", "initiated", "completed"]


class PlacedOrder(NamedTuple):
    """
    An order as it was placed.

    Attributes:
        at: When, Unix seconds.
        amount: In its currency; None: not given.
        currency: ISO 4217; empty: not given.
        paid: False if it is known that no money came.
    """

    id: str
    customer: str
    at: int
    amount: float | None
    currency: str = ""
    paid: bool = True


class Refund(NamedTuple):
    """
    Money that goes back, or an order that is called off.

    Attributes:
        id: Names the refund: one that comes again counts once.
        order: The order it belongs to.
        amount: None: not given, which calls the whole order off if it is cancelled, and else says nothing.
        currency: Empty: that of the order.
        customer: Whose order; needed only where several customers have orders of one id.
        kind: One refund may come as several kinds; of each order the kind that takes most counts.
    """

    id: str
    order: str
    amount: float | None
    currency: str = ""
    customer: str = ""
    kind: RefundKind = "completed"


class Purchase(NamedTuple):
    """
    A paid order that was not called off, less what was given back.

    Attributes:
        net: What is left; None: nobody knows what it was worth.
    """

    order: str
    customer: str
    at: int
    currency: str
    net: float | None

    @property
    def counts(self) -> bool:
        """Whether it is a purchase: what brought nothing, free or wholly given back, is none."""
        return self.net is None or self.net > 0


class Ignored(NamedTuple):
    """Something that took no part, and why."""

    id: str
    why: str


class Netted(NamedTuple):
    """Paid orders that were not called off, by time, and what took no part."""

    purchases: Sequence[Purchase]
    ignored: Sequence[Ignored]


def net_of(orders: Iterable[PlacedOrder], refunds: Iterable[Refund] = ()) -> Netted:
    """
    Take refunds off the orders they belong to.

    What comes twice counts once, the paid and earlier one. The order in which things are given changes nothing.

    Raises:
        ValueError: An amount is below 0 or no number.
    """
    ignored: list[Ignored] = []
    kept = _once(orders, ignored)
    by_id: dict[str, list[PlacedOrder]] = defaultdict(list)
    for order in kept.values():
        by_id[order.id].append(order)
    taken: dict[tuple[str, str], dict[RefundKind, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    seen: set[str] = set()
    for refund in sorted(refunds, key=lambda one: (*one[:2], one.kind, _rank(one.id, one.amount), *one[3:5])):
        found = _order_of(refund, by_id)
        if refund.id in seen:
            ignored.append(Ignored(refund.id, "came before"))
        elif isinstance(found, str):
            ignored.append(Ignored(refund.id, found))
        else:
            taken[found.customer, found.id][refund.kind].append(refund.amount)
        seen.add(refund.id)
    left = [_purchase(order, taken.get(key, {}), ignored) for key, order in kept.items() if order.paid]
    purchases = [one for one in left if one is not None]
    return Netted(sorted(purchases, key=lambda one: (one.at, one.customer, one.order)), sorted(ignored))


def _once(orders: Iterable[PlacedOrder], ignored: list[Ignored]) -> dict[tuple[str, str], PlacedOrder]:
    kept: dict[tuple[str, str], PlacedOrder] = {}
    for order in sorted(orders, key=lambda one: (not one.paid, one.at, one.currency, _rank(one.id, one.amount))):
        if (order.customer, order.id) in kept:
            ignored.append(Ignored(order.id, "order came before"))
        else:
            kept[order.customer, order.id] = order
    return kept


def _rank(what: str, amount: float | None) -> float:
    """Return an amount for sorting, an unknown one first."""
    if amount is None:
        return -1.0
    if not (isfinite(amount) and amount >= 0):
        raise ValueError(f"the amount of {what!r} is {amount}, expected a number from 0 on")
    return amount


def _order_of(refund: Refund, by_id: Mapping[str, Sequence[PlacedOrder]]) -> PlacedOrder | str:
    """Return the order that a refund takes from, or why there is none."""
    found = by_id.get(refund.order, ())
    if len(found) > 1:
        found = [order for order in found if order.customer == refund.customer]
        if not found:
            return "several customers have an order of that id"
    if not found:
        return "unknown order"
    [order] = found
    if not order.paid:
        return "order not paid"
    if refund.amount is None and refund.kind != "cancelled":
        return "no amount"
    if refund.amount is not None and order.amount is None:
        return "order without an amount"
    if refund.currency and order.currency and refund.currency != order.currency:
        return "another currency than the order"
    return order


def _purchase(
    order: PlacedOrder, taken: Mapping[RefundKind, Sequence[float | None]], ignored: list[Ignored]
) -> Purchase | None:
    """Return what is left of an order; None: it was called off whole."""
    sums = {kind: fsum(filter(None, amounts)) for kind, amounts in taken.items()}
    back = max(sums.values(), default=0.0)
    if order.amount is not None and back > order.amount + _ROUNDING / 2:
        ignored.append(Ignored(order.id, "more given back than the order was worth"))
    if None in taken.get("cancelled", ()) or (order.amount and sums.get("cancelled", 0.0) > order.amount - _ROUNDING):
        return None
    net = order.amount
    if net is not None and back:
        # What is less than a rounding error of doubles is nothing, and no purchase.
        left = net - back
        net = left if left >= _ROUNDING else 0.0
    return Purchase(order.id, order.customer, order.at, order.currency, net)
