"""Whole-number accumulators: exact, in any order, and undone by subtraction."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kpis.aggregators import AGGREGATORS, empty
from streams.kpis.arithmetic.accumulators import (
    Acc,
    add_all,
    cleared,
    count_of,
    is_empty,
    merge_acc,
    quantise,
    subtract_acc,
)
from streams.kpis.language.series import parse_series, partition_of, series_key

FIELD = st.integers(0, 1 << 90)
WIDTHS = {name: len(kind.fields) for name, kind in AGGREGATORS.items() if kind.fields}
FLAT = {name: st.lists(FIELD, min_size=width, max_size=width) for name, width in WIDTHS.items()}
BINS = st.dictionaries(st.integers(-1, 1837), st.integers(1, 1 << 40), max_size=8)
THREE = st.one_of(*(st.tuples(s, s, s) for s in (*FLAT.values(), BINS)))


def merged(*accs: Acc) -> Acc:
    into = cleared(accs[0])
    for acc in accs:
        merge_acc(into, acc)
    return into


@given(THREE)
def test_merging_is_commutative_and_associative_with_an_identity(accs: tuple[Acc, Acc, Acc]) -> None:
    a, b, c = accs
    assert merged(a, b) == merged(b, a)
    assert merged(merged(a, b), c) == merged(a, merged(b, c))
    assert merged(a, cleared(a)) == a


@given(THREE)
def test_subtracting_undoes_merging(accs: tuple[Acc, Acc, Acc]) -> None:
    a, b, _ = accs
    total = merged(a, b)
    subtract_acc(total, b)
    assert total == a
    subtract_acc(total, a)
    assert is_empty(total)
    assert count_of(total) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(FIELD, min_size=3, max_size=3)), max_size=8))
def test_adding_many_equals_merging_one_by_one(pairs: list[tuple[int, list[int]]]) -> None:
    at_once: dict[int, Acc] = {}
    add_all(at_once, pairs)
    slowly: dict[int, Acc] = {}
    for number, acc in pairs:
        merge_acc(slowly.setdefault(number, [0, 0, 0]), acc)
    assert at_once == slowly


def test_adding_many_leaves_the_contributions_alone() -> None:
    pairs: list[tuple[int, Acc]] = [(1, [1, 2]), (1, [3, 4]), (2, {5: 1}), (2, {5: 2})]
    before = copy.deepcopy(pairs)
    sums: dict[int, Acc] = {}
    add_all(sums, pairs)
    assert sums == {1: [4, 6], 2: {5: 3}}
    assert pairs == before


@pytest.mark.parametrize("operation", [merge_acc, subtract_acc])
def test_shapes_that_do_not_belong_together_are_refused(operation) -> None:
    with pytest.raises(ValueError, match="2 fields"):
        operation([1, 2, 3], [1, 2])
    with pytest.raises(TypeError):
        operation([1, 2], {1: 2})
    with pytest.raises(TypeError):
        operation({1: 2}, [1, 2])
    with pytest.raises((ValueError, TypeError)):
        add_all({1: [1, 2]}, [(1, [1, 2, 3])])


def test_a_bin_cannot_hold_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="bin 3 would hold -1"):
        subtract_acc({3: 1}, {3: 2})


def test_every_aggregator_has_an_identity_and_no_other_name_has() -> None:
    known = {
        "count": [0], "sum": [0] * 2, "ratio": [0] * 2, "mean": [0] * 3, "nps": [0] * 3, "level": [0] * 3, "share": [0] * 6,
        "quantile": {}, "distinct": {},
    }  # fmt: skip
    assert {name: empty(name) for name in known} == known
    assert all(is_empty(empty(name)) for name in AGGREGATORS)
    with pytest.raises(ValueError, match="expected one of count, "):
        empty("median")


def test_hits_before_the_first_trial_are_not_nothing() -> None:
    assert not is_empty([0, 1])
    assert count_of([0, 1]) == 0


@pytest.mark.parametrize(
    ("value", "steps"), [(0.0005, 1), (0.00049, 0), (2.5, 2500), (-0.0005, 0), (-0.00051, -1), (1e15, 10**18)]
)
def test_measured_values_are_rounded_half_up(value: float, steps: int) -> None:
    assert quantise(value) == steps


def test_series_keys_are_sorted_cleaned_and_taken_apart_again() -> None:
    key = series_key("csat", (("touchpoint", "pay\x1fment\n"), ("channel", "web")))
    assert key == "csat\x1fchannel\x1fweb\x1ftouchpoint\x1fpay ment"
    assert parse_series(key) == ("csat", (("channel", "web"), ("touchpoint", "pay ment")))
    assert parse_series(series_key("csat")) == ("csat", ())
    with pytest.raises(ValueError, match="'channel' has no value"):
        parse_series("csat\x1fchannel")


def test_a_kpi_stays_in_its_partition() -> None:
    assert partition_of("123456789", 1 << 32) == 0xCBF43926  # the check value of CRC-32
    assert partition_of("123456789", 4) == 2
