"""After the order: promise, picking, dispatch, delivery on time or late, returns, refunds."""

from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from streams.events.families.fulfilment import (
    OrderDelayNotified,
    OrderDelivered,
    OrderDeliveryFailed,
    OrderDeliveryOverdue,
    OrderDispatched,
    OrderPicked,
    OrderRefundCompleted,
    OrderRefundInitiated,
    OrderReturnReceived,
    OrderReturnRequested,
    PromiseChanged,
    PromiseMade,
)
from streams.events.families.loyalty import LoyaltyEarned
from streams.producers.simulator.calls import call
from streams.producers.simulator.centre import ContactCentre
from streams.producers.simulator.chats import chat
from streams.producers.simulator.feedback import Ask, Lived, answer, review, survey
from streams.producers.simulator.world import Channel, Steps, Trail, World

HOUR: Final = 3600.0
PICK_S: Final = (1.5 * HOUR, 0.6)
DISPATCH_S: Final = (3.0 * HOUR, 0.6)
ROAD_S: Final = (16.0 * HOUR, 0.6)
RETURN_S: Final = (30.0 * HOUR, 0.7)
RETURN_ROAD_S: Final = (48.0 * HOUR, 0.5)
REFUND_S: Final = (26.0 * HOUR, 0.7)
"""Median and spread of each step."""

SURVEY_AFTER_S: Final = 1500.0
SURVEY_ANSWER_S: Final = 5400.0

CARRIERS: Final = ("post", "tipax", "own-fleet")
LATE: Final = {"post": 0.10, "tipax": 0.06, "own-fleet": 0.04}

DELIVERY_CSAT: Final = Ask(
    "delivery", "csat", "delivery", "delivery", SURVEY_AFTER_S, SURVEY_ANSWER_S, 0.30,
    subchannel="sms",
)  # fmt: skip
DELIVERY_NPS: Final = Ask(
    "after-delivery-nps", "nps", "company", "delivery", SURVEY_AFTER_S, SURVEY_ANSWER_S, 0.26,
    scale=10, subchannel="sms",
)  # fmt: skip


class Order(msgspec.Struct):
    """An order on its way."""

    trail: Trail
    amount: float
    items: int
    placed: float
    due: float
    carrier: str


def plan(world: World, trail: Trail, amount: float, items: int, placed: float) -> Order:
    """Choose a carrier and the time to promise: generous enough that most orders make it."""
    carrier = world.rng.choice(CARRIERS)
    promised_h = {"post": 60.0, "tipax": 42.0, "own-fleet": 30.0}[carrier]
    return Order(trail, amount, items, placed, placed + promised_h * HOUR, carrier)


def invented(world: World, age_s: float) -> Order:
    """Make up an order that was placed `age_s` seconds ago, before the run began."""
    customer = world.population.draw(world.rng)
    channel: Channel = "app" if customer.digital == "app" else "web"
    trail = Trail(
        world, customer, channel, f"/{channel}/fulfilment", orderid=world.short_id("o"), journeyid=world.short_id("j")
    )  # fmt: skip
    amount = round(1_800_000 * customer.value * world.rng.lognormvariate(0, 0.6), -3)
    return plan(world, trail, amount, 1 + int(world.rng.expovariate(0.8)), world.now - age_s)


