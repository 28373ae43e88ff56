"""Values and intervals, against golden figures and SciPy."""

from __future__ import annotations

import random
from math import exp

import pytest
from scipy import stats

from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.distributions import binomial_cdf, normal_quantile, normal_tail, student_quantile
from streams.kpis.arithmetic.intervals import Measure, nps_interval, rank_bounds, student_factor, wilson
from streams.kpis.arithmetic.significance import (
    ztest_nps,
    ztest_shares,
)
from tests.harness.reading import add_value

CES_ANSWERS = {7: 40, 6: 25, 5: 15, 4: 8, 3: 5, 2: 4, 1: 3}


def mean_of(answers: dict[int, int], scale: int = 1000) -> list[int]:
    return [
        sum(answers.values()),
        sum(n * x * scale for x, n in answers.items()),
        sum(n * (x * scale) ** 2 for x, n in answers.items()),
    ]


@pytest.mark.parametrize(
    ("hits", "n", "lo", "hi"),
    [(8, 10, 49.02, 94.33), (80, 100, 71.1, 86.7), (800, 1000, 77.4, 82.4), (0, 10, 0, 27.8), (10, 10, 72.2, 100)],
)
def test_csat_wilson(hits: int, n: int, lo: float, hi: float) -> None:
    found = measure("ratio", [n, hits], unit="percent")
    assert (found.value, found.n) == (100 * hits / n, n)
    assert (found.lo, found.hi) == (pytest.approx(lo, abs=0.051), pytest.approx(hi, abs=0.051))
    reference = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == (pytest.approx(reference.low, abs=1e-12), pytest.approx(reference.high, abs=1e-12))


@pytest.mark.parametrize(
    ("promoters", "passives", "detractors", "value", "wald", "centre", "adjusted"),
    [
        (50, 30, 20, 30.0, 15.31, 29.13, 15.08),
        (500, 300, 200, 30.0, 4.84, 29.91, 4.83),
        (16, 8, 12, 11.11, 28.6, 10.26, 27.1),
    ],
)
def test_nps(
    promoters: int, passives: int, detractors: int, value: float, wald: float, centre: float, adjusted: float
) -> None:
    n = promoters + passives + detractors
    found = measure("nps", [n, promoters, detractors])
    assert found.value == pytest.approx(value, abs=0.005)
    assert (found.lo + found.hi) / 2 == pytest.approx(centre, abs=0.01)
    assert (found.hi - found.lo) / 2 == pytest.approx(adjusted, abs=0.06)
    lo, hi = nps_interval(promoters, detractors, n, adjust=False)
    assert (hi - lo) / 2 == pytest.approx(wald, abs=0.05)


def test_nps_stays_on_its_scale() -> None:
    assert measure("nps", [1, 1, 0]).hi <= 100
    assert measure("nps", [1, 0, 1]).lo >= -100


@pytest.mark.parametrize(
    ("aggregator", "acc"),
    [
        ("count", [0]),
        ("sum", [0, 0]),
        ("ratio", [0, 0]),
        ("ratio", [0, 3]),
        ("mean", [0, 0, 0]),
        ("nps", [0, 0, 0]),
        ("quantile", {}),
    ],
)
def test_no_answers_have_no_value(aggregator: str, acc) -> None:
    assert measure(aggregator, acc) == Measure(None, 0, None, None)


def test_ces_mean() -> None:
    found = measure("mean", mean_of(CES_ANSWERS))
    values = [x for x, n in CES_ANSWERS.items() for _ in range(n)]
    assert found.value == 5.63
    half = (found.hi - found.lo) / 2
    assert half / student_factor(99) * 1.96 == pytest.approx(0.316, abs=5e-4)  # the golden figure uses the normal
    assert stats.sem(values) * 10 == pytest.approx(1.612, abs=5e-4)
    reference = stats.t.interval(0.95, 99, loc=5.63, scale=stats.sem(values))
    assert (found.lo, found.hi) == (pytest.approx(reference[0], rel=1e-9), pytest.approx(reference[1], rel=1e-9))


