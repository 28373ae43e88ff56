"""Assignment, sequential intervals and what was known before: by golden vectors, and by simulation."""

import random
from math import sqrt
from statistics import NormalDist, fmean

import pytest
from scipy.stats import binomtest

from streams.experiments.judging import (
    Estimate,
    Interval,
    PastSums,
    Sums,
    adjusted,
    always_valid,
    estimate,
    intersection,
    judge_assignment,
    verdict_of,
)
from streams.kpis.arithmetic.significance import ztest_nps
from tests.harness.golden import golden

Z = NormalDist().inv_cdf(0.975)


def test_11_srm_thresholds() -> None:
    case = golden("11-srm-thresholds.yaml")
    results = case["expect"]["results"]
    for one in case["input"]["assignments"]:
        found, wanted = judge_assignment(one["counts"], one["planned"]), results[one["name"]]
        assert found.chi2 == pytest.approx(wanted["chi2"], abs=5e-5), one["name"]
        assert found.p == pytest.approx(float(wanted["p"]), rel=5e-3), one["name"]
        assert found.mismatch is wanted["alarm_p_lt_0.001"], one["name"]
    few = judge_assignment([9, 1], [1, 1])
    assert (few.n, few.judged, few.mismatch) == (10, False, False)
    assert few.p == pytest.approx(0.0215, abs=5e-5)
    empty = judge_assignment([240, 0], [1, 1])
    assert empty.chi2 == 240
    assert empty.p == pytest.approx(3.93e-54, rel=5e-3)
    assert empty.mismatch


