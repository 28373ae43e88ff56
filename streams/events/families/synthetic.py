"""What came of synthetic journeys: scripted paths that are sent to see whether all ways are open."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Label, Seconds

Leg = Literal["accepted", "refused", "stored", "derived"]


@event("cx.synthetic.checked", counts="checks of steps of synthetic paths")
class SyntheticChecked(Data, frozen=True, kw_only=True):
    """One check of one step of a path; `latency_s` is the time from sending to the answer of its leg."""

    path: Label
    leg: Leg
    ok: bool
    step_number: Count | None = None
    latency_s: Seconds | None = None
    reason: Label | None = None


@event("cx.synthetic.finished", counts="runs of synthetic paths")
class SyntheticFinished(Data, frozen=True, kw_only=True):
    """A path was gone once, and every check of it held or not; `failed` names the first that did not."""

    path: Label
    run: Label
    ok: bool
    duration_s: Seconds
    failed: Label | None = None
