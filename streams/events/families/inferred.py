"""What models concluded about a customer or a text; never mixed with what customers said themselves."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Days, Label, Percent, Polarity, Share


@event("cx.sentiment.scored", counts="scored texts and conversations (what a second model scores counts again)")
class SentimentScored(Data, frozen=True, kw_only=True):
    """A text or conversation was given a sentiment."""

    polarity: Polarity
    label: Literal["positive", "neutral", "negative"] | None = None
    model: Label | None = None
    confidence: Share | None = None
    start: Polarity | None = None
    end: Polarity | None = None


@event("cx.emotion.scored", counts="scored texts and conversations (what a second model scores counts again)")
class EmotionScored(Data, frozen=True, kw_only=True):
    """An emotion was recognised."""

    emotion: Label
    strength: Share | None = None
    model: Label | None = None


@event("cx.intent.inferred", counts="inferences (what a second model infers counts again)")
class IntentInferred(Data, frozen=True, kw_only=True):
    """The purpose of a contact or session was recognised."""

    intent: Label
    confidence: Share | None = None
    model: Label | None = None


@event("cx.churn.scored", counts="estimates (who is scored again counts again)")
class ChurnScored(Data, frozen=True, kw_only=True):
    """A customer's probability to leave was estimated."""

    risk: Share
    horizon_d: Days | None = None
    model: Label | None = None


@event("cx.csat.predicted", counts="estimates (a contact that is scored again counts again)")
class CsatPredicted(Data, frozen=True, kw_only=True):
    """The satisfaction of a customer who was not asked was estimated."""

    predicted: Percent
    confidence: Share | None = None
    model: Label | None = None