@pytest.mark.parametrize(
    ("few", "n", "planned"),
    [
        (0, 90, 9.0),
        (12, 90, 30.0),
        (31, 90, 30.0),
        (3, 10_000_000, 1.0),
        (14, 10_000_000, 1.0),
        (5_000_000, 10_000_000, 1.0),
    ],
)
def test_an_arm_that_is_planned_small_is_judged_exactly_however_many_got_it(few: int, n: int, planned: float) -> None:
    found = judge_assignment([few, n - few], [planned, n - planned])
    assert found.p == pytest.approx(binomtest(few, n, planned / n).pvalue, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(
    ("counts", "planned", "p", "mismatch"),
    [
        ([115, 5], [99, 1], 0.00738, False),  # chi-square says 0.0005
        ([5, 99_995], [1, 49_999], 0.05265, False),
        ([90, 10], [99, 1], 7.63e-8, True),
        ([50, 50, 3], [50, 50, 0.5], 0.806, False),  # 53 and 50 where 51.8 and 51.2 are planned
        ([80, 30, 2], [50, 50, 0.5], 4.47e-6, True),
    ],
)
def test_small_arms_raise_no_alarm_of_their_own(
    counts: list[int], planned: list[float], p: float, mismatch: bool
) -> None:
    found = judge_assignment(counts, planned)
    assert found.judged
    assert found.p == pytest.approx(p, rel=0.01)
    assert found.mismatch is mismatch


@pytest.mark.parametrize("planned", [[1], [1, 0], [1, 1, 1]])
def test_a_plan_that_cannot_be_is_refused(planned: list[float]) -> None:
    with pytest.raises(ValueError, match="a share above 0 for each"):
        judge_assignment([5, 5], planned)


def test_12_peeking_inflation() -> None:
    """A plain interval errs as often as published for so many looks; the sequential one never beyond its level."""
    case = golden("12-peeking-inflation.yaml")
    published = {looks: share for looks, share in case["expect"]["false_positive_pct"].items() if looks <= 20}
    rng, runs, size = random.Random(11), 4_000, 50
    plain, sequential = dict.fromkeys(published, 0), 0
    for _ in range(runs):
        total, erred, never = 0.0, 0, True
        for look in range(1, 21):
            total += rng.gauss(0, sqrt(2 * size))
            variance = 2 / (size * look)
            difference = total / (size * look)
            erred = erred or (look if abs(difference) > Z * sqrt(variance) else 0)
            never = never and not always_valid(difference, variance, 0.2).excludes_zero
        for looks in published:
            plain[looks] += 0 < erred <= looks
        sequential += not never
    for looks, share in published.items():
        spread = 100 * sqrt(share / 100 * (1 - share / 100) / runs)
        assert 100 * plain[looks] / runs == pytest.approx(share, abs=0.3 + 3 * spread), looks
    assert sequential / runs <= 0.05


def test_13_always_valid_interval() -> None:
    case = golden("13-always-valid-interval.yaml")
    seen: list[Interval] = []
    for look, wanted in zip(case["input"]["looks"], case["expect"]["looks"], strict=True):
        n = look["n_per_arm"]
        variance = look["sd_A"] ** 2 / n + look["sd_B"] ** 2 / n
        difference = look["mean_B"] - look["mean_A"]
        found = always_valid(difference, variance, sqrt(case["input"]["tau2"]), case["input"]["alpha"])
        seen.append(found)
        assert variance == pytest.approx(wanted["var_of_diff"], abs=5e-5)
        assert found == pytest.approx(wanted["always_valid95"], abs=1e-4)
        assert intersection(seen) == pytest.approx(wanted["running_intersection"], abs=1e-4)
        assert found.excludes_zero is wanted["always_valid_excludes_0"]
        half = Z * sqrt(variance)
        assert [difference - half, difference + half] == pytest.approx(wanted["fixed95"], abs=1e-4)
        assert found.hi - found.lo > 2 * half


def test_14_cuped_or_not() -> None:
    case = golden("14-cuped-or-not.yaml")
    arms = {arm: _past([(one["before"], one["after"]) for one in case["input"][arm]]) for arm in "AB"}
    found = adjusted(arms)
    assert found is not None
    theta, means = found
    wanted = case["expect"]
    assert theta == pytest.approx(wanted["theta_within_arms"], abs=1e-4)
    assert means["B"].value - means["A"].value == pytest.approx(wanted["cuped_diff"], abs=1e-4)
    assert sqrt(means["A"].variance + means["B"].variance) == pytest.approx(
        wanted["cuped_se_theta_taken_as_known"], abs=1e-4
    )
    raw = {arm: _raw([one["after"] for one in case["input"][arm]]) for arm in "AB"}
    assert raw["B"].value - raw["A"].value == pytest.approx(wanted["raw_diff"], abs=1e-4)
    assert sqrt(raw["A"].variance + raw["B"].variance) == pytest.approx(wanted["raw_se"], abs=1e-4)


def test_customers_without_a_past_stay_and_are_not_moved() -> None:
    """Dropping them would change the population; their past is taken for the mean."""
    arms = {"A": _past([(1.0, 5.0), (3.0, 9.0)], new=[7.0]), "B": _past([(2.0, 8.0), (4.0, 12.0)], new=[20.0, 0.0])}
    found = adjusted(arms)
    assert found is not None
    theta, means = found
    assert theta == pytest.approx(2.0)
    assert means["A"] == _near(fmean([5 + 3.0, 9 - 1.0, 7.0]), 3)
    assert means["B"] == _near(fmean([8 + 1.0, 12 - 3.0, 20.0, 0.0]), 4)


def test_a_past_that_says_nothing_makes_nothing_wider() -> None:
    rng = random.Random(5)
    arms = {arm: [(rng.gauss(5, 2), rng.gauss(10, 3)) for _ in range(400)] for arm in "AB"}
    found = adjusted({arm: _past(customers) for arm, customers in arms.items()})
    assert found is not None
    for arm, customers in arms.items():
        assert found[1][arm].variance <= 1.01 * _raw([after for _, after in customers]).variance
    assert adjusted({arm: _past([(1.0, 2.0), (1.0, 3.0)]) for arm in "AB"}) is None, "no past differs"


def test_15_nps_sequential() -> None:
    case = golden("15-nps-sequential.yaml")
    sides = {"A": [0, 0, 0], "B": [0, 0, 0]}
    cheered: list[int] = []
    for day, wanted in zip(case["input"]["days"], case["expect"]["days"], strict=True):
        for side, counts in sides.items():
            promoters, passives, detractors = day[side]
            for place, more in enumerate((promoters + passives + detractors, promoters, detractors)):
                counts[place] += more
        found = {side: _nps(counts) for side, counts in sides.items()}
        difference = found["B"].value - found["A"].value
        assert (found["A"].value, found["B"].value) == pytest.approx((wanted["nps_A"], wanted["nps_B"]), abs=1e-4)
        # As published, by the variance of the sample; as estimated here n / (n - 1) times as large.
        assert ztest_nps(sides["A"], sides["B"]) == pytest.approx(wanted["z"], abs=1e-4)
        scale, n = sqrt(case["input"]["tau2_points_squared"]), sides["A"][0]
        variance = sum(one.variance for one in found.values()) * (n - 1) / n
        assert always_valid(difference, variance, scale) == pytest.approx(wanted["always_valid95"], abs=1e-3)
        if always_valid(difference, sum(one.variance for one in found.values()), scale).excludes_zero:
            cheered.append(day["day"])
    assert cheered == case["expect"]["days_always_valid_says_significant"]


def test_answers_of_one_customer_go_together() -> None:
    """The same answers by fewer customers are less certain: an interval by answers would be too narrow."""
    alone = estimate(Sums(n=100, x=100, y=50, xx=100, xy=50, yy=50))
    together = estimate(Sums(n=10, x=100, y=50, xx=1_000, xy=500, yy=500))
    assert alone is not None
    assert together is not None
    assert alone.value == together.value == 0.5
    assert together.variance > 9 * alone.variance


def test_intervals_by_customers_hold_what_they_promise() -> None:
    """Of customers with one to nine answers that resemble each other, 95 of 100 intervals hold the truth."""
    rng, held, runs = random.Random(3), 0, 600
    for _ in range(runs):
        sums = [0.0] * 5
        for _ in range(150):
            inclined, x = rng.betavariate(2, 2), rng.randint(1, 9)
            y = sum(rng.random() < inclined for _ in range(x))
            for place, one in enumerate((x, y, x * x, x * y, y * y)):
                sums[place] += one
        found = estimate(Sums(150, *sums))
        assert found is not None
        held += abs(found.value - 0.5) <= Z * sqrt(found.variance)
    assert 0.92 <= held / runs <= 0.98


@pytest.mark.parametrize(
    ("interval", "direction", "tolerated", "said"),
    [
        ((0.1, 2.0), "up", None, "better"), ((-2.0, -0.1), "up", None, "worse"), ((-1.0, 1.0), "up", None, "not known yet"),
        ((0.1, 2.0), "down", None, "worse"), ((-2.0, -0.1), "down", None, "better"),
        ((-0.5, 1.0), "up", 1.0, "safe"), ((-1.5, 1.0), "up", 1.0, "not known yet"), ((-1.0, 0.5), "down", 1.0, "safe"),
        ((0.1, 2.0), "none", None, "higher"), ((-2.0, -0.1), "none", None, "lower"), ((-1.0, 1.0), "none", None, "not known yet"),
    ],
)  # fmt: skip
def test_verdicts(interval: tuple[float, float], direction: str, tolerated: float | None, said: str) -> None:
    assert verdict_of(Interval(*interval), direction, tolerated) == said


def test_looks_that_have_nothing_in_common_are_said() -> None:
    assert intersection([Interval(0, 1), Interval(2, 3)]) is None
    assert intersection([Interval(0, 2), Interval(1, 3)]) == Interval(1, 2)


def _past(customers: list[tuple[float, float]], new: list[float] = []) -> PastSums:  # noqa: B006 - is not changed
    return PastSums(
        len(customers),
        sum(y for _, y in customers), sum(y * y for _, y in customers),
        sum(b for b, _ in customers), sum(b * b for b, _ in customers), sum(b * y for b, y in customers),
        Sums(len(new), len(new), sum(new), len(new), sum(new), sum(y * y for y in new)),
    )  # fmt: skip


def _raw(values: list[float]) -> Estimate:
    n, total = len(values), sum(values)
    found = estimate(Sums(n, n, total, n, total, sum(one * one for one in values)))
    assert found is not None
    return found


def _nps(counts: list[int]) -> Estimate:
    n, promoters, detractors = counts
    score = 100 * (promoters - detractors)
    found = estimate(Sums(n, n, score, n, score, 10_000 * (promoters + detractors)))
    assert found is not None
    return found


def _near(value: float, n: int) -> object:
    class Near:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Estimate) and other.n == n and other.value == pytest.approx(value)

        __hash__ = None  # type: ignore[assignment]

    return Near()
