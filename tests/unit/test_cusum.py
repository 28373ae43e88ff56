"""CUSUM against published figures and simulations, at every volume, and in what it must not learn."""

import math

import numpy as np
import pytest
from scipy import stats

from streams.alerts.detectors.cusum import Cusum, CusumState, advance
from streams.alerts.detectors.cusum_levels import (
    KNOWN,
    CusumLevel,
    false_alarms_per_day,
    level_of,
    threshold_for,
    threshold_of,
)
from streams.alerts.detectors.learning import Normal, learn
from streams.alerts.facts import Facts, Moments
from tests.harness.reading import Played, verdicts

SHARE = Facts("ratio", "up", "percent")
LOSS = Facts("ratio", "down", "percent")
SCORE = Facts("mean", "up", "score", 1000)
WAIT = Facts("mean", "down", "seconds", 1000)
NPS = Facts("nps", "up", "points")

GOLDEN = Cusum(p0=85.0, p1=75.0, h=7.0)
WINDOWS = ["5m", "1h", "24h"]


def level(params: Cusum = GOLDEN, facts: Facts = SHARE, normal: Normal | None = None) -> CusumLevel:
    found = level_of(params, facts, normal)
    assert isinstance(found, CusumLevel)
    return found


def runs(hits: np.ndarray, step: CusumLevel, h: float, least: int = 10) -> np.ndarray:
    """Of many series with one answer a minute (rows: minutes): how many answers until the first alarm, 0 for none."""
    total, bad, first = (np.zeros(hits.shape[1]) for _ in range(3))
    for minute, hit in enumerate(hits, 1):
        total = np.maximum(0.0, total + np.where(hit, step.per_hit, step.per_other))
        bad = np.where(total > 0, bad + ~hit, 0)
        first = np.where((first == 0) & (total > h) & (bad >= least), minute, first)
    return first


@pytest.mark.parametrize(
    ("h", "per_day"), [(4, 0.67), (5, 0.23), (6, 0.086), (7, 0.031), (8, 0.011), (9, 0.004)]
)  # the table of 400 null runs
def test_golden_false_alarms(h: float, per_day: float) -> None:
    """The approximation gives the simulated table, within the error of either."""
    assert false_alarms_per_day(level(), SHARE, h) == pytest.approx(per_day, rel=0.2)


def test_golden_delays() -> None:
    """h = 7 at one answer a minute, from a sum of zero: 163 answers to 75 %, 66 to 65 %."""
    rng = np.random.default_rng(163)
    for p, answers in ((0.75, 163), (0.65, 66)):
        seen = runs(rng.random((1500, 2000)) < p, level(), 7.0)
        assert np.median(seen[seen > 0]) == pytest.approx(answers, rel=0.06)
        assert (seen == 0).mean() < 0.01


def test_false_alarms_are_as_many_as_the_formula_says() -> None:
    """At h = 5, where ten days are enough to count them."""
    rng = np.random.default_rng(5)
    seen = runs(rng.random((4 * 1440, 1500)) < 0.85, level(), 5.0, least=1)
    # At a constant rate the first alarm comes within the time with 1 - e^(-rate·time).
    rate = -math.log1p(-(seen > 0).mean()) / 4
    assert rate == pytest.approx(false_alarms_per_day(level(), SHARE, 5.0), rel=0.1)


@pytest.mark.parametrize(("h", "run_length"), [(4.0, 335.4), (5.0, 930.9)])
def test_golden_run_lengths_of_the_normal_cusum(h: float, run_length: float) -> None:
    """One-sided, k = 1/2, δ = one deviation: Lucas & Crosier 1982 (168 and 465 are two-sided)."""
    step = level(Cusum(p0=4.0, p1=3.0, sd=1.0, h=h), SCORE)
    assert 1440 / false_alarms_per_day(step, SCORE, h, variance=1.0) == pytest.approx(run_length, rel=0.02)


@pytest.mark.parametrize(("h", "delay"), [(4.0, 8.38), (5.0, 10.4)])
def test_golden_delays_of_the_normal_cusum(h: float, delay: float) -> None:
    """A shift of one deviation; and with a head start of a half, 5.29 and 6.42 (Lucas & Crosier 1982)."""
    rng = np.random.default_rng(8)
    step = level(Cusum(p0=4.0, p1=3.0, sd=1.0, h=h), SCORE)
    answers = rng.normal(3, 1, (100, 20_000))
    for start, wanted in ((0.0, delay), (h / 2, {4.0: 5.29, 5.0: 6.42}[h])):
        total, first = np.full(20_000, start), np.zeros(20_000)
        for n, x in enumerate(answers, 1):
            total = np.maximum(0, total + step.slope * x + step.offset)
            first = np.where((first == 0) & (total > h), n, first)
        assert first.mean() == pytest.approx(wanted, rel=0.03)


