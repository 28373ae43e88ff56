"""Web and app: a visit from the advertisement to the payment, or to the point where it breaks."""

from collections.abc import Generator
from typing import Final, Literal

from streams.events.families.awareness import AdClicked, AdShown, SearchLanded
from streams.events.families.digital import (
    AppCrashed,
    CartAdded,
    CheckoutStep,
    ClickFrustrated,
    ClientErrored,
    CompareViewed,
    FeatureUsed,
    HowtoViewed,
    OrderCancelled,
    OrderPlaced,
    PageViewed,
    PaymentAttempted,
    PaymentFailed,
    PaymentSucceeded,
    PerfSampled,
    ProductViewed,
    ReviewRead,
    SearchClicked,
    SearchPerformed,
    SessionEnded,
    SessionStarted,
)
from streams.events.families.identity import IdentityLinked
from streams.events.families.loyalty import OfferAccepted, OfferShown
from streams.producers.population import Customer
from streams.producers.simulator.calls import call
from streams.producers.simulator.centre import ContactCentre
from streams.producers.simulator.chats import chat
from streams.producers.simulator.feedback import Ask, Lived, review, survey
from streams.producers.simulator.fulfilment import Fulfilment, plan
from streams.producers.simulator.world import Channel, Steps, Trail, World

VERSION: Final = "5.2.1"
CRASHING_VERSION: Final = "5.3.0"
CATEGORIES: Final = ("mobile", "home", "fashion", "beauty", "grocery", "book", "toy", "tool")
STEPS: Final = ("address", "delivery", "payment")
PAYMENT_FAILS: Final = 0.055
CODES: Final = (("51", 0.45), ("55", 0.25), ("timeout", 0.2), ("84", 0.1))
"""Reasons of banks: not enough money, wrong PIN, no answer, issuer away."""

_CHECKOUT_EASE: Final = Ask("checkout-ease", "ces", "checkout", "checkout", 3.0, 9.0, 0.42, scale=7)
_ORDER_CSAT: Final = Ask("order-csat", "csat", "order", "checkout", 3.0, 9.0, 0.42)
_EXIT_CSAT: Final = Ask("exit-csat", "csat", "site", "session", 1.0, 8.0, 0.2)
_RELATION: Final = Ask("relational-nps", "nps", "company", "session", 1.0, 10.0, 0.3, scale=10, kind="relational")


