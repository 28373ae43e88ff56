"""Requests with a due time, as in a city's service line or a support portal."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Label, Seconds, Subchannel, Time


@event("cx.ticket.opened", "1-1-0", earlier=("1-0-0",), counts="requests")
class TicketOpened(Data, frozen=True, kw_only=True):
    """A request was filed."""

    topic: Label | None = None
    area: Label | None = None
    department: Label | None = None
    due: Time | None = None
    subchannel: Subchannel | None = None


@event("cx.ticket.assigned", counts="assignments (a request that is passed on has several)")
class TicketAssigned(Data, frozen=True, kw_only=True):
    """A request was given to a team."""

    department: Label
    topic: Label | None = None
    wait_s: Seconds | None = None


@event("cx.ticket.sla_breached", counts="requests that fell overdue")
class TicketSlaBreached(Data, frozen=True, kw_only=True):
    """The due time passed with the request still open."""

    topic: Label | None = None
    area: Label | None = None
    department: Label | None = None
    due: Time | None = None


@event(
    "cx.ticket.resolved",
    "1-1-0",
    earlier=("1-0-0",),
    counts="settlings of requests (one that was reopened is settled again)",
)
class TicketResolved(Data, frozen=True, kw_only=True):
    """A request was settled, `duration_s` after it was filed."""

    duration_s: Seconds | None = None
    topic: Label | None = None
    area: Label | None = None
    department: Label | None = None
    on_time: bool | None = None
    outcome: Literal["done", "refused", "duplicate", "referred"] | None = None


@event("cx.ticket.reopened", counts="reopenings of requests (a request may come back more than once)")
class TicketReopened(Data, frozen=True, kw_only=True):
    """A settled request came back."""

    topic: Label | None = None
    area: Label | None = None
    reason: Label | None = None
