"""Answers drawn by chance from shapes whose mean is known: how often do intervals hold it."""

from collections.abc import Callable, Sequence
from math import exp
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import SCALE

Draws: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Draws]

SIZES: Final = (2, 3, 5, 10, 20, 50, 100, 300, 1000)
RUNS: Final = 2_000


class Shape(NamedTuple):
    """A distribution of answers; `within` is their scale, None for times and amounts."""

    name: str
    mean: float
    draw: Draw
    within: tuple[float, float] | None = None


def _answers(name: str, weights: Sequence[float]) -> Shape:
    """Return answers from 1 to as many points as there are weights."""
    odds = np.array(weights, dtype=float) / sum(weights)
    points = np.arange(1, len(odds) + 1, dtype=float)

    def draw(chance: np.random.Generator, size: tuple[int, int]) -> Draws:
        return chance.choice(points, size=size, p=odds)

    return Shape(name, float(odds @ points), draw, (1.0, float(len(odds))))


def _with_zeros(name: str, zeros: float, of: Shape) -> Shape:
    def draw(chance: np.random.Generator, size: tuple[int, int]) -> Draws:
        return (chance.random(size) >= zeros) * of.draw(chance, size)

    return Shape(name, (1 - zeros) * of.mean, draw)


_EXPONENTIAL: Final = Shape("exponential", 120.0, lambda chance, size: chance.exponential(120.0, size))
_LOGNORMAL: Final = Shape("lognormal, σ = 1", 90 * exp(0.5), lambda chance, size: 90 * chance.lognormal(0, 1, size))

SCALES: Final = (
    _answers("uniform, 1 to 5", [1, 1, 1, 1, 1]),
    _answers("bimodal, 1 to 5", [5, 1, 0, 1, 5]),
    _answers("J, 1 to 5", [5, 3, 5, 17, 70]),
    _answers("J, 1 to 7", [2, 2, 3, 5, 10, 25, 53]),
    _answers("4 or 5 of 5", [0, 0, 0, 1, 1]),
    _answers("1 in 50 is 1, the rest 5", [1, 0, 0, 0, 49]),
)
AMOUNTS: Final = (
    _EXPONENTIAL,
    Shape("gamma, shape 4", 120.0, lambda chance, size: chance.gamma(4, 30.0, size)),
    Shape("gamma, shape 1/2", 120.0, lambda chance, size: chance.gamma(0.5, 240.0, size)),
    _LOGNORMAL,
    Shape("lognormal, σ = 2", 20 * exp(2.0), lambda chance, size: 20 * chance.lognormal(0, 2, size)),
    _with_zeros("70 % zeros, else exponential", 0.7, _EXPONENTIAL),
    _with_zeros("90 % zeros, else lognormal, σ = 1", 0.9, _LOGNORMAL),
)
SHAPES: Final = (*SCALES, *AMOUNTS)


class Coverage(NamedTuple):
    """Of samples of one size: the share that have an interval, and the share of intervals that hold the mean."""

    shown: float
    held: float


def coverage(shape: Shape, n: int, runs: int, seed: int = 1) -> Coverage:
    """Draw samples of `n` answers and see which intervals hold the mean of the shape."""
    chance = np.random.default_rng([seed, n])
    # As `quantise` does; whole numbers without end, as squares of amounts may be long.
    steps = np.floor(shape.draw(chance, (runs, n)) * SCALE + 0.5).astype(np.int64)
    shown = held = 0
    for sample in steps:
        values = sample.tolist()
        acc = [n, sum(values), sum(value * value for value in values)]
        found = measure("mean", acc, SCALE, unit="seconds", within=shape.within)
        if found.lo is not None and found.hi is not None:
            shown += 1
            held += found.lo <= shape.mean <= found.hi
    return Coverage(shown / runs, held / shown if shown else float("nan"))
