"""Puts a run together: who comes how often, and what had already begun when it starts."""

from collections.abc import Collection, Iterator
from datetime import date, datetime
from itertools import islice
from typing import Final

import msgspec

from streams.events.families.change import ChangeDeployed
from streams.events.families.feedback import EmployeeFeedbackGiven, SelfAssessed
from streams.events.families.pipeline import PipelineHeartbeat
from streams.events.types import Event
from streams.producers.incidents import Incidents
from streams.producers.population import Population
from streams.producers.rhythm import Rhythm
from streams.producers.simulator import feedback, fulfilment
from streams.producers.simulator.calls import call
from streams.producers.simulator.centre import TICKET_S, ContactCentre, ticket_resolved
from streams.producers.simulator.chats import chat
from streams.producers.simulator.digital import CRASHING_VERSION, Visit
from streams.producers.simulator.fulfilment import Fulfilment
from streams.producers.simulator.shop import Shops
from streams.producers.simulator.world import Channel, Steps, Trail, World, arrivals, carried_over

SESSIONS: Final = 0.0465
CALLS: Final = 0.0134
CHATS: Final = 0.0050
VISITS: Final = 0.0350
"""How many begin per second, in a run of one event per second; measured, so that the sum of their events is one."""

ORDERS: Final = 0.0036
CASES: Final = 0.00014
TICKETS: Final = 0.0008
"""How many come out of these, in the same measure."""

WARM_UP_S: Final = 900.0
WARM_UP_EVENTS: Final = 400_000
"""Short matters (sessions, calls, queues) are brought into swing by living through this much before the start."""

