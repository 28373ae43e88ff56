"""Tuning: simulated series are like those of the past, and thresholds do what they promise."""

import numpy as np
import pytest

from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts
from streams.alerts.offline.backtest import rate_interval
from streams.alerts.offline.past import DAY, Drawn, Past, TuningError, drawn, worsened
from streams.alerts.offline.tuning import (
    Trials,
    Tried,
    bounds_of_proposal,
    first_threshold,
    interval_of,
    proposed,
    search,
    too_short,
    with_threshold,
)

UP = Facts("ratio", "up", "percent")
DOWN = Facts("ratio", "down", "percent")
RATE = Facts("ratio", "down", "per_100")


def past(days: int = 3, rate: float = 1.0, share: float = 0.85, seed: int = 5, wander: float = 0.0) -> Past:
    """Two series; the second has twice the answers, and none has any at night. Each half day has a level of its own."""
    generator = np.random.default_rng(seed)
    busy = np.where(np.arange(DAY) >= 360, rate, 0.0)[:, None] * np.array([1.0, 2.0])
    n = generator.poisson(np.broadcast_to(busy, (days, DAY, 2)))
    level = share + wander * generator.choice([-1.0, 1.0], (days, 2, 1, 2))
    p = np.broadcast_to(level, (days, 2, DAY // 2, 2)).reshape(days, DAY, 2)
    return Past(n, generator.binomial(n, p), np.arange(days))


def test_minutes_are_laid_out_by_day_up_to_the_newest_whole_hour():
    first, last = 100, 100 + 3 * DAY + 30
    minutes = [(at, {"a": [at % 7, at % 3], "b": {3: 2, 9: 1}, "other": [9, 9]}) for at in range(first, last + 1)]
    found = Past.of(minutes, ["a", "b"], first, last)
    begins = (last + 1) // 60 * 60 - 3 * DAY
    assert found.n.shape == (3, DAY, 2)
    assert (found.n[0, 0, 0], found.hits[1, 5, 0]) == (begins % 7, (begins + DAY + 5) % 3)
    assert (found.n[0, 0, 1], found.hits[0, 0, 1]) == (3, 0)
    left = found.without([(begins + DAY + 7, begins + DAY + 9)], last)
    assert list(left.day) == [0, 2]
    assert (left.n[1] == found.n[2]).all()
    with pytest.raises(TuningError, match="every day"):
        found.without([(first, last)], last)
    with pytest.raises(TuningError, match="3 hours of history"):
        Past.of(minutes, ["a"], 100, 300)


@pytest.mark.parametrize("null", ["blocks", "steady"])
def test_what_is_drawn_is_like_the_past(null):
    """Volume and share of each series, and the quiet nights."""
    was = past(rate=5.0)
    n, hits, _ = drawn(was, UP, np.random.default_rng(1), 20, 4, null)
    assert n.shape == (4 * 1440, 20)
    assert not n.reshape(4, DAY, 20)[:, :360].any()
    assert (hits <= n).all()
    for series in (0, 1):
        assert n[:, series::2].mean() == pytest.approx(was.n[:, :, series].mean(), rel=0.03)
        assert hits[:, series::2].sum() / n[:, series::2].sum() == pytest.approx(0.85, abs=0.01)


@pytest.mark.parametrize(("days", "block"), [(13, 1), (14, 7), (28, 7)])
def test_whole_weeks_are_drawn_where_there_are_two(days, block):
    was = past(days)
    assert was.block == block
    known = {was.n[day, :, 0].tobytes(): day for day in range(days)}
    n, _, origin = drawn(was, UP, np.random.default_rng(2), 4, 21, "blocks")
    seen = np.array([known[n[DAY * day : DAY * (day + 1), 0].astype(np.int64).tobytes()] for day in range(21)])
    steps = np.diff(seen).reshape(-1)
    together = [step == 1 for at, step in enumerate(steps) if (at + 1) % block]
    assert all(together)
    assert (origin[:, 0] == seen // block).all()


def test_weeks_do_not_reach_over_days_that_were_left_out():
    was = past(28)
    left = was.without([(10 * DAY, 10 * DAY)], 28 * DAY - 1)
    assert (left.block, len(left.day)) == (7, 27)
    _, _, origin = drawn(left, UP, np.random.default_rng(2), 2, 700, "blocks")
    assert origin.shape == (700, 2)
    scattered = Past(was.n[::3], was.hits[::3], was.day[::3])
    assert scattered.block == 1


def test_what_hangs_together_within_a_day_stays_together():
    """Levels that last half a day: with single hours put together anew they would be gone after one."""
    was = past(20, rate=20.0, wander=0.1)
    n, hits, _ = drawn(was, UP, np.random.default_rng(3), 40, 7, "blocks")
    hours = (hits.reshape(-1, 60, 40).sum(1) / np.maximum(n.reshape(-1, 60, 40).sum(1), 1)).reshape(7, 24, 40)
    morning, later = hours[:, 12, :].ravel() - 0.85, hours[:, 20, :].ravel() - 0.85
    assert np.corrcoef(morning, later)[0, 1] > 0.9


def test_rates_come_as_poisson_counts():
    """More hits than trials are no error, and none is cut off."""
    n = np.full((3, DAY, 1), 2)
    was = Past(n, np.full((3, DAY, 1), 3), np.arange(3))
    _, hits, _ = drawn(was, RATE, np.random.default_rng(4), 8, 3, "steady")
    assert (hits.mean(), hits.var()) == (pytest.approx(3, rel=0.02), pytest.approx(3, rel=0.05))
    worse = worsened(np.random.default_rng(5), RATE, n[0], was.hits[0], 200.0, 700)
    assert (worse[:700] == 3).all()
    assert worse[700:].mean() == pytest.approx(3 + 2 * 2, rel=0.05)


@pytest.mark.parametrize(("facts", "share", "after"), [(UP, 0.85, 0.65), (DOWN, 0.1, 0.3)])
def test_a_drop_is_as_large_as_was_asked_for_and_begins_when_it_should(facts, share, after):
    generator = np.random.default_rng(3)
    n = np.full((2000, 20), 10)
    hits = generator.binomial(n, share)
    bad = worsened(generator, facts, n, hits, 20.0, 1000)
    assert (bad[:1000] == hits[:1000]).all()
    assert bad[1000:].sum() / n[1000:].sum() == pytest.approx(after, abs=0.005)


@pytest.mark.slow
def test_higher_thresholds_have_fewer_false_alarms_and_later_true_ones():
    trials = Trials(Cusum(baseline="24h", delta=20.0), UP, "1h", past(4), drop=20.0, series=16, days=2, null="steady")
    found = [trials.at(threshold) for threshold in (1.5, 4.0, 9.0)]
    rates = [one.per_day for one in found]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]
    assert [one.minutes for one in found] == sorted(one.minutes for one in found)
    assert all(one.lo <= one.per_day <= one.hi and one.days == 32 for one in found)
    assert found[-1].missed == 0
    with pytest.raises(TuningError, match="no answers"):
        Trials(ZTest(baseline="24h"), UP, "1h", past(rate=0.0), drop=20.0)


def test_nothing_is_known_better_than_there_is_history():
    """However much is simulated: forty series of the same two days are two days."""
    calm = Drawn(np.zeros((DAY, 40)), np.zeros((DAY, 40)), np.arange(40)[None, :] % 2)
    assert interval_of(calm, [[] for _ in range(40)], 0, 2.0) == rate_interval(0, 2.0)
    one_of_two = [[5] if column % 2 else [] for column in range(40)]
    lo, hi = interval_of(calm, one_of_two, 0, 2.0)
    assert lo < 0.1
    assert hi > 2
    many = Drawn(np.zeros((DAY, 40)), np.zeros((DAY, 40)), np.arange(40)[None, :])
    assert interval_of(many, one_of_two, 0, 40.0)[1] < hi


@pytest.mark.parametrize(("first", "needed"), [(5.0, 23.0), (30.0, 6.2), (8.0, 8.0), (4.0, 0.5)])
def test_the_threshold_is_found_in_both_directions(first, needed):
    tried = list(search(lambda h: tried_at(h, 0.02 * np.exp(needed - h)), first, 0.02, 200.0))
    best = proposed(tried, 0.02)
    assert needed <= best.threshold <= max(1.0, 1.04 * needed + 0.1)
    assert len(tried) <= 14


def test_a_search_ends_where_nothing_helps():
    found = list(search(lambda h: tried_at(h, 1.0), 20.0, 0.02, 38.0))
    assert found[-1].threshold == 38.0
    assert len(found) < 6
    assert proposed(found, 0.02) is None


def tried_at(threshold: float, per_day: float, lo: float = 0.0, hi: float = 1.0) -> Tried:
    return Tried(threshold, 1, 10.0, per_day, lo, hi, 5.0, 5.0, 0.0)


def test_the_lowest_threshold_that_keeps_to_the_rate_is_proposed():
    several = [tried_at(9.0, 0.001), tried_at(7.0, 0.02), tried_at(8.0, 0.015), tried_at(6.0, 0.1)]
    assert proposed(several, 0.02).threshold == 7.0
    assert proposed(several, 0.0001) is None
    assert proposed([*several, tried_at(5.0, 0.01)], 0.02).threshold == 7.0, "below one that does not, it is by luck"


def test_a_proposal_says_between_which_thresholds_it_is_not_sure():
    several = [tried_at(5.0, 0.2, 0.1, 0.4), tried_at(7.0, 0.02, 0.01, 0.06), tried_at(9.0, 0.001, 0.0, 0.015)]
    assert bounds_of_proposal(several, 0.02) == (5.0, 9.0)
    assert bounds_of_proposal(several[1:2], 0.02) == (None, None)


def test_a_history_that_is_too_short_is_said():
    assert too_short(past(28, rate=1.0), 0.1) == []
    assert too_short(past(28), 0.02) == [
        "56 days of all series cannot show fewer than 0.066 false alarms a day (95 %); 0.02 a day need 183"
    ]
    assert "less than two weeks" in too_short(past(13), 1.0)[0]


def test_the_search_begins_where_theory_points():
    """Fewer false alarms need more evidence: ln 10 more for a tenth of them."""
    params = Cusum(baseline="24h", delta=10.0)
    often, rarely = (first_threshold(params, UP, past(), rate) for rate in (0.2, 0.02))
    assert rarely - often == pytest.approx(np.log(10), abs=0.3)
    assert first_threshold(ZTest(baseline="24h"), UP, past(), 0.02) == 3.7


def test_only_the_threshold_is_changed():
    assert with_threshold(Cusum(baseline="7d", delta=12.0), 6.5) == Cusum(baseline="7d", delta=12.0, h=6.5)
    assert with_threshold(Floor(target=70.0), 3.0) == Floor(target=70.0, z=3.0)
    assert with_threshold(ZTest(baseline="24h"), 5.0) == ZTest(baseline="24h", z=5.0)
