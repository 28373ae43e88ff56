"""The contact centre itself: its queues and agents, the topics customers come with, the second level's tickets."""

from typing import Final, Literal

import msgspec

from streams.events.families.agent import AgentStateChanged
from streams.events.families.ticket import TicketAssigned, TicketOpened, TicketResolved, TicketSlaBreached
from streams.producers.simulator.feedback import Lived
from streams.producers.simulator.world import Desk, Steps, Trail, World

SERVICE_S: Final = 215.0
"""Mean seconds an agent is taken by a call: talk, hold and the work after; what rosters are planned with."""
CHAT_SERVICE_S: Final = 150.0
PATIENCE_S: Final = 210.0
TICKET_S: Final = (20 * 3600.0, 0.8)
TICKET_DUE_S: Final = 48 * 3600.0

TOPICS: Final = {
    # topic: (queue, share of calls, contained by the menu, solved by an agent)
    "order_status": ("orders", 0.27, 0.42, 0.92),
    "delivery": ("orders", 0.15, 0.10, 0.80),
    "return_refund": ("orders", 0.12, 0.08, 0.75),
    "payment": ("billing", 0.14, 0.10, 0.80),
    "invoice": ("billing", 0.07, 0.30, 0.90),
    "app_problem": ("technical", 0.10, 0.05, 0.68),
    "defect": ("technical", 0.07, 0.03, 0.70),
    "product_question": ("sales", 0.08, 0.12, 0.93),
}
QUEUES: Final = ("orders", "billing", "technical", "sales")
AGAIN: Final = {"orders": 1.08, "billing": 1.20, "technical": 1.24, "sales": 1.33}
"""Work of a queue beside that of first calls alone: with those who call again, and those passed on to it."""

State = Literal["idle", "busy", "wrapup"]


class Matter(msgspec.Struct):
    """What a customer came with: whose trail, about what, since when, how it hurt, how often passed on."""

    trail: Trail
    topic: str
    opened: float
    lived: Lived
    transfers: int = 0

    @property
    def solved(self) -> float:
        """Return the share of such matters that an average agent solves."""
        return TOPICS[self.topic][3]


class ContactCentre:
    """
    All queues with their agents.

    Args:
        world: the world it serves.
        calls, chats: how many come per second, on average.
    """

    def __init__(self, world: World, *, calls: float, chats: float) -> None:
        def missing() -> float:
            return 0.3 * world.trouble("queue-overload")

        self.world = world
        self.desks = {
            queue: Desk(
                world,
                queue,
                load=calls * SERVICE_S * AGAIN[queue] * _share(queue),
                safety=0.5,
                channel="call_center",
                missing=missing,
            )
            for queue in QUEUES
        }
        self.desks["chat"] = Desk(
            world, "chat", load=chats * 0.62 * CHAT_SERVICE_S, safety=0.9, channel="call_center", missing=missing
        )

    def topic(self) -> str:
        """Draw what somebody calls about."""
        left = self.world.rng.random()
        for name, (_, share, _, _) in TOPICS.items():
            left -= share
            if left < 0:
                return name
        return "order_status"

    def state(self, agent: str, desk: Desk, state: State, previous: State, lasted: float) -> None:
        """Tell that an agent changed state, after `lasted` seconds in the former."""
        world = self.world
        if world.now < world.start:
            return
        staff = Trail(
            world, world.population.customer(0), "call_center", "/call-center/workforce", subject=agent,
            agentid=agent, unitid=f"cc-{desk.name}", segment=None, region=None,
        )  # fmt: skip
        staff.say(
            AgentStateChanged(
                state=state,
                previous=previous,
                duration_s=round(lasted, 1),
                queue=desk.name,
            ),
            "phone_agent",
        )


def _share(queue: str) -> float:
    """Return the share of calls that come to a queue, first ones that the menu does not contain."""
    return sum(share * (0.95 - contained) for name, share, contained, _ in TOPICS.values() if name == queue)


def skill(agent: str) -> float:
    """Return what is particular to an agent, -0.2 to 0.2, the same for ever."""
    return (sum(agent.encode()) * 7919 % 401) / 1000.0 - 0.2


def ticket(world: World, trail: Trail, topic: str) -> Steps:
    """File a request that the second level settles in hours or days."""
    department = f"{TOPICS[topic][0]}-second-level"
    trail.say(TicketOpened(topic=topic, department=department), "support_portal")
    wait = world.spread(1200.0)
    yield wait
    trail.say(TicketAssigned(department=department, topic=topic, wait_s=round(wait, 1)), "support_portal")
    more = world.spread(*TICKET_S)
    if wait + more > TICKET_DUE_S:
        yield TICKET_DUE_S - wait
        trail.say(TicketSlaBreached(topic=topic, department=department), "support_portal")
        more -= TICKET_DUE_S - wait
    yield more
    yield from ticket_resolved(world, trail, topic, wait + more)


def ticket_resolved(world: World, trail: Trail, topic: str, after_s: float) -> Steps:
    """Settle a request `after_s` seconds after it was filed."""
    trail.say(
        TicketResolved(
            duration_s=round(after_s, 1),
            topic=topic,
            department=f"{TOPICS[topic][0]}-second-level",
            on_time=after_s <= TICKET_DUE_S,
            outcome="done" if world.chance(0.9) else "refused",
        ),
        "support_portal",
    )
    yield from ()
