"""
The CX pyramid: needs met, easy, enjoyable; a level counts only if the one below it holds.

The levels are those of Forrester (Manning and Bodine, Outside In, 2012): was the need met (`resolved` in an answer),
was it easy (CES, 5 to 7 of 7), was it enjoyable (CSAT, top boxes).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from streams.kpis.arithmetic.intervals import Measure
from streams.value.measures import percent

LEVELS: Final = ("needs met", "easy", "enjoyable")
TARGETS: Final = (80.0, 70.0, 70.0)
"""Percent of customers that a level takes, from the lowest on."""

LevelState = Literal["holds", "does not hold", "not known"]


class PyramidSaying(NamedTuple):
    """The last that one customer said of each level at a place; None: nothing."""

    place: str
    customer: str
    met: bool | None
    easy: bool | None
    enjoyed: bool | None


@dataclass(frozen=True, slots=True)
class PyramidLevel:
    """
    One level.

    Attributes:
        name: Which.
        share: Percent of customers, with Wilson's 95 % interval.
        target: Percent that it takes.
        state: Whether it takes that much: the interval is at or above the target, below it, or on both sides.
        counts: Whether it counts: it holds, and so does all below it.
        reached: Percent of customers who said something of all levels up to this one and agree with all of them.
    """

    name: str
    share: Measure
    target: float
    state: LevelState
    counts: bool
    reached: Measure


@dataclass(frozen=True, slots=True)
class Pyramid:
    """
    One place.

    Attributes:
        place: Where; empty: everywhere.
        levels: From the lowest on.
        height: How many levels count, 0 to 3.
    """

    place: str
    levels: tuple[PyramidLevel, ...]
    height: int

    @property
    def verdict(self) -> str:
        """Return in words how far up it goes, and what is next."""
        if self.height == len(self.levels):
            return "all levels count"
        level = self.levels[self.height]
        if not level.share.n:
            return f"no data: nobody says whether it was {level.name}"
        return f"{level.name}: {level.state}"


def pyramids(said: Iterable[PyramidSaying], targets: tuple[float, ...] = TARGETS) -> list[Pyramid]:
    """
    Return the pyramid of each place, by name; each customer has one say in a level.

    Raises:
        ValueError: There are not three targets from 0 to 100.
    """
    if len(targets) != len(LEVELS) or not all(0 <= one <= 100 for one in targets):
        raise ValueError(f"targets {targets}: expected three percentages, of needs met, easy and enjoyable")
    places: dict[str, list[tuple[bool | None, ...]]] = {}
    for one in said:
        places.setdefault(one.place, []).append((one.met, one.easy, one.enjoyed))
    return [_pyramid(place, rows, targets) for place, rows in sorted(places.items())]


def _pyramid(place: str, rows: list[tuple[bool | None, ...]], targets: tuple[float, ...]) -> Pyramid:
    levels: list[PyramidLevel] = []
    height = 0
    for at, (name, target) in enumerate(zip(LEVELS, targets, strict=True)):
        said = [row[at] for row in rows if row[at] is not None]
        whole = [row[: at + 1] for row in rows if None not in row[: at + 1]]
        share = percent(sum(map(bool, said)), len(said))
        state = _state(share, target)
        counts = state == "holds" and height == at
        height += counts
        levels.append(PyramidLevel(name, share, target, state, counts, percent(sum(map(all, whole)), len(whole))))
    return Pyramid(place, tuple(levels), height)


def _state(share: Measure, target: float) -> LevelState:
    if share.lo is None or share.hi is None:
        return "not known"
    return "holds" if share.lo >= target else "does not hold" if share.hi < target else "not known"
