"""
How much a series varies beyond chance, measured while all is well, so that noise is not taken for news.

Answers are not independent: the level wanders for hours, customers share a cause. What that does depends on how long
one looks, so it is measured in blocks of 5 minutes, of an hour, and of 6 hours, laid end to end. Of a block with n
answers whose sum is off by r from what is normal,

    E[r²] = n·s² + n²·v        s² variance of an answer by chance, v variance of the level of such a block

hence v = (Σr² - s²·Σn)/Σn² over the blocks of some two weeks, old ones weighing less. Few blocks are drawn towards what
the shorter ones say, the shortest towards a small level variance. And a run of n answers varies D = 1 + n·v/s² times as
much as by chance, v being that of its own length: the evidence of a run counts for 1/D.

What the hour of the day does to the level (24 offsets, drawn towards none when days are few) is normal and no noise.
Neither is what changes from day to day: blocks are held against the level of about the last day, since a slow decline
would otherwise pass for noise. Blocks teach once the sum is back at zero, and nothing if they touch an alert: trouble
that builds up is no noise, but what only looked like it for a while is the largest part of the noise. No block teaches
more than four of its deviations.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Final

import msgspec

BLOCKS: Final = (5, 60, 360)
"""Lengths of blocks in minutes; each divides the next, and the last the day."""

MEMORY_MINUTES: Final = 14 * 1440
"""Over how long blocks are remembered."""

PRIOR_BLOCKS: Final = 8.0
"""How many blocks the assumption stands for that few are drawn towards."""

PRIOR_LEVEL: Final = 0.00176
"""Level variance in variances of an answer before anything is known: of 85 %, one and a half points."""

PRIOR_SHAPE: Final = (1.0, 0.92, 0.57)
"""Level variance of the blocks beside that of a moment, where nothing is known: that of a level that forgets in 3 h."""

MOST_LEVEL: Final = (0.15, 0.03, 0.015)
"""Level variance of the blocks, in variances of an answer, beyond which it is no noise: of 85 %, 14, 6 and 4 points."""

WARINESS: Final = 1.4
"""How many times the measured level variance is allowed for: what fired is not in it, and each day is another."""

FALL: Final = 0.75
"""Power by which the level variance falls beyond the longest block: 1 if levels were independent, 0 if they stayed."""

FURTHEST: Final = 16.0
"""Most that the square of a block may be of what is expected of it."""

HOUR_PRIOR: Final = 0.002
"""Variance between hours of the day, in variances of an answer, before anything is known: of 85 %, 1.6 points."""

LEVEL_HOURS: Final = 24
"""Hours over which the level is the mean that blocks are held against."""

HOUR_DAYS: Final = 14
"""Days over which the offset of an hour is the mean."""

OFFSET_UNITS: Final = 1000
"""Offsets of hours are whole thousandths of the standard deviation of an answer."""

_HOURS: Final = 24
_HOUR: Final = 60
_LOGS: Final = tuple(log(length) for length in BLOCKS)
_LEAST: Final = 1e-12
_DAY: Final = 1440


class Blocks(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Sums over blocks of one length."""

    squares: float = 0.0
    """Σr²."""
    pairs: float = 0.0
    """Σn²."""
    answers: float = 0.0
    """Σn."""
    blocks: float = 0.0
    """How many blocks."""

    def and_of(self, other: Blocks, kept: float = 1.0) -> Blocks:
        """Return the sums with others, of which own ones count for a part."""
        return Blocks(
            kept * self.squares + other.squares,
            kept * self.pairs + other.pairs,
            kept * self.answers + other.answers,
            kept * self.blocks + other.blocks,
        )


def _nothing() -> list[Blocks]:
    return [Blocks()] * len(BLOCKS)