DAY: Final = 86_400.0
OVERDUE_SHARE: Final = 0.065


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that decides which events a run tells.

    `rate` is the mean number of events per second of event time. `flat` switches the daily and weekly rhythm off.
    `population` 0 means: as many customers as fit the rate. `incidents` are written as in `incidents.parse_incident`.
    """

    start: datetime
    seed: int = 1
    rate: float = 100.0
    population: int = 0
    incidents: tuple[str, ...] = ()
    flat: bool = False
    holidays: tuple[date, ...] = ()
    warm_start: bool = True
    synthetic_share: float = 0.004

    def __post_init__(self) -> None:
        """
        Refuse what cannot be run.

        Raises:
            ValueError: the start has no offset, or the rate or population is no positive number.
        """
        if self.start.tzinfo is None:
            raise ValueError(f"start {self.start} has no offset; expected a time with time zone")
        if not 0.1 <= self.rate <= 1e6:
            raise ValueError(f"rate is {self.rate:g}; expected 0.1 to 1,000,000 events per second")
        if self.population < 0:
            raise ValueError(f"population is {self.population}; expected a positive number, or 0 to fit the rate")


def simulate(plan: Plan) -> Iterator[Event]:
    """
    Tell the events of a plan in the order of their time, for ever.

    Raises:
        IncidentError: an incident of the plan is wrong.
    """
    return build(plan).events()


def simulated(plan: Plan, count: int) -> list[Event]:
    """Return the first `count` events of a plan."""
    return list(islice(simulate(plan), count))


def build(plan: Plan) -> World:
    """
    Set up the world of a plan, ready to run.

    Raises:
        IncidentError: an incident of the plan is wrong.
    """
    start = plan.start.timestamp()
    people = plan.population or int(min(400_000, max(3_000, plan.rate * 150)))
    world = World(
        seed=plan.seed,
        start=start,
        rate=plan.rate,
        population=Population(plan.seed, people),
        rhythm=Rhythm(flat=plan.flat, holidays=plan.holidays),
        incidents=Incidents.parse(plan.incidents, plan.start),
        synthetic_share=plan.synthetic_share,
    )
    rate = plan.rate
    warm = min(WARM_UP_S, WARM_UP_EVENTS / rate) if plan.warm_start else 0.0
    world.now = start - warm
    centre = ContactCentre(world, calls=CALLS * rate, chats=CHATS * rate)
    deliveries = Fulfilment(world, centre)
    shops = Shops(world, visits=VISITS * rate)
    rng, draw = world.rng, world.population.draw

    def crowd() -> float:
        return CALLS * rate * world.factor("call_center") * (1 + 2.0 * world.trouble("queue-overload"))

    def chatters() -> float:
        return CHATS * rate * world.factor("call_center") * (1 + 2.0 * world.trouble("queue-overload"))

    def surfers() -> float:
        return SESSIONS * rate * (world.factor("web") + world.factor("app")) / 2

    def visitors() -> float:
        return VISITS * rate * world.factor("store")

    world.begin(arrivals(world, surfers, lambda: Visit(world, centre, deliveries, draw(rng)).steps()))
    world.begin(arrivals(world, crowd, lambda: call(centre, draw(rng))))
    world.begin(arrivals(world, chatters, lambda: chat(centre, draw(rng))))
    world.begin(arrivals(world, visitors, shops.visit))
    for desk in (*centre.desks.values(), *shops.tills):
        world.begin(desk.rostering())
    for shop in range(shops.count):
        world.begin(shops.camera(shop))
    for channel in ("web", "app", "store", "call_center"):
        world.begin(_heartbeat(world, channel))
    for incident in world.incidents.all:
        if incident.kind == "app-crash-release":
            world.begin(_release(world, incident.start))
    world.begin(_staff(world))
    if plan.warm_start:
        _carry_over(world, deliveries)
    return world


def _carry_over(world: World, deliveries: Fulfilment) -> None:
    """Let orders, returns, surveys, cases and tickets of the days before the start go on."""
    f, rate = fulfilment, world.rate
    orders = ORDERS * rate

    def lag(*step: tuple[float, float]) -> float:
        return sum(world.spread(median, sigma) for median, sigma in step)

    def order_of(age_s: float) -> fulfilment.Order:
        return fulfilment.invented(world, age_s)

    def customer_trail(channel: Channel, **attributes: str) -> Trail:
        customer = world.population.draw(world.rng)
        return Trail(world, customer, channel, "/crm", journeyid=world.short_id("j"), **attributes)

    def overdue() -> float:
        return orders * (OVERDUE_SHARE + 0.65 * world.trouble("late-deliveries"))

    returns = orders * 0.085
    streams = (
        (lambda: orders, lambda: lag(f.PICK_S), lambda s: deliveries.pick(order_of(s)), DAY),
        (lambda: orders, lambda: lag(f.DISPATCH_S), lambda s: deliveries.dispatch(order_of(s + 7200)), DAY),
        (lambda: orders, lambda: lag(f.ROAD_S), lambda s: deliveries.arrive_before(s + 18_000), 5 * DAY),
        (overdue, lambda: lag(f.ROAD_S), lambda _: deliveries.overdue_before(), 5 * DAY),
        (
            lambda: orders * 0.7 * 0.24,
            lambda: lag((f.SURVEY_AFTER_S, 0.4), (f.SURVEY_ANSWER_S, 0.9)),
            lambda _: deliveries.answered_before(),
            2 * DAY,
        ),
        (
            lambda: returns,
            lambda: lag(f.RETURN_S),
            lambda s: deliveries.send_back(order_of(s + 40 * 3600), "regret"),
            10 * DAY,
        ),
        (
            lambda: returns,
            lambda: lag(f.RETURN_ROAD_S),
            lambda s: deliveries.take_back(order_of(s + 90 * 3600)),
            10 * DAY,
        ),
        (
            lambda: returns,
            lambda: lag(f.REFUND_S),
            lambda s: deliveries.refunded(order_of(s + 140 * 3600), s + 7200),
            10 * DAY,
        ),
        (
            lambda: CASES * rate,
            lambda: lag(feedback.CASE_CONTACT_S),
            lambda s: feedback.case_contacted(
                world, customer_trail("call_center"), world.short_id("case"), s + 2400, "phone_agent"
            ),
            4 * DAY,
        ),
        (
            lambda: CASES * rate,
            lambda: lag(feedback.CASE_SOLVE_S),
            lambda s: feedback.case_solved(
                world, customer_trail("call_center"), world.short_id("case"), s + 18_000, "phone_agent"
            ),
            4 * DAY,
        ),
        (
            lambda: TICKETS * rate,
            lambda: lag(TICKET_S),
            lambda s: ticket_resolved(world, customer_trail("call_center", contactid=world.short_id("k")), "defect", s),
            8 * DAY,
        ),
    )
    for per_second, waited, resume, longest in streams:
        world.begin(carried_over(world, per_second, waited, resume, longest), at=world.start)


def _heartbeat(world: World, channel: Channel) -> Steps:
    trail = Trail(
        world, world.population.customer(0), channel, f"/{channel}/collector", subject=f"collector-{channel}",
        segment=None, region=None,
    )  # fmt: skip
    while True:
        yield 10.0
        trail.say(PipelineHeartbeat(collector=f"{channel}-1", interval_s=10.0), None)


def _release(world: World, at: float) -> Steps:
    """Tell of the version that crashes as it goes out."""
    yield max(0.0, at - world.now)
    nobody = world.population.customer(0)
    trail = Trail(world, nobody, "app", "/app/releases", subject="releases", segment=None, region=None)
    trail.say(ChangeDeployed(what="app", version=CRASHING_VERSION, kind="release"), None)


def _staff(world: World) -> Steps:
    """Ask employees now and then, and let teams estimate what customers think: mostly too much."""
    rng = world.rng
    while True:
        yield rng.expovariate(world.rate / 1500.0)
        team = rng.choice(("orders", "billing", "technical", "sales", "tills", "warehouse"))
        trail = Trail(
            world, world.population.customer(0), "call_center", "/hr/pulse",
            subject=f"employee-{rng.randrange(400):03d}", unitid=f"team-{team}", segment=None, region=None,
        )  # fmt: skip
        overloaded = world.trouble("queue-overload") + world.trouble("store-staff-shortage")
        points = min(10, max(0, round(rng.gauss(7.4 - 2 * overloaded, 2.0))))
        trail.say(
            EmployeeFeedbackGiven(survey_id="pulse", scale=10, score=max(1, points), object="work"),
            None,
        )
        if world.chance(0.3):
            trail.say(
                SelfAssessed(metric="csat", estimate=min(100.0, round(rng.gauss(90, 4), 1)), object=team),
                None,
            )


def holidays_of(days: Collection[str]) -> tuple[date, ...]:
    """
    Read further holidays, such as those of the lunar calendar, written as ISO dates.

    Raises:
        ValueError: one of them is no date.
    """
    return tuple(date.fromisoformat(day) for day in days)
