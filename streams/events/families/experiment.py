"""Experiments: who was drawn into which arm, whatever they do afterwards."""

from typing import Literal

from streams.events.envelope import Data, event


@event(
    "cx.experiment.assigned",
    counts="assignments (who is assigned again counts again)",
    needs=("experiment", "variant"),
)
class ExperimentAssigned(Data, frozen=True, kw_only=True):
    """A customer was assigned to the `variant` of an `experiment`, whether anything comes of it or not."""

    unit: Literal["customer", "device", "session"] | None = None