def test_the_variance_of_large_values_keeps_its_digits() -> None:
    found = measure("mean", [6, 6 * 10**10 + 3, 3 * 10**20 + 3 * (10**10 + 1) ** 2], scale=1)
    assert found.hi - found.lo == pytest.approx(2 * 2.5706 * (0.3 / 6) ** 0.5, rel=1e-3)


def test_one_answer_has_a_mean_but_no_interval() -> None:
    assert measure("mean", [1, 4000, 16_000_000]) == Measure(4.0, 1, None, None)


def test_counts_and_sums_have_no_interval() -> None:
    assert measure("count", [12]) == Measure(12.0, 12, None, None)
    assert measure("sum", [3, 4500], 1000) == Measure(4.5, 3, None, None)


@pytest.mark.parametrize(
    ("hits", "trials", "value"),
    [
        (780, 900, 86.67),
        (780, 1000, 78.00),
        (780, 960, 81.25),
        (780, 940, 82.98),
        (840, 1000, 84.00),
        (800, 960, 83.33),
    ],
)
def test_service_level_variants(hits: int, trials: int, value: float) -> None:
    assert measure("ratio", [trials, hits], unit="percent").value == pytest.approx(value, abs=0.005)


def test_apdex() -> None:
    assert measure("mean", [100, 60 * 1000 + 30 * 500, 60 * 1000**2 + 30 * 500**2]).value == 0.75


@pytest.mark.parametrize(("hits", "trials"), [(150, 100), (3, 200), (0, 40), (7, 7)])
def test_a_rate_has_the_interval_of_two_counts(hits: int, trials: int) -> None:
    """The ends are those rates at which so many hits of all events are just not surprising (score test)."""
    found = measure("ratio", [trials, hits], unit="per_100")
    assert (found.value, found.n) == (100 * hits / trials, trials)
    reference = stats.binomtest(hits, hits + trials).proportion_ci(method="wilson")
    ends = [100 * end / (1 - end) for end in (reference.low, reference.high)]
    assert (found.lo, found.hi) == (pytest.approx(ends[0], abs=1e-9), pytest.approx(ends[1], rel=1e-9))


def test_sums_that_no_events_can_make_are_no_share() -> None:
    assert measure("ratio", [100, 150], unit="percent") == Measure(None, 100, None, None)
    assert measure("ratio", [100, 150]) == Measure(None, 100, None, None)


def test_a_quantile_is_bounded_by_values_at_ranks() -> None:
    bins: dict[int, int] = {}
    for milliseconds in range(1000, 101_000, 1000):
        add_value(bins, milliseconds)
    found = measure("quantile", bins, 1000, q=0.5)
    assert found.n == 100
    assert [found.value, found.lo, found.hi] == [pytest.approx(x, rel=0.01) for x in (50, 40, 61)]
    assert measure("quantile", {700: 20}, q=0.95).hi is None
    assert measure("quantile", {700: 3}, q=0.5)[2:] == (None, None)


@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.95, 0.999])
def test_rank_bounds_are_those_of_the_binomial(q: float) -> None:
    for n in (*range(1, 120), 500, 1999, 2000):
        lower, upper = int(stats.binom.ppf(0.025, n, q)), int(stats.binom.ppf(0.975, n, q)) + 1
        assert rank_bounds(n, q) == (lower or None, upper if upper <= n else None), n
    for n in (2001, 10_000, 100_000):
        lower, upper = rank_bounds(n, q)
        assert 0 <= stats.binom.ppf(0.025, n, q) - lower <= 1
        assert upper is None or 0 <= upper - 1 - stats.binom.ppf(0.975, n, q) <= 1


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 20, 99, 500, 999, 1000, 5000, 10**6])
@pytest.mark.parametrize("tail", [1e-6, 0.001, 0.025, 0.2, 0.49])
def test_student_quantile(degrees: int, tail: float) -> None:
    assert student_quantile(tail, degrees) == pytest.approx(stats.t.isf(tail, degrees), rel=1e-10)


