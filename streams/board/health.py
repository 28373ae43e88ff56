"""How the pipeline does, as far as the store can tell: rate, balance, delay, refusals, ClickHouse itself."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.board.readings import ALL
from streams.events.scalars import CHANNELS
from streams.wording.numbers import number, one_text
from streams.wording.texts import Lang, Texts

RATE_OVER_S: Final = 30.0
OUTCOMES: Final = ("counted", "duplicate", "late", "bad", "conflict")
SLOW_AT_PARTS: Final = 1_000
"""Parts of one partition from which ClickHouse delays inserts, by default (`parts_to_delay_insert`)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of one channel since the beginning."""

    read: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    bad: int = 0
    conflict: int = 0
    stored_at: int = 0
    """When the last of them was stored, unix s."""

    @property
    def balanced(self) -> bool:
        """Whether the outcomes sum to what was read."""
        return self.read == self.counted + self.duplicate + self.late + self.bad + self.conflict

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum; the later of both moments."""
        return Counts(
            self.read + other.read,
            self.counted + other.counted,
            self.duplicate + other.duplicate,
            self.late + other.late,
            self.bad + other.bad,
            self.conflict + other.conflict,
            max(self.stored_at, other.stored_at),
        )


@dataclass(slots=True)
class Rate:
    """Records per second over the last half minute, from totals that only grow."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, now: float, total: int) -> None:
        """Take note of a total at `now`, in seconds that only go forward."""
        if self._seen and total < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, total))
        while len(self._seen) > 2 and now - self._seen[1][0] > RATE_OVER_S:
            self._seen.popleft()

    def per_second(self) -> float | None:
        """Return the rate; None before there are two totals."""
        if len(self._seen) < 2:
            return None
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineHealth:
    """What was last seen of the pipeline; None and empty where nothing could be learnt."""

    channels: Mapping[str, Counts] = field(default_factory=dict)
    rates: Mapping[str, float | None] = field(default_factory=dict)
    """Records per second by channel, and of all."""
    delay_s: Mapping[str, float] = field(default_factory=dict)
    """95 % of the events stored in the last minute were stored within so many seconds, by channel."""
    closed_until: Mapping[str, int] = field(default_factory=dict)
    """End of the newest closed minute by channel, unix s."""
    refused: Sequence[tuple[str, int, str]] = ()
    """Reason, records of the last hour, an example's explanation."""
    fullest: int | None = None
    merges: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelLine:
    """One channel of the pipeline panel."""

    channel: str
    name: str
    rate: str
    stored_at: int
    closed_until: int
    delay: str


@dataclass(frozen=True, slots=True)
class HealthView:
    """The pipeline panel as shown."""

    rate: str
    outcomes: tuple[tuple[str, str, str], ...]
    """Outcome, its text, records."""
    read: str
    balanced: bool
    channels: tuple[ChannelLine, ...]
    refused: tuple[tuple[str, str, str], ...]
    fullest: str
    merges: str
    slow: bool
    """Whether ClickHouse is about to delay inserts."""


def health_view(health: PipelineHealth, lang: Lang) -> HealthView:
    """Return the panel's texts; what is not known is said to be."""
    texts = Texts(lang)
    everything = Counts()
    for counts in health.channels.values():
        everything = everything.plus(counts)

    def rate(channel: str) -> str:
        value = health.rates.get(channel)
        return "…" if value is None else number(value, lang, 0 if value >= 10 else 1)

    lines = []
    for channel in CHANNELS:
        delay = health.delay_s.get(channel)
        stored = health.channels.get(channel, Counts()).stored_at
        lines.append(
            ChannelLine(
                channel,
                texts[channel],
                rate(channel) if channel in health.channels else texts["no_data"],
                stored,
                health.closed_until.get(channel, 0),
                "–" if delay is None else one_text(delay, "seconds", lang),
            )
        )
    return HealthView(
        rate(ALL),
        tuple((name, texts[name], number(getattr(everything, name), lang)) for name in OUTCOMES),
        number(everything.read, lang),
        everything.balanced,
        tuple(lines),
        tuple(
            (texts.get(f"reason_{reason}", reason.replace("_", " ")), number(count, lang), example)
            for reason, count, example in health.refused
        ),
        texts["unknown"] if health.fullest is None else number(health.fullest, lang),
        texts["unknown"] if health.merges is None else number(health.merges, lang),
        health.fullest is not None and health.fullest >= SLOW_AT_PARTS // 2,
    )
