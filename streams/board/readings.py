"""What the page knows of a KPI series at one moment, and the notes that ClickHouse's rows become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

ALL: Final = "all"
"""The channel that stands for every channel together."""

SeriesKey: TypeAlias = tuple[str, str, str]
"""KPI, channel (`all` for the whole), touchpoint (empty for every one)."""


@dataclass(frozen=True, slots=True)
class PublishedReading:
    """A published value: in the KPI's unit, with its 95 % interval and the end of its window (unix s)."""

    at: int
    value: float | None
    """None: nothing was answered or tried; never 0 for that."""
    n: int
    lo: float | None = None
    hi: float | None = None
    closed: bool = True
    """Whether no more events are expected for the window."""
    stat: str = ""
    """Of a quantile: which one, e.g. `p50`."""
    since: int = 0
    """Start of the step of a course that it is of, unix s; of values that were published 0."""


class ChangeMarker(NamedTuple):
    """A release that went live, or a campaign that began."""

    at: int
    """Unix s."""
    channel: str
    what: str
    version: str

    @property
    def name(self) -> str:
        """What it is called."""
        return " ".join(filter(None, [self.what, self.version]))


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiInfo:
    """What the store's catalogue says of a KPI, as far as the page tells it."""

    id: str
    name: str
    name_fa: str = ""
    """In Persian; empty: there is none."""
    question: str = ""
    unit: str = "count"
    direction: str = "none"
    """`up`: more is better; `down`: less is better; `none`."""
    aggregator: str = "count"
    formula: str = ""
    source: str = ""
    owner: str = ""
    groupings: tuple[tuple[str, ...], ...] = ()
    min_n_show: int = 1
    min_n_colour: int = 10
    target: float | None = None
    """What its owner aims at, in its unit."""
    quantiles: tuple[float, ...] = ()
    definition: str = ""
    maturity: str = "immediate"
    void: str = ""
    """Why something was counted and there is no value; empty: there is one."""

    @property
    def stat(self) -> str:
        """Name of the headline quantile; empty when it has none."""
        return f"p{100 * self.quantiles[0]:g}" if self.quantiles else ""

    @property
    def counts(self) -> bool:
        """Whether the value is an amount, which grows with the time it is taken over."""
        return self.aggregator in {"count", "sum", "distinct"}


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest values of one series: of closed minutes, and with the minute that is still open."""

    closed: PublishedReading | None = None
    open: PublishedReading | None = None

    @property
    def at(self) -> int:
        """The newest moment that is known of, unix s; 0 when there is none."""
        return max((reading.at for reading in (self.closed, self.open) if reading is not None), default=0)

    def shown(self, info: KpiInfo, whole: "Latest | None" = None) -> PublishedReading | None:
        """
        Return what is shown of the series beside the `whole` that it is part of: of one moment, closed or open alike.

        That is the newest closed value, as in all that it is compared with. Only while the whole has none yet, just
        after a start, it is the open one; never of amounts, which would look like a drop over half a minute.
        """
        whole = whole or self
        return self.closed if whole.closed is not None or info.counts else self.open


def up_to_now(trend: Sequence[PublishedReading], closed: PublishedReading | None) -> Sequence[PublishedReading]:
    """Return the points of a course with the newest closed value as the last."""
    return [*trend, closed] if closed is not None and trend and closed.at > trend[-1].at else trend


Values: TypeAlias = Mapping[SeriesKey, Latest]


def overlaid(known: Values, fresh: Values) -> dict[SeriesKey, Latest]:
    """Return what is fresh, with the half that it lacks from what was known before."""
    none = Latest()
    return {
        key: Latest(latest.closed or known.get(key, none).closed, latest.open or known.get(key, none).open)
        for key, latest in fresh.items()
    }
