"""What is found of drivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.drivers.levels import DriverLevel, LevelGain
from streams.drivers.regression import Association


@dataclass(frozen=True, slots=True)
class Ranked:
    """
    One driver.

    Attributes:
        driver: Its name.
        goal: Its lowest level that has enough answers; empty: it has no levels that could be compared.
        limit: Where that level ends; None: there is none.
        levels: Its levels, from the lowest on, with nothing held equal.
        not_met: Those who did not meet it and have no level; None: there are none, or another driver says it.
        affected: Answers above the lowest level.
        customers: Whose answers these are.
        effect: What goes with being above it, of those who are, the others held equal; None: see `why`.
        gain: What the mean of all answers would gain if nobody were.
        by_level: The effect of each level above the lowest, and of not meeting it.
        alone: The effect with nothing held equal; None: see `why`.
        q: Least share of false discoveries at which it is kept.
        kept: Whether it is more than chance.
        together: Drivers that it cannot well be taken apart from.
        why: Why it could not be assessed; empty: it was.
    """

    driver: str
    goal: str = ""
    limit: float | None = None
    levels: tuple[DriverLevel, ...] = ()
    not_met: DriverLevel | None = None
    affected: int = 0
    customers: int = 0
    effect: Association | None = None
    gain: Association | None = None
    by_level: Mapping[str, Association | None] | None = None
    alone: float | None = None
    q: float | None = None
    kept: bool = False
    together: tuple[str, ...] = ()
    why: str = ""

    @property
    def verdict(self) -> str:
        """What it means, in words."""
        if self.effect is None:
            return f"not assessable: {self.why}"
        apart = f"not apart from {', '.join(self.together)}" if self.together else ""
        if not self.kept:
            return apart or "not confirmed"
        words = "goes with lower scores" if self.effect.value < 0 else "goes with higher scores"
        if self.alone is not None and self.alone * self.effect.value < 0:
            words += "; alone it seems the other way round"
        return f"{words}; {apart}" if apart else words


@dataclass(frozen=True, slots=True)
class Ranking:
    """
    All drivers, those that matter most first.

    Attributes:
        n: Answers.
        customers: Whose they are.
        mean: Of the outcome.
        r2: Share of the variance of answers that goes with drivers and what is held equal.
        drivers: Those kept by size of the gain, then the others.
        together: Drivers that move together, and the gain of all of them at their lowest levels; None: not known.
    """

    n: int
    customers: int
    mean: float
    r2: float
    drivers: tuple[Ranked, ...]
    together: Mapping[tuple[str, ...], Association | None]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """
    What goes with bringing a driver down to a limit.

    Attributes:
        driver: Its name.
        to: The level they are brought to.
        levels: Its levels, with nothing held equal.
        touched: Answers above the limit.
        customers: Whose answers these are.
        gain: What the mean of all answers gains, the others held equal; None: answers cannot tell.
        each: What those who are touched gain.
        alone: The gain with nothing held equal, level by level.
        together: Drivers that it cannot well be taken apart from.
    """

    driver: str
    to: str
    levels: tuple[DriverLevel, ...]
    touched: int
    customers: int
    gain: Association | None
    each: Association | None
    alone: LevelGain
    together: tuple[str, ...]
