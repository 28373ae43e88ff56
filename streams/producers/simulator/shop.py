"""The shops: visitors, help on the floor, the queue at the till, the smiley terminal at the door."""

from collections.abc import Generator
from random import Random
from typing import Final

from streams.events.families.store import (
    StorePosTransaction,
    StoreQueueJoined,
    StoreQueueLeft,
    StoreQueueObserved,
    StoreQueueServed,
    StoreServiceCompleted,
    StoreStaffAssisted,
    StoreStockOutHit,
    StoreVisitorEntered,
    StoreVisitorLeft,
)
from streams.producers.population import Customer
from streams.producers.simulator.feedback import Ask, Lived, survey, wait_pain
from streams.producers.simulator.world import Desk, Steps, Trail, World

TILL_S: Final = 62.0
BUYS: Final = 0.55
CITIES: Final = ("tehran", "mashhad", "isfahan", "shiraz", "tabriz", "karaj", "ahvaz", "qom", "rasht", "kerman")

_SMILEY: Final = Ask("store-exit", "csat", "store", "store_visit", 2.0, 6.0, 0.8, scale=5, subchannel="kiosk")
_APP_LATER: Final = Ask("store-visit", "csat", "store", "store_visit", 120.0, 300.0, 0.25, scale=5, subchannel="sms")


class Shops:
    """All branches; the bigger the run, the more there are."""

    def __init__(self, world: World, *, visits: float) -> None:
        self.world = world
        self.count = min(20, max(2, round(visits * TILL_S * BUYS / 4)))
        self.tills = [
            Desk(
                world,
                "tills",
                load=visits * BUYS * TILL_S / self.count,
                safety=0.7,
                channel="store",
                missing=lambda: 0.6 * world.trouble("store-staff-shortage"),
            )
            for _ in range(self.count)
        ]
        self.units = [f"store-{CITIES[n % len(CITIES)]}-{n // len(CITIES) + 1}" for n in range(self.count)]

    def visit(self) -> Steps:
        """Follow one visitor; those with a loyalty card are known by name."""
        world, rng = self.world, self.world.rng
        customer = world.population.draw(rng)
        shop = int(customer.home_store * self.count) if world.chance(0.8) else rng.randrange(self.count)
        subject = customer.key if world.chance(0.6) else world.short_id("v")
        trail = Trail(
            world, customer, "store", f"/store/{self.units[shop]}", subject=subject, unitid=self.units[shop],
            journeyid=world.short_id("j"), synthetic=world.chance(world.synthetic_share),
        )  # fmt: skip
        entered = world.now
        trail.say(StoreVisitorEntered(people=1), "store_visit")
        lived = Lived("good_store")
        yield world.spread(140.0)
        wants = world.chance(BUYS + 0.03)
        if world.chance(0.22):
            yield world.spread(20.0)
            helped = world.chance(0.85)
            trail.say(
                StoreStaffAssisted(topic="product", duration_s=round(world.spread(70.0), 1), resolved=helped),
                "store_advice",
            )
            if not helped:
                lived.hurt("unresolved", 0.12)
        if world.chance(0.05):
            trail.say(
                StoreStockOutHit(product=f"sku-{rng.randrange(400):03d}", substituted=world.chance(0.3)),
                "store_advice",
            )
            lived.hurt("stock_out", 0.18)
            wants = wants and world.chance(0.5)
        bought = False
        if wants:
            yield world.spread(160.0)
            bought = yield from self._till(trail, customer, self.tills[shop], lived)
        yield world.spread(12.0)
        trail.say(
            StoreVisitorLeft(people=1, duration_s=round(world.now - entered, 1), bought=bought),
            "store_visit",
        )
        draw = rng.random()
        if draw < 0.14:
            yield from survey(world, trail, _SMILEY, lived)
        elif draw < 0.30 and subject == customer.key:
            yield from survey(world, trail, _APP_LATER, lived)

    def _till(self, trail: Trail, customer: Customer, desk: Desk, lived: Lived) -> Generator[float, None, bool]:
        world = self.world
        joined = world.now
        trail.say(
            StoreQueueJoined(queue="tills", service="checkout", waiting=desk.queue_length()),
            "store_queue",
        )
        staff = desk.take()
        if staff is None:
            place = desk.join()
            yield world.spread(420.0 * customer.patience, 0.6)
            if place.staff is None:
                place.gone = True
                waited = round(world.now - joined, 1)
                trail.say(
                    StoreQueueLeft(wait_s=waited, queue="tills", service="checkout", reason="abandoned"),
                    "store_queue",
                )
                lived.hurt("queue", 0.1 + wait_pain(waited))
                return False
            staff = place.staff
        waited = round(world.now - joined, 1)
        lived.hurt("queue", wait_pain(waited))
        trail.say(StoreQueueServed(wait_s=waited, queue="tills", service="checkout"), "store_queue")
        took = world.spread(TILL_S / 1.13, 0.5)
        yield took
        trail.say(
            StoreServiceCompleted(duration_s=round(took, 1), service="checkout", queue="tills", resolved=True),
            "store_checkout",
        )
        trail.say(
            StorePosTransaction(
                amount=_amount(world.rng, customer),
                currency="IRR",
                items=1 + int(world.rng.expovariate(0.35)),
                duration_s=round(took, 1),
            ),
            "store_checkout",
        )
        desk.release(staff)
        return True

    def camera(self, shop: int) -> Steps:
        """Estimate the wait at the tills every minute, as a camera does."""
        world, desk = self.world, self.tills[shop]
        trail = Trail(
            world, world.population.customer(0), "store", f"/store/{self.units[shop]}",
            subject=f"camera-{self.units[shop]}", unitid=self.units[shop], segment=None, region=None,
        )  # fmt: skip
        while True:
            yield 60.0
            waiting = desk.queue_length()
            estimate = waiting * TILL_S / max(1, desk.roster)
            trail.say(
                StoreQueueObserved(wait_s=round(estimate, 1), queue="tills", waiting=waiting),
                "store_queue",
            )


def _amount(rng: Random, customer: Customer) -> float:
    return round(1_200_000 * customer.value * rng.lognormvariate(0, 0.7), -3)
