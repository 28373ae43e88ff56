"""Customer relations and loyalty: profile, tier, offers, points, subscriptions."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Currency, Label, Money, Points, Share


@event("cx.profile.updated", counts="changes of profiles (not customers)")
class ProfileUpdated(Data, frozen=True, kw_only=True):
    """A fact about the customer changed; its value stays in the customer register."""

    field: Label
    by: Literal["customer", "company", "system"] | None = None


@event("cx.tier.changed", counts="changes of tier (a customer may have several)")
class TierChanged(Data, frozen=True, kw_only=True):
    """The customer's tier changed."""

    tier: Label
    previous: Label | None = None
    direction: Literal["up", "down"] | None = None


@event("cx.customer.valued", counts="changes of what customers are worth (a customer may have several)")
class CustomerValued(Data, frozen=True, kw_only=True):
    """What a customer is worth has changed: a tier by it, the lifetime value so far, or the probability to leave."""

    tier: Label
    previous: Label | None = None
    direction: Literal["up", "down"] | None = None
    clv: Money | None = None
    currency: Currency | None = None
    orders: Count | None = None
    churn_risk: Share | None = None
    model: Label | None = None


@event("cx.tag.added", counts="tags (not contacts)")
class TagAdded(Data, frozen=True, kw_only=True):
    """A mark was put on the customer."""

    tag: Label


@event("cx.offer.shown", counts="offers shown (one that is shown again counts again)")
class OfferShown(Data, frozen=True, kw_only=True):
    """An offer was made."""

    offer: Label
    value: Money | None = None


@event("cx.offer.accepted", counts="acceptances (not customers)")
class OfferAccepted(Data, frozen=True, kw_only=True):
    """An offer was accepted."""

    offer: Label
    value: Money | None = None


@event("cx.loyalty.earned", counts="bookings of points (not points)")
class LoyaltyEarned(Data, frozen=True, kw_only=True):
    """Points were earned."""

    points: Points
    programme: Label | None = None


@event("cx.loyalty.redeemed", counts="redemptions (not points)")
class LoyaltyRedeemed(Data, frozen=True, kw_only=True):
    """Points were spent."""

    points: Points
    programme: Label | None = None
    reward: Label | None = None


@event("cx.subscription.started", counts="subscriptions")
class SubscriptionStarted(Data, frozen=True, kw_only=True):
    """A subscription began."""

    plan: Label
    amount: Money | None = None
    currency: Currency | None = None
    trial: bool | None = None


@event("cx.subscription.renewed", counts="renewals (a subscription has many)")
class SubscriptionRenewed(Data, frozen=True, kw_only=True):
    """A subscription was renewed."""

    plan: Label
    amount: Money | None = None
    currency: Currency | None = None


@event("cx.subscription.cancelled", counts="cancellations")
class SubscriptionCancelled(Data, frozen=True, kw_only=True):
    """A subscription was ended."""

    plan: Label
    reason: Label | None = None
    voluntary: bool | None = None
