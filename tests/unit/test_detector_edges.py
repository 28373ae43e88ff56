"""Detectors at their edges: what caps what is learnt, when an alert is over or sure, and minutes that are left out."""

from math import exp, log

import msgspec
import pytest

from streams.alerts.detectors.cusum import SURE, Cusum, CusumState, advance
from streams.alerts.detectors.cusum_levels import KNOWN, CusumLevel, caution, level_of, threshold_of
from streams.alerts.detectors.learning import Normal
from streams.alerts.detectors.noise import (
    BLOCKS,
    FURTHEST,
    HOUR_DAYS,
    MEMORY_MINUTES,
    MOST_LEVEL,
    PRIOR_BLOCKS,
    PRIOR_LEVEL,
    WARINESS,
    Blocks,
    Noise,
    Spread,
    _estimated,
    _taught,
    level_error,
    level_variances,
    observe,
    variance_over,
)
from streams.alerts.detectors.srm import Srm
from tests.harness.reading import SHARE, Played, verdicts
from tests.unit.test_srm import judged

VARIANCE = 1_275.0
GOLDEN = Cusum(p0=85.0, p1=75.0, h=7.0)


def seen(noise: Noise, minutes: list[tuple[int, float]], error: float = 0.0, *, rests: bool = True) -> Noise:
    """Minutes with ten answers whose sum is off by so much from a normal value of 85."""
    for minute, off in minutes:
        noise = observe(noise, minute, 850.0 + off, 10, 85.0, VARIANCE, error, teaches=True, rests=rests)
    return noise


# -- noise -----------------------------------------------------------------------------------------------------------


def test_what_is_beyond_the_cap_is_no_noise_and_what_is_below_chance_is_none() -> None:
    wild = _estimated([Blocks(1e15, 1e6, 1e3, 1e4)] * len(BLOCKS), VARIANCE)
    assert wild == [cap * VARIANCE for cap in MOST_LEVEL]
    assert _estimated([Blocks(0.0, 1e6, 1e5, 1e4)] * len(BLOCKS), VARIANCE) == [0.0] * len(BLOCKS)
    some = _estimated([Blocks(VARIANCE * 1e3 + 2e6, 1e6, 1e3, 24.0), *[Blocks()] * 2], VARIANCE)
    drawn = (2.0 * 24 + PRIOR_BLOCKS * PRIOR_LEVEL * VARIANCE) / (24 + PRIOR_BLOCKS)
    assert some[0] == pytest.approx(WARINESS * drawn)


def test_no_block_teaches_more_than_four_of_its_deviations_less_what_is_not_known_of_normal() -> None:
    error = 0.5
    least, levels = 50 * 50 * error, level_variances(None, VARIANCE)
    most = FURTHEST * (50 * VARIANCE + 50 * 50 * levels[0] + least)
    for off, squares in ((1e6, most), (4.0, 400.0)):
        found = seen(Noise(), [(minute, off) for minute in range(5)], error)
        assert found.known[0] == Blocks(pytest.approx(squares - least), 2_500.0, 50.0, 1.0)
        assert found.known[1] == Blocks()


def test_old_blocks_fade() -> None:
    found = seen(Noise(), [(minute, 0.0) for minute in range(10)])
    assert found.known[0].blocks == pytest.approx(1 + exp(-5 / MEMORY_MINUTES))


def test_an_hour_has_learnt_of_so_many_days_at_most() -> None:
    noise = Noise(days=[HOUR_DAYS] * 24)
    offsets, days = _taught(noise, 0, 5.0, VARIANCE, 0.0)
    assert (days[0], offsets[0]) == (HOUR_DAYS, round(1_000 * 5.0 / VARIANCE**0.5 / HOUR_DAYS))
    assert _taught(Noise(), 0, 5.0, VARIANCE, 0.0)[1][0] == 1


@pytest.mark.parametrize("left_out", [(4,), (4, 5), (3, 4, 5, 6)])
def test_a_block_whose_end_is_left_out_ends_all_the_same(left_out: tuple[int, ...]) -> None:
    """It teaches nothing alone, is part of its hour, and what comes behind it is a block of five minutes as ever."""
    minutes = [(minute, 8.0) for minute in range(10) if minute not in left_out]
    found = seen(Noise(), minutes)
    blocks = [1.0 if not {*left_out} & {5, 6} else found.known[0].blocks]
    assert found.known[0].blocks == blocks[0] <= 1.0
    assert found.known[0].answers == 10.0 * len([at for at, _ in minutes if at >= 5])
    assert (found.sums[0], found.answers[0], found.answers[1]) == (0.0, 0, 10 * len(minutes))


