"""Distinct counts: the estimate is as sure as it says, and the same in Python and SQL."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import merge_acc, subtract_acc
from streams.kpis.arithmetic.coupons import (
    KNOWN_COUPONS,
    RANK_BITS,
    REGISTERS,
    coupon_of,
    coupon_sql,
    estimate,
    estimates,
)
from streams.kpis.arithmetic.intervals import Z95


def bins_of(names: list[str]) -> dict[int, int]:
    return dict(Counter(map(coupon_of, names)))


def expected_coupons(n: float) -> float:
    """Sum over registers and ranks; of the ranks the last two are equally likely."""
    ranks = [*range(1, 54), 53]
    return REGISTERS * math.fsum(-math.expm1(-n * 2.0**-rank / REGISTERS) for rank in ranks)


@pytest.mark.slow
def test_clickhouse_hashes_alike() -> None:
    """The same bin for ASCII, Persian, empty and long texts."""
    chdb = pytest.importorskip("chdb")
    chance = random.Random(3)
    names = ["", "a", "مشتری ۱", "نیم\u200cفاصله", "x" * 1000, *(f"c{chance.random()}" for _ in range(3_000))]
    listed = ", ".join(f"'{name}'" for name in names)
    sql = f"SELECT {coupon_sql('v')} FROM (SELECT arrayJoin([{listed}]) AS v)"
    answer = chdb.query(f"{sql} SETTINGS max_query_size = 10000000", "TabSeparated").bytes().decode()
    assert list(map(int, answer.split())) == list(map(coupon_of, names))


def test_coupons_have_the_probabilities_that_the_estimate_assumes() -> None:
    """Registers evenly, ranks by halves."""
    names = [f"customer-{number}" for number in range(200_000)]
    ranks = Counter(coupon_of(name) & (1 << RANK_BITS) - 1 for name in names)
    for rank in range(1, 8):
        assert ranks[rank] == pytest.approx(200_000 / 2**rank, rel=0.06)
    registers = Counter(coupon_of(name) >> RANK_BITS for name in names)
    assert len(registers) == REGISTERS
    spread = sum((count - 200_000 / REGISTERS) ** 2 for count in registers.values()) / (200_000 / REGISTERS)
    assert abs(spread - REGISTERS) < 5 * math.sqrt(2 * REGISTERS)


@pytest.mark.parametrize("coupons", [1, 2, 3, 50, 100, 1_000, 2_047, 5_000, 9_999, 16_000, KNOWN_COUPONS - 1])
def test_the_table_inverts_the_expected_number_of_coupons(coupons: int) -> None:
    """To the nearest whole value."""
    found = estimates().values[coupons]
    assert expected_coupons(found - 0.5) <= coupons <= expected_coupons(found + 0.5)


def test_beyond_the_table_a_coupon_more_per_register_is_twice_as_many() -> None:
    """As the sum itself says, far beyond any company's customers."""
    for coupons in (KNOWN_COUPONS, KNOWN_COUPONS + REGISTERS - 1, KNOWN_COUPONS + 5 * REGISTERS + 7):
        found, error = estimate(dict.fromkeys(range(coupons), 1))
        assert expected_coupons(found) == pytest.approx(coupons, abs=0.02)
        assert error / found == pytest.approx(math.log(2) / math.sqrt(REGISTERS), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 60, 700, 6_000, 40_000])
def test_the_interval_holds_the_truth_as_often_as_it_says(size: int) -> None:
    """95 % in many trials; of few values it is exact."""
    trials = min(200, 300_000 // size)
    held = exact = 0
    for trial in range(trials):
        bins = bins_of([f"{trial}/{number}" for number in range(size)] + [f"{trial}/0"] * 50)
        got = measure("distinct", bins)
        assert got.value is not None
        assert got.lo is not None
        assert got.hi is not None
        assert got.n == size + 50
        assert len(bins) <= got.lo <= got.value <= got.hi <= got.n
        held += got.lo <= size <= got.hi
        exact += got.value == size
    assert held >= trials * 0.95 - 3 * math.sqrt(trials * 0.05 * 0.95)
    if size < 10:
        assert exact >= trials * 0.97


def test_the_error_is_below_that_of_hyperloglog_on_the_same_bins() -> None:
    """About ln 2 against 1.04 by the root of the registers; smaller still where few coupons met."""
    errors = [error / value for value, error in zip(*estimates(), strict=True) if value]
    assert max(errors) < 0.7 / math.sqrt(REGISTERS) < 1.04 / math.sqrt(REGISTERS)
    assert max(errors[:1_000]) < 0.0095


NAMES = st.lists(st.text(max_size=5), max_size=40)


@given(NAMES, NAMES)
def test_what_was_merged_can_be_taken_out(inside: list[str], leaving: list[str]) -> None:
    """A window that loses a minute counts the values that are still in it, repeated ones too."""
    window = bins_of(inside)
    merge_acc(window, bins_of(leaving))
    assert window == bins_of(inside + leaving)
    subtract_acc(window, bins_of(leaving))
    assert window == bins_of(inside)
    wanted = measure("distinct", bins_of(inside))
    assert measure("distinct", window, z=Z95) == wanted


def test_nothing_seen_is_no_value() -> None:
    """Never 0."""
    assert measure("distinct", {}) == (None, 0, None, None)


def test_values_are_hashed_once() -> None:
    """Customers come again."""
    before = coupon_of.cache_info().hits
    assert coupon_of("again and again") == coupon_of("again and again")
    assert coupon_of.cache_info().hits > before