class Visit:
    """One session, with what it has led to so far."""

    def __init__(self, world: World, centre: ContactCentre, fulfilment: Fulfilment, customer: Customer) -> None:
        self.world, self.centre, self.fulfilment, self.customer = world, centre, fulfilment, customer
        self.channel: Channel = "app" if customer.digital == "app" else "web"
        self.anonymous = self.channel == "web" and world.chance(0.3)
        self.trail = Trail(
            world, customer, self.channel, f"/{self.channel}/shop",
            subject=customer.anonymous_key if self.anonymous else customer.key,
            sessionid=world.short_id("s"), journeyid=world.short_id("j"),
            synthetic=world.chance(world.synthetic_share),
        )  # fmt: skip
        if self.channel == "web":
            self.trail = self.trail.with_(experiment="checkout-layout", variant=customer.variant)
        self.lived = Lived("good_digital")
        self.views = 0
        self.errors = 0
        self.in_cart = 0
        self.cart_amount = 0.0
        self.ordered = False
        self.crashed = False
        crash = world.trouble("app-crash-release") if self.channel == "app" else 0.0
        new_release = crash > 0 and world.chance(0.7)
        self.version = CRASHING_VERSION if new_release else VERSION
        self.crash_share = (0.11 * crash if new_release else 0.0) + 0.0009
        self.begun = world.now

    def steps(self) -> Steps:
        """Walk through the session."""
        world, trail, rng = self.world, self.trail, self.world.rng
        entry = yield from self._come()
        trail.say(
            SessionStarted(
                device=self.customer.device if self.channel == "web" else "mobile",
                platform=self.customer.device if self.channel == "app" else "browser",
                version=self.version if self.channel == "app" else None,
                entry=entry,
                returning=self.customer.segment != "new",
            ),
            "session",
        )
        self.begun = world.now
        bounced = world.chance(0.24 + 0.2 * world.trouble("slow-site"))
        yield from self._page("home")
        if not bounced and not self.crashed:
            yield from self._browse(min(14, 2 + int(rng.expovariate(0.32))))
        share = 0.55 - 0.25 * world.trouble("slow-site") - 0.6 * self.lived.pain
        if self.in_cart and not self.crashed and world.chance(share):
            yield from self._checkout()
        yield from self._leave(bounced)

    def _come(self) -> Generator[float, None, str]:
        world, trail, rng = self.world, self.trail, self.world.rng
        draw = rng.random()
        if draw < 0.10:
            campaign = rng.choice(("spring", "brand", "retarget"))
            trail.say(AdShown(campaign=campaign, network="display", cost=900.0), "advertisement")
            yield world.spread(4.0)
            if world.chance(0.3):
                trail.say(AdClicked(campaign=campaign, network="display", cost=14_000.0), "advertisement")
                yield 1.0
                return "ad"
            yield world.spread(60.0)
        elif draw < 0.34 and self.channel == "web":
            trail.say(SearchLanded(engine="google", position=1 + int(rng.expovariate(0.5))), "advertisement")
            yield 1.0
            return "search"
        return "direct"

    def _page(self, page: str) -> Steps:
        """Show a page: it takes its time, may fail, may crash the app, and is read."""
        world, trail, rng = self.world, self.trail, self.world.rng
        slow = world.trouble("slow-site")
        touchpoint = "search" if page != "home" else "app_home" if self.channel == "app" else "home_page"
        load_ms = world.spread(520.0 if self.channel == "app" else 780.0, 0.55) * (1 + 5 * slow)
        failed = world.chance(0.008 + 0.14 * slow)
        yield load_ms / 1000
        self.views += 1
        trail.say(PageViewed(page=page), touchpoint)
        if world.chance(0.4):
            trail.say(
                PerfSampled(duration_ms=round(load_ms, 1), failed=failed, page=page, kind="load"),
                touchpoint,
            )
        if load_ms > 3000:
            self.lived.hurt("slow", min(0.08, load_ms / 60_000))
        if failed:
            self.errors += 1
            self.lived.hurt("slow", 0.08)
            trail.say(
                ClientErrored(code=rng.choice(("500", "503", "timeout")), page=page, fatal=False),
                touchpoint,
            )
        if world.chance(0.007 + 0.10 * slow + (0.3 if failed else 0)):
            kind: Literal["rage", "dead", "error"] = rng.choice(("rage", "dead", "error"))
            trail.say(
                ClickFrustrated(kind=kind, page=page, element="button", clicks=3 + int(rng.expovariate(0.6))),
                touchpoint,
            )
            self.lived.hurt("slow", 0.05)
        if self.channel == "app" and world.chance(self.crash_share):
            self.crashed = True
            self.lived.hurt("crash", 0.45)
            trail.say(
                AppCrashed(version=self.version, platform=self.customer.device, at_launch=self.views == 1),
                touchpoint,
            )
            return
        yield world.spread(16.0, 0.8)

    def _browse(self, pages: int) -> Steps:
        world, rng = self.world, self.world.rng
        for _ in range(pages):
            draw = rng.random()
            if draw < 0.22:
                yield from self._search()
            elif draw < 0.66:
                yield from self._product()
            elif draw < 0.92:
                yield from self._page("category")
            else:
                yield from self._aside()
            if self.crashed or world.chance(0.04 + 0.8 * self.lived.pain * self.lived.pain):
                return

    def _search(self) -> Steps:
        world, trail, rng = self.world, self.trail, self.world.rng
        results = 0 if world.chance(0.06) else 1 + int(rng.paretovariate(0.7)) % 900
        search = world.short_id("q")
        touchpoint = "search"
        trail.say(SearchPerformed(results=results, search_id=search), touchpoint)
        yield world.spread(4.0)
        if results == 0:
            self.lived.hurt("search", 0.10)
        elif world.chance(0.66):
            position = 1 + int(rng.expovariate(0.35))
            trail.say(SearchClicked(search_id=search, position=position, delay_s=4.0), touchpoint)
            yield from self._product()

    def _product(self) -> Steps:
        world, trail, rng = self.world, self.trail, self.world.rng
        number = int(rng.paretovariate(0.9)) % 400
        product, category = f"sku-{number:03d}", CATEGORIES[number % len(CATEGORIES)]
        price = float((number * 37 % 90 + 10) * 30_000)
        touchpoint = "product_page"
        available = world.chance(0.95)
        trail.say(
            ProductViewed(product=product, category=category, price=price, available=available),
            touchpoint,
        )
        yield world.spread(18.0, 0.8)
        if world.chance(0.12):
            trail.say(ReviewRead(product=product, reviews=int(rng.expovariate(0.1))), "reviews")
            yield world.spread(15.0)
        if not available:
            self.lived.hurt("stock_out", 0.08)
        elif world.chance(0.13):
            trail.say(CartAdded(product=product, category=category, quantity=1, price=price), "cart")
            self.in_cart += 1
            self.cart_amount += price
            yield world.spread(4.0)

    def _aside(self) -> Steps:
        world, trail, rng = self.world, self.trail, self.world.rng
        draw = rng.random()
        if draw < 0.3:
            trail.say(CompareViewed(products=rng.randint(2, 4)), "comparison")
        elif draw < 0.55:
            trail.say(OfferShown(offer="weekend-10"), "offer")
            if world.chance(0.12):
                yield world.spread(6.0)
                trail.say(OfferAccepted(offer="weekend-10"), "offer")
        elif draw < 0.75:
            trail.say(FeatureUsed(feature="wishlist", succeeded=world.chance(0.98)), "product_page")
        else:
            solved = world.chance(0.62)
            trail.say(HowtoViewed(article="returns", topic="return_refund", solved=solved), "help_center")
            if not solved and world.chance(0.15):
                world.begin(chat(self.centre, self.customer, "return_refund", 0.05))
        yield world.spread(12.0)

    def _checkout(self) -> Steps:
        world = self.world
        if self.anonymous:
            self.trail = self.trail.with_(subject=self.customer.key)
            self.trail.say(
                IdentityLinked(alias=self.customer.anonymous_key, method="login", confidence=1.0), "checkout"
            )
        orderid = world.short_id("o")
        self.trail = self.trail.with_(orderid=orderid)
        goes_on = 0.95 if self.customer.variant == "one-page" and self.channel == "web" else 0.92
        for position, step in enumerate(STEPS, start=1):
            self.trail.say(CheckoutStep(step=step, position=position), "checkout")
            yield world.spread(14.0)
            if not world.chance(goes_on - 0.1 * world.trouble("slow-site")):
                return
        yield from self._pay()

    def _pay(self) -> Steps:
        world, trail, rng = self.world, self.trail, self.world.rng
        amount = self.cart_amount
        for attempt in range(1, 4):
            outage = world.trouble("payment-outage")
            trail.say(
                PaymentAttempted(amount=amount, currency="IRR", method="card", attempt=attempt),
                "payment",
            )
            took = world.spread(9.0 * (1 + 2 * outage))
            yield took
            if not world.chance(PAYMENT_FAILS + 0.8 * outage):
                trail.say(
                    PaymentSucceeded(amount=amount, currency="IRR", method="card", duration_s=round(took, 1)),
                    "payment",
                )
                self._order(amount)
                return
            code = "timeout" if outage and world.chance(0.9) else _code(rng.random())
            trail.say(
                PaymentFailed(code=code, amount=amount, currency="IRR", method="card"),
                "payment",
            )
            self.lived.hurt("payment", 0.20)
            yield world.spread(12.0)
            if not world.chance(0.7):
                break
        self._ask_about_checkout()
        if world.chance(0.16):
            world.begin(self._call_about("payment", 180.0))

    def _order(self, amount: float) -> None:
        world, trail = self.world, self.trail
        self.ordered = True
        trail.say(
            OrderPlaced(amount=amount, currency="IRR", items=self.in_cart, first=self.customer.segment == "new"),
            "checkout",
        )
        way = trail.with_(source=f"/{self.channel}/fulfilment")
        way.attributes.pop("sessionid")
        order = plan(world, way, amount, self.in_cart, world.now)
        if world.chance(0.025):
            world.begin(_cancel(world, way, amount))
        else:
            world.begin(self.fulfilment.promise(order))
        self._ask_about_checkout()

    def _ask_about_checkout(self) -> None:
        """Ask whoever got as far as paying, whether it worked or not."""
        world = self.world
        if world.chance(0.4):
            ask = _CHECKOUT_EASE if world.chance(0.5) else _ORDER_CSAT
            world.begin(survey(world, self.trail, ask, self.lived))

    def _leave(self, bounced: bool) -> Steps:
        world, trail, rng = self.world, self.trail, self.world.rng
        lasted = round(world.now - self.begun, 1)
        trail.say(
            SessionEnded(
                duration_s=lasted,
                device=self.customer.device if self.channel == "web" else "mobile",
                views=self.views,
                engaged=lasted >= 10 or self.views >= 2 or self.ordered,
                converted=self.ordered,
                errors=self.errors + self.crashed,
                bounced=bounced or self.views == 1,
            ),
            "session",
        )
        draw = rng.random()
        if self.crashed and draw < 0.12:
            yield from review(world, trail, self.lived, self.version, product="app")
        elif self.crashed and draw < 0.17:
            yield from self._call_about("app_problem", 300.0)
        elif self.channel == "app" and draw < 0.01:
            yield from review(world, trail, self.lived, self.version, product="app")
        elif not self.ordered and draw > 0.93:
            yield from survey(world, trail, _EXIT_CSAT, self.lived)
        elif draw > 0.90:
            yield from survey(world, trail, _RELATION, self.lived, days_since=round(rng.expovariate(0.05), 1))

    def _call_about(self, topic: str, median_s: float) -> Steps:
        yield self.world.spread(median_s)
        if self.world.chance(0.6):
            yield from call(self.centre, self.customer, topic, pain=0.5 * self.lived.pain)
        else:
            yield from chat(self.centre, self.customer, topic, 0.5 * self.lived.pain)


def _cancel(world: World, trail: Trail, amount: float) -> Steps:
    yield world.spread(1500.0)
    trail.say(OrderCancelled(by="customer", reason="changed_mind", amount=amount), "checkout")


def _code(draw: float) -> str:
    for code, share in CODES:
        draw -= share
        if draw < 0:
            return code
    return CODES[-1][0]
