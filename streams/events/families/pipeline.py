"""What the pipeline says about itself and its sources."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Count, Label, Number, Seconds, Time


@event("cx.pipeline.schema_violated", counts="refused records")
class PipelineSchemaViolated(Data, frozen=True, kw_only=True):
    """A record was refused."""

    reason: Label
    path: Label | None = None
    topic: Label | None = None


@event("cx.pipeline.event_late", counts="late events")
class PipelineEventLate(Data, frozen=True, kw_only=True):
    """A record came after its bucket had closed."""

    late_s: Seconds
    topic: Label | None = None


@event("cx.pipeline.duplicate_dropped", counts="duplicates")
class PipelineDuplicateDropped(Data, frozen=True, kw_only=True):
    """Records with a known id were left out."""

    count: Count
    topic: Label | None = None


@event("cx.pipeline.heartbeat", counts="signs of life")
class PipelineHeartbeat(Data, frozen=True, kw_only=True):
    """A source is alive even if no customer is: silence and a dead collector differ by this."""

    collector: Label
    sent: Count | None = None
    interval_s: Seconds | None = None


@event("cx.pipeline.watermark", counts="reports of a watermark")
class PipelineWatermark(Data, frozen=True, kw_only=True):
    """A source promises no more events before `until`."""

    until: Time


@event("cx.pipeline.kpi_computed", counts="values published")
class PipelineKpiComputed(Data, frozen=True, kw_only=True):
    """A KPI was computed."""

    kpi: Label
    value: Number | None = None
    n: Count | None = None


@event("cx.pipeline.alert_changed", counts="changes of alerts")
class PipelineAlertChanged(Data, frozen=True, kw_only=True):
    """An alert changed its state."""

    alert: Label
    state: Literal["inactive", "pending", "firing", "resolved"]
    previous: Literal["inactive", "pending", "firing", "resolved"] | None = None
