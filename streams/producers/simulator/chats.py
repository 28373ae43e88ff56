"""Chats: the bot first, people if it fails."""

from typing import Final, Literal

from streams.events.families.contact import (
    ContactBotEnded,
    ContactFirstHumanReply,
    ContactHandedOff,
    ContactMessageReceived,
    ContactMessageSent,
    ContactOpened,
    ContactQueueEntered,
    ContactQueueLeft,
    ContactResolved,
)
from streams.producers.comments import comment
from streams.producers.population import Customer
from streams.producers.simulator.calls import unresolved
from streams.producers.simulator.centre import PATIENCE_S, ContactCentre, Matter, skill
from streams.producers.simulator.feedback import Ask, Lived, survey, wait_pain
from streams.producers.simulator.world import Steps, Trail

_CSAT: Final = Ask("post-chat", "csat", "chat", "chat", 5.0, 20.0, 0.5, subchannel="chat")


def chat(centre: ContactCentre, customer: Customer, topic: str | None = None, pain: float = 0.0) -> Steps:
    """
    Follow one chat.

    Args:
        centre: where it goes.
        customer: who writes.
        topic: about what; drawn if None.
        pain: what the customer suffered before.
    """
    world = centre.world
    trail = Trail(
        world, customer, "call_center", "/call-center/chat", contactid=world.short_id("k"),
        journeyid=world.short_id("j"), synthetic=world.chance(world.synthetic_share),
    )  # fmt: skip
    matter = Matter(trail, topic or centre.topic(), world.now, Lived("good_service", pain))
    topic = matter.topic
    trail.say(ContactOpened(topic=topic, direction="inbound", subchannel="chat"), "chat")
    turns = world.rng.randint(1, 4)
    for _ in range(turns):
        trail.say(ContactMessageReceived(lang=customer.lang, subchannel="chat"), "chat")
        yield 1.5
        trail.say(ContactMessageSent(by="bot", subchannel="chat", response_s=1.5), "chat")
        yield world.spread(12.0)
    ended = round(world.now - matter.opened, 1)
    draw = world.rng.random()
    outcome: Literal["contained", "abandoned", "handed_off"] = (
        "contained" if draw < 0.28 else "abandoned" if draw < 0.38 else "handed_off"
    )
    trail.say(ContactBotEnded(outcome=outcome, duration_s=ended, turns=turns), "chat")
    if outcome == "contained":
        trail.say(ContactResolved(duration_s=ended, topic=topic, subchannel="chat"), "chat")
    elif outcome == "handed_off":
        trail.say(ContactHandedOff(reason="not_understood", queue="chat", turns=turns), "chat")
        yield from _with_human(centre, matter)


def _with_human(centre: ContactCentre, matter: Matter) -> Steps:
    world, trail, topic, desk = centre.world, matter.trail, matter.topic, centre.desks["chat"]
    customer, lived = trail.customer, matter.lived
    entered = world.now
    trail.say(ContactQueueEntered(queue="chat", topic=topic), "chat")
    staff = desk.take()
    if staff is None:
        place = desk.join()
        yield world.spread(2 * PATIENCE_S * customer.patience, 0.7)
        if place.staff is None:
            place.gone = True
            gone = round(world.now - entered, 1)
            trail.say(ContactQueueLeft(queue="chat", reason="abandoned", wait_s=gone, topic=topic), "chat")
            return
        staff = place.staff
    wait_s = round(world.now - entered, 1)
    agent = f"chat-{staff:03d}"
    talk = trail.with_(agentid=agent, unitid="cc-chat")
    talk.say(ContactQueueLeft(queue="chat", reason="answered", wait_s=wait_s, topic=topic), "chat")
    yield world.spread(9.0)
    replied = round(world.now - entered, 1)
    lived.hurt("wait", 0.6 * wait_pain(replied))
    talk.say(ContactFirstHumanReply(response_s=replied, subchannel="chat", queue="chat", topic=topic), "chat")
    for _ in range(world.rng.randint(2, 5)):
        yield world.spread(18.0)
        text = comment(world.rng, customer, lived.worst or "neutral", glad=False)
        text_or_none = text if world.chance(0.3) else None
        talk.say(ContactMessageReceived(text=text_or_none, lang=customer.lang, subchannel="chat"), "chat")
        reply = world.spread(16.0)
        yield reply
        talk.say(ContactMessageSent(by="human", subchannel="chat", response_s=round(reply, 1)), "chat")
    desk.release(staff)
    solved = world.rng.random() < matter.solved + 0.12 * skill(agent)
    after = Matter(talk, topic, matter.opened, lived)
    if solved:
        took = round(world.now - matter.opened, 1)
        talk.say(ContactResolved(duration_s=took, topic=topic, first_contact=True, subchannel="chat"), "chat")
    else:
        lived.hurt("unresolved", 0.30)
        world.begin(unresolved(centre, after))
    if world.chance(0.7):
        world.begin(survey(world, talk, _CSAT, lived, wait_s=replied, resolved=solved))
