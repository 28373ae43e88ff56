"""Telephone calls: through menu and queue to an agent, and back again if the matter is not solved."""

from collections.abc import Generator
from typing import Final, Literal

from streams.events.families.agent import AgentEvaluationScored
from streams.events.families.contact import (
    ContactAnswered,
    ContactCallbackMade,
    ContactCallbackRequested,
    ContactCallBlocked,
    ContactClosed,
    ContactDisconnected,
    ContactEscalated,
    ContactHandled,
    ContactHoldEnded,
    ContactHoldStarted,
    ContactIvrEntered,
    ContactIvrExited,
    ContactIvrStep,
    ContactOpened,
    ContactQueueEntered,
    ContactQueueLeft,
    ContactReopened,
    ContactResolved,
    ContactRinging,
    ContactTransferred,
    ContactWrapupEnded,
)
from streams.producers.population import Customer
from streams.producers.simulator.centre import PATIENCE_S, QUEUES, TOPICS, ContactCentre, Matter, skill, ticket
from streams.producers.simulator.feedback import Ask, Lived, survey, wait_pain
from streams.producers.simulator.world import Desk, Place, Steps, Trail

TALK_S: Final = 150.0
WRAPUP_S: Final = 25.0

_CSAT: Final = Ask("post-call", "csat", "call", "phone_agent", 40.0, 110.0, 0.42, subchannel="sms")
_EASE: Final = Ask("post-call-ease", "ces", "support", "phone_agent", 40.0, 110.0, 0.36, scale=7, subchannel="sms")


def call(
    centre: ContactCentre,
    customer: Customer,
    topic: str | None = None,
    *,
    again: str | None = None,
    pain: float = 0.0,
) -> Steps:
    """
    Follow one call.

    Args:
        centre: where it goes.
        customer: who calls.
        topic: about what; drawn if None.
        again: contact id of the matter that comes back.
        pain: what the customer suffered before the call.
    """
    world = centre.world
    topic = topic or centre.topic()
    queue, _, contained, _ = TOPICS[topic]
    trail = Trail(
        world, customer, "call_center", "/call-center/pbx", contactid=again or world.short_id("k"),
        journeyid=world.short_id("j"), synthetic=world.chance(world.synthetic_share),
    )  # fmt: skip
    matter = Matter(trail, topic, world.now, Lived("good_service", pain))
    if again is not None:
        trail.say(ContactReopened(topic=topic), "ivr")
    trail.say(ContactOpened(topic=topic, direction="inbound"), "ivr")
    desk = centre.desks[queue]
    yield 1.0
    if desk.queue_length() > 3 * desk.roster + 10:
        trail.say(ContactCallBlocked(queue=queue, reason="lines_busy"), "ivr")
        if world.chance(0.4):
            world.begin(call_later(centre, matter, 240.0, 0.1))
    elif (yield from _menu(trail, contained)):
        yield from _at_queue(centre, matter, desk)


def call_later(centre: ContactCentre, matter: Matter, median_s: float, more_pain: float) -> Steps:
    """Call again about the same matter after a while."""
    yield centre.world.spread(median_s, 0.9)
    yield from call(
        centre,
        matter.trail.customer,
        matter.topic,
        again=matter.trail.attributes["contactid"],
        pain=matter.lived.pain + more_pain,
    )


def unresolved(centre: ContactCentre, matter: Matter) -> Steps:
    """Go on with a matter no agent solved: to the second level, to a further call, or nowhere."""
    world = centre.world
    if world.chance(0.3):
        yield 60.0
        matter.trail.say(ContactEscalated(level="second", topic=matter.topic), "phone_agent")
        yield from ticket(world, matter.trail, matter.topic)
    elif world.chance(0.55):
        yield from call_later(centre, matter, 2700.0, 0.05)


def _menu(trail: Trail, contained: float) -> Generator[float, None, bool]:
    """Walk through the voice menu; returns whether the caller goes on to the queue."""
    world = trail.world
    entered = world.now
    trail.say(ContactIvrEntered(menu="main"), "ivr")
    for position in range(1, world.rng.choice((2, 3, 3, 4))):
        yield world.spread(7.0, 0.4)
        understood = world.chance(0.94)
        trail.say(ContactIvrStep(step=f"menu-{position}", position=position, understood=understood), "ivr")
    yield world.spread(5.0, 0.4)
    draw = world.rng.random()
    outcome: Literal["queue", "hangup", "contained"] = (
        "contained" if draw < contained else "hangup" if draw < contained + 0.05 else "queue"
    )
    took = round(world.now - entered, 1)
    trail.say(ContactIvrExited(duration_s=took, outcome=outcome, menu="main"), "ivr")
    return outcome == "queue"


