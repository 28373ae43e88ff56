"""The contact centre, from the ringing telephone to the closed contact; chats and mails alike."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Label, Language, Position, Seconds, Subchannel, Text


@event("cx.contact.opened", counts="contacts (not customers and not legs)")
class ContactOpened(Data, frozen=True, kw_only=True):
    """A customer's contact began; the clock of the first response starts here."""

    topic: Label | None = None
    direction: Literal["inbound", "outbound"] | None = None
    subchannel: Subchannel | None = None
    priority: Label | None = None


@event("cx.contact.ivr_entered", counts="visits of the voice menu")
class ContactIvrEntered(Data, frozen=True, kw_only=True):
    """A caller entered the voice menu."""

    menu: Label | None = None


@event("cx.contact.ivr_step", counts="steps in the voice menu (not visits)")
class ContactIvrStep(Data, frozen=True, kw_only=True):
    """A caller made a choice in the voice menu, or failed to."""

    step: Label
    position: Position | None = None
    understood: bool | None = None


@event("cx.contact.ivr_exited", "1-1-0", earlier=("1-0-0",), counts="visits of the voice menu")
class ContactIvrExited(Data, frozen=True, kw_only=True):
    """A caller left the voice menu: on to a queue, by hanging up, or served by it."""

    duration_s: Seconds | None = None
    outcome: Literal["queue", "hangup", "contained"]
    menu: Label | None = None


@event("cx.contact.call_blocked", counts="tries to call (not callers)")
class ContactCallBlocked(Data, frozen=True, kw_only=True):
    """A call met a busy line and never entered a queue."""

    queue: Label | None = None
    reason: Label | None = None


@event(
    "cx.contact.queue_entered",
    "1-1-0",
    earlier=("1-0-0",),
    counts="legs: stays in a queue (a contact that is passed on has one for each)",
)
class ContactQueueEntered(Data, frozen=True, kw_only=True):
    """A contact started to wait for an agent."""

    queue: Label | None = None
    topic: Label | None = None
    position: Position | None = None


@event(
    "cx.contact.queue_left",
    "1-1-0",
    earlier=("1-0-0",),
    counts="legs: stays in a queue (a contact that is passed on has one for each)",
)
class ContactQueueLeft(Data, frozen=True, kw_only=True):
    """A contact stopped waiting after `wait_s`, if that is known; a callback is no abandonment."""

    queue: Label | None = None
    reason: Literal["answered", "abandoned", "callback", "flow_out", "transfer"]
    wait_s: Seconds | None = None
    topic: Label | None = None
    first: bool | None = None


@event("cx.contact.ringing", counts="offers to an agent (a contact that is not taken is offered again)")
class ContactRinging(Data, frozen=True, kw_only=True):
    """An agent was offered the contact."""

    queue: Label | None = None


@event("cx.contact.ring_missed", counts="offers to an agent (a contact that is not taken is offered again)")
class ContactRingMissed(Data, frozen=True, kw_only=True):
    """An agent did not take the contact offered."""

    queue: Label | None = None
    ring_s: Seconds | None = None
    reason: Literal["no_answer", "rejected", "failed"] | None = None


@event(
    "cx.contact.answered",
    "1-1-0",
    earlier=("1-0-0",),
    counts="answers by agents (a contact that is passed on has one for each agent who takes it)",
)
class ContactAnswered(Data, frozen=True, kw_only=True):
    """An agent answered; `wait_s` is the time in the queue, without the voice menu."""

    wait_s: Seconds | None = None
    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.hold_started", counts="holds (not contacts)")
class ContactHoldStarted(Data, frozen=True, kw_only=True):
    """The agent put the customer on hold."""

    reason: Label | None = None


@event("cx.contact.hold_ended", "1-1-0", earlier=("1-0-0",), counts="holds (not contacts)")
class ContactHoldEnded(Data, frozen=True, kw_only=True):
    """The hold ended, or the customer gave up during it."""

    hold_s: Seconds | None = None
    abandoned: bool | None = None


@event("cx.contact.transferred", counts="transfers (not contacts)")
class ContactTransferred(Data, frozen=True, kw_only=True):
    """The contact was passed on."""

    kind: Literal["queue", "agent", "external"] | None = None
    queue: Label | None = None
    to_queue: Label | None = None
    warm: bool | None = None


@event("cx.contact.consulted", counts="consultations (not contacts)")
class ContactConsulted(Data, frozen=True, kw_only=True):
    """The agent asked a colleague while the customer waited."""

    queue: Label | None = None
    duration_s: Seconds | None = None


