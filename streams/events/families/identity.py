"""Which keys belong to one person."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Attribute, Label, Share


@event("cx.identity.linked")
class IdentityLinked(Data, frozen=True, kw_only=True):
    """Another key turned out to be the subject's."""

    alias: Attribute
    method: Literal["login", "order", "device", "phone", "loyalty_card", "import"] | None = None
    confidence: Share | None = None


@event("cx.identity.unlinked")
class IdentityUnlinked(Data, frozen=True, kw_only=True):
    """A key was wrongly taken for the subject's."""

    alias: Attribute
    reason: Label | None = None


@event("cx.identity.merged")
class IdentityMerged(Data, frozen=True, kw_only=True):
    """Two customers are one: `merged_into` is the key that remains."""

    merged_into: Attribute
    reason: Label | None = None