def test_the_detector_makes_the_steps_of_the_formula() -> None:
    """The classical sum for a mean is the same, in units of the deviation."""
    hit, miss = math.log(75 / 85), math.log(25 / 15)
    assert level().step(SHARE, [9, 7]) == pytest.approx(7 * hit + 2 * miss)
    params = Cusum(p0=4.0, p1=3.0, sd=2.0, h=5.0)
    values = [3.2, 1.7, 2.9]
    classical = sum((4 - x) / 2 - 0.25 for x in values)  # in deviations, k = δ/2 = 1/4
    acc = [3, 7800, sum(round(1000 * x) ** 2 for x in values)]
    assert level(params, SCORE).step(SCORE, acc) == pytest.approx(0.5 * classical)


def test_evidence_is_the_logarithm_of_the_likelihood_ratio() -> None:
    """Of gamma times with the given mean and deviation, and of scores tilted until their mean is the worse one."""
    wait = level(Cusum(p0=60.0, p1=90.0, sd=30.0), WAIT)
    for x in (10.0, 60.0, 200.0):
        wanted = stats.gamma.logpdf(x, 4, scale=90 / 4) - stats.gamma.logpdf(x, 4, scale=60 / 4)
        assert wait.step(WAIT, [1, round(1000 * x), 0]) == pytest.approx(wanted)
    shares = {1: 0.5, 0: 0.3, -1: 0.2}
    sd = 100 * math.sqrt(sum(p * x * x for x, p in shares.items()) - 0.3**2)
    score = level(Cusum(p0=30.0, p1=-10.0, sd=sd), NPS)
    steps = {x: score.step(NPS, [1, int(x == 1), int(x == -1)]) for x in shares}
    tilted = {x: p * math.exp(steps[x]) for x, p in shares.items()}
    assert sum(tilted.values()) == pytest.approx(1)
    assert sum(x * p for x, p in tilted.items()) == pytest.approx(-0.1)
    assert steps[-1] - steps[0] == pytest.approx(steps[0] - steps[1])


@pytest.mark.parametrize(("p0", "p1", "sd"), [(100.0, 60.0, 1.0), (-100.0, -120.0, 1.0), (0.0, -30.0, 100.0)])
def test_scores_at_their_ends_are_possible_levels(p0: float, p1: float, sd: float) -> None:
    found = level(Cusum(p0=p0, p1=p1, sd=sd), NPS)
    assert all(math.isfinite(x) for x in (found.slope, found.offset))


def test_false_alarms_of_scores_and_of_skewed_times_are_those_of_the_formula() -> None:
    """A normal likelihood would fire 1.4 times as often on scores, and twice on such times."""
    rng = np.random.default_rng(40)
    sd, size = 100 * math.sqrt(0.61), (1440, 3000)
    scores = 100 * rng.choice([1, 0, -1], size, p=[0.5, 0.3, 0.2])
    times = rng.gamma(300**2 / 180**2, 180**2 / 300, size)
    for params, facts, values in (
        (Cusum(p0=30.0, p1=-10.0, sd=sd), NPS, scores),
        (Cusum(p0=300.0, p1=390.0, sd=180.0), WAIT, times),
    ):
        step, total, alarms = level(params, facts), np.zeros(3000), 0
        for x in values:
            total = np.maximum(0, total + step.slope * x + step.offset)
            alarms += int((total > 5).sum())
            total[total > 5] = 0
        wanted = false_alarms_per_day(step, facts, 5.0, variance=params.sd**2)
        assert alarms / 3000 == pytest.approx(wanted, rel=0.2)