def test_distributions_refuse_what_they_cannot_say() -> None:
    for tail, degrees in ((0.0, 5), (0.5, 5), (0.1, 0)):
        with pytest.raises(ValueError, match="expected 0 < tail"):
            student_quantile(tail, degrees)


def test_normal_and_binomial() -> None:
    assert normal_tail(1.959963984540054) == pytest.approx(0.025, rel=1e-12)
    assert normal_quantile(0.025) == pytest.approx(1.959963984540054, rel=1e-12)
    for successes in (-1, 0, 3, 950, 1000):
        assert binomial_cdf(successes, 1000, 0.95) == pytest.approx(stats.binom.cdf(successes, 1000, 0.95), abs=1e-11)


def test_kinds_must_match() -> None:
    with pytest.raises(TypeError, match="expected fields, got bins"):
        measure("mean", {1: 1})
    with pytest.raises(TypeError, match="expected bins, got fields"):
        measure("quantile", [1])
    with pytest.raises(KeyError):
        measure("median", [1])


def test_z_of_shares_and_of_nps() -> None:
    assert ztest_shares(850, 1000, 156, 200) == pytest.approx(-2.455, abs=5e-4)
    assert ztest_nps([1000, 500, 200], [200, 90, 50]) == pytest.approx(-1.599, abs=5e-4)
    assert ztest_shares(0, 0, 1, 2) is None
    assert ztest_shares(5, 5, 7, 7) is None
    assert ztest_nps([0, 0, 0], [5, 1, 1]) is None
    assert ztest_nps([3, 3, 0], [5, 5, 0]) is None


def share_of(pairs: list[tuple[float, float]], scale: int = 10) -> list[int]:
    steps = [(round(whole * scale), round(part * scale)) for whole, part in pairs]
    return [
        len(steps),
        sum(x for x, _ in steps),
        sum(y for _, y in steps),
        sum(x * x for x, _ in steps),
        sum(x * y for x, y in steps),
        sum(y * y for _, y in steps),
    ]


def test_occupancy_is_a_ratio_of_sums() -> None:
    """Four busy spells of 30, 30, 30 and 90 s, one idle of 20 s: 180 of 200 s; the delta method worked out by hand."""
    pairs = [(30, 30), (30, 30), (30, 30), (90, 90), (20, 0)]
    found = measure("share", share_of(pairs), 10, unit="percent")
    assert (found.value, found.n) == (90.0, 5)
    residuals = sum((part - 0.9 * whole) ** 2 for whole, part in pairs)
    half = 100 * student_factor(4) * (residuals / 200**2 * 5 / 4) ** 0.5
    assert found.lo == pytest.approx(90 - half)
    assert found.hi == 100.0, "a part of the whole is never more than it"
    as_amounts = measure("share", share_of(pairs), 10, unit="currency")
    reach = half / 90
    assert as_amounts == (
        0.9, 5, pytest.approx(0.9 * exp(-reach)), pytest.approx(0.9 * exp(reach * (1 + reach / 1.959963984540054)))
    )  # fmt: skip


def test_a_share_without_spread_is_as_sure_as_its_wholes_are_many() -> None:
    """All busy: Wilson's interval, of ten even spells that of ten hits in ten; of uneven ones wider."""
    even = measure("share", share_of([(30, 30)] * 10), 10, unit="fraction")
    assert even == (1.0, 10, pytest.approx(wilson(10, 10)[0]), 1.0)
    uneven = measure("share", share_of([(30, 30)] * 9 + [(300, 300)]), 10, unit="fraction")
    assert uneven.lo is not None
    assert even.lo is not None
    assert uneven.lo < even.lo
    none = measure("share", share_of([(30, 0)] * 10), 10, unit="percent")
    assert none == (0.0, 10, 0.0, pytest.approx(100 * wilson(0, 10)[1]))
    assert measure("share", share_of([(30, 15)] * 10), 10, unit="seconds") == (0.5, 10, None, None)