def _at_queue(centre: ContactCentre, matter: Matter, desk: Desk) -> Steps:
    """Stand in line, talk to an agent, and maybe be passed on to the next queue."""
    world, trail, topic, lived = centre.world, matter.trail, matter.topic, matter.lived
    entered = world.now
    position = desk.queue_length() + 1
    trail.say(ContactQueueEntered(queue=desk.name, topic=topic, position=position), "phone_queue")
    staff = desk.take()
    if staff is None:
        place = desk.join()
        yield from _wait(centre, matter, desk, place)
        if place.staff is None:
            return
        staff = place.staff
    wait_s = round(world.now - entered, 1)
    lived.hurt("wait", wait_pain(wait_s))
    agent = f"{desk.name}-{staff:03d}"
    talk = trail.with_(agentid=agent, unitid=f"cc-{desk.name}")
    first = matter.transfers == 0
    trail.say(
        ContactQueueLeft(queue=desk.name, reason="answered", wait_s=wait_s, topic=topic, first=first),
        "phone_queue",
    )
    talk.say(ContactRinging(queue=desk.name), "phone_agent")
    yield 2.0
    talk.say(ContactAnswered(wait_s=wait_s, queue=desk.name, topic=topic), "phone_agent")
    centre.state(agent, desk, "busy", "idle", desk.idle_for(staff))
    talk_s, hold_s = world.spread(TALK_S * (1 + 0.2 * lived.pain), 0.5), 0.0
    yield talk_s * 0.6
    if world.chance(0.18):
        talk.say(ContactHoldStarted(reason="lookup"), "phone_agent")
        hold_s = world.spread(35.0)
        yield hold_s
        talk.say(ContactHoldEnded(hold_s=round(hold_s, 1)), "phone_agent")
    yield talk_s * 0.4
    centre.state(agent, desk, "wrapup", "busy", talk_s + hold_s)
    if matter.transfers < 2 and world.chance(0.09):
        other = centre.desks[world.rng.choice([queue for queue in QUEUES if queue != desk.name])]
        talk.say(ContactTransferred(kind="queue", queue=desk.name, to_queue=other.name), "phone_agent")
        centre.state(agent, desk, "idle", "wrapup", 0.0)
        desk.release(staff)
        lived.hurt("transfer", 0.10)
        matter.transfers += 1
        yield from _at_queue(centre, matter, other)
        return
    by: Literal["customer", "agent"] = "customer" if world.chance(0.7) else "agent"
    talk.say(ContactDisconnected(by=by, talk_s=round(talk_s, 1)), "phone_agent")
    solved = world.rng.random() < matter.solved + 0.12 * skill(agent) - 0.05 * matter.transfers
    after = Matter(talk, topic, matter.opened, lived, matter.transfers)
    world.begin(_afterwards(centre, after, wait_s, solved))
    disposition = "solved" if solved else "open"
    yield from _wrap_up(centre, after, desk, staff, talk_s=talk_s, hold_s=hold_s, disposition=disposition)


def _wait(centre: ContactCentre, matter: Matter, desk: Desk, place: Place) -> Steps:
    """Wait until served; on return without staff the customer is gone."""
    world, trail = centre.world, matter.trail
    patience = world.spread(PATIENCE_S * trail.customer.patience, 0.7)
    called_back = patience > 60.0 and world.chance(0.08)
    yield 60.0 if called_back else patience
    if place.staff is not None:
        return
    place.gone = True
    waited = round(world.now - place.since, 1)
    reason: Literal["callback", "abandoned"] = "callback" if called_back else "abandoned"
    trail.say(ContactQueueLeft(queue=desk.name, reason=reason, wait_s=waited, topic=matter.topic), "phone_queue")
    if called_back:
        trail.say(ContactCallbackRequested(queue=desk.name, topic=matter.topic), "phone_queue")
        delay = world.spread(900.0)
        yield delay
        reached = world.chance(0.75)
        trail.say(ContactCallbackMade(delay_s=round(delay, 1), reached=reached, queue=desk.name), "phone_agent")
    elif world.chance(0.55):
        world.begin(call_later(centre, matter, 900.0, 0.5 * wait_pain(waited)))


def _wrap_up(
    centre: ContactCentre,
    matter: Matter,
    desk: Desk,
    staff: int,
    *,
    talk_s: float,
    hold_s: float,
    disposition: str,
) -> Steps:
    """Do the work after the call, and be free for the next one."""
    world, trail = centre.world, matter.trail
    agent: str = trail.attributes["agentid"]
    wrapup_s = world.spread(WRAPUP_S)
    yield wrapup_s
    trail.say(ContactWrapupEnded(wrapup_s=round(wrapup_s, 1), disposition=disposition), "phone_agent")
    trail.say(
        ContactHandled(
            talk_s=round(talk_s, 1),
            hold_s=round(hold_s, 1),
            wrapup_s=round(wrapup_s, 1),
            queue=desk.name,
            topic=matter.topic,
            disposition=disposition,
            transfers=matter.transfers,
        ),
        "phone_agent",
    )
    centre.state(agent, desk, "idle", "wrapup", wrapup_s)
    desk.release(staff)
    if world.chance(0.04):
        yield world.spread(300.0)
        failed = world.chance(0.03)
        quality = 0.0 if failed else min(100.0, max(0.0, world.rng.gauss(84 + 60 * skill(agent), 8)))
        trail.say(
            AgentEvaluationScored(quality=round(quality, 1), form="call-v2", critical_failed=failed),
            "phone_agent",
        )


def _afterwards(centre: ContactCentre, matter: Matter, wait_s: float, solved: bool) -> Steps:
    """Close the matter or leave it open, and ask how it was."""
    world, trail, lived, topic = centre.world, matter.trail, matter.lived, matter.topic
    lived.pain -= 0.25 * skill(trail.attributes["agentid"])
    if solved:
        yield 2.0
        took = round(world.now - matter.opened, 1)
        trail.say(ContactResolved(duration_s=took, topic=topic, first_contact=matter.transfers == 0), "phone_agent")
    else:
        lived.hurt("unresolved", 0.30)
        world.begin(unresolved(centre, matter))
    if world.chance(0.6):
        ask = _CSAT if world.chance(0.6) else _EASE
        world.begin(survey(world, trail, ask, lived, wait_s=wait_s, resolved=solved))
    if solved:
        yield world.spread(30.0)
        trail.say(ContactClosed(duration_s=round(world.now - matter.opened, 1), topic=topic, contacts=1), "phone_agent")
