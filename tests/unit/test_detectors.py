"""Detectors against published figures, against SciPy, and in the situations for which each is there."""

import math

import msgspec
import numpy as np
import pytest
from scipy import stats

from streams.alerts.detectors import DETECTORS, Detector
from streams.alerts.detectors.absence import Absence, AbsenceState
from streams.alerts.detectors.burn_rate import BurnRate, budget_of
from streams.alerts.detectors.cusum import Cusum, CusumState
from streams.alerts.detectors.ewma import Ewma, limits, smooth
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.mix_shift import MixShift
from streams.alerts.detectors.seasonal import Seasonal, limit_of
from streams.alerts.detectors.ztest import ZState, ZTest
from streams.alerts.facts import Expected, Facts
from tests.harness.reading import (
    COUNT,
    LOSS,
    NPS,
    P95,
    SCORE,
    SHARE,
    WAIT,
    Played,
    bins_of,
    judge,
    mean_of,
    standing,
    verdicts,
)

# -- window against the time before -----------------------------------------------------------------------------


def test_trouble_that_lasts_does_not_become_its_own_baseline() -> None:
    """What was before the fall stays the reference until the fall is over, or a whole baseline window has passed."""
    minutes = [[10, 9]] * 1440 + [[10, 6]] * 3000
    seen = verdicts(ZTest(baseline="24h"), SHARE, "1h", Played(["1h", "24h"]), minutes)
    first = next(minute for minute, verdict in enumerate(seen) if verdict.breach)
    assert 1440 < first < 1440 + 60
    assert all(verdict.breach for verdict in seen[first : first + 1440])
    assert seen[first + 1440 + 1].breach is False
    assert seen[first + 600].baseline == pytest.approx(90, abs=0.1)


def test_a_window_that_recovers_is_compared_with_what_is_before_it_again() -> None:
    minutes = [[10, 9]] * 1440 + [[10, 6]] * 200 + [[10, 9]] * 200
    seen = verdicts(ZTest(baseline="24h"), SHARE, "1h", Played(["1h", "24h"]), minutes)
    assert (seen[1500].breach, seen[-1].breach, seen[-1].recovered) == (True, False, True)
    assert seen[-1].baseline < 89


def test_a_change_can_be_sure_and_still_too_small() -> None:
    reading = standing(w1h=[100_000, 84_000], w24h=[1_100_000, 934_000])
    assert judge(ZTest(baseline="24h", min_change=2.0), SHARE, "1h", reading).breach is False
    assert judge(ZTest(baseline="24h", min_change=0.5), SHARE, "1h", reading).breach is True


@pytest.mark.parametrize(("direction", "breach"), [("up", False), ("down", True), ("none", True)])
def test_the_direction_says_which_side_is_trouble(direction, breach: bool) -> None:
    reading = standing(w1h=[200, 190], w24h=[1200, 990])
    assert judge(ZTest(baseline="24h"), Facts("ratio", direction, "percent"), "1h", reading).breach is breach


# -- floor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "acc", "target", "breach", "recovered"),
    [
        (SHARE, [100, 60], 80.0, True, False),
        (SHARE, [100, 75], 80.0, False, False),
        (SHARE, [100, 81], 80.0, False, True),
        (SHARE, [5, 3], 80.0, False, False),
        (LOSS, [100, 20], 5.0, True, False),
        (LOSS, [100, 4], 5.0, False, True),
        (NPS, [400, 100, 150], 10.0, True, False),
        (NPS, [40, 10, 15], 10.0, False, False),
        (SCORE, mean_of([3, 4] * 50), 4.0, True, False),
        (WAIT, mean_of([30, 50] * 50), 30.0, True, False),
        (P95, bins_of(range(1, 1001)), 600.0, True, False),
        (P95, bins_of(range(1, 1001)), 940.0, False, False),
        (P95, bins_of(range(1, 1001)), 990.0, False, True),
    ],
)
def test_a_floor_needs_the_whole_interval(facts: Facts, acc, target: float, breach: bool, recovered: bool) -> None:
    seen = judge(Floor(target=target), facts, "1h", standing(w1h=acc))
    assert (seen.breach, seen.recovered, seen.threshold) == (breach, recovered, target)
    assert str(seen.n) in seen.reason


def test_a_floor_without_an_interval_judges_nothing() -> None:
    assert judge(Floor(target=80.0), SHARE, "1h", standing(w1h=None)).breach is None
    assert "too few" in judge(Floor(target=4.0), SCORE, "1h", standing(w1h=[1, 1000, 1_000_000])).reason
    low = Facts("quantile", "up", "seconds", 1000, 0.95)
    assert judge(Floor(target=4.0), low, "1h", standing(w1h=bins_of([1.0] * 10))).breach is None


