"""What we change ourselves: releases and campaigns, the first suspects when something goes wrong."""

from typing import Final, Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Label, Time

DEPLOYED: Final = "cx.change.deployed"
STARTED: Final = "cx.campaign.started"
CHANGE_TYPES: Final = (DEPLOYED, STARTED)


@event(DEPLOYED, counts="changes")
class ChangeDeployed(Data, frozen=True, kw_only=True):
    """A release, a configuration or a model went live, for customers of the event's channel."""

    what: Label
    version: Label | None = None
    kind: Literal["release", "rollback", "configuration", "experiment"] | None = None


@event(STARTED, counts="campaigns")
class CampaignStarted(Data, frozen=True, kw_only=True):
    """A campaign began: other customers come, and more of them."""

    campaign: Label
    ends: Time | None = None
