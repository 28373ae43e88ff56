"""Every metric of a worker, declared once with its unit and meaning."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.kpis.rolling.publish import PublishedValue

# Time series of when a counter was made tell nobody anything here.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RECORDS = Counter(
    "cx_records",
    "Records taken in, by outcome (counted, duplicate, late, bad, conflict); their sum is cx_records_read",
    ["channel", "partition", "outcome"],
    registry=REGISTRY,
)
RECORDS_READ = Counter(
    "cx_records_read", "Records read from a source partition", ["channel", "partition"], registry=REGISTRY
)
DEAD_LETTERS = Counter("cx_dead_letters", "Records refused, by reason code", ["channel", "reason"], registry=REGISTRY)
RECORDS_MENDED = Counter(
    "cx_records_mended",
    "Records taken though something in them had to be mended: byte_order_mark, invisible, blank_field, leap_second",
    ["channel", "what"],
    registry=REGISTRY,
)
MASKED = Counter(
    "cx_masked",
    "Strings in which personal data was masked: email, phone, national_id, card, iban, name, person",
    ["channel", "kind"],
    registry=REGISTRY,
)
LAG = Gauge(
    "cx_lag_records",
    "Records of a topic that are not finished: neither fetched nor processed nor acknowledged",
    ["topic", "partition"],
    registry=REGISTRY,
)
LAG_SECONDS = Gauge(
    "cx_lag_seconds",
    "Age of the newest finished record of a topic while others wait, or how long they wait already; 0 when none does",
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
BREAKER_OFFSET = Gauge(
    "cx_breaker_offset",
    "First offset of a stopped source that is neither stored nor a dead letter",
    ["channel", "partition"],
    registry=REGISTRY,
)
BREAKER_SINCE = Gauge(
    "cx_breaker_since_seconds",
    "When a source was stopped (Unix s)",
    ["channel", "partition"],
    registry=REGISTRY,
)
BREAKER_WHY = Gauge(
    "cx_breaker_reason_info",
    "1 for a stopped source, with the reason code, the explanation and the first bytes of the first record that is bad",
    ["channel", "partition", "reason", "message", "begins"],
    registry=REGISTRY,
)
CLOCK_HELD = Gauge(
    "cx_clock_held",
    "1 while a source waits because the worker's clock is in doubt",
    ["channel", "partition"],
    registry=REGISTRY,
)
CLOCK_DIFFERENCE = Gauge(
    "cx_clock_difference_seconds",
    "How far a reference (clickhouse, kafka, senders) is ahead of the worker's clock, beyond what is uncertain",
    ["reference"],
    registry=REGISTRY,
)
CLOCK_WRONG = Gauge(
    "cx_clock_wrong",
    "1 while the worker's clock is known or suspected to be wrong",
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "cx_stage_seconds",
    "Wall-clock time of one step of a stage (classify, fold, freeze, emit, apply, close, judge, publish, insert)",
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
FENCED_RECORDS = Counter(
    "cx_fenced_records",
    "Changelog records of an earlier owner behind a newer one's claim: skipped when read, or replaced by ours",
    ["table", "action"],
    registry=REGISTRY,
)
LEASE_WAITS = Counter(
    "cx_lease_waits",
    "Writes that waited for the broker to confirm that this worker still is a member of its group",
    registry=REGISTRY,
)
LEASES_LOST = Counter(
    "cx_leases_lost",
    "Assignments that ended with unconfirmed results, which are given up and computed again by the next owner",
    registry=REGISTRY,
)
MERGE_STOPPED = Gauge(
    "cx_merge_source_stopped",
    "1 for a source of which a merge partition counts nothing any more, because its ranges contradict each other",
    ["partition", "source"],
    registry=REGISTRY,
)
SERIES = Gauge("cx_series", "KPI series held by this worker", ["partition"], registry=REGISTRY)
SERIES_LEFT = Gauge(
    "cx_series_left",
    "KPI series that gave their room to larger ones and are not held now",
    ["partition"],
    registry=REGISTRY,
)
SERIES_BYTES = Gauge(
    "cx_series_bytes",
    "Memory that KPI series take by estimate, of cx_series_limit_bytes",
    ["partition"],
    registry=REGISTRY,
)
SERIES_BYTES_MAX = Gauge(
    "cx_series_limit_bytes",
    "Memory there is for KPI series of a merge partition: its part of CX_SERIES_MEMORY_MB",
    ["partition"],
    registry=REGISTRY,
)
SERIES_CAPPED = Counter(
    "cx_series_capped",
    "Series-minutes counted under the label value `(other)` because there was no room for a series of their own",
    ["kpi"],
    registry=REGISTRY,
)
LABELS_OVERFLOWED = Counter(
    "cx_labels_overflowed",
    "Labels counted under `(other)` because their channel brought too many at once that were never seen before",
    ["channel"],
    registry=REGISTRY,
)
LABELS_CUT = Counter(
    "cx_labels_cut",
    "Labels longer than 64 characters, or with control characters: they name a series by their beginning and a hash;"
    " counted when a worker meets them first",
    ["channel"],
    registry=REGISTRY,
)
SYNTHETIC = Counter(
    "cx_records_synthetic", "Events taken that say they are tests: stored, in no KPI", ["channel"], registry=REGISTRY
)
UNKNOWN_TOUCHPOINTS = Counter(
    "cx_unknown_touchpoints",
    "Counted events whose touchpoint is not in the dictionary: the label value `unknown`",
    ["channel"],
    registry=REGISTRY,
)
PENDING_OUTPUTS = Gauge(
    "cx_pending_outputs",
    "Rows of open minutes and windows that wait for their publishing interval, and rows on their way to the broker",
    ["partition"],
    registry=REGISTRY,
)
EXPIRED = Counter(
    "cx_expired_records",
    "Records that left their topic by its retention before they were read, found when the worker started",
    ["topic", "partition"],
    registry=REGISTRY,
)
ROWS_STORED = Counter("cx_rows_stored", "Rows written to ClickHouse, by table", ["table"], registry=REGISTRY)
STORE_RETRIES = Counter("cx_store_retries", "Inserts repeated after a failure", registry=REGISTRY)
SET_ASIDE = Counter(
    "cx_store_set_aside",
    "Rows that ClickHouse refused for good and that are dead letters now, by table",
    ["table"],
    registry=REGISTRY,
)

RELATION_RESULTS = Counter(
    "cx_relation_results", "Derived events, those that take one back included", ["relation"], registry=REGISTRY
)
RELATION_EVENTS = Counter(
    "cx_relation_events",
    "Events that came after their step: late; of these, too late to change anything: ignored; and what had no room in a"
    " customer's state: forgotten",
    ["relation", "outcome"],
    registry=REGISTRY,
)
RELATION_KEYS = Counter(
    "cx_relation_keys", "Keys of customers that turned out to be another one's", ["what"], registry=REGISTRY
)
RELATION_CUSTOMERS = Gauge(
    "cx_relation_customers", "Customers of whom relations know something", ["partition"], registry=REGISTRY
)
RELATION_BYTES = Gauge("cx_relation_bytes", "Bytes of what relations know of them", ["partition"], registry=REGISTRY)
RELATION_HELD = Gauge(
    "cx_relation_held", "Events that wait until the watermark has reached them", ["partition"], registry=REGISTRY
)
CASES = Counter(
    "cx_cases",
    "Cases: opened, reopened; facts that joined an open one, or one of another cause: suppressed; actions refused, as"
    " it was another one by then, or unknown; what had no room: forgotten; customers whose worth had none: unvalued",
    ["what", "cause"],
    registry=REGISTRY,
)
_ASKED = "Occasions on which customers may be asked: eligible; or not, by the reason; what had no room: forgotten"
SURVEYS = Counter("cx_survey_decisions", _ASKED, ["what", "survey"], registry=REGISTRY)
CASE_NOTICES = Counter(
    "cx_case_notices",
    "Clocks of cases of which was said that they end soon: warned; that they have ended: escalated; that this is taken"
    " back: cleared",
    ["what", "clock"],
    registry=REGISTRY,
)
CASES_OPEN = Gauge(
    "cx_cases_open",
    "Cases that are not closed: open, or missed if one of their clocks has ended",
    ["partition", "state"],
    registry=REGISTRY,
)
RELATION_UNTIL = Gauge(
    "cx_relation_until_timestamp_seconds",
    "Event time up to which everything is derived (Unix s)",
    ["partition"],
    registry=REGISTRY,
)

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
    "cx_judge_lag_seconds",
    "Length of the closed minutes that are due and not judged yet",
    ["partition"],
    registry=REGISTRY,
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

SIDE_TASK_FAILURES = Counter(
    "cx_side_task_failures",
    "Failures of what a worker does beside its main line (learning, enriching, alertmanager, webhooks, metrics, memory,"
    " clocks, copies); each is tried again",
    ["task"],
    registry=REGISTRY,
)

DOOR_REQUESTS = Counter(
    "cx_collector_requests",
    "Requests to the HTTP door, by what became of them: accepted, partly (some events refused), refused (all of them), "
    "malformed, denied (no right to), limited (too fast), unavailable (Kafka or memory), aborted (by the sender)",
    ["outcome"],
    registry=REGISTRY,
)
DOOR_EVENTS = Counter(
    "cx_collector_events",
    "Events that came to the HTTP door: accepted (confirmed by Kafka), refused, unconfirmed (to be sent again); "
    "channel `unknown` is of those that cannot be read",
    ["channel", "outcome"],
    registry=REGISTRY,
)
DOOR_BYTES = Counter(
    "cx_collector_received_bytes", "Bytes of request bodies as they came to the HTTP door", registry=REGISTRY
)
DOOR_SECONDS = Histogram(
    "cx_collector_request_seconds",
    "Wall-clock time from the head of a request to the HTTP door until its answer, Kafka's confirmation included",
    buckets=_SECONDS,
    registry=REGISTRY,
)
DOOR_IN_FLIGHT = Gauge(
    "cx_collector_in_flight_requests", "Requests to the HTTP door that are not answered yet", registry=REGISTRY
)
DOOR_IN_FLIGHT_BYTES = Gauge(
    "cx_collector_in_flight_bytes",
    "Memory that requests hold which are being read or wait for Kafka; bounded by CX_COLLECT_IN_FLIGHT_BYTES",
    registry=REGISTRY,
)


class KpiGauges(Collector):
    """
    The newest closed values of the KPIs: the whole and by channel, one window; never all series, which have no bound.

    A value that does not exist, because nothing was answered or tried, is left out and not 0.
    """

    WINDOW = "15m"
    _LABELS = ("kpi", "stat", "channel")

    def __init__(self) -> None:
        self._values: dict[int, dict[tuple[str, str, str], PublishedValue]] = {}

    def clear(self) -> None:
        """Forget all: they may be another worker's now."""
        self._values = {}

    def take(self, partition: int, values: Iterable[PublishedValue]) -> None:
        """Keep the newest of what a merge partition publishes."""
        known = self._values.setdefault(partition, {})
        for value in values:
            labels = value.labels
            if value.window == self.WINDOW and value.maturity == "closed" and labels.keys() <= {"channel"}:
                known[value.kpi, value.stat, labels.get("channel", "")] = value

    def collect(self) -> Iterator[Metric]:
        """Yield the four gauges."""
        unit = f"over the newest closed {self.WINDOW} window, in its own unit; channel empty: the whole"
        gauges = {
            "value": GaugeMetricFamily("cx_kpi_value", f"KPI {unit}", labels=self._LABELS),
            "n": GaugeMetricFamily("cx_kpi_answers", "Answers or trials behind cx_kpi_value", labels=self._LABELS),
            "lo": GaugeMetricFamily("cx_kpi_lower", f"Lower end of its 95 % interval {unit}", labels=self._LABELS),
            "hi": GaugeMetricFamily("cx_kpi_upper", f"Upper end of its 95 % interval {unit}", labels=self._LABELS),
        }
        for known in list(self._values.values()):
            for labels, value in list(known.items()):
                for name, gauge in gauges.items():
                    number = getattr(value, name)
                    if number is not None:
                        gauge.add_metric(labels, number)
        yield from gauges.values()


Trouble: TypeAlias = tuple[str, float, str, bool]
"""What is not being stored, since when (Unix s), why, and whether it waits for people."""


class TroubleGauges(Collector):
    """What is not being stored, since when, and why: one sample per table or source, as many as there are of both."""

    NAME = "cx_store_trouble_since_seconds"
    LONGEST = 300

    def __init__(self) -> None:
        self._current: Callable[[], Iterable[Trouble]] = tuple

    def watch(self, current: Callable[[], Iterable[Trouble]]) -> None:
        """Ask this from now on."""
        self._current = current

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge."""
        gauge = GaugeMetricFamily(
            self.NAME,
            "Since when a table or a source is not being stored (Unix s), and why; state repeated: it is sent again, "
            "held: it waits for people and is tried now and then",
            labels=("what", "state", "why"),
        )
        for what, since, why, held in self._current():
            gauge.add_metric((what, "held" if held else "repeated", why[: self.LONGEST]), since)
        yield gauge


STORE_TROUBLES = TroubleGauges()
REGISTRY.register(STORE_TROUBLES)

KPIS = KpiGauges()
REGISTRY.register(KPIS)
