"""Tuning: simulated series are like those of the past, and thresholds do what they promise."""

import numpy as np
import pytest

from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts
from streams.alerts.offline.tuning import (
    Past,
    Tried,
    TuningError,
    drawn,
    proposed,
    thresholds,
    tune,
    with_threshold,
    worsened,
)

UP = Facts("ratio", "up", "percent")
DOWN = Facts("ratio", "down", "percent")


def past(days: int = 3, rate: float = 1.0, share: float = 0.85, seed: int = 5) -> Past:
    """Two series; the second has twice the answers, and none of them has any at night."""
    generator = np.random.default_rng(seed)
    hour = np.arange(24 * days) % 24
    busy = np.where((hour >= 6), rate, 0.0)[:, None, None] * np.array([1.0, 2.0])
    n = generator.poisson(np.broadcast_to(busy, (24 * days, 60, 2)))
    return Past(n, generator.binomial(n, share), hour)


def test_minutes_are_laid_out_by_hour():
    minutes = [(at, {"a": [at % 7, at % 3], "b": [1, 1], "other": [9, 9]}) for at in range(100, 100 + 27 * 60)]
    found = Past.of(minutes, ["a", "b"], 100, 100 + 27 * 60 - 1)
    assert found.n.shape == (26, 60, 2)
    assert found.hour[0] == 2  # minute 120 is the first of a whole hour
    assert (found.n[0, 0, 0], found.hits[1, 5, 0]) == (120 % 7, 185 % 3)
    left = found.without([(180, 299)], 100)
    assert list(left.hour[:3]) == [2, 5, 6]
    with pytest.raises(TuningError, match="3 whole hours"):
        Past.of(minutes, ["a"], 100, 300)


@pytest.mark.parametrize("null", ["blocks", "steady"])
def test_what_is_drawn_is_like_the_past(null):
    """Volume and share of each series, and the quiet nights."""
    was = past(rate=5.0)
    n, hits = drawn(was, np.random.default_rng(1), 20, 4, null)
    assert n.shape == (4 * 1440, 20)
    assert not n.reshape(4, 24, 60, 20)[:, :6].any()
    assert (hits <= n).all()
    for series in (0, 1):
        assert n[:, series::2].mean() == pytest.approx(was.n[:, :, series].mean(), rel=0.03)
        assert hits[:, series::2].sum() / n[:, series::2].sum() == pytest.approx(0.85, abs=0.01)


def test_an_hour_that_was_never_seen_is_told():
    was = past()
    kept = was.hour != 7
    with pytest.raises(TuningError, match="never seen"):
        drawn(Past(was.n[kept], was.hits[kept], was.hour[kept]), np.random.default_rng(1), 2, 1, "blocks")


@pytest.mark.parametrize(("facts", "share", "after"), [(UP, 0.85, 0.65), (DOWN, 0.1, 0.3)])
def test_a_drop_is_as_large_as_was_asked_for_and_begins_when_it_should(facts, share, after):
    generator = np.random.default_rng(3)
    n = np.full((2000, 20), 10)
    hits = generator.binomial(n, share)
    _, bad = worsened(generator, facts, n, hits, 20.0, 1000)
    assert (bad[:1000] == hits[:1000]).all()
    assert bad[1000:].sum() / n[1000:].sum() == pytest.approx(after, abs=0.005)


def test_higher_thresholds_have_fewer_false_alarms_and_later_true_ones():
    found = list(
        tune(
            Cusum(baseline="24h", delta=20.0),
            UP,
            "1h",
            past(4),
            [1.5, 4.0, 9.0],
            drop=20.0,
            series=16,
            days=2,
            null="steady",
        )
    )
    rates = [one.per_day for one in found]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]
    assert [one.minutes for one in found] == sorted(one.minutes for one in found)
    assert all(one.lo <= one.per_day <= one.hi and one.days == 32 for one in found)
    assert found[-1].missed == 0


def test_the_lowest_threshold_that_keeps_to_the_rate_is_proposed():
    def tried(threshold, per_day):
        return Tried(threshold, 1, 10.0, per_day, 0, 1, 5.0, 5.0, 0.0)

    several = [tried(9.0, 0.001), tried(7.0, 0.02), tried(8.0, 0.015), tried(6.0, 0.1)]
    assert proposed(several, 0.02).threshold == 7.0
    assert proposed(several, 0.0001) is None


def test_thresholds_are_tried_around_what_theory_gives():
    """Fewer false alarms need more evidence: ln 10 more for a tenth of them."""
    params = Cusum(baseline="24h", delta=10.0)
    often, rarely = (thresholds(params, UP, past(), rate) for rate in (0.2, 0.02))
    assert rarely[2] - often[2] == pytest.approx(np.log(10), abs=0.3)
    assert thresholds(ZTest(baseline="24h"), UP, past(), 0.02)[0] < 3


def test_only_the_threshold_is_changed():
    assert with_threshold(Cusum(baseline="7d", delta=12.0), 6.5) == Cusum(baseline="7d", delta=12.0, h=6.5)
    assert with_threshold(Floor(target=70.0), 3.0) == Floor(target=70.0, z=3.0)
    assert with_threshold(ZTest(baseline="24h"), 5.0) == ZTest(baseline="24h", z=5.0)
