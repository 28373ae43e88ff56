"""Two samples against published figures and SciPy, and the tails of distributions that detectors need."""

import math

import numpy as np
import pytest
from scipy import stats

from streams.alerts.detectors.ztest import ZTest
from streams.alerts.explaining.compare import compare, student_as_normal
from streams.alerts.explaining.likelihood import BeforeAfter, likelihood_z
from streams.alerts.facts import Facts, moments
from streams.kpis.arithmetic.distributions import chi_square_tail, negative_binomial_cdf, normal_quantile, poisson_cdf
from tests.harness.reading import COUNT, NPS, P95, SCORE, SHARE, bins_of, judge, mean_of, standing

# -- distributions -----------------------------------------------------------------------------------------------


def test_tails_are_those_of_scipy() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        mean = 10 ** rng.uniform(-2, 5)
        events = int(mean * rng.uniform(0, 1.3))
        dispersion = 10 ** rng.uniform(-4, 1)
        assert poisson_cdf(events, mean) == pytest.approx(stats.poisson.cdf(events, mean), rel=1e-8, abs=1e-200)
        wanted = stats.nbinom.cdf(events, 1 / dispersion, 1 / (1 + dispersion * mean))
        assert negative_binomial_cdf(events, mean, dispersion) == pytest.approx(wanted, rel=1e-8, abs=1e-200)
        value, degrees = 10 ** rng.uniform(-2, 2.5), int(rng.integers(1, 60))
        assert chi_square_tail(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-8, abs=1e-200)


def test_tails_at_their_edges() -> None:
    assert (poisson_cdf(-1, 3.0), poisson_cdf(0, 0.0), negative_binomial_cdf(-1, 3.0, 1.0)) == (0.0, 1.0, 0.0)
    assert negative_binomial_cdf(2, 5.0, 0.0) == poisson_cdf(2, 5.0)
    assert chi_square_tail(0.0, 3) == 1.0


@pytest.mark.parametrize("degrees", [5, 10, 30, 200, 10_000])
@pytest.mark.parametrize("z", [0.5, 2.0, 3.7, 6.0])
def test_students_t_as_a_normal_z(degrees: int, z: float) -> None:
    t = stats.t.isf(stats.norm.sf(z), degrees)
    assert student_as_normal(t, degrees) == pytest.approx(z, rel=0.001)
    assert student_as_normal(-t, degrees) == -student_as_normal(t, degrees)


# -- two samples -------------------------------------------------------------------------------------------------


def test_golden_z_of_two_windows_that_do_not_overlap() -> None:
    """850 of 1000 before, 156 of 200 in the window: the longer window holds both."""
    seen = judge(ZTest(baseline="24h", z=2.326), SHARE, "1h", standing(w1h=[200, 156], w24h=[1200, 1006]))
    assert seen.statistic == pytest.approx(-2.455, abs=5e-4)
    assert (seen.breach, seen.value, seen.baseline, seen.n, seen.baseline_n) == (True, 78.0, 85.0, 200, 1000)
    seen = judge(ZTest(baseline="24h", z=2.5), SHARE, "1h", standing(w1h=[200, 156], w24h=[1200, 1006]))
    assert (seen.breach, seen.recovered) == (False, False)


def test_golden_z_of_nps() -> None:
    seen = judge(ZTest(baseline="24h"), NPS, "1h", standing(w1h=[200, 90, 50], w24h=[1200, 590, 250]))
    assert seen.statistic == pytest.approx(-1.599, abs=5e-4)
    assert (seen.value, seen.baseline) == (20.0, 30.0)


def test_welch_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        one, two = np.round(rng.normal(4, 1, rng.integers(20, 200)), 3), np.round(rng.normal(4.3, 2, 60), 3)
        z = compare(SCORE, mean_of(one), mean_of(two)).z
        found = stats.ttest_ind(two, one, equal_var=False)
        assert z == pytest.approx(math.copysign(normal_quantile(found.pvalue / 2), found.statistic), rel=5e-3, abs=1e-3)


def test_counts_are_compared_by_their_rates() -> None:
    """30 in 60 minutes against 1000 in 1380: the exact binomial test says the same."""
    z = compare(COUNT, [1000], [30], minutes=(1380, 60)).z
    exact = stats.binomtest(30, 1030, 60 / 1440, alternative="less").pvalue
    assert stats.norm.cdf(z) == pytest.approx(exact, rel=0.3)
    assert compare(COUNT, [100], [100], minutes=(60, 60)).z == 0
    assert compare(COUNT, [3], [2], minutes=(60, 60)).z is None


def test_a_window_of_counts_is_told_beside_what_it_would_hold_at_the_pace_before() -> None:
    """1380 in 23 hours are 60 an hour; none at all is a count too."""
    seen = judge(ZTest(baseline="24h"), COUNT, "1h", standing(w1h=[120], w24h=[1500]))
    assert (seen.breach, seen.value, seen.baseline, seen.baseline_n) == (True, 120.0, 60.0, 1380)
    assert "higher" in seen.reason
    seen = judge(ZTest(baseline="24h"), COUNT, "1h", standing(w1h=None, w24h=[1380]))
    assert (seen.breach, seen.value, seen.n) == (True, 0.0, 0)
    assert judge(ZTest(baseline="24h"), COUNT, "1h", standing(w1h=None, w24h=None)).breach is None