def test_what_cannot_be_told_apart_is_not_judged() -> None:
    normal = Normal(85.0, 1275.0, 4000.0, 1, 0)
    thin = Normal(85.0, 1275.0, 100.0, 1, 0)
    learnt = Cusum(baseline="24h", delta=10.0)
    assert "no normal value" in str(level_of(learnt, SHARE, None))
    assert "known to" in str(level_of(learnt, SHARE, thin))
    assert "no better than" in str(level_of(Cusum(baseline="24h", p1=86.0), SHARE, normal))
    assert "all answers were the same" in str(level_of(learnt, SCORE, Normal(4.0, 0.0, 500.0, 1, 0)))
    assert isinstance(level_of(learnt, SHARE, normal), CusumLevel)


def test_shares_at_their_ends_are_possible_levels() -> None:
    """100 % and 0 % good make no answer infinite evidence, and a fall below nothing stands for a tenth."""
    for good, bad in ((100.0, 90.0), (5.0, -5.0)):
        found = level(Cusum(p0=good, p1=bad))
        assert all(math.isfinite(x) for x in (found.per_hit, found.per_other))
        assert found.per_other > 0 > found.per_hit
    assert level(Cusum(p0=99.0, p1=120.0), LOSS).per_hit > 0


@pytest.mark.parametrize(("good", "worse"), [(150, 120), (40, 20)])
def test_hits_of_a_rate_are_poisson(good: float, worse: float) -> None:
    """Receipts per 100 visitors: the evidence of 10 visitors with 12 receipts, above 100 and below it alike."""
    rate = Facts("ratio", "up", "per_100")
    found = level(Cusum(p0=good, p1=worse), rate)
    wanted = 12 * math.log(worse / good) - 10 * (worse - good) / 100
    assert found.step(rate, [10, 12]) == pytest.approx(wanted)
    assert 0 < false_alarms_per_day(found, rate, 7.0) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.2, 10.0, 100.0, 5000.0])
def test_false_alarms_are_few_at_every_volume(rate: float) -> None:
    """
    The threshold rises with the logarithm of the pace, so a hundred times the answers are not a hundred alarms.

    A fixed one fires 0.24 times a day at 100 answers a minute. Ten days of eighty series; 0.05 a day would be 40.
    """
    rng = np.random.default_rng(round(rate * 10))
    n = rng.poisson(rate, (10 * 1440, 80))
    k = rng.binomial(n, 0.85)
    assert alarms(n, k) <= 40


def alarms(n: np.ndarray, k: np.ndarray) -> int:
    """Count alarms of the golden rule, with the sum set to zero after each."""
    step = level()
    total, answers, minutes, bad = (np.zeros(n.shape[1]) for _ in range(4))
    found = 0
    for count, hits in zip(n, k, strict=True):
        total = total + hits * step.per_hit + (count - hits) * step.per_other
        answers, minutes, bad = answers + count, minutes + 1, bad + count - hits
        threshold = 7 + np.log(np.maximum(1, answers / minutes))
        over = (total > threshold) & (bad >= 10)
        found += int(over.sum())
        for array in (answers, minutes, bad, total):
            array[over | (total <= 0)] = 0
    return found


def test_at_5000_answers_a_minute_a_fall_is_seen_in_one() -> None:
    rng = np.random.default_rng(50)
    good = [[5000, int(k)] for k in rng.binomial(5000, 0.85, 3000)]
    bad = [[5000, int(k)] for k in rng.binomial(5000, 0.75, 20)]
    seen = verdicts(GOLDEN, SHARE, "1h", Played(WINDOWS), [*good, *bad])
    assert not any(verdict.breach for verdict in seen[:3000])
    assert all(verdict.breach for verdict in seen[3000:])
    assert seen[3000].threshold == pytest.approx(7 + math.log(5000))