def test_a_share_of_nothing_is_no_value() -> None:
    """Neither without events nor with a whole of nothing; one event has no spread."""
    assert measure("share", [0] * 6) == (None, 0, None, None)
    assert measure("share", [3, 0, 0, 0, 0, 0]) == (None, 3, None, None)
    assert measure("share", share_of([(4, 1)]), 10, unit="fraction") == (0.25, 1, None, None)


def test_the_interval_of_a_share_holds_the_truth_as_often_as_it_says() -> None:
    """Spells of random length, busy ones longer than idle ones; 95 % of intervals hold the true occupancy."""
    chance = random.Random(5)
    held = 0
    for _ in range(400):
        spells = [
            (length := chance.expovariate(1 / 200 if busy else 1 / 80), length * busy)
            for busy in (chance.random() < 0.6 for _ in range(150))
        ]
        found = measure("share", share_of(spells), 10, unit="percent")
        assert found.lo is not None
        assert found.hi is not None
        held += found.lo <= 100 * 120 / 152 <= found.hi
    assert 0.92 <= held / 400 <= 0.98


def mean_over(values: list[float], unit: str, scale: int = 1000, within: tuple[float, float] | None = None) -> Measure:
    steps = [round(value * scale) for value in values]
    return measure("mean", [len(steps), sum(steps), sum(x * x for x in steps)], scale, unit=unit, within=within)


def test_the_mean_of_two_answers_lies_on_their_scale() -> None:
    """One and five: the mean is three, and that is all that two answers say."""
    assert mean_over([1, 5], "score", within=(1, 5)) == (3, 2, 1, 5)


def test_answers_that_are_all_alike_are_not_certain() -> None:
    """Ten fives: with one answer more at each end, worked out by hand (12 answers, 11 degrees of freedom)."""
    found = mean_over([5] * 10, "score", 1, within=(1, 5))
    middle, variance = 56 / 12, (10 * 25 + 1 + 25 - 56**2 / 12) / 11
    half = student_factor(11) * (variance / 12) ** 0.5
    assert found == (5, 10, pytest.approx(middle - half), 5)
    assert mean_over([5] * 1000, "score", 1, within=(1, 5)).lo > 4.97


def test_a_wait_has_an_interval_above_zero() -> None:
    """Five waits, worked out by hand; of four there is none, and none that would reach ten times the mean."""
    waits = [10, 20, 30, 40, 50]
    half = student_factor(4) * (250 / 5) ** 0.5
    reach = half / 30
    found = mean_over(waits, "seconds", 10)
    assert found[:2] == (30, 5)
    assert found.lo == pytest.approx(30 * exp(-reach))
    assert found.hi == pytest.approx(30 * exp(reach * (1 + reach / 1.959963984540054)))
    assert mean_over(waits[:4], "seconds") == (25, 4, None, None)
    assert mean_over([3, 40, 7, 2400, 12], "seconds") == (492.4, 5, None, None)
    assert mean_over([0] * 9, "seconds") == (0, 9, 0, None), "nothing but zeros: how much more there is, nobody knows"
    assert mean_over([30] * 9, "seconds") == (30, 9, 30, 30)


def test_one_order_that_outweighs_all_others_has_no_interval() -> None:
    """322 orders of which one is worth 85,000,000: nothing is known of the next 322."""
    amounts = [120] * 321 + [85_000_000]
    found = measure(
        "share", [322, 322, sum(amounts), 322, sum(amounts), sum(x * x for x in amounts)], 1, unit="currency"
    )
    assert found == (pytest.approx(264_094.8, abs=0.1), 322, None, None)


def test_a_range_that_answers_leave_is_none() -> None:
    """Points from -400 to 900 are no sentiment: Student's interval; so are seconds below zero."""
    for values, unit in (([-400, 900, 200, 100, 50], "points"), ([-50, 4, 3, 2, 1, 9], "seconds")):
        found = mean_over(values, unit)
        reference = stats.t.interval(0.95, len(values) - 1, loc=found.value, scale=stats.sem(values))
        assert (found.lo, found.hi) == (pytest.approx(reference[0]), pytest.approx(reference[1]))
