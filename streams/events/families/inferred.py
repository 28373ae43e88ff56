"""What models concluded about a customer or a text; never mixed with what customers said themselves."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Days, Label, Percent, Polarity, Share


@event("cx.sentiment.scored")
class SentimentScored(Data, frozen=True, kw_only=True):
    """A text or conversation was given a sentiment."""

    polarity: Polarity
    label: Literal["positive", "neutral", "negative"] | None = None
    model: Label | None = None
    confidence: Share | None = None
    start: Polarity | None = None
    end: Polarity | None = None


@event("cx.emotion.scored")
class EmotionScored(Data, frozen=True, kw_only=True):
    """An emotion was recognised."""

    emotion: Label
    strength: Share | None = None
    model: Label | None = None


@event("cx.intent.inferred")
class IntentInferred(Data, frozen=True, kw_only=True):
    """The purpose of a contact or session was recognised."""

    intent: Label
    confidence: Share | None = None
    model: Label | None = None


@event("cx.churn.scored")
class ChurnScored(Data, frozen=True, kw_only=True):
    """A customer's probability to leave was estimated."""

    risk: Share
    horizon_d: Days | None = None
    model: Label | None = None


@event("cx.csat.predicted")
class CsatPredicted(Data, frozen=True, kw_only=True):
    """The satisfaction of a customer who was not asked was estimated."""

    predicted: Percent
    confidence: Share | None = None
    model: Label | None = None
