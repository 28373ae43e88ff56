"""Absence: what is silence, after how long, and what is none."""

import numpy as np
import pytest
from scipy import stats

from streams.alerts.detectors.absence import Absence, silence_of
from streams.alerts.facts import Expected, length_of
from streams.alerts.types import SourceHealth
from tests.harness.reading import COUNT, Played, judge, standing, verdicts


def expected_now(value: float, n: float, dispersion: float = 0.0) -> Expected:
    return Expected(value, 0.0, n, dispersion, 5, "hour of the week")


SILENCE = Absence(baseline="1h", p_value=1e-6, min_expected=20.0)


def test_absence_is_the_lower_tail_of_what_was_to_be_expected() -> None:
    seen = judge(SILENCE, COUNT, "15m", standing(w15m=[3], w1h=[93]))
    assert (seen.breach, seen.baseline) == (True, 30.0)
    assert seen.statistic == pytest.approx(stats.poisson.cdf(3, 30), rel=1e-9)
    assert judge(SILENCE, COUNT, "15m", standing(w15m=[8], w1h=[98])).breach is False
    assert judge(SILENCE, COUNT, "15m", standing(w15m=None, w1h=[90])).breach is True


def test_where_nothing_is_expected_silence_means_nothing() -> None:
    for reading in (standing(w15m=None, w1h=None), standing(w15m=None, w1h=[12])):
        assert judge(SILENCE, COUNT, "15m", reading).breach is None


def test_silence_does_not_become_what_is_expected() -> None:
    """The pace before it began stays the measure, long after the hour of the baseline is silent too."""
    seen = verdicts(SILENCE, COUNT, "15m", Played(["15m", "1h"]), [[10]] * 120 + [None] * 600 + [[10]] * 30)
    first = next(minute for minute, verdict in enumerate(seen) if verdict.breach)
    assert 130 < first < 136
    assert all(verdict.breach for verdict in seen[first:720])
    assert (seen[-1].breach, seen[-1].recovered) == (False, True)


@pytest.mark.parametrize(
    ("each", "every", "window", "after"), [(3, 1, "5m", 7), (3, 1, "15m", 12), (1, 3, "5m", 57), (1, 20, "5m", None)]
)
def test_a_small_company_that_is_dead_is_told_once_enough_was_to_be_expected(each, every, window, after) -> None:
    """Of three events a minute in minutes, of one every three within an hour; three an hour are too few for five."""
    day = [[each] if minute % every == 0 else None for minute in range(1440)]
    seen = verdicts(SILENCE, COUNT, window, Played([window, "1h"]), day + [None] * 300 + day[:60])
    told = [minute for minute, verdict in enumerate(seen, -1439) if verdict.breach]
    assert told[:1] == ([] if after is None else [after])
    if after is not None:
        assert 300 <= told[-1] <= 310
        assert told == list(range(told[0], told[-1] + 1))
        assert any(verdict.recovered for verdict in seen[1740:])


def test_a_silence_longer_than_the_window_is_told_with_its_length() -> None:
    seen = verdicts(SILENCE, COUNT, "5m", Played(["5m", "1h"]), [[3]] * 90 + [None] * 30)
    first = next(verdict for verdict in seen if verdict.breach)
    assert (first.window, first.n, round(first.baseline)) == ("8m", 3, 24)
    assert first.reason.startswith("3 came in 8 min, 24 were to be expected after the rate of 1h (p = ")
    assert (seen[-1].window, seen[-1].n) == ("31m", 3)


def test_a_silence_of_weeks_is_a_window_that_can_be_read() -> None:
    seen = verdicts(SILENCE, COUNT, "5m", Played(["5m", "1h"]), [[3]] * 90 + [None] * 15_000)
    assert seen[-1].breach
    assert (seen[-1].window, length_of(seen[-1].window)) == ("250h", 15_000)


