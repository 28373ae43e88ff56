"""
What the pipeline itself meets, in the form of events, so that KPIs can be made of it like of all else.

No channel can send these types: they are made of ranges once these are closed, in `streams.kpis.folding.ranges`.
"""

from typing import ClassVar, Final

from streams.events.envelope import Data, Envelope
from streams.events.scalars import Count, Label, Seconds


class RangeClosed(Data, frozen=True, kw_only=True):
    """What became of the records of a range, taken in together: `read` is the sum of the other counts."""

    read: Count
    counted: Count
    duplicate: Count
    late: Count
    bad: Count
    conflict: Count = 0
    age_s: Seconds | None = None


class RecordRefused(Data, frozen=True, kw_only=True):
    """A record was refused, and is a dead letter."""

    reason: Label
    path: Label | None = None


class RangeEvent(Envelope, frozen=True, gc=False, kw_only=True, tag="pipeline.range"):
    """A closed range."""

    type: ClassVar[str] = "pipeline.range"
    data: RangeClosed


class RefusedEvent(Envelope, frozen=True, gc=False, kw_only=True, tag="pipeline.refused"):
    """A refused record."""

    type: ClassVar[str] = "pipeline.refused"
    data: RecordRefused


PIPELINE_DATA: Final[dict[str, type[Data]]] = {RangeEvent.type: RangeClosed, RefusedEvent.type: RecordRefused}
PIPELINE_COUNTS: Final[dict[str, str]] = {
    RangeEvent.type: "records; where an age is measured, ranges of them that were taken in together",
    RefusedEvent.type: "records",
}
"""What one event of them stands for, in words."""
PIPELINE_ATTRIBUTES: Final = ("channel", "synthetic")
"""Attributes of the envelope that mean anything on them."""
