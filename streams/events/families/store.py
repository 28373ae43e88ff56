"""Shops and branches: visitors, queues, the till, help on the floor."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Currency, Label, Money, Seconds


@event("cx.store.visitor_entered", counts="entrances (of one person or of a group)")
class StoreVisitorEntered(Data, frozen=True, kw_only=True):
    """Somebody came in; a counter that sees groups sends `people`."""

    people: Count | None = None
    entrance: Label | None = None


@event("cx.store.visitor_left", counts="exits (of one person or of a group)")
class StoreVisitorLeft(Data, frozen=True, kw_only=True):
    """Somebody left."""

    people: Count | None = None
    duration_s: Seconds | None = None
    bought: bool | None = None


@event("cx.store.queue_joined", counts="stays in a queue")
class StoreQueueJoined(Data, frozen=True, kw_only=True):
    """A customer joined a queue or drew a ticket."""

    queue: Label | None = None
    service: Label | None = None
    waiting: Count | None = None


@event("cx.store.queue_served", "1-1-0", earlier=("1-0-0",), counts="stays in a queue")
class StoreQueueServed(Data, frozen=True, kw_only=True):
    """A queueing customer's turn came, after `wait_s`."""

    wait_s: Seconds | None = None
    queue: Label | None = None
    service: Label | None = None


@event("cx.store.queue_left", counts="stays in a queue")
class StoreQueueLeft(Data, frozen=True, kw_only=True):
    """A customer gave up queueing, or was sent elsewhere."""

    wait_s: Seconds | None = None
    queue: Label | None = None
    service: Label | None = None
    reason: Literal["abandoned", "closed", "moved"] | None = None


@event("cx.store.queue_observed", counts="observations of a queue (not customers)")
class StoreQueueObserved(Data, frozen=True, kw_only=True):
    """The wait a branch posted or a camera estimated: about the queue, not about one customer."""

    wait_s: Seconds
    queue: Label | None = None
    service: Label | None = None
    waiting: Count | None = None


@event("cx.store.pos_transaction", counts="receipts (not customers)")
class StorePosTransaction(Data, frozen=True, kw_only=True):
    """A receipt at the till."""

    amount: Money | None = None
    currency: Currency | None = None
    items: Count | None = None
    duration_s: Seconds | None = None
    refund: bool = False


@event("cx.store.staff_assisted", counts="assistances (not customers)")
class StoreStaffAssisted(Data, frozen=True, kw_only=True):
    """Staff helped a customer on the floor."""

    topic: Label | None = None
    duration_s: Seconds | None = None
    resolved: bool | None = None


@event("cx.store.stock_out_hit", counts="meetings with an empty shelf (not products)")
class StoreStockOutHit(Data, frozen=True, kw_only=True):
    """A customer wanted something that was out of stock."""

    product: Label
    category: Label | None = None
    substituted: bool | None = None


@event("cx.store.service_completed", "1-1-0", earlier=("1-0-0",), counts="services completed (not customers)")
class StoreServiceCompleted(Data, frozen=True, kw_only=True):
    """A service at a counter ended."""

    duration_s: Seconds | None = None
    service: Label | None = None
    queue: Label | None = None
    resolved: bool | None = None
