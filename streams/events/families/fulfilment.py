"""Promise, delivery, return and refund."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Currency, Hours, Label, Money, Seconds, Time


@event("cx.promise.made", counts="promises")
class PromiseMade(Data, frozen=True, kw_only=True):
    """The customer was promised a delivery time; the original promise is the one that counts."""

    due: Time
    items: Count | None = None
    carrier: Label | None = None


@event("cx.promise.changed", counts="changes of promises (a promise may be moved several times)")
class PromiseChanged(Data, frozen=True, kw_only=True):
    """The promise was moved."""

    due: Time
    shift_h: Hours | None = None
    by: Literal["customer", "company"] | None = None


@event("cx.order.picked", counts="pickings (an order in several parcels has several if its sender tells them apart)")
class OrderPicked(Data, frozen=True, kw_only=True):
    """The goods were taken from the shelf."""

    items: Count | None = None
    complete: bool | None = None


@event(
    "cx.order.dispatched", counts="dispatches (an order in several parcels has several if its sender tells them apart)"
)
class OrderDispatched(Data, frozen=True, kw_only=True):
    """The goods were given to the carrier."""

    carrier: Label | None = None
    duration_s: Seconds | None = None


@event(
    "cx.order.delivered",
    "1-1-0",
    earlier=("1-0-0",),
    counts="deliveries (an order in several parcels has several if its sender tells them apart)",
)
class OrderDelivered(Data, frozen=True, kw_only=True):
    """The goods arrived; `late` and `delay_h` are measured against the original promise, if there was one."""

    late: bool | None = None
    condition: Literal["intact", "damaged"] | None = None
    complete: bool | None = None
    delay_h: Hours | None = None
    items: Count | None = None
    carrier: Label | None = None
    duration_s: Seconds | None = None


@event("cx.order.delivery_failed", counts="deliveries tried in vain (not orders)")
class OrderDeliveryFailed(Data, frozen=True, kw_only=True):
    """A delivery was tried in vain."""

    reason: Label | None = None
    attempt: Count | None = None
    carrier: Label | None = None


@event("cx.order.delay_notified", counts="notices (not orders)")
class OrderDelayNotified(Data, frozen=True, kw_only=True):
    """The customer was told of a delay."""

    delay_h: Hours | None = None
    before_due: bool | None = None
    carrier: Label | None = None


@event("cx.order.delivery_overdue", counts="orders that fell overdue")
class OrderDeliveryOverdue(Data, frozen=True, kw_only=True):
    """The promised time passed without delivery: a miss at once, whenever the goods may arrive."""

    due: Time | None = None
    carrier: Label | None = None
    items: Count | None = None


@event("cx.order.return_requested", "1-1-0", earlier=("1-0-0",), counts="returns asked for (an order may have several)")
class OrderReturnRequested(Data, frozen=True, kw_only=True):
    """The customer asked to send goods back; of several products, each is an event of its own."""

    reason: Label | None = None
    items: Count | None = None
    category: Label | None = None
    product: Label | None = None


@event("cx.order.return_received", counts="returns (an order may have several)")
class OrderReturnReceived(Data, frozen=True, kw_only=True):
    """Returned goods arrived."""

    items: Count | None = None
    condition: Literal["intact", "damaged"] | None = None
    duration_s: Seconds | None = None


@event("cx.order.refund_initiated", counts="refunds begun (an order may have several)")
class OrderRefundInitiated(Data, frozen=True, kw_only=True):
    """A refund was ordered."""

    amount: Money | None = None
    currency: Currency | None = None
    reason: Label | None = None


@event("cx.order.refund_completed", counts="refunds (an order may have several)")
class OrderRefundCompleted(Data, frozen=True, kw_only=True):
    """The money reached the customer, `duration_s` after the return was received."""

    amount: Money | None = None
    currency: Currency | None = None
    duration_s: Seconds | None = None
