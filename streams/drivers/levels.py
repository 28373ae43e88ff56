"""A driver by levels: what is felt only beyond a point shows in its levels, and not in one slope."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from math import sqrt
from typing import Final, NamedTuple

import numpy as np

from streams.drivers.regression import Numbers
from streams.kpis.arithmetic.distributions import normal_quantile

_Z: Final = normal_quantile(0.025)


class DriverLevel(NamedTuple):
    """One level of a driver: its name, how many answers it has, their mean and standard deviation."""

    name: str
    n: int
    mean: float
    sd: float


class LevelGain(NamedTuple):
    """
    What the mean of all answers would gain if some levels were brought to another, with nothing else held equal.

    Attributes:
        value: The gain, in the unit of the outcome.
        se: Its standard error, of sampling alone.
        lo: Lower end of the 95 % interval.
        hi: Upper end.
        touched: Answers of the levels that are brought to another.
        by_level: What each level contributes.
    """

    value: float
    se: float
    lo: float
    hi: float
    touched: int
    by_level: dict[str, float]


def gain_of(levels: Sequence[DriverLevel], target: str, moved: Collection[str], n: int | None = None) -> LevelGain:
    """
    Return what the mean of n answers gains when those of the `moved` levels are as those of `target`.

    By default the mean is of the answers of all levels.

    Raises:
        ValueError: There is no such level, two have one name, one is to be brought to itself, or is of fewer than two
            answers.
    """
    known = {level.name: level for level in levels}
    unknown = [name for name in (target, *moved) if name not in known]
    if unknown or target in moved or not moved or len(known) < len(levels):
        raise ValueError(f"bringing {sorted(moved)} to {target!r}: expected other levels of {[*known]}")
    few = [name for name in (target, *moved) if known[name].n < 2]
    if few:
        raise ValueError(f"the level {few[0]!r} has {known[few[0]].n} answers: expected two or more")
    whole = n or sum(level.n for level in levels)
    goal = known[target]
    shares = {name: known[name].n / whole for name in moved}
    by_level = {name: share * (goal.mean - known[name].mean) for name, share in shares.items()}
    variance = sum(shares.values()) ** 2 * goal.sd**2 / goal.n
    variance += sum(share**2 * known[name].sd ** 2 / known[name].n for name, share in shares.items())
    value, se = sum(by_level.values()), sqrt(variance)
    touched = sum(known[name].n for name in moved)
    return LevelGain(value, se, value - _Z * se, value + _Z * se, touched, by_level)


def level_names(cuts: Sequence[float], unit: str) -> list[str]:
    """Return the names of levels from the lowest on: each cut is the upper end of a level, which holds it."""
    shown = [f"{cut:g}" for cut in cuts]
    if not unit:  # a count
        lower = [0, *(int(cut) + 1 for cut in cuts)]
        pairs = zip(lower, shown, strict=False)
        return [*(end if f"{start}" == end else f"{start} to {end}" for start, end in pairs), f"{lower[-1]} or more"]
    between = [f"{start} to {end} {unit}" for start, end in pairwise(shown)]
    return [f"up to {shown[0]} {unit}", *between, f"over {shown[-1]} {unit}"]


def summarise(outcome: Numbers, places: Numbers, names: Sequence[str]) -> list[DriverLevel]:
    """Return each level's answers, mean and standard deviation; `places` says of which level an answer is."""
    found = []
    for place, name in enumerate(names):
        values = outcome[places == place]
        n = len(values)
        mean = float(np.mean(values)) if n else 0.0
        found.append(DriverLevel(name, n, mean, float(np.std(values, ddof=1)) if n > 1 else 0.0))
    return found