def test_hours_and_quarters_of_a_day_that_were_left_out_are_not_carried_on() -> None:
    before = seen(Noise(), [(minute, 8.0) for minute in range(57)])
    same_quarter = seen(before, [(61, 8.0)])
    assert (same_quarter.answers, same_quarter.sums[2]) == ([10, 0, 570], pytest.approx(456.0))
    other = seen(before, [(361, 8.0)])
    assert (other.answers, other.sums) == ([10, 0, 0], [pytest.approx(8.0), 0.0, 0.0])
    kept = msgspec.convert(msgspec.to_builtins(before)[:-1], Noise)
    assert kept.last == -1, "what was saved before is read"


# -- CUSUM -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "fired"), [(0.49, True), (0.51, False)])
def test_what_fired_is_over_at_half_the_threshold(part: float, *, fired: bool) -> None:
    level = level_of(GOLDEN, SHARE, None)
    assert isinstance(level, CusumLevel)
    step = -level.step(SHARE, [1, 1])
    state = CusumState(total=9.0, n=50, minutes=50, bad=20, fired=True, back=7 * part - step, back_n=4, back_minutes=4)
    assert advance(level, GOLDEN, SHARE, [1, 1], state, None).fired is fired


def test_recovery_is_of_its_own_answers_at_their_rate() -> None:
    """With a hundred answers a minute half the threshold is half of h and ln 100."""
    level = level_of(GOLDEN, SHARE, None)
    assert isinstance(level, CusumLevel)
    step = -level.step(SHARE, [100, 90])
    half = threshold_of(7.0, 500, 5) / 2
    assert half == pytest.approx((7 + log(100)) / 2)
    for part, fired in ((0.98, True), (1.02, False)):
        state = CusumState(
            total=9.0, n=50, minutes=50, bad=20, fired=True, back=half * part - step, back_n=400, back_minutes=4
        )
        assert advance(level, GOLDEN, SHARE, [100, 90], state, None).fired is fired


def test_caution_allows_for_a_level_that_wanders_up_to_what_can_be_known() -> None:
    params, normal = Cusum(baseline="24h", delta=10.0, h=8.0), Normal(85.0, VARIANCE, 5_100.0, 2, 0)
    by_chance = caution(params, -1.0, normal)
    assert by_chance == pytest.approx(8.0 * normal.error**2 / 10)
    calm, wild = ([level] * len(BLOCKS) for level in (1.0, 1e6))
    some = level_error(calm, normal.windows)
    assert 0 < some < (10 / KNOWN) ** 2
    assert caution(params, -1.0, normal, Spread(calm, VARIANCE)) == pytest.approx(by_chance + 8.0 * some / 10)
    assert caution(params, -1.0, normal, Spread(wild, VARIANCE)) == pytest.approx(by_chance + 8.0 * 4.0 / 10)
    assert variance_over(calm, 1_440) == pytest.approx(some * normal.windows)


def test_an_alert_is_sure_with_twice_the_evidence_and_only_while_it_fires() -> None:
    minutes = [[10, 9]] * 20 + [[10, 6]] * 40
    found = verdicts(GOLDEN, SHARE, "1h", Played(["1h"]), minutes)
    assert {one.is_sure for one in found if one.breach} == {True, False}
    for one in found:
        assert one.statistic is not None
        assert one.threshold is not None
        assert one.is_sure is (one.breach and one.statistic >= SURE * one.threshold)
    one_person = verdicts(Cusum(p0=98.0, p1=80.0, h=7.0), SHARE, "1h", Played(["1h"]), [[1, 1]] * 200 + [[9, 0]])[-1]
    assert one_person.statistic > SURE * one_person.threshold
    assert one_person.is_sure is False


# -- shares of experiments -------------------------------------------------------------------------------------------


def test_a_mismatch_is_over_when_nothing_speaks_for_it() -> None:
    srm = Srm(label="variant", shares={"a": 1.0, "b": 1.0})
    found = [judged(srm, {"a": a, "b": b})[0] for a, b in ((500, 500), (525, 475), (530, 470), (600, 400))]
    assert [one.recovered for one in found] == [True, True, False, False]
    assert [one.breach for one in found] == [False, False, False, True]
    assert [one.recovered for one in found] == [one.statistic <= 0 for one in found]
