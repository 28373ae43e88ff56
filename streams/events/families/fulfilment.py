"""Promise, delivery, return and refund."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Currency, Hours, Label, Money, Seconds, Time


@event("cx.promise.made")
class PromiseMade(Data, frozen=True, kw_only=True):
    """The customer was promised a delivery time; the original promise is the one that counts."""

    due: Time
    items: Count | None = None
    carrier: Label | None = None


@event("cx.promise.changed")
class PromiseChanged(Data, frozen=True, kw_only=True):
    """The promise was moved."""

    due: Time
    shift_h: Hours | None = None
    by: Literal["customer", "company"] | None = None


@event("cx.order.picked")
class OrderPicked(Data, frozen=True, kw_only=True):
    """The goods were taken from the shelf."""

    items: Count | None = None
    complete: bool | None = None


@event("cx.order.dispatched")
class OrderDispatched(Data, frozen=True, kw_only=True):
    """The goods were given to the carrier."""

    carrier: Label | None = None
    duration_s: Seconds | None = None


@event("cx.order.delivered", "1-1-0", earlier=("1-0-0",))
class OrderDelivered(Data, frozen=True, kw_only=True):
    """The goods arrived; `late` and `delay_h` are measured against the original promise, if there was one."""

    late: bool | None = None
    condition: Literal["intact", "damaged"] | None = None
    complete: bool | None = None
    delay_h: Hours | None = None
    items: Count | None = None
    carrier: Label | None = None
    duration_s: Seconds | None = None


@event("cx.order.delivery_failed")
class OrderDeliveryFailed(Data, frozen=True, kw_only=True):
    """A delivery was tried in vain."""

    reason: Label | None = None
    attempt: Count | None = None
    carrier: Label | None = None


@event("cx.order.delay_notified")
class OrderDelayNotified(Data, frozen=True, kw_only=True):
    """The customer was told of a delay."""

    delay_h: Hours | None = None
    before_due: bool | None = None
    carrier: Label | None = None


@event("cx.order.delivery_overdue")
class OrderDeliveryOverdue(Data, frozen=True, kw_only=True):
    """The promised time passed without delivery: a miss at once, whenever the goods may arrive."""

    due: Time | None = None
    carrier: Label | None = None
    items: Count | None = None


@event("cx.order.return_requested", "1-1-0", earlier=("1-0-0",))
class OrderReturnRequested(Data, frozen=True, kw_only=True):
    """The customer asked to send goods back; of several products, each is an event of its own."""

    reason: Label | None = None
    items: Count | None = None
    category: Label | None = None
    product: Label | None = None


@event("cx.order.return_received")
class OrderReturnReceived(Data, frozen=True, kw_only=True):
    """Returned goods arrived."""

    items: Count | None = None
    condition: Literal["intact", "damaged"] | None = None
    duration_s: Seconds | None = None


@event("cx.order.refund_initiated")
class OrderRefundInitiated(Data, frozen=True, kw_only=True):
    """A refund was ordered."""

    amount: Money | None = None
    currency: Currency | None = None
    reason: Label | None = None


@event("cx.order.refund_completed")
class OrderRefundCompleted(Data, frozen=True, kw_only=True):
    """The money reached the customer, `duration_s` after the return was received."""

    amount: Money | None = None
    currency: Currency | None = None
    duration_s: Seconds | None = None
