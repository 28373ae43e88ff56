"""What the embedded run shows of itself: the worker's metrics and the newest KPI values."""

import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from streams.settings import ConfigError, Settings

TIMEOUT_S = 2.0


class NotStored(NamedTuple):
    """A table or a source that is not being stored, since when (Unix s), why; `held`: until people look at it."""

    what: str
    since: float
    why: str
    held: bool


UNCOUNTED_WAY_OUT: Final = (
    "stop all workers, raise CX_EPOCH by one, start them: KPIs are brought back from the stored events, and `cx verify`"
    " finds no difference then. See CxMergeSourceStopped in docs/OPERATIONS.md"
)
"""For a source whose ranges contradict each other."""


@dataclass(frozen=True, slots=True)
class StoppedSource:
    """
    A source partition that is stopped because most of its records are bad.

    Attributes:
        source: Channel and partition.
        offset: The first one that is neither stored nor a dead letter.
        since: When it stopped (Unix s).
        reason: Code of the first bad record's refusal.
        message: What is said of that record.
        begins: Its first bytes, each as two hexadecimal digits.
    """

    source: str
    offset: int = 0
    since: float = 0.0
    reason: str = "unknown"
    message: str = "see the worker's log"
    begins: str = ""

    @property
    def text(self) -> str:
        """What is to be said of it, behind its name."""
        since = f" since {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        begins = f" (it begins with the bytes {self.begins})" if self.begins else ""
        return (
            f"is stopped at offset {self.offset}{since}: most of its records are bad, the first is {self.reason}:"
            f" {self.message}{begins}. Nothing from there on is stored or lost"
        )

    @property
    def ways_out(self) -> str:
        """What to do about it."""
        return (
            f"mend the producer, then `cx sources skip {self.source}`: bad records become dead letters, the others"
            f" count. `cx sources resume {self.source}` goes on, too, and stops again if the next are bad"
        )


LABEL_FATES: Final = {
    "cx_series_capped_total": "series-minutes without room, counted under (other)",
    "cx_labels_overflowed_total": "too many new at once, counted under (other)",
    "cx_labels_cut_total": "too long or with control characters, shown by a hash",
    "cx_unknown_touchpoints_total": "touchpoints in no dictionary, counted under unknown",
}
"""What became of labels that did not stand as they came, by the metric that counts it."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Totals of one worker process since it started."""

    outcomes: dict[str, int] = field(default_factory=dict)
    """Records by outcome, and `read`."""
    channels: dict[str, int] = field(default_factory=dict)
    """Records read by channel."""
    lag: dict[str, int] = field(default_factory=dict)
    """Unfinished records by topic."""
    pending: int = 0
    """Open minutes not yet published."""
    stopped: tuple[StoppedSource, ...] = ()
    """Source partitions whose breaker is open."""
    cpu_s: float = 0.0
    watermarks: dict[str, float] = field(default_factory=dict)
    """Event time before which a channel expects no more events (Unix s): that of its partition furthest behind."""
    waiting: tuple[str, ...] = ()
    """Source partitions that wait because the worker's clock is in doubt."""
    clocks: dict[str, float] = field(default_factory=dict)
    """Seconds that each reference is ahead of the worker's clock."""
    clock_wrong: bool = False
    """Whether the worker's clock is known or suspected to be wrong."""
    not_stored: tuple[NotStored, ...] = ()
    """What is not being stored now, the oldest first."""
    set_aside: int = 0
    """Rows that the store refused for good."""
    mended: dict[str, int] = field(default_factory=dict)
    """Records taken with something mended in them, by what it was."""
    steps: int = 0
    """Minutes that were judged, and inserts that were finished."""
    labels: dict[str, int] = field(default_factory=dict)
    """How often labels did not stand as they came, by what became of them."""
    uncounted: tuple[str, ...] = ()
    """Source partitions of which a merge counts nothing any more: their ranges contradict each other."""

    @property
    def idle(self) -> bool:
        """Whether all it was given is finished."""
        return bool(self.lag) and not any(self.lag.values()) and not self.pending


