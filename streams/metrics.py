"""Every metric of a worker, declared once with its unit and meaning."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

# Time series of when a counter was made tell nobody anything here.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RECORDS = Counter(
    "cx_records",
    "Records taken in, by outcome (counted, duplicate, late, bad); their sum is cx_records_read",
    ["channel", "partition", "outcome"],
    registry=REGISTRY,
)
RECORDS_READ = Counter(
    "cx_records_read", "Records read from a source partition", ["channel", "partition"], registry=REGISTRY
)
DEAD_LETTERS = Counter("cx_dead_letters", "Records refused, by reason code", ["channel", "reason"], registry=REGISTRY)
LAG = Gauge(
    "cx_lag_records",
    "Records of a topic that are not finished: neither fetched nor processed nor acknowledged",
    ["topic", "partition"],
    registry=REGISTRY,
)
WATERMARK = Gauge(
    "cx_watermark_timestamp_seconds",
    "Event time before which a source expects no more events (Unix s)",
    ["channel", "partition"],
    registry=REGISTRY,
)
BREAKER = Gauge(
    "cx_breaker_open",
    "1 while a source is stopped because most of its records are bad",
    ["channel", "partition"],
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "cx_stage_seconds",
    "Wall-clock time of one step of a stage (classify, fold, freeze, emit, apply, publish, insert)",
    ["stage", "step"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
RANGE_RECORDS = Histogram(
    "cx_range_records",
    "Records per frozen range",
    buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000),
    registry=REGISTRY,
)
REPEATED_PARTIALS = Counter(
    "cx_repeated_partials", "Partials received again after a crash and dropped", registry=REGISTRY
)
SERIES = Gauge("cx_series", "KPI series held by this worker", ["partition"], registry=REGISTRY)
SERIES_CAPPED = Counter(
    "cx_series_capped",
    "Series-minutes counted under the label value `other` because a KPI's grouping reached its cap",
    ["kpi"],
    registry=REGISTRY,
)
PENDING_OUTPUTS = Gauge(
    "cx_pending_outputs",
    "Rows of open minutes and windows that wait for their publishing interval",
    ["partition"],
    registry=REGISTRY,
)
ROWS_STORED = Counter("cx_rows_stored", "Rows written to ClickHouse, by table", ["table"], registry=REGISTRY)
STORE_RETRIES = Counter("cx_store_retries", "Inserts repeated after a failure", registry=REGISTRY)

TRANSITIONS = Counter("cx_alert_transitions", "Transitions of alerts, by new state", ["state"], registry=REGISTRY)
FIRING = Gauge(
    "cx_alerts_firing",
    "Alerts that fire now and were passed on to receivers",
    ["severity"],
    registry=REGISTRY,
)
EVALUATIONS = Counter("cx_alert_evaluations", "Rules judged on a series as of a closed minute", registry=REGISTRY)
JUDGED = Gauge(
    "cx_judged_timestamp_seconds",
    "End of the newest minute that alerts were judged on (Unix s of event time); far behind the clock: history",
    ["partition"],
    registry=REGISTRY,
)
JUDGE_LAG = Gauge(
    "cx_judge_lag_minutes", "Closed minutes that are due and not judged yet", ["partition"], registry=REGISTRY
)
ENRICHMENTS = Counter(
    "cx_alert_enrichments",
    "Alerts for which the store was asked what customers wrote and what else moved: complete, failed",
    ["outcome"],
    registry=REGISTRY,
)
NOTIFICATIONS = Counter(
    "cx_notifications",
    "Alerts handed to a receiver (alertmanager, webhook): delivered, failed (will be repeated), refused, expired",
    ["kind", "receiver", "outcome"],
    registry=REGISTRY,
)
NOTIFIED_AT = Gauge(
    "cx_notified_timestamp_seconds",
    "When a receiver last took something (Unix s); 0 while it never has",
    ["kind", "receiver"],
    registry=REGISTRY,
)


def serve(host: str, port: int) -> None:
    """
    Serve `/metrics` on `host:port` from a thread.

    Raises:
        OSError: the port cannot be bound.
    """
    start_http_server(port, addr=host, registry=REGISTRY)
