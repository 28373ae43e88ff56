"""Noise is measured, not assumed: what is learnt of it, what is not, and what that does to a CUSUM."""

import math

import msgspec
import numpy as np
import pytest

from streams.alerts.detectors import ParamError
from streams.alerts.detectors.cusum import Cusum, CusumState, advance
from streams.alerts.detectors.cusum_levels import level_of, threshold_of
from streams.alerts.detectors.noise import (
    BLOCKS,
    CHANCE,
    Noise,
    Spread,
    dispersion,
    level_variances,
    observe,
    variance_over,
)
from tests.harness.noise import FULL, NONE, drawn
from tests.harness.nullsim import DAY, PERCENT, Rule, firings, shipped
from tests.harness.reading import SHARE, Played, verdicts

VARIANCE = 100.0**2 * 0.85 * 0.15
WINDOWS = ("5m", "15m", "1h", "24h")


def learnt(levels: np.ndarray, n: int, seed: int = 1) -> Noise:
    """What is known after minutes of n answers at these levels (percent)."""
    hits = np.random.default_rng(seed).binomial(n, levels / 100)
    noise = Noise()
    for minute, k in enumerate(hits):
        noise = observe(noise, minute, 100.0 * k, n, 85.0, VARIANCE, 0.0, teaches=True, rests=True)
    return noise


def wandering(days: int, deviation: float, over: float, seed: int = 2) -> np.ndarray:
    generator, level = np.random.default_rng(seed), np.zeros(days * DAY)
    keep = math.exp(-1 / over)
    for minute in range(1, len(level)):
        level[minute] = keep * level[minute - 1] + math.sqrt(1 - keep * keep) * generator.standard_normal()
    return 85.0 + deviation * level


def test_independent_answers_vary_as_by_chance() -> None:
    levels = level_variances(learnt(np.full(14 * DAY, 85.0), 4), VARIANCE)
    for minutes in (5, 60, 240, 720):
        assert 1.0 <= dispersion(levels, VARIANCE, 4 * minutes, minutes) < 1.5


def test_a_level_that_wanders_is_measured_by_the_length_of_the_block() -> None:
    """Of an Ornstein-Uhlenbeck process the variance of means is known."""
    found = level_variances(learnt(wandering(28, 3.0, 180.0), 20), VARIANCE)
    for measured, minutes in zip(found, BLOCKS, strict=True):
        x = minutes / 180
        true = 9.0 * 2 / x**2 * (x - 1 + math.exp(-x))
        assert true * 0.7 < measured < true * 1.7, minutes
    # A run of an hour: by chance alone 1.
    assert dispersion(found, VARIANCE, 20 * 60, 60) == pytest.approx(1 + 1200 * 8.1 / VARIANCE, rel=0.4)


def test_what_the_hour_does_is_normal_and_no_noise() -> None:
    turn = 3 * np.sin(2 * np.pi * np.arange(21 * DAY) / DAY)
    noise = learnt(85 + turn, 20)
    deviation = math.sqrt(VARIANCE)
    for hour in range(24):
        true = 3 * math.sin(2 * math.pi * (hour + 0.5) / 24)
        assert noise.offset(60 * hour, deviation) == pytest.approx(true, abs=1.0), hour
    assert level_variances(noise, VARIANCE)[2] < 1.0


def test_a_new_series_is_taken_for_a_calm_one() -> None:
    """An hour after its start ten answers a minute count for half of what they would by chance."""
    assert 1.5 < dispersion(level_variances(Noise(), VARIANCE), VARIANCE, 600, 60) < 2.5


def test_few_blocks_say_little_and_trouble_none() -> None:
    calm = learnt(np.full(3 * DAY, 85.0), 20)
    before = level_variances(calm, VARIANCE)
    noise = calm
    for minute in range(3 * DAY, 3 * DAY + 360):
        noise = observe(noise, minute, 100.0 * 12, 20, 85.0, VARIANCE, 0.0, teaches=False, rests=False)
    assert level_variances(noise, VARIANCE) == before
    assert noise.level == calm.level
    # Whether what adds up is trouble is not known before it has come to nothing.
    building = calm
    for minute in range(3 * DAY, 3 * DAY + 60):
        building = observe(building, minute, 100.0 * 12, 20, 85.0, VARIANCE, 0.0, teaches=True, rests=False)
    assert level_variances(building, VARIANCE) == before
    ended = observe(building, 3 * DAY + 64, 0.0, 0, 85.0, VARIANCE, 0.0, teaches=True, rests=True)
    assert level_variances(ended, VARIANCE) > before
    # One block that was not seen to be trouble counts for four of its deviations, not for 25.
    for minute in range(3 * DAY, 3 * DAY + 60):
        calm = observe(calm, minute, 100.0 * 12, 20, 85.0, VARIANCE, 0.0, teaches=True, rests=True)
    assert level_variances(calm, VARIANCE)[1] < 4.0  # 18 if it counted whole