@event("cx.contact.callback_requested", counts="requests to be called back")
class ContactCallbackRequested(Data, frozen=True, kw_only=True):
    """The customer asked to be called back."""

    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.callback_made", counts="calls back")
class ContactCallbackMade(Data, frozen=True, kw_only=True):
    """The customer was called back, `delay_s` after asking."""

    delay_s: Seconds | None = None
    reached: bool | None = None
    queue: Label | None = None


@event("cx.contact.disconnected", "1-1-0", earlier=("1-0-0",), counts="ends of connections")
class ContactDisconnected(Data, frozen=True, kw_only=True):
    """The conversation ended."""

    by: Literal["customer", "agent", "system"] | None = None
    talk_s: Seconds | None = None


@event(
    "cx.contact.wrapup_ended",
    "1-1-0",
    earlier=("1-0-0",),
    counts="wrap-ups (a contact that is passed on has one for each agent)",
)
class ContactWrapupEnded(Data, frozen=True, kw_only=True):
    """The agent finished the work after the conversation."""

    wrapup_s: Seconds | None = None
    disposition: Label | None = None


@event("cx.contact.handled", "1-1-0", earlier=("1-0-0",), counts="contacts (once, however many agents dealt with them)")
class ContactHandled(Data, frozen=True, kw_only=True):
    """
    One per handled contact, when the last agent is done with it, with the durations that are known, of all agents.

    A time that nobody measured is left out: 0 says that there was none.
    """

    talk_s: Seconds | None = None
    hold_s: Seconds | None = None
    wrapup_s: Seconds | None = None
    queue: Label | None = None
    topic: Label | None = None
    disposition: Label | None = None
    transfers: Count | None = None


@event("cx.contact.message_received", counts="messages of customers (not contacts)")
class ContactMessageReceived(Data, frozen=True, kw_only=True):
    """The customer wrote."""

    text: Text | None = None
    lang: Language | None = None
    subchannel: Subchannel | None = None


@event("cx.contact.message_sent", counts="messages to customers (not contacts)")
class ContactMessageSent(Data, frozen=True, kw_only=True):
    """A person or a bot wrote to the customer."""

    by: Literal["human", "bot", "auto_reply"]
    text: Text | None = None
    lang: Language | None = None
    subchannel: Subchannel | None = None
    response_s: Seconds | None = None


@event(
    "cx.contact.first_human_reply",
    "1-1-0",
    earlier=("1-0-0",),
    counts="first replies (one for each opening, reopening and hand-over)",
)
class ContactFirstHumanReply(Data, frozen=True, kw_only=True):
    """A person answered for the first time since the contact was opened, reopened or handed over by a bot."""

    response_s: Seconds | None = None
    subchannel: Subchannel | None = None
    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.handed_off", counts="hand-overs to a person (not contacts)")
class ContactHandedOff(Data, frozen=True, kw_only=True):
    """A bot gave the conversation to people."""

    reason: Label | None = None
    queue: Label | None = None
    turns: Count | None = None


@event("cx.contact.bot_ended", counts="conversations with a bot")
class ContactBotEnded(Data, frozen=True, kw_only=True):
    """A conversation with a bot ended: solved by it, handed to people, or left."""

    outcome: Literal["contained", "handed_off", "abandoned"]
    duration_s: Seconds | None = None
    turns: Count | None = None


@event("cx.contact.escalated", counts="escalations (a contact may have several)")
class ContactEscalated(Data, frozen=True, kw_only=True):
    """The contact was raised to a higher level of support."""

    level: Label | None = None
    reason: Label | None = None
    topic: Label | None = None


@event("cx.contact.resolved", counts="solutions of matters (one that was reopened is solved again)")
class ContactResolved(Data, frozen=True, kw_only=True):
    """The matter was solved, `duration_s` after it was opened."""

    duration_s: Seconds | None = None
    topic: Label | None = None
    first_contact: bool | None = None
    reopened: bool | None = None
    subchannel: Subchannel | None = None


@event("cx.contact.reopened", counts="reopenings of matters (a matter may come back more than once)")
class ContactReopened(Data, frozen=True, kw_only=True):
    """A solved matter came back."""

    topic: Label | None = None
    after_s: Seconds | None = None


@event("cx.contact.closed", counts="closings of contacts (one that was reopened is closed again)")
class ContactClosed(Data, frozen=True, kw_only=True):
    """The contact was closed for good."""

    duration_s: Seconds | None = None
    topic: Label | None = None
    contacts: Count | None = None