def test_the_confidence_decides() -> None:
    reading = standing(w1h=[100, 70])
    assert judge(Floor(target=80.0, confidence=0.95), SHARE, "1h", reading).breach is True
    assert judge(Floor(target=80.0, confidence=0.999), SHARE, "1h", reading).breach is False


# -- EWMA --------------------------------------------------------------------------------------------------------


def test_golden_ewma() -> None:
    """NIST/SEMATECH e-Handbook §6.3.2.4."""
    low, high = limits(50, 2.0539, 0.3 / 1.7, 3)
    assert (low, high) == (pytest.approx(47.4116, abs=5e-5), pytest.approx(52.5884, abs=5e-5))
    value, spread = 50.0, 0.0
    wanted = [50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75]
    for step, (x, smoothed) in enumerate(zip([52, 47, 53, 49.3, 50.1, 47, 51], wanted, strict=True), 1):
        value, spread = smooth(0.3, x, 1, value, spread)
        assert value == pytest.approx(smoothed, abs=0.0051)
        assert spread == pytest.approx(0.3 / 1.7 * (1 - 0.7 ** (2 * step)))


def test_the_band_is_right_for_blocks_of_any_size() -> None:
    """The variance of the smoothed value is what repetition shows, with blocks of 3 and of 300 answers alike."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(3, 300, 30)
    ends = []
    for _ in range(3000):
        value, spread = 0.0, 0.0
        for n in sizes:
            value, spread = smooth(0.2, rng.normal(0, 1 / math.sqrt(n)), n, value, spread)
        ends.append(value)
    assert np.var(ends) == pytest.approx(spread, rel=0.1)


def test_a_drift_too_small_for_a_window_leaves_the_band() -> None:
    """From 85 to 80 %, with 15 answers in each quarter of an hour: seen within two days, quiet before."""
    rng = np.random.default_rng(11)
    minutes = [[1, int(hit)] for hit in rng.random(4 * 1440) < 0.85]
    minutes += [[1, int(hit)] for hit in rng.random(2 * 1440) < 0.78]
    seen = verdicts(Ewma(baseline="24h", lambda_=0.1, limit=3.5), SHARE, "15m", Played(["15m", "24h"]), minutes)
    assert not any(verdict.breach for verdict in seen[: 4 * 1440])
    assert any(verdict.breach for verdict in seen[4 * 1440 :])
    assert "smoothed" in next(verdict.reason for verdict in seen if verdict.breach)


def test_small_blocks_wait_for_company() -> None:
    """Two answers a block at 85 %: a value smoothed over single misses would leave any band."""
    rng = np.random.default_rng(12)
    minutes = [[1, int(rng.random() < 0.85)] if minute % 7 == 0 else None for minute in range(6 * 1440)]
    seen = verdicts(Ewma(baseline="24h", lambda_=0.3, limit=4.0), SHARE, "15m", Played(["15m", "24h"]), minutes)
    assert not any(verdict.breach for verdict in seen)
    assert any(verdict.breach is False for verdict in seen)


def test_an_ewma_without_history_judges_nothing() -> None:
    seen = verdicts(Ewma(baseline="1h"), SHARE, "5m", Played(["5m", "1h"]), [[1, 1]] * 30)
    assert {verdict.breach for verdict in seen} == {None}


# -- burn rate ---------------------------------------------------------------------------------------------------

PROMISE = BurnRate(target=80.0, factor=3.0, long="1h", short="5m")


@pytest.mark.parametrize(
    ("long", "short", "breach", "recovered"),
    [
        ([1000, 390], [80, 30], True, False),
        ([1000, 390], [80, 64], False, True),
        ([1000, 850], [80, 20], False, False),
        ([5, 2], [5, 2], True, False),
        ([5, 2], [0, 0], None, None),
    ],
)
def test_both_windows_must_burn(long, short, breach, recovered) -> None:
    seen = judge(PROMISE, SHARE, "1h", standing(w1h=long, w5m=short))
    assert (seen.breach, seen.recovered) == (breach, recovered)


def test_the_burn_of_few_answers_is_not_sure() -> None:
    """Three of five missed is 3 times the budget of 80 %, and may be luck."""
    slow = BurnRate(target=80.0, factor=1.5, long="1h", short="5m")
    assert judge(slow, SHARE, "1h", standing(w1h=[10, 6], w5m=[5, 3])).breach is False
    assert judge(slow, SHARE, "1h", standing(w1h=[200, 120], w5m=[5, 3])).breach is True


def test_golden_budget() -> None:
    """The largest burn is 5 for 80 %, 20 for 95 %."""
    assert budget_of(SHARE, 80.0) == pytest.approx(0.2)
    assert budget_of(LOSS, 5.0) == pytest.approx(0.05)
    assert budget_of(SHARE, 100.0) == 0
    assert (
        judge(
            BurnRate(target=100.0, factor=2.0, long="1h", short="5m"), SHARE, "1h", standing(w1h=[9, 9], w5m=[1, 1])
        ).breach
        is None
    )


# -- seasonal ----------------------------------------------------------------------------------------------------


def usual(value: float, spread: float = 0.0, n: float = 100, weeks: int = 5, dispersion: float = 0.0) -> Expected:
    return Expected(value, spread, n, dispersion, weeks, "hour of the week")


@pytest.mark.parametrize(
    ("facts", "acc", "expected", "breach"),
    [
        (SHARE, [100, 60], usual(85.0), True),
        (SHARE, [100, 60], usual(85.0, spread=10.0), False),
        (SHARE, [10, 7], usual(85.0), False),
        (LOSS, [100, 40], usual(15.0), True),
        (LOSS, [100, 2], usual(15.0), False),
        (COUNT, [300], usual(100), True),
        (COUNT, [20], usual(100), True),
        (COUNT, [120], usual(100), False),
        (COUNT, [300], usual(100, spread=80), False),
        (COUNT, None, usual(100), True),
        (SCORE, mean_of([3, 4] * 40), usual(4.0), True),
        (SCORE, mean_of([3]), usual(4.0), False),
        (NPS, [100, 20, 50], usual(30.0), True),
        (P95, bins_of(range(1, 1001)), usual(300.0), True),
        (P95, bins_of([400.0] * 8), usual(300.0), False),
    ],
)
def test_the_band_has_the_spread_of_weeks_and_the_noise_of_the_sample(facts, acc, expected, breach: bool) -> None:
    seen = judge(Seasonal(), facts, "1h", standing(usual=expected, w1h=acc, w24h=acc))
    assert seen.breach is breach, seen.reason


@pytest.mark.parametrize("freedom", [6, 9, 20, 50])
@pytest.mark.parametrize("z", [3.0, 4.0, 5.0])
def test_a_band_of_few_weeks_is_as_rare_as_students_distribution_has_it(z: float, freedom: float) -> None:
    expected = Expected(100.0, 10.0, 100, 0.0, 5, "hour of the week", freedom)
    students = stats.t.isf(stats.norm.sf(z), freedom)
    assert limit_of(z, expected, 10.0) == pytest.approx(min(2 * z, students), rel=0.01)
    assert limit_of(z, expected, 100.0) == pytest.approx(z, rel=0.001), "the noise of the sample is known"
    limit = limit_of(z, expected, 200**0.5)
    below, above = (
        judge(Seasonal(z=z), COUNT, "1h", standing(usual=expected, w1h=[round(100 + part * limit * 200**0.5)]))
        for part in (0.98, 1.02)
    )
    assert (below.breach, below.recovered, above.breach) == (False, False, True)
    assert below.threshold == pytest.approx(limit)


def test_a_cold_start_has_no_seasonal_verdict() -> None:
    for expected in (None, usual(85.0, weeks=2)):
        seen = judge(Seasonal(), SHARE, "1h", standing(usual=expected, w1h=[100, 10]))
        assert seen.breach is None
        assert "3 needed" in seen.reason


def test_a_margin_is_added_to_the_band() -> None:
    reading = standing(usual=usual(85.0), w1h=[2000, 1500], w24h=[2000, 1500])
    assert judge(Seasonal(), SHARE, "1h", reading).breach is True
    assert judge(Seasonal(margin=15.0), SHARE, "1h", reading).breach is False


def test_what_the_whole_day_had_is_no_anomaly_of_the_hour() -> None:
    """A new level since this morning is for other methods; an hour that stands out from its day is not excused."""
    expected = usual(85.0, spread=1.0)
    assert judge(Seasonal(), SHARE, "1h", standing(usual=expected, w1h=[100, 60], w24h=[2400, 1430])).breach is False
    assert judge(Seasonal(), SHARE, "1h", standing(usual=expected, w1h=[100, 60], w24h=[2400, 2000])).breach is True


# -- mix shift ---------------------------------------------------------------------------------------------------


def mixed(now: dict[str, list[int]], then: dict[str, list[int]]) -> Played:
    reading = standing()
    longer = {value: [a + b for a, b in zip(now.get(value, [0, 0]), acc, strict=True)] for value, acc in then.items()}
    reading.by_label = {("channel", "1h"): dict(now), ("channel", "24h"): longer}
    for window, parts in (("1h", now), ("24h", longer)):
        reading.set_window(window, [sum(column) for column in zip(*parts.values(), strict=True)])
    return reading


MIX = MixShift(label="channel", baseline="24h", min_effect=5.0)
BEFORE = {"web": [900, 810], "phone": [100, 50]}


def test_a_mix_shift_is_not_blamed_on_quality() -> None:
    """Web stays at 90 %, phone at 50 %; there is only more of the phone."""
    seen = judge(MIX, SHARE, "1h", mixed({"web": [60, 54], "phone": [40, 20]}, BEFORE))
    assert (seen.breach, seen.value, seen.baseline) == (True, 74.0, 86.0)
    assert seen.statistic == pytest.approx(-12)
    assert "the mix of channel changed, not its parts" in seen.reason


def test_a_drop_of_all_is_no_mix_shift() -> None:
    seen = judge(MIX, SHARE, "1h", mixed({"web": [90, 72], "phone": [10, 4]}, BEFORE))
    assert (seen.breach, seen.recovered) == (False, True)
    assert "its parts by channel changed, not the mix" in seen.reason


def test_other_shares_by_luck_are_no_mix_shift() -> None:
    assert judge(MIX, SHARE, "1h", mixed({"web": [6, 6], "phone": [4, 2]}, BEFORE)).breach in (False, None)
    assert judge(MIX, SHARE, "1h", mixed({"web": [1, 1]}, BEFORE)).breach is None
    assert judge(MIX, SHARE, "1h", standing(w1h=None, w24h=None)).breach is None


# -- all ---------------------------------------------------------------------------------------------------------


def test_memories_come_back_the_same_from_bytes() -> None:
    """From msgpack and JSON, for every method that has one."""
    for params, facts, accs in (
        (Cusum(baseline="1h", delta=10.0), SHARE, [[7, 6]] * 70 + [[7, 5]] * 4),
        (Ewma(baseline="1h"), SHARE, [[7, 6]] * 70),
        (ZTest(baseline="1h"), SHARE, [[7, 6]] * 70 + [[7, 1]] * 5),
        (Absence(), COUNT, [[30]] * 70 + [None] * 5),
    ):
        reading, memory = Played(["5m", "1h"]), None
        for acc in accs:
            reading.play(acc)
            _, memory = params.judge(facts, "5m", reading, memory)
        assert memory is not None, params
        for codec in (msgspec.msgpack, msgspec.json):
            back = params.restore(codec.decode(codec.encode(memory)))
            assert (back, type(back)) == (memory, type(memory))
        assert params.restore(memory) is memory
    assert Floor(target=1.0).restore(None) is None


def test_the_memory_of_another_method_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Cusum(baseline="1h", delta=1.0).restore({"surely": "not"})
    with pytest.raises(TypeError, match="does not judge"):
        Detector().judge(SHARE, "1h", standing(), None)


def test_without_evidence_only_what_is_normal_is_remembered() -> None:
    """And an EWMA begins from there; the reference of a z-test and the pace before a silence are no evidence."""
    reading, memory = Played(["5m", "24h"]), None
    for acc in [[10, 9]] * 1440 + [[10, 3]] * 60:
        reading.play(acc)
        verdict, memory = Ewma(baseline="24h").judge(SHARE, "5m", reading, memory)
    assert verdict.breach
    anew = Ewma(baseline="24h").without_evidence(memory)
    assert (anew.smoothed, anew.spread, anew.waiting, anew.normal) == (None, 0.0, [], memory.normal)
    cusum = CusumState(9.0, 50, 20, 30, True, 1.0, memory.normal)
    assert Cusum(p0=80.0, p1=70.0).without_evidence(cusum) == CusumState(normal=memory.normal)
    for params, other in ((ZTest(baseline="1h"), ZState([100, 90], 7)), (Absence(), AbsenceState(3.0, 7))):
        assert params.without_evidence(other) is other
    assert all(kind.without_evidence(Floor(target=1.0), None) is None for kind in DETECTORS.values())


def test_each_method_says_which_windows_it_reads() -> None:
    assert PROMISE.windows("1h") == {"1h", "5m"}
    assert Cusum(p0=80.0, p1=70.0).windows("1h") == {"1h"}
    assert Cusum(baseline="24h", p1=70.0).windows("1h") == {"5m", "1h", "24h"}
    assert Absence().windows("15m") == {"15m", "1h"}
    assert Seasonal().windows("1h") == {"1h", "24h"}
    assert Floor(target=1.0).windows("1h") == {"1h"}