def test_between_blocks_variance_falls_and_never_jumps() -> None:
    levels = [9.0, 8.0, 5.0]
    found = [variance_over(levels, minutes) for minutes in range(5, 2000)]
    assert found == sorted(found, reverse=True)
    assert variance_over(levels, 5) == 9.0
    assert variance_over(levels, 360) == pytest.approx(5.0)
    assert variance_over(levels, 1440) == pytest.approx(5.0 / 4**0.75)
    assert variance_over(levels, 1) == 45.0


def test_evidence_counts_for_as_much_less_as_the_run_varies_more() -> None:
    params = Cusum(p0=85.0, p1=75.0, h=5.0)
    level = level_of(params, SHARE, None)
    needed = {}
    for name, spread in (("chance", CHANCE), ("noisy", Spread([40.0, 40.0, 40.0], VARIANCE))):
        state, minutes = CusumState(), 0
        while not state.fired:
            minutes += 1
            state = advance(level, params, SHARE, [10, 7], state, None, spread)
        needed[name] = minutes
        times = spread.of(state.n, state.minutes)
        assert state.total > threshold_of(5.0, state.n, state.minutes, times) * times
    assert needed["noisy"] > 2 * needed["chance"]


def test_an_alert_says_how_much_more_than_by_chance_its_answers_vary() -> None:
    generator = np.random.default_rng(4)
    minutes = 4 * DAY
    level = wandering(4, 1.5, 60.0)
    level[-60:] = 45.0
    hits = generator.binomial(30, np.clip(level / 100, 0, 1))
    params = Cusum(baseline="24h", delta=10.0, h=9.0)
    seen = verdicts(params, SHARE, "1h", Played(WINDOWS), [[30, int(k)] for k in hits])
    assert not any(one.breach for one in seen[minutes - 120 : minutes - 60])
    fired = next(one for one in seen[minutes - 60 :] if one.breach)
    assert "times as much as by chance, which is allowed for" in fired.reason
    assert fired.statistic > fired.threshold


def test_a_state_that_was_saved_before_noise_was_measured_is_read() -> None:
    """Judging goes on from its sum and normal value; the noise is measured from then on."""
    params = Cusum(baseline="24h", delta=10.0)
    old = [2.5, 12, 9, 4, False, 0.0, [85.0, 1275.0, 9000.0, 9000.0, 100]]
    state = params.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(old)))
    assert (state.total, state.n, state.normal.mean, state.normal.windows, state.noise) == (2.5, 12, 85.0, 1.0, None)
    reading = Played(WINDOWS, 150)
    reading.play([10, 7])
    _, after = params.judge(SHARE, "1h", reading, state)
    assert after.total > 2.5
    assert after.noise is not None


def test_a_margin_must_leave_something_to_look_for() -> None:
    with pytest.raises(ParamError, match="margin 10 leaves nothing"):
        Cusum(baseline="24h", delta=10.0, margin=10.0)
    params = Cusum(baseline="24h", delta=10.0, margin=3.0)
    minutes = [[40, 34]] * 1500 + [[40, 32]] * 600
    assert not any(one.breach for one in verdicts(params, SHARE, "1h", Played(WINDOWS), minutes))


@pytest.mark.slow
def test_shipped_rules_are_silent_in_the_noise_of_companies() -> None:
    """Hours, wander, shared causes, bursts, holidays, drift: at most 0.05 a day together and 0.02 of pages, but for luck."""
    series, days = 40, 5
    batch = drawn(np.random.default_rng(11), FULL, series=series, minutes=days * DAY, rate=5.0)
    found = {
        rule.name: sum(map(len, firings(rule, batch)))
        for rule in shipped(kpi="csat")
        if rule.name in {"CsatCollapseByChannel", "CsatErosion"}
    }
    watched = series * days
    assert sum(found.values()) <= watched * 0.05 + 4 * math.sqrt(watched * 0.05)
    assert found["CsatCollapseByChannel"] <= watched * 0.02 + 4 * math.sqrt(watched * 0.02)


@pytest.mark.slow
def test_known_levels_are_taken_at_their_word() -> None:
    """Where the normal value is given, nothing is learnt, and it fires as the formula says, in noise all the more."""
    rule = Rule("known", "1h", Cusum(p0=85.0, p1=75.0, h=6.0))
    generators = (np.random.default_rng(5), np.random.default_rng(5))
    calm, noisy = (
        drawn(one, noise, series=10, minutes=3 * DAY, rate=5.0)
        for one, noise in zip(generators, (NONE, FULL), strict=True)
    )
    assert PERCENT.direction == "up"
    assert sum(map(len, firings(rule, noisy))) > sum(map(len, firings(rule, calm)))