def worker_places(settings: Settings, named: Sequence[str] = ()) -> list[tuple[str, int]]:
    """
    Return host and port of the workers' metrics: those that are `named`, else those that settings name.

    Raises:
        ConfigError: One is no host and port.
    """
    own = [f"{settings.metrics_host}:{settings.metrics_port}"] if settings.metrics_port else []
    texts = list(named) or [part.strip() for part in settings.workers.split(",") if part.strip()] or own
    places = []
    for text in texts:
        host, _, port = text.rpartition(":")
        if not (host and _PORT.fullmatch(port) and 0 < int(port) < 65_536):
            raise ConfigError(f"{'--at' if named else 'workers'}: {text!r} is not host:port")
        places.append((host, int(port)))
    return places


_PORT: Final = re.compile("[0-9]{1,5}")


def worker_state(port: int, host: str = "127.0.0.1") -> WorkerState | None:
    """Ask a worker for its metrics; None while it does not answer, and of whatever else answers there."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=TIMEOUT_S) as answer:
            return _state_of(answer.read().decode())
    except (OSError, HTTPException, ValueError, KeyError, OverflowError):
        return None


def _state_of(text: str) -> WorkerState:
    """
    Read a worker's metrics.

    Raises:
        ValueError, KeyError, OverflowError: They are none of a worker.
    """
    outcomes: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    label_fates: Counter[str] = Counter()
    channels: Counter[str] = Counter()
    lag: Counter[str] = Counter()
    pending, cpu_s = 0, 0.0
    watermarks: dict[str, float] = {}
    stopped: set[str] = set()
    stops: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    waiting: list[str] = []
    clocks: dict[str, float] = {}
    clock_wrong = False
    not_stored: list[NotStored] = []
    set_aside = steps = 0
    uncounted: set[str] = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            match sample.name:
                case "cx_records_total":
                    outcomes[labels["outcome"]] += int(value)
                case "cx_records_read_total":
                    outcomes["read"] += int(value)
                    channels[labels["channel"]] += int(value)
                case "cx_lag_records":
                    lag[labels["topic"]] += int(value)
                case "cx_pending_outputs":
                    pending += int(value)
                case "cx_watermark_timestamp_seconds":
                    channel = labels["channel"]
                    watermarks[channel] = min(value, watermarks.get(channel, value))
                case "cx_breaker_open" if value:
                    stopped.add(f"{labels['channel']}/{labels['partition']}")
                case "cx_breaker_offset":
                    stops[f"{labels['channel']}/{labels['partition']}"]["offset"] = int(value)
                case "cx_breaker_since_seconds":
                    stops[f"{labels['channel']}/{labels['partition']}"]["since"] = value
                case "cx_breaker_reason_info":
                    why = {name: labels[name] for name in ("reason", "message", "begins")}
                    stops[f"{labels['channel']}/{labels['partition']}"] |= why
                case "cx_clock_held" if value:
                    waiting.append(f"{labels['channel']}/{labels['partition']}")
                case "cx_clock_difference_seconds":
                    clocks[labels["reference"]] = value
                case "cx_clock_wrong":
                    clock_wrong = bool(value)
                case "cx_store_trouble_since_seconds":
                    not_stored.append(NotStored(labels["what"], value, labels["why"], labels["state"] == "held"))
                case "cx_store_set_aside_total":
                    set_aside += int(value)
                case "cx_stage_seconds_count" if labels["step"] in {"judge", "insert"}:
                    steps += int(value)
                case "cx_records_mended_total":
                    mended[labels["what"]] += int(value)
                case name if name in LABEL_FATES and value:
                    label_fates[LABEL_FATES[name]] += int(value)
                case "cx_merge_source_stopped" if value:
                    uncounted.add(labels["source"])
                case "process_cpu_seconds_total":
                    cpu_s = value
    return WorkerState(
        dict(outcomes),
        dict(channels),
        dict(lag),
        pending,
        tuple(StoppedSource(source, **stops[source]) for source in sorted(stopped)),
        cpu_s,
        watermarks,
        tuple(waiting),
        clocks,
        clock_wrong,
        tuple(sorted(not_stored, key=lambda one: one.since)),
        set_aside,
        dict(mended),
        steps,
        dict(label_fates),
        tuple(sorted(uncounted)),
    )
