"""Web and app: sessions, pages, search, cart, checkout, payment, and what goes wrong with them."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Currency, Label, Milliseconds, Money, Number, Position, Seconds, Text, Time


@event("cx.session.started", counts="sessions (not visitors)")
class SessionStarted(Data, frozen=True, kw_only=True):
    """A visit to the web site or the app began."""

    device: Label | None = None
    platform: Label | None = None
    version: Label | None = None
    entry: Label | None = None
    referrer: Label | None = None
    returning: bool | None = None


@event("cx.session.ended", "1-1-0", earlier=("1-0-0",), counts="sessions (not visitors)")
class SessionEnded(Data, frozen=True, kw_only=True):
    """A visit ended; `engaged` is the channel's own judgement of engagement, `errors` its failed requests."""

    duration_s: Seconds | None = None
    device: Label | None = None
    views: Count | None = None
    engaged: bool | None = None
    converted: bool | None = None
    errors: Count | None = None
    bounced: bool | None = None


@event("cx.page.viewed", counts="page views (not visitors)")
class PageViewed(Data, frozen=True, kw_only=True):
    """A page or screen was shown."""

    page: Label
    title: Label | None = None
    duration_s: Seconds | None = None


@event("cx.search.performed", counts="searches (not sessions)")
class SearchPerformed(Data, frozen=True, kw_only=True):
    """A customer searched; 0 results is a failed search, none given is a search nobody counted."""

    results: Count | None = None
    query: Text | None = None
    search_id: Label | None = None


@event("cx.search.clicked", counts="clicks on a result (not searches)")
class SearchClicked(Data, frozen=True, kw_only=True):
    """A search result was opened."""

    search_id: Label | None = None
    position: Position | None = None
    delay_s: Seconds | None = None


@event("cx.product.viewed", counts="openings of a product's page (not visitors)")
class ProductViewed(Data, frozen=True, kw_only=True):
    """A product's page was shown."""

    product: Label
    category: Label | None = None
    price: Money | None = None
    available: bool | None = None


@event("cx.product.sold", counts="sales (one may be of several pieces)")
class ProductSold(Data, frozen=True, kw_only=True):
    """A line of an order or receipt: `quantity` of a product, one if it is not given, each at `price`."""

    product: Label
    category: Label | None = None
    quantity: Count | None = None
    price: Money | None = None


@event(
    "cx.product.judged", counts="judgements of products (one a day as a rule, of the products with the clearest rise)"
)
class ProductJudged(Data, frozen=True, kw_only=True):
    """Whether a product has more defects than it had, of `sold` since a moment; `expected` at most were to come."""

    product: Label
    suspected: bool
    category: Label | None = None
    defects: Count | None = None
    sold: Number | None = None
    expected: Number | None = None
    since: Time | None = None


@event("cx.compare.viewed", counts="openings of comparisons (not visitors)")
class CompareViewed(Data, frozen=True, kw_only=True):
    """Products were put side by side."""

    products: Count


@event("cx.review.read", counts="openings of a review (not readers)")
class ReviewRead(Data, frozen=True, kw_only=True):
    """A customer read the reviews of a product."""

    product: Label | None = None
    reviews: Count | None = None


@event("cx.cart.added", counts="additions to a cart (not products and not carts)")
class CartAdded(Data, frozen=True, kw_only=True):
    """A product was put into the cart."""

    product: Label | None = None
    category: Label | None = None
    quantity: Count | None = None
    price: Money | None = None


@event("cx.cart.removed", counts="removals from a cart (not products and not carts)")
class CartRemoved(Data, frozen=True, kw_only=True):
    """A product was taken out of the cart."""

    product: Label | None = None
    quantity: Count | None = None


@event("cx.checkout.step", counts="steps of a checkout (not checkouts)")
class CheckoutStep(Data, frozen=True, kw_only=True):
    """A step of the checkout was reached; `position` orders the steps, the first is 1."""

    step: Label
    position: Position | None = None


