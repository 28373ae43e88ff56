"""
Distinct counting in bins: how many different customers, from counts that can be added up and taken back.

The values of a distinct count are hashed to *coupons*: one of 2,048 registers, and a rank that half of all values
share, a quarter, an eighth, and so on. What is kept is how many events brought each coupon. So sums are exact, windows
subtract, ClickHouse adds them up by sumMap, and the coupons present are the same in any order of arrival.

The estimate is the number of values that brings as many coupons on average. That reads a bitmap of Flajolet and Martin
(Probabilistic Counting Algorithms for Data Base Applications, 1985) as Lang does (Back to the Future: an Even More
Nearly Optimal Cardinality Estimation Algorithm, 2017, arXiv:1708.06839): its standard error tends to ln 2 / √m, where
HyperLogLog, which looks at the largest rank of each register only, has 1.04 / √m on the same bins.

The hash is xxHash64 with seed 0, the same in both back ends, and not made to resist forgery.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from xxhash import xxh64_intdigest

REGISTER_BITS: Final = 11
REGISTERS: Final = 1 << REGISTER_BITS
RANK_BITS: Final = 6
HASH_BITS: Final = 64

_REST: Final = 1 << (HASH_BITS - REGISTER_BITS)
_LAST_RANK: Final = HASH_BITS - REGISTER_BITS + 1
_REMEMBERED: Final = 1 << 15
_STEPS: Final = 7

KNOWN_COUPONS: Final = 8 * REGISTERS
"""Estimates are tabled up to here; with one coupon more per register there are twice as many values, to 1e-21."""


@lru_cache(_REMEMBERED)
def coupon_of(value: str) -> int:
    """Return the bin of a value, which is remembered."""
    return bin_of(value)


def bin_of(value: str) -> int:
    """Return the bin of a value."""
    hashed = xxh64_intdigest(value.encode())
    rest = hashed >> REGISTER_BITS | _REST
    return (hashed & REGISTERS - 1) << RANK_BITS | (rest & -rest).bit_length()


def coupon_sql(value: str) -> str:
    """Return the ClickHouse expression (Int32) for the bin of a String expression."""
    rest = f"bitOr(bitShiftRight(h, {REGISTER_BITS}), toUInt64({_REST}))"
    # A one-element arrayMap names a value inside an expression.
    rank = f"arrayMap(rest -> bitCount(bitXor(rest, rest - 1)), [{rest}])[1]"
    register = f"bitShiftLeft(bitAnd(h, {REGISTERS - 1}), {RANK_BITS})"
    return f"arrayMap(h -> toInt32(bitOr({register}, {rank})), [xxHash64({value})])[1]"


class Estimates(NamedTuple):
    """By number of coupons, from 0: the values that bring so many, to the nearest whole one, and the standard error."""

    values: list[int]
    errors: list[float]


@lru_cache(1)
def estimates() -> Estimates:
    """
    Return the table of estimates.

    The expected number of coupons of n values is Σ over all coupons of 1 − exp(−n p), p being the coupon's probability;
    its inverse is found by Newton's method. The variance of the number of coupons, Σ q (1 − q) − n (Σ p q)² with
    q = exp(−n p), through the slope of that sum gives the standard error of n.
    """
    import numpy as np  # noqa: PLC0415 - commands that only read definitions start without it

    ranks = np.arange(1, _LAST_RANK + 1, dtype=float)
    shares = 0.5 ** np.minimum(ranks, _LAST_RANK - 1) / REGISTERS  # the last two ranks share what is left
    values: list[int] = []
    errors: list[float] = []
    # Piece by piece: the whole table at once takes 50 MB, as much as some thousand series.
    for first in range(0, KNOWN_COUPONS, REGISTERS):
        coupons = np.arange(first, first + REGISTERS, dtype=float)
        # The sum is concave, so Newton's steps from below never pass the root; of many values it is near this
        # power of two.
        n = np.maximum(coupons, REGISTERS * 2.0 ** (coupons / REGISTERS - 1.34))
        for _ in range(_STEPS):
            left = np.exp(np.outer(n, -shares))
            slope = REGISTERS * left @ shares
            n += (coupons - REGISTERS * (len(ranks) - left.sum(axis=1))) / slope
        variance = REGISTERS * (left * (1 - left)).sum(axis=1) - n * slope**2
        values += np.floor(n + 0.5).astype(int).tolist()
        errors += (np.sqrt(np.maximum(variance, 0)) / slope).tolist()
    return Estimates(values, errors)


def estimate(bins: Mapping[int, int]) -> tuple[int, float]:
    """Return how many different values there were, and the standard error of that."""
    coupons, doubled = len(bins), 0
    if coupons >= KNOWN_COUPONS:
        doubled = (coupons - KNOWN_COUPONS) // REGISTERS + 1
        coupons -= doubled * REGISTERS
    values, errors = estimates()
    return values[coupons] << doubled, errors[coupons] * (1 << doubled)