def test_at_one_answer_in_five_minutes_no_answer_is_forgotten() -> None:
    minutes = [[1, 0] if minute % 10 == 0 else [1, 1] if minute % 10 == 5 else None for minute in range(400)]
    seen = verdicts(GOLDEN, SHARE, "1h", Played(WINDOWS), minutes)
    first = next(minute for minute, verdict in enumerate(seen) if verdict.breach)
    answers = first // 5 + 1
    wanted = next(
        n for n in range(1, 99) if (n // 2) * level().per_hit + (n - n // 2) * level().per_other > 7 and n >= 19
    )
    assert abs(answers - wanted) <= 1


def test_the_threshold_is_that_of_the_pace_of_the_run() -> None:
    assert threshold_of(7, 0, 0) == 7
    assert threshold_of(7, 3, 10) == 7
    assert threshold_of(7, 1000, 10) == pytest.approx(7 + math.log(100))
    assert threshold_of(7, 1000, 10, 50.0) == pytest.approx(7 + math.log(2))
    assert threshold_of(7, 1000, 10, 200.0) == 7


def test_one_angry_customer_does_not_page() -> None:
    """Nine bad answers in a row are evidence enough, but not ten failures."""
    minutes = [[1, 1]] * 200 + [[9, 0]]
    params = Cusum(p0=98.0, p1=80.0, h=7.0)
    seen = verdicts(params, SHARE, "1h", Played(WINDOWS), minutes)
    assert seen[-1].statistic > 2 * seen[-1].threshold
    assert seen[-1].breach is False
    assert verdicts(params, SHARE, "1h", Played(WINDOWS), [*minutes, [1, 0]])[-1].breach is True


def test_detractors_are_the_failures_of_nps_and_hits_of_what_should_be_low() -> None:
    for facts, params, good, bad in (
        (NPS, Cusum(p0=30.0, p1=0.0, sd=78.0), [10, 5, 2], [10, 3, 3]),
        (LOSS, Cusum(p0=5.0, p1=15.0), [10, 0], [10, 3]),
        (WAIT, Cusum(p0=30.0, p1=60.0, sd=30.0), [10, 300_000, 10**10], [10, 600_000, 5 * 10**10]),
    ):
        seen = verdicts(params, facts, "1h", Played(WINDOWS), [good] * 60 + [bad] * 60)
        assert not any(verdict.breach for verdict in seen[:60])
        assert seen[-1].breach is True, facts


def test_it_recovers_on_as_much_evidence_for_normal() -> None:
    """After the fall it stays as long as answers are bad, and not much longer."""
    rng = np.random.default_rng(21)
    k = np.concatenate([rng.random(600) < 0.6, rng.random(900) < 0.85])
    seen = verdicts(GOLDEN, SHARE, "1h", Played(WINDOWS), [[1, int(hit)] for hit in k])
    first = next(minute for minute, verdict in enumerate(seen) if verdict.breach)
    assert first < 200
    assert all(verdict.breach for verdict in seen[first:600])
    over = next(minute for minute, verdict in enumerate(seen) if minute > 600 and verdict.breach is False)
    assert 600 < over < 900
    assert (seen[over].recovered, seen[over].statistic) == (True, 0.0)


# -- what is learnt ----------------------------------------------------------------------------------------------


def test_a_slow_decline_does_not_teach_the_baseline() -> None:
    """One point a day, with a baseline of 24 hours: at each moment yesterday was hardly better."""
    rng = np.random.default_rng(31)
    days = 22
    p = 0.85 - 0.01 * np.clip(np.arange(days * 1440) / 1440 - 4, 0, None)
    k = rng.binomial(3, p)
    params = Cusum(baseline="24h", delta=10.0, h=7.5)
    seen = verdicts(params, SHARE, "1h", Played(WINDOWS), [[3, int(hits)] for hits in k])
    assert not any(verdict.breach for verdict in seen[: 4 * 1440])
    fired = next(minute for minute, verdict in enumerate(seen) if verdict.breach)
    assert p[fired] > 0.70
    assert all(verdict.breach for verdict in seen[-1440:])
    assert seen[-1].baseline > p[-1] * 100 + 8


def test_the_normal_value_is_frozen_in_an_excursion() -> None:
    """An hour of trouble teaches nothing while it lasts, two days of it neither."""
    params = Cusum(baseline="24h", delta=10.0)
    minutes = [[20, 17]] * 2000 + [[20, 13]] * 2880
    seen = verdicts(params, SHARE, "1h", Played(WINDOWS), minutes)
    frozen = {verdict.baseline for verdict in seen[2001:]}
    assert max(frozen) - min(frozen) < 0.1  # what hours do to the level was learnt before
    assert seen[-1].breach is True


def test_little_history_makes_it_cautious_not_wild() -> None:
    """Of two normal values as good, the one known less well is taken further to the bad side."""
    params = Cusum(baseline="24h", delta=10.0, h=7.0)
    found = [level(params, SHARE, Normal(85.0, 1275.0, n, 1, 0)).good for n in (1e9, 8000.0, 1400.0, 400.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(85.0, abs=1e-3)
    assert 82 < found[-1] < 84
    low = level(Cusum(baseline="24h", delta=10.0), LOSS, Normal(15.0, 1275.0, 1400.0, 1, 0)).good
    assert 15 < low < 16


def test_a_new_series_is_judged_as_soon_as_enough_is_known_of_it() -> None:
    """Not after its first hour: until then each minute is a lesson, of all that there is but what is younger than 5 min."""
    params, reading, memory = Cusum(baseline="24h", delta=3.0, h=10.0), Played(WINDOWS), None
    told = []
    for minute in range(120):
        reading.play([20, 0 if minute % 5 else 1])
        verdict, memory = params.judge(LOSS, "1h", reading, memory)
        told.append(verdict)
    first = next(minute for minute, verdict in enumerate(told) if verdict.breach is not None)
    assert 10 < first < 30
    assert "normal is known to" in told[first - 1].reason
    assert memory.normal.error <= 3.0 / KNOWN
    assert told[first].baseline_n == pytest.approx(20 * (first - 4))
    assert {verdict.breach for verdict in told[first:]} == {False}
    assert told[first + 59].baseline_n == told[first].baseline_n
    assert told[first + 60].baseline_n > 3 * told[first].baseline_n


def test_lessons_follow_at_a_seventh_of_the_windows_pace() -> None:
    known = None
    for hour in range(7 * 24 * 4):
        known = learn(known, 60 * hour, Moments(1440, 80.0 if hour < 7 * 24 * 2 else 90.0, 1600.0), 1440)
        if hour == 7 * 24 * 2 - 1:
            assert known.mean == pytest.approx(80.0)
            assert known.n == 7 * 1440
        if hour == 7 * 24 * 3 - 1:
            assert known.mean == pytest.approx(90 - 10 / math.e, abs=0.1)
    assert (known.is_due(known.minute + 59), known.is_due(known.minute + 60)) == (False, True)


def test_a_given_level_without_a_deviation_learns_only_that() -> None:
    rng = np.random.default_rng(3)

    def minute(mean: float) -> list[int]:
        steps = [round(1000 * x) for x in rng.normal(mean, 1.0, 5)]
        return [5, sum(steps), sum(step * step for step in steps)]

    seen = verdicts(
        Cusum(p0=4.0, p1=3.5),
        SCORE,
        "1h",
        Played(WINDOWS),
        [minute(4) for _ in range(120)] + [minute(3) for _ in range(60)],
    )
    assert seen[0].breach is None
    assert not any(verdict.breach for verdict in seen[:120])
    assert (seen[-1].breach, seen[-1].baseline) == (True, 4.0)


def test_a_head_start_sees_what_is_bad_from_the_beginning() -> None:
    rng = np.random.default_rng(17)
    minutes = [[1, int(hit)] for hit in rng.random(400) < 0.7]

    def first(**more: float) -> int:
        params = Cusum(p0=85.0, p1=75.0, h=7.0, min_failures=1, **more)
        seen = verdicts(params, SHARE, "1h", Played(WINDOWS), minutes)
        return next(minute for minute, verdict in enumerate(seen) if verdict.breach)

    assert first(head_start=0.5) < first()


def test_a_head_start_does_not_stop_the_learning() -> None:
    """It waits until enough is known, however thin the first hour."""
    minutes = [[1, 0] if minute % 7 == 0 else [1, 1] for minute in range(2880)]
    seen = verdicts(Cusum(baseline="24h", delta=10.0, head_start=0.5), SHARE, "1h", Played(WINDOWS), minutes)
    assert seen[100].breach is None
    assert seen[-1].baseline_n > 1380


def test_the_threshold_for_a_wanted_rate_of_false_alarms() -> None:
    h = threshold_for(level(), SHARE, 0.031)
    assert h == pytest.approx(7, abs=0.15)
    steep = level(Cusum(p0=85.0, p1=65.0))
    assert threshold_for(steep, SHARE, 0.031) > h


def test_states_do_not_share_what_changes() -> None:
    """A verdict asked for twice gives the same twice: nothing is changed in place."""
    reading = Played(WINDOWS)
    state = None
    for _ in range(70):
        reading.play([5, 3])
        _, state = GOLDEN.judge(SHARE, "1h", reading, state)
    once, again = GOLDEN.judge(SHARE, "1h", reading, state), GOLDEN.judge(SHARE, "1h", reading, state)
    assert once == again
    assert advance(level(), GOLDEN, SHARE, None, CusumState(), None) == CusumState()