class Fulfilment:
    """The way of orders from the promise to the door, and sometimes back."""

    def __init__(self, world: World, centre: ContactCentre) -> None:
        self.world = world
        self.centre = centre

    def promise(self, order: Order) -> Steps:
        """Follow an order from its placing on."""
        order.trail.say(
            PromiseMade(due=_time(order.due), items=order.items, carrier=order.carrier),
            "checkout",
        )
        yield self.world.spread(*PICK_S)
        yield from self.pick(order)

    def pick(self, order: Order) -> Steps:
        """Pick the goods, and go on."""
        complete = self.world.chance(0.975)
        order.trail.say(OrderPicked(items=order.items, complete=complete), "order_tracking")
        yield self.world.spread(*DISPATCH_S)
        yield from self.dispatch(order)

    def dispatch(self, order: Order) -> Steps:
        """Hand over to the carrier, and bring it to the door on time or not."""
        world = self.world
        order.trail.say(
            OrderDispatched(carrier=order.carrier, duration_s=round(world.now - order.placed, 1)),
            "order_tracking",
        )
        planned = min(world.now + world.spread(*ROAD_S), order.due - world.rng.uniform(0.1, 4.0) * HOUR)
        yield max(600.0, planned - world.now)
        if not world.chance(self.late_share(order.carrier)):
            yield from self.deliver(order)
            return
        if world.chance(0.45):
            delay_h = round(world.spread(4.0, 0.5), 1)
            order.trail.say(
                OrderDelayNotified(delay_h=delay_h, before_due=True, carrier=order.carrier),
                "order_tracking",
            )
            order.trail.say(
                PromiseChanged(due=_time(order.due + delay_h * HOUR), shift_h=delay_h, by="company"),
                "order_tracking",
            )
        yield max(1.0, order.due - world.now)
        self.overdue(order)
        yield world.spread(3.0 * HOUR, 0.9)
        yield from self.deliver(order)

    def late_share(self, carrier: str) -> float:
        """Return the share of deliveries that come late right now."""
        return min(0.95, LATE[carrier] + 0.65 * self.world.trouble("late-deliveries"))

    def overdue(self, order: Order) -> None:
        """Tell that the promised time has passed; some customers call."""
        order.trail.say(
            OrderDeliveryOverdue(due=_time(order.due), carrier=order.carrier, items=order.items),
            "order_tracking",
        )
        if self.world.chance(0.22):
            self.world.begin(self._complain(order, "delivery", 0.15, 1200.0))

    def overdue_before(self) -> Steps:
        """Tell of an order of before the run that is overdue now."""
        self.overdue(invented(self.world, 40 * HOUR))
        yield from ()

    def arrive_before(self, age_s: float) -> Steps:
        """Deliver an order that was dispatched before the run began."""
        world = self.world
        order = invented(world, age_s)
        if world.chance(self.late_share(order.carrier)):
            order.due = world.now - world.spread(3.0 * HOUR, 0.9)
        else:
            order.due = world.now + world.rng.uniform(0.1, 4.0) * HOUR
        yield from self.deliver(order)

    def deliver(self, order: Order) -> Steps:
        """Bring it to the door, and follow what the customer makes of it."""
        world, trail = self.world, order.trail
        if world.chance(0.03):
            trail.say(
                OrderDeliveryFailed(reason="nobody_home", attempt=1, carrier=order.carrier),
                "delivery",
            )
            yield world.spread(2.5 * HOUR)
        delay_h = (world.now - order.due) / HOUR
        late = delay_h > 0
        damaged = world.chance(0.035 if late else 0.018)
        complete = world.chance(0.975)
        trail.say(
            OrderDelivered(
                late=late,
                condition="damaged" if damaged else "intact",
                complete=complete,
                delay_h=round(delay_h, 2),
                items=order.items,
                carrier=order.carrier,
                duration_s=round(world.now - order.placed, 1),
            ),
            "delivery",
        )
        trail.say(LoyaltyEarned(points=order.amount // 100_000, programme="club"), "loyalty_club")
        lived = self._lived(late, delay_h, damaged, complete)
        ask = DELIVERY_CSAT if world.chance(0.6) else DELIVERY_NPS
        if world.chance(0.7):
            delivery: Literal["late", "on_time"] = "late" if late else "on_time"
            world.begin(survey(world, trail, ask, lived, delivery=delivery))
        if world.chance(0.03 + 0.12 * lived.pain):
            product = f"sku-{int(world.rng.paretovariate(0.9)) % 400:03d}"
            world.begin(review(world, trail, lived, "1", product=product))
        if damaged and world.chance(0.4):
            world.begin(self._complain(order, "defect", lived.pain, 1800.0))
        if world.chance(0.8 if damaged else 0.25 if not complete else 0.05):
            yield world.spread(*RETURN_S)
            yield from self.send_back(order, "damaged" if damaged else "incomplete" if not complete else "regret")

    def answered_before(self) -> Steps:
        """Answer a delivery survey that was sent before the run began."""
        world = self.world
        order = invented(world, 30 * HOUR)
        late = world.chance(self.late_share(order.carrier))
        lived = self._lived(late, world.spread(3.0, 0.9) if late else -1.0, world.chance(0.02), world.chance(0.975))
        ask = DELIVERY_CSAT if world.chance(0.6) else DELIVERY_NPS
        yield from answer(world, order.trail, ask, lived, delivery="late" if late else "on_time")

    def send_back(self, order: Order, reason: str) -> Steps:
        """Ask for a return, send the goods, and wait for the money."""
        order.trail.say(OrderReturnRequested(reason=reason, items=1), "returns")
        yield self.world.spread(*RETURN_ROAD_S)
        yield from self.take_back(order)

    def take_back(self, order: Order) -> Steps:
        """Receive returned goods, and refund."""
        world = self.world
        order.trail.say(
            OrderReturnReceived(items=1, condition="intact" if world.chance(0.85) else "damaged"),
            "returns",
        )
        yield world.spread(2 * HOUR)
        amount = round(order.amount / order.items, -3)
        order.trail.say(OrderRefundInitiated(amount=amount, currency="IRR", reason="return"), "returns")
        lag = world.spread(*REFUND_S)
        yield lag
        yield from self.refunded(order, lag + 2 * HOUR)

    def refunded(self, order: Order, after_s: float) -> Steps:
        """Give the money back, `after_s` seconds after the goods came."""
        world = self.world
        amount = round(order.amount / order.items, -3)
        order.trail.say(
            OrderRefundCompleted(amount=amount, currency="IRR", duration_s=round(after_s, 1)),
            "returns",
        )
        if after_s > 48 * HOUR and world.chance(0.3):
            yield from self._complain(order, "return_refund", 0.15, 600.0)

    def _complain(self, order: Order, topic: str, pain: float, after_s: float) -> Steps:
        yield self.world.spread(after_s, 0.9)
        customer = order.trail.customer
        if self.world.chance(0.65):
            yield from call(self.centre, customer, topic, pain=pain)
        else:
            yield from chat(self.centre, customer, topic, pain)

    def _lived(self, late: bool, delay_h: float, damaged: bool, complete: bool) -> Lived:
        lived = Lived("good_delivery")
        if late:
            lived.hurt("late", min(0.5, 0.16 + 0.05 * delay_h))
        if damaged:
            lived.hurt("damaged", 0.40)
        if not complete:
            lived.hurt("incomplete", 0.25)
        return lived


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(round(at), UTC)
