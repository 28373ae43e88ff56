"""Before and after a change: series of which level, slope and noise are known."""

import random
from math import cos, sin, sqrt

import numpy as np
import pytest

from streams.drivers.interrupted import FEWEST_STEPS, SeriesStep, _fits, before_after, less_control
from streams.drivers.regression import TooFewAnswersError


def series(
    seed: int, steps: int, *, level: float, slope: float, alike: float = 0.3, noise: float = 1.0
) -> list[SeriesStep]:
    """A line with a weekly season, autoregressive noise, and a change in the middle."""
    chance, found, error = random.Random(seed), [], 0.0
    for number in range(-steps, steps + 1):
        error = alike * error + chance.gauss(0, noise * sqrt(1 - alike**2))
        change = level + slope * number if number > 0 else 0.0
        season = number % 7
        found.append(SeriesStep(number, 70 + 0.05 * number + season + change + error, 100, str(season)))
    return found


def test_coefficients_are_those_of_generalised_least_squares() -> None:
    """For ρ = 0.4 and ρ = 0 the same numbers as statsmodels 0.14 (GLS and WLS) of the same 28 steps, two missing."""
    number = np.array([float(k) for k in range(-15, 15) if k not in (0, 5)])
    y = np.array(
        [70 + 0.2 * k + (4 + 0.3 * k if k > 0 else 0) + 2 * sin(1.7 * k) + 1.5 * cos(0.4 * k * k) for k in number]
    )
    weight = np.array([100.0 + 10 * (place % 5) for place in range(len(number))])
    x = np.column_stack([np.ones_like(number), number, number > 0, np.where(number > 0, number, 0.0)])
    fits = {round(fit.alike, 2): fit for fit in _fits(x, y, weight, number)}
    assert sum(fit.likely for fit in fits.values()) == pytest.approx(1)
    known = {
        0.4: ([70.1218790, 0.221990123, 5.52769699, 0.0401328650], [1.63937934, 0.18136858, 2.34704187, 0.28150413]),
        0.0: ([70.27790861, 0.23068937, 4.6107796, 0.141594], [1.0076761, 0.11266161, 1.52073726, 0.17227362]),
    }
    for alike, (beta, errors) in known.items():
        assert fits[alike].beta == pytest.approx(beta, rel=1e-6)
        assert np.sqrt(np.diag(fits[alike].covariance)) == pytest.approx(errors, rel=1e-6)


def test_level_slope_and_mean_are_found() -> None:
    found = before_after(series(1, 40, level=-6, slope=0.1, noise=0.3), 0)
    assert (found.before, found.after) == (40, 40)
    assert found.level.lo < -6 < found.level.hi
    assert found.slope.lo < 0.1 < found.slope.hi
    assert found.average.lo < -6 + 0.1 * 20.5 < found.average.hi
    assert found.trend.lo < 0.05 < found.trend.hi
    assert found.average.sign == -1
    assert found.verdict == "lower than before (association: no control group)"


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Neighbours are alike (0.5), as those of KPIs are: of 30 series some 95 % hold the true mean change."""
    held = wrong = 0
    for seed in range(30):
        found = before_after(series(seed, 25, level=2, slope=0.1, alike=0.5), 0)
        held += found.average.lo <= 2 + 0.1 * 13 <= found.average.hi
        wrong += before_after(series(seed, 25, level=0, slope=0, alike=0.5), 0).average.sign != 0
    assert held >= 26
    assert wrong <= 4


def test_a_control_group_takes_out_what_moves_both() -> None:
    """A bank holiday comes with the release: with nothing to compare, it is the release's."""
    shock = [SeriesStep(one.number, -5.0 * (one.number > 0), 1) for one in series(0, 30, level=0, slope=0)]
    web, store = (series(seed, 30, level=level, slope=0, noise=0.5) for seed, level in ((2, 3), (3, 0)))
    both = [
        [one._replace(value=one.value + hit.value) for one, hit in zip(steps, shock, strict=True)]
        for steps in (web, store)
    ]
    alone, less = before_after(both[0], 0), before_after(less_control(*both), 0, controlled=True)
    assert alone.average.hi < 0
    assert less.average.lo < 3 < less.average.hi
    assert less.average.sign == 1
    assert less.verdict == "higher than before (less a control group)"


def test_steps_that_only_one_has_are_no_difference() -> None:
    one, other = [SeriesStep(1, 5.0, 30), SeriesStep(2, 6.0, 30)], [SeriesStep(2, 4.0, 60), SeriesStep(3, 1.0, 1)]
    assert less_control(one, other) == [SeriesStep(2, 2.0, 20)]


def test_too_short_a_series_is_refused() -> None:
    steps = series(4, FEWEST_STEPS, level=1, slope=0)
    assert before_after(steps, 0).before == FEWEST_STEPS
    with pytest.raises(TooFewAnswersError, match="10 steps before the change and 9 after it are too few"):
        before_after(steps[:-1], 0)
    with pytest.raises(TooFewAnswersError, match="0 steps before the change"):
        before_after(steps, -FEWEST_STEPS - 1)
    every = [one._replace(season=str(abs(one.number))) for one in steps]
    with pytest.raises(TooFewAnswersError, match="20 steps are too few for 13 unknowns"):
        before_after(every, 0)
    empty = [one._replace(n=0) if one.number == 5 else one for one in steps]
    with pytest.raises(TooFewAnswersError, match="and 9 after it"):
        before_after(empty, 0)


def test_order_and_the_step_of_the_change_do_not_matter() -> None:
    steps = series(5, 20, level=1, slope=0)
    wild = [one._replace(value=1e6) if one.number == 0 else one for one in steps[::-1]]
    assert before_after(wild, 0).average == pytest.approx(before_after(steps, 0).average)


def test_a_step_counts_by_its_n() -> None:
    """One step of a single answer that is far off moves hardly anything, unless steps count alike."""
    steps = series(6, 30, level=0, slope=0, noise=0.2)
    wild = [one._replace(value=one.value - 4, n=1) if one.number == 9 else one for one in steps]
    assert abs(before_after(wild, 0).average.value - before_after(steps, 0).average.value) < 0.1
    equal = before_after(wild, 0, weighted=False).average.value - before_after(steps, 0, weighted=False).average.value
    assert abs(equal) > 0.1