def test_silences_that_come_by_chance_are_not_told() -> None:
    """One event a minute, and one every five, for a week: silent for minutes now and then."""
    generator = np.random.default_rng(6)
    for rate in (1.0, 0.2):
        counts = generator.poisson(rate, 10_080)
        seen = verdicts(
            Absence(baseline="1h"), COUNT, "5m", Played(["5m", "1h"]), [[int(n)] if n else None for n in counts]
        )
        assert not any(verdict.breach for verdict in seen)


def test_where_little_is_usual_at_an_hour_a_quiet_shop_is_not_absent() -> None:
    """Three a minute by day, and a hundredth of that expected after closing."""
    params, reading = Absence(baseline="1h"), Played(["5m", "1h"])
    memory = None
    for _ in range(120):
        reading.play([3])
        _, memory = params.judge(COUNT, "5m", reading, memory)
    reading.usual = expected_now(0.15, n=0.15)
    for _ in range(600):
        reading.play(None)
        verdict, memory = params.judge(COUNT, "5m", reading, memory)
        assert not verdict.breach
    reading.usual = None
    for _ in range(30):
        reading.play([3])
        verdict, memory = params.judge(COUNT, "5m", reading, memory)
    for _ in range(30):
        reading.play(None)
        verdict, memory = params.judge(COUNT, "5m", reading, memory)
    assert verdict.breach
    reading.usual = expected_now(0.15, n=0.15)
    reading.play(None)
    verdict, memory = params.judge(COUNT, "5m", reading, memory)
    assert (verdict.breach, verdict.recovered, memory) == (False, True, None)


def test_a_shop_that_closes_is_not_absent() -> None:
    """Where the usual volume of the hour is known, the lower of both is expected; it ends what began, too."""
    params = SILENCE
    closed = expected_now(0.2, n=0.2)
    assert judge(params, COUNT, "15m", standing(usual=closed, w15m=None, w1h=[900])).breach is None
    reading = standing(w15m=None, w1h=[900])
    verdict, memory = params.judge(COUNT, "15m", reading, None)
    reading.usual = closed
    after, memory = params.judge(COUNT, "15m", reading, memory)
    assert (verdict.breach, after.breach, after.recovered, memory) == (True, False, True, None)


def test_volumes_that_vary_make_few_less_surprising() -> None:
    calm, wild = expected_now(30, n=30), expected_now(30, n=30, dispersion=0.5)
    assert judge(SILENCE, COUNT, "15m", standing(usual=calm, w15m=[3], w1h=[900])).breach is True
    seen = judge(SILENCE, COUNT, "15m", standing(usual=wild, w15m=[3], w1h=[900]))
    assert seen.breach is False


def test_an_absence_says_whether_it_is_the_collector() -> None:
    alive = SourceHealth("web", 0, 500, 0)
    silent = SourceHealth("web", 12, 0, 0)
    spoilt = SourceHealth("web", 0, 500, 400)
    assert "alive" in silence_of({"web/0": alive})
    assert "all its sources silent for up to 12 min" in silence_of({"web/0": silent, "web/1": silent})
    assert "web/1 silent" in silence_of({"web/0": alive, "web/1": silent})
    assert "cannot be read" in silence_of({"web/0": spoilt})
    reading = standing(w15m=None, w1h=[90])
    reading.health = {"web/0": silent}
    assert "the collector, not the customers" in judge(SILENCE, COUNT, "15m", reading).reason


def test_a_rate_counts_for_two_hours_where_the_hour_is_not_known() -> None:
    """Six an hour by day: at night nobody is there, and nobody is called. With history it is told when it is none."""

    def told(*, known: bool) -> list[int]:
        reading, memory, found = Played(["5m", "1h"]), None, []
        for minute in range(1200):
            reading.usual = expected_now(0.5, n=0.5) if known else None
            reading.play([1] if minute < 600 and minute % 10 == 0 else None)
            verdict, memory = SILENCE.judge(COUNT, "5m", reading, memory)
            found += [minute - 600] if verdict.breach else []
        return found

    assert told(known=False) == []
    assert 150 < told(known=True)[0] < 420
