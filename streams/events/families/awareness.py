"""Before the first visit: advertising, mentions, public reviews, referrals."""

from typing import Literal

from streams.events.envelope import Data, Rated, event
from streams.events.scalars import Count, Label, Language, Money, Polarity, Position, Text


@event("cx.ad.shown", counts="advertisements shown (one that is shown again counts again)")
class AdShown(Data, frozen=True, kw_only=True):
    """An advertisement was shown."""

    campaign: Label
    network: Label | None = None
    cost: Money | None = None


@event("cx.ad.clicked", counts="clicks (not visitors)")
class AdClicked(Data, frozen=True, kw_only=True):
    """An advertisement was clicked."""

    campaign: Label
    network: Label | None = None
    cost: Money | None = None


@event("cx.search.landed", counts="arrivals (not visitors)")
class SearchLanded(Data, frozen=True, kw_only=True):
    """A visitor arrived from a search engine."""

    engine: Label | None = None
    query: Text | None = None
    position: Position | None = None


@event("cx.social.mentioned", counts="mentions")
class SocialMentioned(Data, frozen=True, kw_only=True):
    """The company was mentioned on a social network."""

    network: Label
    text: Text | None = None
    lang: Language | None = None
    reach: Count | None = None
    polarity: Polarity | None = None


@event("cx.review.published", counts="publications (a review that is edited counts again, with what it says now)")
class ReviewPublished(Rated, frozen=True, kw_only=True):
    """A public review with stars, as in an app store or on a product's page."""

    text: Text | None = None
    lang: Language | None = None
    product: Label | None = None
    version: Label | None = None
    store: Label | None = None
    likes: Count | None = None
    votes: Count | None = None
    edited: bool | None = None


@event("cx.review.replied", counts="replies")
class ReviewReplied(Data, frozen=True, kw_only=True):
    """The company answered a public review."""

    product: Label | None = None
    text: Text | None = None


@event("cx.referral.sent", counts="referrals (not customers)")
class ReferralSent(Data, frozen=True, kw_only=True):
    """A customer recommended the company to somebody."""

    programme: Label | None = None
    subchannel: Literal["email", "sms", "social", "chat"] | None = None


@event("cx.referral.converted", counts="customers won by a referral")
class ReferralConverted(Data, frozen=True, kw_only=True):
    """A recommendation won a customer."""

    programme: Label | None = None
    amount: Money | None = None
