"""The closed loop: what happens after a customer was unhappy."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Label, Money, Seconds, Subchannel, Time


@event("cx.case.opened")
class CaseOpened(Data, frozen=True, kw_only=True):
    """A case was opened for an unhappy customer."""

    case_id: Label
    reason: Label | None = None
    priority: Label | None = None
    due: Time | None = None
    value: Money | None = None


@event("cx.case.assigned")
class CaseAssigned(Data, frozen=True, kw_only=True):
    """A case was given to somebody."""

    case_id: Label
    owner: Label
    wait_s: Seconds | None = None


@event("cx.case.contacted")
class CaseContacted(Data, frozen=True, kw_only=True):
    """The customer was contacted about the case, `duration_s` after it was opened."""

    case_id: Label
    duration_s: Seconds | None = None
    reached: bool | None = None
    in_sla: bool | None = None
    subchannel: Subchannel | None = None


@event("cx.case.resolved")
class CaseResolved(Data, frozen=True, kw_only=True):
    """The matter was solved."""

    case_id: Label
    duration_s: Seconds | None = None
    cause: Label | None = None
    action: Label | None = None


@event("cx.case.closed")
class CaseClosed(Data, frozen=True, kw_only=True):
    """The case was closed."""

    case_id: Label
    duration_s: Seconds | None = None
    in_sla: bool | None = None
    outcome: Literal["rescued", "satisfied", "unsatisfied", "unreachable", "lost"] | None = None


@event("cx.case.reopened")
class CaseReopened(Data, frozen=True, kw_only=True):
    """A closed case came back."""

    case_id: Label
    reason: Label | None = None


@event("cx.feedback.implemented")
class FeedbackImplemented(Data, frozen=True, kw_only=True):
    """A change was made because customers asked for it."""

    change: Label
    topic: Label | None = None


@event("cx.customer.informed")
class CustomerInformed(Data, frozen=True, kw_only=True):
    """The customer was told what became of their feedback."""

    change: Label | None = None
    case_id: Label | None = None
    subchannel: Subchannel | None = None
