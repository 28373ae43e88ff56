"""The closed loop: what happens after a customer was unhappy."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Label, Money, Number, Seconds, Share, Subchannel, Time

ClosingOutcome = Literal["rescued", "satisfied", "unsatisfied", "unreachable", "lost", "informed"]
CaseClock = Literal["contact", "close"]


@event("cx.case.opened", "1-1-0", earlier=("1-0-0",), counts="cases")
class CaseOpened(Data, frozen=True, kw_only=True):
    """A case was opened for an unhappy customer; `contact_due` and `due` say by when to contact and to close."""

    case_id: Label
    reason: Label | None = None
    priority: Label | None = None
    due: Time | None = None
    value: Money | None = None
    contact_due: Time | None = None
    owner: Label | None = None
    severity: Number | None = None
    tier: Label | None = None
    churn_risk: Share | None = None


@event(
    "cx.case.assigned",
    "1-1-0",
    earlier=("1-0-0",),
    counts="assignments of cases (a case that is passed on has several)",
)
class CaseAssigned(Data, frozen=True, kw_only=True):
    """A case was given to somebody; `if_version` is the version of the case that the sender knew."""

    case_id: Label
    owner: Label
    wait_s: Seconds | None = None
    if_version: Count | None = None


@event("cx.case.prioritised", counts="changes of the priority of cases")
class CasePrioritised(Data, frozen=True, kw_only=True):
    """A case got another priority: its clocks count from its opening."""

    case_id: Label
    priority: Label
    if_version: Count | None = None


@event("cx.case.contacted", "1-1-0", earlier=("1-0-0",), counts="attempts to contact (not cases)")
class CaseContacted(Data, frozen=True, kw_only=True):
    """The customer was contacted about the case, `duration_s` after it was opened."""

    case_id: Label
    duration_s: Seconds | None = None
    reached: bool | None = None
    in_sla: bool | None = None
    subchannel: Subchannel | None = None
    if_version: Count | None = None


@event("cx.case.held", counts="cases put on hold (one that is held again counts again)")
class CaseHeld(Data, frozen=True, kw_only=True):
    """A case waits for the customer: the time to close stands still."""

    case_id: Label
    if_version: Count | None = None


@event("cx.case.resumed", counts="cases taken up again")
class CaseResumed(Data, frozen=True, kw_only=True):
    """A case that waited for the customer goes on."""

    case_id: Label
    if_version: Count | None = None


@event("cx.case.resolved", counts="solutions of cases (one that was reopened is solved again)")
class CaseResolved(Data, frozen=True, kw_only=True):
    """The matter was solved."""

    case_id: Label
    duration_s: Seconds | None = None
    cause: Label | None = None
    action: Label | None = None


@event(
    "cx.case.closed", "1-1-0", earlier=("1-0-0",), counts="closings of cases (one that was reopened is closed again)"
)
class CaseClosed(Data, frozen=True, kw_only=True):
    """The case was closed."""

    case_id: Label
    duration_s: Seconds | None = None
    in_sla: bool | None = None
    outcome: ClosingOutcome | None = None
    if_version: Count | None = None


@event(
    "cx.case.reopened", "1-1-0", earlier=("1-0-0",), counts="reopenings of cases (a case may come back more than once)"
)
class CaseReopened(Data, frozen=True, kw_only=True):
    """A closed case came back; its clocks begin anew."""

    case_id: Label
    reason: Label | None = None
    contact_due: Time | None = None
    due: Time | None = None
    if_version: Count | None = None


@event("cx.case.warned", counts="warnings (a case may have several)")
class CaseWarned(Data, frozen=True, kw_only=True):
    """A clock of a case ends soon, at `due`; `cycle` counts its reopenings."""

    case_id: Label
    clock: CaseClock
    due: Time
    cycle: Count | None = None
    owner: Label | None = None


@event("cx.case.escalated", counts="escalations (a case may have several)")
class CaseEscalated(Data, frozen=True, kw_only=True):
    """A clock of a case has ended, at `due`, and what it waits for is not known to have happened."""

    case_id: Label
    clock: CaseClock
    due: Time
    cycle: Count | None = None
    owner: Label | None = None


@event("cx.case.cleared", counts="holds of cases that a person ended")
class CaseCleared(Data, frozen=True, kw_only=True):
    """An escalation is taken back: what the clock waited for had happened in time."""

    case_id: Label
    clock: CaseClock
    cycle: Count | None = None
    owner: Label | None = None


@event("cx.feedback.implemented", counts="suggestions put into practice")
class FeedbackImplemented(Data, frozen=True, kw_only=True):
    """A change was made because customers asked for it."""

    change: Label
    topic: Label | None = None


@event("cx.customer.informed", counts="notices (not customers)")
class CustomerInformed(Data, frozen=True, kw_only=True):
    """The customer was told what became of their feedback."""

    change: Label | None = None
    case_id: Label | None = None
    subchannel: Subchannel | None = None
