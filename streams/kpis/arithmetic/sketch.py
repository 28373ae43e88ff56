"""
Quantiles from counts in bins whose width is a fixed share of the value (a DDSketch, Masson et al., VLDB 2019).

Bin `i` holds the whole numbers `x` with `gamma^(i-1) < x <= gamma^i`, gamma = 1.01 / 0.99, so that one estimate per
bin is within 1 % of everything in it. Bins are counts: they add, subtract and travel as plain maps.

Python and ClickHouse must agree to the last bit, and neither `log` nor `pow` is the same in all mathematics libraries.
Therefore nothing here depends on their last bit:

- gamma is the fraction 101/99, hence the largest whole number of each bin, `floor(101^i / 99^i)`, is known exactly.
  Measured values are whole numbers (`quantise`), and finding their bin is a search among whole numbers. SQL rounds
  `log(x) / log(gamma)` to the nearest bin edge, which no error below half a bin can spoil, then compares with it.
- estimates are whole thousandths of a step, and a quantile is one division of two numbers, rounded to doubles first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

ACCURACY: Final = 0.01
"""Largest relative error of a quantile against the value at its rank."""

ZERO_BIN: Final = -1
"""Bin of zero and everything below: a duration cannot be negative."""

LARGEST: Final = 1 << 53
"""Largest value with its own bin, in steps; larger ones are counted as this one. Doubles hold every step up to here."""

ESTIMATE_STEPS: Final = 1000
"""Parts of a step in which estimates are kept."""

PROBABILITY_STEPS: Final = 10_000
"""A quantile is a whole number of these: 0.95 is 9500, 0.999 is 9990."""

_NUMERATOR, _DENOMINATOR = 101, 99  # gamma: (1 + ACCURACY) / (1 - ACCURACY)


def _edges() -> list[int]:
    """Return the largest whole number of every bin, from 0 upwards."""
    edges: list[int] = []
    above, below = 1, 1
    while not edges or edges[-1] < LARGEST:
        edges.append(min(above // below, LARGEST))
        above, below = above * _NUMERATOR, below * _DENOMINATOR
    return edges


def _estimates(edges: list[int]) -> list[int]:
    """Return per bin the value equally far, in proportion, from its smallest and largest whole number."""
    first = edges[0] * ESTIMATE_STEPS
    estimates = [first]
    for before, largest in pairwise(edges):
        smallest = min(
            before + 1, largest
        )  # among the small numbers many bins are narrower than a step: none is in them
        total = smallest + largest
        estimates.append((2 * smallest * largest * ESTIMATE_STEPS + total // 2) // total)
    return estimates


EDGES: Final[list[int]] = _edges()
ESTIMATES: Final[list[int]] = _estimates(EDGES)
"""Value of each bin in 1/ESTIMATE_STEPS of a step."""

BINS: Final = len(EDGES)


def bin_of(steps: int) -> int:
    """Return the bin of a quantised value."""
    if steps <= 0:
        return ZERO_BIN
    return bisect_left(EDGES, steps) if steps < LARGEST else BINS - 1


def probability_steps(q: float) -> int:
    """
    Return a quantile's probability as a whole number of PROBABILITY_STEPS.

    Raises ValueError when it is not inside 0 to 1 or finer than a step.
    """
    steps = round(q * PROBABILITY_STEPS)
    if not 0 < steps < PROBABILITY_STEPS or abs(steps - q * PROBABILITY_STEPS) > 1e-6:
        raise ValueError(f"quantile {q!r}: expected between 0 and 1 with at most four decimals, e.g. 0.95")
    return steps


def rank_of(q: float, n: int) -> int:
    """Return the rank (from 1) of the smallest value that at least the share `q` of `n` values do not exceed."""
    return max(1, -(-probability_steps(q) * n // PROBABILITY_STEPS))


def value_at(bins: Mapping[int, int], rank: int, scale: int = 1) -> float:
    """
    Return the estimate of the value at a rank (from 1), in units of `scale` steps.

    Raises ValueError when there are fewer values.
    """
    seen = 0
    for index in sorted(bins):
        seen += bins[index]
        if seen >= rank:
            return float(ESTIMATES[index] if index >= 0 else 0) / (ESTIMATE_STEPS * scale)
    raise ValueError(f"rank {rank} of {seen} values")


def index_sql(steps: str) -> str:
    """Return the ClickHouse expression (Int32) for the bin of an expression of quantised values (Int64)."""
    logarithm = f"log({_NUMERATOR} / {_DENOMINATOR})"
    value = f"least(toInt64({steps}), toInt64({LARGEST}))"
    # A one-element arrayMap names a value inside an expression; the nearest edge is never further than half a bin off.
    nearest = f"toInt32(floor(log(greatest(x, 1)) / {logarithm} + 0.5))"
    exact = f"arrayMap(near -> toInt32(near + (x > [{_list(EDGES)}][near + 1])), [{nearest}])[1]"
    return f"arrayMap(x -> if(x < 1, toInt32({ZERO_BIN}), {exact}), [{value}])[1]"


def _list(numbers: list[int]) -> str:
    """Return a literal list body."""
    return ",".join(map(str, numbers))
