"""Which keys belong to one person."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Attribute, Label, Share


@event("cx.identity.linked", counts="links of two keys (not customers)")
class IdentityLinked(Data, frozen=True, kw_only=True):
    """Another key turned out to be the subject's."""

    alias: Attribute
    method: Literal["login", "order", "device", "phone", "loyalty_card", "import"] | None = None
    confidence: Share | None = None


@event("cx.identity.unlinked", counts="links that were undone")
class IdentityUnlinked(Data, frozen=True, kw_only=True):
    """A key was wrongly taken for the subject's."""

    alias: Attribute
    reason: Label | None = None


@event("cx.identity.merged", counts="merges of two keys (not customers)")
class IdentityMerged(Data, frozen=True, kw_only=True):
    """Two customers are one: `merged_into` is the key that remains."""

    merged_into: Attribute
    reason: Label | None = None