def test_quantiles_are_compared_where_they_are() -> None:
    """A stretched distribution has a higher p95, and z says higher; an equal one does not."""
    rng = np.random.default_rng(4)
    usual, same, slow = rng.lognormal(4, 1, 4000), rng.lognormal(4, 1, 600), rng.lognormal(4.5, 1, 600)
    assert abs(compare(P95, bins_of(usual), bins_of(same)).z) < 3
    assert compare(P95, bins_of(usual), bins_of(slow)).z > 4
    assert compare(P95, bins_of(slow), bins_of(usual)).z < -4
    assert compare(P95, bins_of(usual), bins_of(same[:40])).z is None


def test_z_of_quantiles_is_calibrated() -> None:
    rng = np.random.default_rng(8)
    found = [compare(P95, bins_of(a), bins_of(b)).z for a, b in rng.lognormal(4, 1, (300, 2, 300))]
    assert np.std(found) == pytest.approx(1, abs=0.15)
    assert np.mean(found) == pytest.approx(0, abs=0.25)


def test_rates_are_compared_as_counts() -> None:
    """Clicks per 100 sessions: 150 against 120."""
    z = compare(Facts("ratio", "down", "per_100"), [1000, 1200], [200, 300]).z
    exact = stats.binomtest(300, 1500, 1 / 6, alternative="greater").pvalue
    assert z == pytest.approx(stats.norm.isf(exact), abs=0.15)


def test_a_share_of_sums_is_compared_by_the_spread_of_its_interval() -> None:
    """Busy of staffed seconds: samples of one source differ by about one standard error."""
    rng = np.random.default_rng(6)
    busy = Facts("share", "up", "percent", 1)

    def sample(n: int, p: float) -> list[int]:
        whole = rng.integers(100, 1000, n)
        part = np.minimum(whole, np.round(whole * rng.beta(8 * p, 8 * (1 - p), n))).astype(int)
        return [
            n,
            *(int(x) for x in (whole.sum(), part.sum(), (whole**2).sum(), (whole * part).sum(), (part**2).sum())),
        ]

    found = [compare(busy, sample(200, 0.7), sample(100, 0.7)).z for _ in range(200)]
    assert np.std(found) == pytest.approx(1, abs=0.15)
    assert compare(busy, sample(200, 0.7), sample(100, 0.5)).z < -5


@pytest.mark.parametrize(
    ("facts", "earlier", "later", "why"),
    [
        (SHARE, None, [5, 5], "nothing to compare"),
        (SHARE, [5, 5], None, "nothing came"),
        (SHARE, [1000, 1000], [200, 200], "successes or failures"),
        (SHARE, [0, 3], [200, 200], "no trials"),
        (SCORE, [100, 100_000, 100_000_000], [3, 3000, 3_000_000], "only 3 answers"),
        (NPS, [100, 50, 20], [4, 0, 4], "only 4 answers"),
        (P95, {}, {5: 1000}, "no values"),
        (Facts("sum", "up", "currency"), [5, 5], [5, 5], "no spread"),
        (Facts("distinct", "up", "count"), {5: 1}, {6: 1}, "no spread"),
    ],
)
def test_what_cannot_be_compared_says_why(facts: Facts, earlier, later, why: str) -> None:
    found = compare(facts, earlier, later)
    assert found.z is None
    assert why in found.why


@pytest.mark.parametrize("facts", [SHARE, NPS, SCORE, Facts("share", "up", "percent")])
def test_sums_that_no_answers_can_have_raise_nothing(facts: Facts) -> None:
    """Squares below their mean, more hits than none: whoever wrote them, one series must not stop a rule."""
    rng = np.random.default_rng(4)
    size = {"ratio": 2, "nps": 3, "mean": 3, "share": 6}[facts.aggregator]
    for _ in range(3_000):
        earlier, later = ([int(x) for x in rng.integers([0, *[-50] * (size - 1)], 300)] for _ in range(2))
        for sums in (earlier, later):
            found = moments(facts, sums)
            assert found is None or found.variance >= 0
        z = compare(facts, earlier, later).z
        sure = likelihood_z(facts, BeforeAfter(earlier, later), (60, 5))
        assert all(x is None or math.isfinite(x) for x in (z, sure))


def test_answers_that_are_all_alike_still_differ_between_sides() -> None:
    """No spread inside, all of it between: that is not "cannot be compared"."""
    assert compare(SCORE, mean_of([5] * 50), mean_of([1] * 50)).z < -6
    assert compare(NPS, [50, 50, 0], [50, 0, 50]).z < -6
    assert compare(NPS, [50, 50, 0], [50, 50, 0]).z == 0
