"""The quantile sketch: within one percent, and the same to the last bit in Python and SQL."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from ddsketch import DDSketch

from streams.kpis.arithmetic.accumulators import merge_acc
from streams.kpis.arithmetic.sketch import (
    BINS,
    EDGES,
    ESTIMATE_STEPS,
    ESTIMATES,
    LARGEST,
    ZERO_BIN,
    bin_of,
    index_sql,
    probability_steps,
    rank_of,
    value_at,
)
from tests.harness.reading import add_value, quantile

PROBABILITIES = (0.01, 0.5, 0.9, 0.95, 0.99, 0.999)


def sample(size: int, seed: int = 7) -> list[int]:
    chance = random.Random(seed)
    return [int(chance.lognormvariate(6, 2)) for _ in range(size)]


def sketch_of(values: list[int]) -> dict[int, int]:
    bins: dict[int, int] = {}
    for value in values:
        add_value(bins, value)
    return bins


@pytest.fixture(scope="module")
def clickhouse():
    chdb = pytest.importorskip("chdb")

    def query(sql: str) -> list[list[str]]:
        answer = chdb.query(f"SELECT * FROM ({sql}) SETTINGS max_query_size = 10000000", "TabSeparated")
        return [line.split("\t") for line in answer.bytes().decode().splitlines()]

    return query


def test_each_estimate_is_within_one_percent_of_all_that_is_in_its_bin() -> None:
    for index in {bin_of(value) for value in (*EDGES, *(edge + 1 for edge in EDGES))}:
        smallest, largest = (EDGES[index - 1] + 1 if index else 1), EDGES[index]
        estimate = Fraction(ESTIMATES[index], ESTIMATE_STEPS)
        for value in (smallest, largest):
            assert abs(estimate - value) <= Fraction(value, 100), (index, smallest, largest)


def test_bins_follow_their_definition() -> None:
    gamma = Fraction(101, 99)
    for value in (1, 2, 3, 10, 99, 100, 101, 12_345, 10**9, 10**15):
        index = bin_of(value)
        assert gamma ** (index - 1) < value <= gamma**index
    assert [bin_of(value) for value in (0, -5, LARGEST, LARGEST * 8)] == [ZERO_BIN, ZERO_BIN, BINS - 1, BINS - 1]


@pytest.mark.parametrize("q", PROBABILITIES)
def test_quantiles_are_within_one_percent_of_the_value_at_their_rank(q: float) -> None:
    values = sorted(sample(20_000))
    exact = values[rank_of(q, len(values)) - 1]
    assert quantile(sketch_of(values), q) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("q", PROBABILITIES)
def test_the_reference_implementation_agrees(q: float) -> None:
    values = [value + 1 for value in sample(20_000)]
    reference = DDSketch(0.01)
    for value in values:
        reference.add(value)
    assert quantile(sketch_of(values), q) == pytest.approx(reference.get_quantile_value(q), rel=0.0201)


def test_merged_sketches_equal_the_sketch_of_everything() -> None:
    first, second = sample(500, 1), sample(700, 2)
    merged = sketch_of(first)
    merge_acc(merged, sketch_of(second))
    assert merged == sketch_of(first + second)


def test_nothing_has_no_quantile_and_zeros_have_zero() -> None:
    assert quantile({}, 0.5) is None
    assert quantile(sketch_of([0, 0, -1]), 0.95) == 0.0
    with pytest.raises(ValueError, match="rank 4 of 3"):
        value_at({0: 3}, 4)


def test_ranks_are_whole_number_arithmetic() -> None:
    assert [rank_of(0.95, n) for n in (1, 19, 20, 21, 100, 10**18)] == [1, 19, 19, 20, 95, 95 * 10**16]
    for wrong in (0, 1, -0.5, 95, 0.123456):
        with pytest.raises(ValueError, match="expected between 0 and 1"):
            probability_steps(wrong)


def test_sql_finds_the_same_bin_for_every_edge(clickhouse) -> None:
    values = sorted({*range(-2, 500), *EDGES, *(e + 1 for e in EDGES), *(e - 1 for e in EDGES), 1 << 60, *sample(500)})
    table = f"SELECT arrayJoin([{','.join(map(str, values))}])::Int64 AS v"
    rows = clickhouse(f"SELECT v, {index_sql('v')} FROM ({table})")
    assert len(rows) == len(values)
    assert [(int(v), int(i)) for v, i in rows if int(i) != bin_of(int(v))] == []
