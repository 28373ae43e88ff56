"""The contact centre, from the ringing telephone to the closed contact; chats and mails alike."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Label, Language, Position, Seconds, Subchannel, Text


@event("cx.contact.opened")
class ContactOpened(Data, frozen=True, kw_only=True):
    """A customer's contact began; the clock of the first response starts here."""

    topic: Label | None = None
    direction: Literal["inbound", "outbound"] | None = None
    subchannel: Subchannel | None = None
    priority: Label | None = None


@event("cx.contact.ivr_entered")
class ContactIvrEntered(Data, frozen=True, kw_only=True):
    """A caller entered the voice menu."""

    menu: Label | None = None


@event("cx.contact.ivr_step")
class ContactIvrStep(Data, frozen=True, kw_only=True):
    """A caller made a choice in the voice menu, or failed to."""

    step: Label
    position: Position | None = None
    understood: bool | None = None


@event("cx.contact.ivr_exited", "1-1-0", earlier=("1-0-0",))
class ContactIvrExited(Data, frozen=True, kw_only=True):
    """A caller left the voice menu: on to a queue, by hanging up, or served by it."""

    duration_s: Seconds | None = None
    outcome: Literal["queue", "hangup", "contained"]
    menu: Label | None = None


@event("cx.contact.call_blocked")
class ContactCallBlocked(Data, frozen=True, kw_only=True):
    """A call met a busy line and never entered a queue."""

    queue: Label | None = None
    reason: Label | None = None


@event("cx.contact.queue_entered", "1-1-0", earlier=("1-0-0",))
class ContactQueueEntered(Data, frozen=True, kw_only=True):
    """A contact started to wait for an agent."""

    queue: Label | None = None
    topic: Label | None = None
    position: Position | None = None


@event("cx.contact.queue_left", "1-1-0", earlier=("1-0-0",))
class ContactQueueLeft(Data, frozen=True, kw_only=True):
    """A contact stopped waiting after `wait_s`, if that is known; a callback is no abandonment."""

    queue: Label | None = None
    reason: Literal["answered", "abandoned", "callback", "flow_out", "transfer"]
    wait_s: Seconds | None = None
    topic: Label | None = None
    first: bool | None = None


@event("cx.contact.ringing")
class ContactRinging(Data, frozen=True, kw_only=True):
    """An agent was offered the contact."""

    queue: Label | None = None


@event("cx.contact.ring_missed")
class ContactRingMissed(Data, frozen=True, kw_only=True):
    """An agent did not take the contact offered."""

    queue: Label | None = None
    ring_s: Seconds | None = None
    reason: Literal["no_answer", "rejected", "failed"] | None = None


@event("cx.contact.answered", "1-1-0", earlier=("1-0-0",))
class ContactAnswered(Data, frozen=True, kw_only=True):
    """An agent answered; `wait_s` is the time in the queue, without the voice menu."""

    wait_s: Seconds | None = None
    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.hold_started")
class ContactHoldStarted(Data, frozen=True, kw_only=True):
    """The agent put the customer on hold."""

    reason: Label | None = None


@event("cx.contact.hold_ended", "1-1-0", earlier=("1-0-0",))
class ContactHoldEnded(Data, frozen=True, kw_only=True):
    """The hold ended, or the customer gave up during it."""

    hold_s: Seconds | None = None
    abandoned: bool | None = None


@event("cx.contact.transferred")
class ContactTransferred(Data, frozen=True, kw_only=True):
    """The contact was passed on."""

    kind: Literal["queue", "agent", "external"] | None = None
    queue: Label | None = None
    to_queue: Label | None = None
    warm: bool | None = None


@event("cx.contact.consulted")
class ContactConsulted(Data, frozen=True, kw_only=True):
    """The agent asked a colleague while the customer waited."""

    queue: Label | None = None
    duration_s: Seconds | None = None


@event("cx.contact.callback_requested")
class ContactCallbackRequested(Data, frozen=True, kw_only=True):
    """The customer asked to be called back."""

    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.callback_made")
class ContactCallbackMade(Data, frozen=True, kw_only=True):
    """The customer was called back, `delay_s` after asking."""

    delay_s: Seconds | None = None
    reached: bool | None = None
    queue: Label | None = None


@event("cx.contact.disconnected", "1-1-0", earlier=("1-0-0",))
class ContactDisconnected(Data, frozen=True, kw_only=True):
    """The conversation ended."""

    by: Literal["customer", "agent", "system"] | None = None
    talk_s: Seconds | None = None


@event("cx.contact.wrapup_ended", "1-1-0", earlier=("1-0-0",))
class ContactWrapupEnded(Data, frozen=True, kw_only=True):
    """The agent finished the work after the conversation."""

    wrapup_s: Seconds | None = None
    disposition: Label | None = None


@event("cx.contact.handled", "1-1-0", earlier=("1-0-0",))
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


@event("cx.contact.message_received")
class ContactMessageReceived(Data, frozen=True, kw_only=True):
    """The customer wrote."""

    text: Text | None = None
    lang: Language | None = None
    subchannel: Subchannel | None = None


@event("cx.contact.message_sent")
class ContactMessageSent(Data, frozen=True, kw_only=True):
    """A person or a bot wrote to the customer."""

    by: Literal["human", "bot", "auto_reply"]
    text: Text | None = None
    lang: Language | None = None
    subchannel: Subchannel | None = None
    response_s: Seconds | None = None


@event("cx.contact.first_human_reply", "1-1-0", earlier=("1-0-0",))
class ContactFirstHumanReply(Data, frozen=True, kw_only=True):
    """A person answered for the first time since the contact was opened, reopened or handed over by a bot."""

    response_s: Seconds | None = None
    subchannel: Subchannel | None = None
    queue: Label | None = None
    topic: Label | None = None


@event("cx.contact.handed_off")
class ContactHandedOff(Data, frozen=True, kw_only=True):
    """A bot gave the conversation to people."""

    reason: Label | None = None
    queue: Label | None = None
    turns: Count | None = None


@event("cx.contact.bot_ended")
class ContactBotEnded(Data, frozen=True, kw_only=True):
    """A conversation with a bot ended: solved by it, handed to people, or left."""

    outcome: Literal["contained", "handed_off", "abandoned"]
    duration_s: Seconds | None = None
    turns: Count | None = None


@event("cx.contact.escalated")
class ContactEscalated(Data, frozen=True, kw_only=True):
    """The contact was raised to a higher level of support."""

    level: Label | None = None
    reason: Label | None = None
    topic: Label | None = None


@event("cx.contact.resolved")
class ContactResolved(Data, frozen=True, kw_only=True):
    """The matter was solved, `duration_s` after it was opened."""

    duration_s: Seconds | None = None
    topic: Label | None = None
    first_contact: bool | None = None
    reopened: bool | None = None
    subchannel: Subchannel | None = None


@event("cx.contact.reopened")
class ContactReopened(Data, frozen=True, kw_only=True):
    """A solved matter came back."""

    topic: Label | None = None
    after_s: Seconds | None = None


@event("cx.contact.closed")
class ContactClosed(Data, frozen=True, kw_only=True):
    """The contact was closed for good."""

    duration_s: Seconds | None = None
    topic: Label | None = None
    contacts: Count | None = None