@event("cx.payment.attempted", counts="attempts to pay (not orders)")
class PaymentAttempted(Data, frozen=True, kw_only=True):
    """The customer tried to pay."""

    amount: Money | None = None
    currency: Currency | None = None
    method: Label | None = None
    attempt: Position | None = None


@event("cx.payment.succeeded", counts="attempts to pay (not orders)")
class PaymentSucceeded(Data, frozen=True, kw_only=True):
    """A payment went through."""

    amount: Money | None = None
    currency: Currency | None = None
    method: Label | None = None
    duration_s: Seconds | None = None


@event("cx.payment.failed", "1-1-0", earlier=("1-0-0",), counts="attempts to pay (not orders)")
class PaymentFailed(Data, frozen=True, kw_only=True):
    """A payment was refused or broke; `code` is the bank's or gateway's reason."""

    code: Label | None = None
    amount: Money | None = None
    currency: Currency | None = None
    method: Label | None = None


@event("cx.order.placed", counts="orders (not customers and not items)")
class OrderPlaced(Data, frozen=True, kw_only=True):
    """An order was placed; without `amount` it is counted, and adds nothing to revenue."""

    amount: Money | None = None
    currency: Currency | None = None
    items: Count | None = None
    first: bool | None = None


@event("cx.order.cancelled", counts="cancellations (not customers)")
class OrderCancelled(Data, frozen=True, kw_only=True):
    """An order was cancelled before delivery."""

    by: Literal["customer", "company", "system"] | None = None
    reason: Label | None = None
    amount: Money | None = None


@event("cx.click.frustrated", counts="bursts or clicks as the collector cuts them (not sessions or visitors)")
class ClickFrustrated(Data, frozen=True, kw_only=True):
    """Clicks that betray frustration: repeated in rage, without effect, or right before an error."""

    kind: Literal["rage", "dead", "error"]
    element: Label | None = None
    page: Label | None = None
    clicks: Count | None = None


@event("cx.client.errored", counts="errors (not sessions)")
class ClientErrored(Data, frozen=True, kw_only=True):
    """An error was shown or thrown in the browser or app."""

    code: Label | None = None
    page: Label | None = None
    fatal: bool | None = None
    message: Text | None = None


@event("cx.app.crashed", counts="crashes (a session may crash more than once)")
class AppCrashed(Data, frozen=True, kw_only=True):
    """The app ended against the user's will."""

    version: Label | None = None
    platform: Label | None = None
    at_launch: bool | None = None


@event("cx.app.installed", counts="installations (not customers)")
class AppInstalled(Data, frozen=True, kw_only=True):
    """The app was installed."""

    version: Label | None = None
    platform: Label | None = None


@event("cx.app.uninstalled", counts="removals of the app (not customers)")
class AppUninstalled(Data, frozen=True, kw_only=True):
    """The app was removed."""

    version: Label | None = None
    platform: Label | None = None


@event("cx.perf.sampled", counts="sampled requests and page loads (not sessions)")
class PerfSampled(Data, frozen=True, kw_only=True):
    """The response time of one request or page load; a failed one counts as frustrating whatever its time."""

    duration_ms: Milliseconds
    failed: bool = False
    page: Label | None = None
    kind: Label | None = None


@event("cx.feature.used", counts="uses (not customers)")
class FeatureUsed(Data, frozen=True, kw_only=True):
    """A function of the product was used."""

    feature: Label
    first: bool | None = None
    succeeded: bool | None = None


@event("cx.onboarding.step", counts="steps (not customers)")
class OnboardingStep(Data, frozen=True, kw_only=True):
    """A step of getting started was reached."""

    step: Label
    position: Position | None = None
    completed: bool | None = None


@event("cx.howto.viewed", counts="openings of help articles (not readers)")
class HowtoViewed(Data, frozen=True, kw_only=True):
    """A help article was opened; whether it solved the matter, if the customer said so."""

    article: Label
    topic: Label | None = None
    solved: bool | None = None
