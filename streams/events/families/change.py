"""What we change ourselves: releases and campaigns, the first suspects when something goes wrong."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Label, Time


@event("cx.change.deployed")
class ChangeDeployed(Data, frozen=True, kw_only=True):
    """A release, a configuration or a model went live, for customers of the event's channel."""

    what: Label
    version: Label | None = None
    kind: Literal["release", "rollback", "configuration", "experiment"] | None = None


@event("cx.campaign.started")
class CampaignStarted(Data, frozen=True, kw_only=True):
    """A campaign began: other customers come, and more of them."""

    campaign: Label
    ends: Time | None = None
