"""What detectors know of a KPI, what they read of a series, and the few sums that they all need."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import inf
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from streams.alerts.types import SourceHealth
from streams.kpis.arithmetic.accumulators import Acc, copy_acc, is_empty, subtract_acc
from streams.kpis.arithmetic.intervals import HUNDRED_UNITS, PER_100, PERCENT_UNITS, Range
from streams.kpis.language.definition import Direction, Kpi
from streams.kpis.language.lengths import window_minutes

length_of = lru_cache(maxsize=256)(window_minutes)
"""Length of a window in minutes, by name."""

Kept: TypeAlias = list[int | str]
"""Sums as they are saved. MessagePack ends at 64 bits, squares of large amounts do not: those are digits."""

_KEPT: Final = 1 << 63


class Facts(msgspec.Struct, frozen=True):
    """What of a KPI's definition decides how its numbers are read."""

    aggregator: str
    direction: Direction = "up"
    unit: str = ""
    scale: int = 1000
    q: float = 0.5
    """Of a quantile: which one is judged."""
    within: Range | None = None
    """Range of single answers, where the unit does not tell."""

    @classmethod
    def of(cls, kpi: Kpi) -> Facts:
        """Take them from a definition; of several quantiles the headline is judged."""
        q = kpi.quantiles[0] if kpi.quantiles else 0.5
        return cls(kpi.aggregator, kpi.direction, kpi.unit, kpi.scale, q, kpi.range)

    @property
    def factor(self) -> float:
        """Return what a share or a score of one is in the KPI's unit."""
        return 100.0 if self.aggregator == "nps" or self.unit in HUNDRED_UNITS else 1.0

    @property
    def is_rate(self) -> bool:
        """Return whether hits are events of their own, a Poisson count beside that of the trials."""
        return self.unit == PER_100


class Expected(msgspec.Struct, frozen=True):
    """What a window usually has at this time of the week."""

    value: float
    """In the KPI's unit; of counts and sums the total of the window."""
    spread: float
    """Standard deviation between weeks, in the same unit, without the noise of small samples."""
    n: float
    """Answers, trials or events that the window usually has."""
    dispersion: float
    """Squared coefficient of variation of the volume between weeks, without Poisson noise."""
    weeks: int
    """Weeks it was seen in."""
    level: Literal["hour of the week", "hour of such days", "hour of the day"]
    """How finely times are divided; coarser where there is too little."""
    freedom: float = inf
    """Degrees of freedom of the spread: how well it is known."""


class SeriesReading(Protocol):
    """
    One series as of one closed minute; whoever judges gives it, and detectors ask it for no more than they need.

    Accumulators that it returns are to be looked at only. None is: nothing there.
    """

    @property
    def minute(self) -> int:
        """The closed minute, unix seconds // 60."""
        ...

    def in_minute(self) -> Acc | None:
        """Return what exactly this minute holds."""
        ...

    def window(self, name: str) -> Acc | None:
        """Return the sum over a kept window that ends with this minute."""
        ...

    def parts(self, label: str, window: str) -> Mapping[str, Acc]:
        """Return the sums over a window of the series below this one, by the value of one more label."""
        ...

    def expected(self, window: str) -> Expected | None:
        """Return what the window usually has; None while too little was learnt."""
        ...

    def sources(self) -> Mapping[str, SourceHealth]:
        """Return the health of the sources that feed the series, by name."""
        ...


class OpenReading(SeriesReading, Protocol):
    """One series as of one closed minute, with what has come of later ones; windows end with the newest of those."""

    @property
    def ahead(self) -> int:
        """How many minutes after the closed one have begun."""
        ...

    def latest(self, minutes: int) -> Acc | None:
        """Return what has come for the newest minutes, the open one among them."""
        ...


class Moments(NamedTuple):
    """Of single answers: how many, their mean and variance, in the KPI's unit."""

    n: int
    mean: float
    variance: float


def before(reading: SeriesReading, longer: str, window: str) -> Acc | None:
    """Return the longer window without the shorter one: closed, not overlapping it, up to where it begins."""
    return without(reading.window(longer), reading.window(window))


def without(longer: Acc | None, shorter: Acc | None) -> Acc | None:
    """Return what a longer window holds that a shorter one does not; None when that is nothing."""
    if longer is None or shorter is None:
        return longer
    rest = copy_acc(longer)
    subtract_acc(rest, shorter)
    return None if is_empty(rest) else rest


def moments(facts: Facts, acc: Acc | None) -> Moments | None:
    """
    Return the moments of single answers; None when there are none, or the aggregator keeps none (e.g. a count).

    The hits of a rate are taken as Poisson. Sums that no answers can have, such as a square of sums beyond the sum of
    squares, or more hits of a share than trials, have no spread.
    """
    if acc is None or type(acc) is dict or not acc[0]:
        return None
    assert type(acc) is list
    n = acc[0]
    factor = facts.factor
    match facts.aggregator:
        case "ratio":
            share = acc[1] / n
            mean, variance = factor * share, factor * factor * (share if facts.is_rate else share * (1 - share))
        case "nps":
            score = (acc[1] - acc[2]) / n
            mean, variance = factor * score, factor * factor * ((acc[1] + acc[2]) / n - score * score)
        case "mean":
            scale = facts.scale
            mean = acc[1] / (n * scale)
            # In whole numbers: the difference of two large sums would lose all digits in doubles.
            variance = (n * acc[2] - acc[1] * acc[1]) / (n * (n - 1)) / (scale * scale) if n > 1 else 0.0
        case "share":
            _, whole, part, wholes, products, parts = acc
            if whole <= 0:
                return None
            mean = factor * part / whole
            # Variance of the value times n: the delta method for a ratio of sums, as its interval has it.
            spread = parts * whole * whole - 2 * part * whole * products + part * part * wholes
            variance = factor * factor * spread / whole**4 * n * n / (n - 1) if n > 1 else 0.0
        case _:
            return None
    return Moments(n, mean, max(0.0, variance))


def kept(sums: Acc) -> Kept:
    """Return sums as they can be saved."""
    return [one if -_KEPT <= one < _KEPT else str(one) for one in sums]


def sums_of(saved: Kept) -> list[int]:
    """Return sums as they were."""
    return [int(one) for one in saved]


def badness(facts: Facts, change: float) -> float:
    """Return how bad a change of the value is: positive on the side of trouble, on either if there is no better one."""
    if facts.direction == "up":
        return -change
    return change if facts.direction == "down" else abs(change)


def show(value: float | None, unit: str = "") -> str:
    """Write a value for people: four digits, and its unit where a short one exists."""
    if value is None:
        return "nothing"
    text = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    if unit in PERCENT_UNITS:
        return f"{text} %"
    return f"{text} per 100" if unit == PER_100 else f"{text} {unit}" if unit == "points" else text


def side_word(change: float) -> str:
    """Say which way a value went."""
    return "lower" if change < 0 else "higher" if change > 0 else "equal"