class Noise(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was measured of a series; lists have an entry per length of block, or per hour of the day (UTC)."""

    sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(BLOCKS))
    """How far the blocks under way are off, in the KPI's unit times answers."""
    answers: list[int] = msgspec.field(default_factory=lambda: [0] * len(BLOCKS))
    """Answers of the blocks under way."""
    known: list[Blocks] = msgspec.field(default_factory=_nothing)
    """What counts, old blocks less."""
    open: list[Blocks] = msgspec.field(default_factory=_nothing)
    """Blocks of which nobody knows yet whether they are trouble."""
    left_out: int = -1
    """The last minute that taught nothing."""
    offsets: list[int] = msgspec.field(default_factory=lambda: [0] * _HOURS)
    """How far the level of an hour is from that of the day, in thousandths of a standard deviation of an answer."""
    days: list[int] = msgspec.field(default_factory=lambda: [0] * _HOURS)
    """Days of which an hour has learnt."""
    level: float | None = None
    """Of about the last day in which all was well; None in the first, in which it is the normal value."""
    variances: list[float] = []
    """Level variances of blocks of each length, as of the last block that counts; empty before the first."""
    last: int = -1
    """The last minute that was seen."""

    def offset(self, minute: int, deviation: float) -> float:
        """Return what the hour of a minute does to the level, given the standard deviation of an answer."""
        seen = _HOURS - self.days.count(0)
        if not seen:
            return 0.0
        return (self.offsets[minute // _HOUR % _HOURS] - sum(self.offsets) / seen) * deviation / OFFSET_UNITS


def level_variances(noise: Noise | None, variance: float) -> list[float]:
    """Return the level variance of blocks of each length; `variance` is that of an answer."""
    if noise is not None and noise.variances:
        return noise.variances
    return _estimated(_nothing(), variance)


def _estimated(known: list[Blocks], variance: float) -> list[float]:
    found = []
    expected = PRIOR_LEVEL * variance
    for at in range(len(BLOCKS)):
        if at:
            expected *= PRIOR_SHAPE[at] / PRIOR_SHAPE[at - 1]
        seen = known[at]
        own = (seen.squares - variance * seen.answers) / seen.pairs if seen.pairs > 0 else 0.0
        expected = max(0.0, (own * seen.blocks + PRIOR_BLOCKS * expected) / (seen.blocks + PRIOR_BLOCKS))
        found.append(min(WARINESS * expected, MOST_LEVEL[at] * variance))
    return found


def variance_over(levels: list[float], minutes: float) -> float:
    """Return the level variance of so many minutes: between blocks a power law, beyond the longest as `FALL` says."""
    if minutes <= BLOCKS[0]:
        return levels[0] * BLOCKS[0] / max(minutes, 1.0)
    if minutes >= BLOCKS[-1]:
        return float(levels[-1] * (BLOCKS[-1] / minutes) ** FALL)
    length = log(minutes)
    at = next(at for at in range(1, len(BLOCKS)) if minutes < BLOCKS[at]) - 1
    low, high = (log(max(one, _LEAST)) for one in levels[at : at + 2])
    return exp(low + (high - low) * (length - _LOGS[at]) / (_LOGS[at + 1] - _LOGS[at]))


def dispersion(levels: list[float], variance: float, n: int, minutes: int) -> float:
    """Return how many times as much as by chance the sum of n answers in so many minutes varies."""
    return 1.0 + n * variance_over(levels, minutes) / variance if variance > 0 and n else 1.0


class Spread:
    """How a run varies, for its evidence to be divided by."""

    __slots__ = ("_last", "_times", "levels", "variance")

    def __init__(self, levels: list[float], variance: float) -> None:
        """
        Take it from what was measured.

        Args:
            levels: Level variances by length, as `level_variances`; none: answers are independent of each other.
            variance: Of an answer.
        """
        self.levels = levels
        self.variance = variance
        self._last = (0, 0)
        self._times = 1.0

    def of(self, n: int, minutes: int) -> float:
        """Return how many times as much as by chance n answers in so many minutes vary."""
        if not self.levels:
            return 1.0
        if self._last != (n, minutes):  # one minute asks of the same run twice
            self._last, self._times = (n, minutes), dispersion(self.levels, self.variance, n, minutes)
        return self._times


CHANCE: Final = Spread([], 0.0)
"""Answers that are independent of each other."""


def level_error(levels: list[float], windows: float) -> float:
    """Return the variance of a mean over so many days that comes from the level, not from chance."""
    return variance_over(levels, _DAY) / windows


def observe(
    noise: Noise, minute: int, total: float, n: int, mean: float, variance: float, error: float, *,
    teaches: bool, rests: bool, offset: float | None = None,
) -> Noise:  # fmt: skip
    """
    Return what is known after one more minute.

    Args:
        noise: What was known before.
        minute: Later than any before.
        total: Sum of its answers, in the KPI's unit.
        n: Its answers.
        mean: The normal value.
        variance: Of an answer.
        error: Variance of the normal value that comes from chance.
        teaches: Whether nothing fires in it.
        rests: Whether nothing speaks for trouble in it, so that what came before was none.
        offset: What the hour does to the level, if that has been asked for already.
    """
    if -1 < noise.last < minute - 1:
        noise = _ended(noise, minute)
    level = mean if noise.level is None else noise.level
    sums, answers = noise.sums, noise.answers
    if n or total:
        off = total - n * (level + (noise.offset(minute, sqrt(variance)) if offset is None else offset))
        sums, answers = [sums[0] + off, *sums[1:]], [answers[0] + n, *answers[1:]]
    left_out, known, open_, variances = noise.left_out, noise.known, noise.open, noise.variances
    if not teaches:
        left_out, open_ = minute, _nothing()
    offsets, days, tracked = noise.offsets, noise.days, noise.level
    if (minute + 1) % BLOCKS[0]:
        return Noise(sums, answers, known, open_, left_out, offsets, days, tracked, variances, minute)
    sums, answers, open_ = list(sums), list(answers), list(open_)
    levels = level_variances(noise, variance)
    for at, length in enumerate(BLOCKS):
        if (minute + 1) % length:
            break
        beyond, held = sums[at], answers[at]
        sums[at], answers[at] = 0.0, 0
        if at + 1 < len(BLOCKS):
            sums[at + 1] += beyond
            answers[at + 1] += held
        if left_out > minute - length or not held:
            continue
        least = held * held * error
        most = FURTHEST * (held * variance + held * held * levels[at] + least)
        open_[at] = open_[at].and_of(Blocks(min(beyond * beyond, most) - least, held * held, held, 1.0))
        if length == _HOUR and variance > 0:
            offsets, days = _taught(noise, minute, beyond / held, variance, variance / held + levels[at])
            if tracked is not None or sum(days) > LEVEL_HOURS / 2:
                tracked = level + beyond / held / LEVEL_HOURS
    if rests:
        kept = [exp(-length * one.blocks / MEMORY_MINUTES) for length, one in zip(BLOCKS, open_, strict=True)]
        known = [old.and_of(new, part) for old, new, part in zip(known, open_, kept, strict=True)]
        open_, variances = _nothing(), _estimated(known, variance)
    return Noise(sums, answers, known, open_, left_out, offsets, days, tracked, variances, minute)


def _ended(noise: Noise, minute: int) -> Noise:
    """
    End the blocks whose last minutes were left out, in which nothing was judged, before a later minute.

    Such a block is none, for nobody knows how it went on: it teaches nothing by itself, and is part of a longer one
    that is still under way.
    """
    sums, answers = [*noise.sums], [*noise.answers]
    for at, length in enumerate(BLOCKS):
        if noise.last // length == minute // length:
            break
        if at + 1 < len(BLOCKS):
            sums[at + 1] += sums[at]
            answers[at + 1] += answers[at]
        sums[at], answers[at] = 0.0, 0
    return msgspec.structs.replace(noise, sums=sums, answers=answers)


def _taught(noise: Noise, minute: int, off: float, variance: float, spread: float) -> tuple[list[int], list[int]]:
    """Return offsets and days after an hour whose level was off, by an amount whose variance by chance is `spread`."""
    hour = minute // _HOUR % _HOURS
    days = min(noise.days[hour] + 1, HOUR_DAYS)
    # The mean of the days, drawn towards none: its last value and the weight of the new day say all of it.
    known = noise.offset(minute, sqrt(variance)) * OFFSET_UNITS / sqrt(variance)
    part = 1 / (days + spread / (HOUR_PRIOR * variance))
    x = known + OFFSET_UNITS * off / sqrt(variance)
    offsets, seen = list(noise.offsets), list(noise.days)
    offsets[hour], seen[hour] = round(offsets[hour] + part * (x - offsets[hour])), days
    return offsets, seen
