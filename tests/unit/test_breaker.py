"""When a source partition is stopped: at any rate of traffic, within a bounded time, and not for single records."""

import random

import msgspec
import numpy as np
import pytest

from streams.events.breaker import Breaker, Stretch
from streams.events.frozen import NEVER, FrozenRange, SourceHead, Tally
from streams.settings import Settings

FLUSH_S = 0.5
DEFAULTS = Settings()


def breaker() -> Breaker:
    return Breaker(
        ratio=DEFAULTS.breaker_ratio,
        least=DEFAULTS.breaker_min,
        at_once=DEFAULTS.breaker_at_once,
        window_s=DEFAULTS.breaker_window_s,
    )


class Traffic:
    """Ranges as ingest closes them; `send` returns the stretch that trips, and `dead` what came before it."""

    def __init__(self, rate: float, at: float = 1_000_000.0) -> None:
        self.breaker = breaker()
        self.at = at
        self.dead = 0
        self._rate = rate
        self._sent = 0.0
        self._bad = 0.0

    def send(self, seconds: float, share: float) -> Stretch | None:
        until = self.at + seconds
        while self.at < until:
            self.at += FLUSH_S
            before, bad_before = int(self._sent), int(self._bad)
            self._sent += self._rate * FLUSH_S
            read = int(self._sent) - before
            self._bad += read * share
            bad = int(self._bad) - bad_before
            tripped = self.breaker.take(self.at, read, bad) if read else None
            if tripped is not None:
                return tripped
            self.dead += bad
        return None


@pytest.mark.parametrize(
    ("rate", "within_s", "dead"),
    [(0.2, 120, 20), (1, 30, 20), (10, 6, 60), (100, 6, 600), (1_000, 3, 2_000), (10_000, 0.5, 0)],
)
@pytest.mark.parametrize("healthy_s", [0, 3_600])
def test_breaker_trips_at_any_rate(rate: float, within_s: float, dead: int, healthy_s: float) -> None:
    """Nothing but bad records, after none or after an hour of good ones: how long, and how many dead letters."""
    traffic = Traffic(rate)
    assert traffic.send(healthy_s, 0.0) is None
    began = traffic.at
    assert traffic.send(600, 1.0) is not None
    assert traffic.at - began <= within_s
    assert traffic.dead <= dead


@pytest.mark.parametrize(("rate", "within_s"), [(10, 60), (10_000, 1)])
def test_two_thirds_are_enough(rate: float, within_s: float) -> None:
    traffic = Traffic(rate)
    traffic.send(3_600, 0.0)
    began = traffic.at
    assert traffic.send(600, 2 / 3) is not None
    assert traffic.at - began <= within_s


@pytest.mark.slow
@pytest.mark.parametrize("honest", [0.5, 30, 1_000])
@pytest.mark.parametrize("before_s", [60, 3_600])
@pytest.mark.parametrize("times", [2, 1_000])
def test_bad_records_beside_good_ones_stop_nothing(honest: float, before_s: float, times: float) -> None:
    """However many a sender adds to those of others, and for however long, the others go on."""
    one, chance, at = breaker(), random.Random(1), 1_000.0
    flood_from = at + before_s
    while at < flood_from + 900:
        at += FLUSH_S
        good = int(honest * FLUSH_S + chance.random())
        bad = int(times * honest * FLUSH_S + chance.random()) if at > flood_from + 1 / honest else 0
        assert not good + bad or one.take(at, good + bad, bad) is None


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_nor_does_a_flood_as_large_as_what_trickles_in_by_chance(rate: float, seed: int) -> None:
    """Good ones that come by chance are a few more or fewer in any stretch: that is no sign that they are missing."""
    arrivals = np.random.default_rng(seed).poisson(rate * FLUSH_S, (int(1_800 / FLUSH_S), 2))
    arrivals[: int(900 / FLUSH_S), 1] = 0
    one = breaker()
    for tick, (good, bad) in enumerate(arrivals.tolist()):
        assert not good + bad or one.take(1_000.0 + tick * FLUSH_S, good + bad, bad) is None


@pytest.mark.parametrize("silence_s", [300, 36_000])
@pytest.mark.parametrize("times", [1.2, 3, 100])
def test_nor_do_they_once_all_go_on_behind_a_silence(silence_s: float, times: float) -> None:
    """The good ones of the silence are not missing, since those behind it are as many as ever."""
    one, at = breaker(), 1_000.0
    for stretch_s, share in ((600, 0.0), (120, times)):
        for _ in range(int(stretch_s / FLUSH_S)):
            at += FLUSH_S
            good = int(20 * FLUSH_S)
            assert one.take(at, good + int(good * share), int(good * share)) is None
        at += silence_s


@pytest.mark.parametrize("silence_s", [300, 36_000])
def test_in_their_place_they_do(silence_s: float) -> None:
    traffic = Traffic(rate=20)
    assert traffic.send(600, 0) is None
    traffic.at += silence_s
    began = traffic.at
    assert traffic.send(60, 1) is not None
    assert traffic.at - began <= 6


def test_who_begins_with_bad_records_is_stopped_whatever_comes_in_the_same_range() -> None:
    """A topic that is new, or was silent for long: nothing says that others would go on beside it."""
    assert breaker().take(100.0, 3_100, 3_000) is not None
    one = breaker()
    assert one.take(100.0, 10, 0) is None
    assert one.take(100.5, 3_100, 3_000) is not None


def test_a_flood_at_once_stops_nothing() -> None:
    """Of which a range holds few records of others, or none."""
    one = breaker()
    for half_second in range(40):
        one.take(100.0 + half_second / 2, 15, 0)
    for burst in range(4):
        assert one.take(120.0 + burst + 0.1, 5_000, 5_000) is None
        assert one.take(120.0 + burst + 0.5, 15, 0) is None


@pytest.mark.parametrize("rate", [2, 10, 1_000])
@pytest.mark.parametrize("times", [1, 3, 50])
def test_who_sends_many_times_more_bad_ones_instead_of_good_ones_is_stopped(rate: float, times: float) -> None:
    """A loop that sends a broken record again and again, where good ones were."""
    one, at, sent = breaker(), 100.0, 0.0
    while at < 1_000:
        at, sent, before = at + FLUSH_S, sent + rate * FLUSH_S, int(sent)
        assert int(sent) == before or one.take(at, int(sent) - before, 0) is None
    began, flood = at, max(1, int(rate * times * FLUSH_S))
    while one.take(at := at + FLUSH_S, flood, flood) is None:
        assert at < began + 60


@pytest.mark.slow
@pytest.mark.parametrize("slower", [2, 4, 20])
@pytest.mark.parametrize("share", [0.55, 0.9])
def test_a_mixture_that_slows_down_stops_nothing(slower: float, share: float) -> None:
    """Who sends good and bad ones by turns, and is short of breath: no good one is missing for a bad one."""
    one, at, chance = breaker(), 100.0, random.Random(1)
    for half_second in range(1_200):
        at += FLUSH_S
        read = int(4_000 / (slower if half_second > 120 else 1))
        bad = sum(chance.random() < share for _ in range(read)) if half_second > 60 else 0
        read = read if half_second > 60 else int(read * (1 - share))
        assert one.take(at, read, bad) is None, half_second


@pytest.mark.parametrize("flood", [1, 10])
def test_who_turns_bad_beside_a_flood_is_stopped(flood: int) -> None:
    """A flood of others hides nobody: its records go on, and good ones come no more."""
    one, at = breaker(), 100.0
    for half_second in range(360):
        at += FLUSH_S
        others = 100 * flood if half_second > 120 else 0
        assert one.take(at, 100 + others, others) is None
    began = at
    while one.take(at := at + FLUSH_S, 100 + 100 * flood, 100 + 100 * flood) is None:
        assert at < began + 60


@pytest.mark.slow
@pytest.mark.parametrize("rate", [20, 100, 1_000])
@pytest.mark.parametrize(("broken", "on_s"), [(0.5, 60), (0.8, 600)])
def test_a_flood_that_comes_and_goes_hides_nobody(rate: int, broken: float, on_s: int) -> None:
    """Where it pauses there are more good ones among all than before, and fewer than usual all the same."""
    one, at = breaker(), 0.0
    while at < 700:
        at += FLUSH_S
        others = 5 * rate if at > 120 and at % (2 * on_s) < on_s else 0
        bad = int(broken * rate / 2) if at >= 600 else 0
        if one.take(at, rate // 2 + others, bad + others) is not None:
            break
    assert 600 <= at < 690


def test_a_backlog_is_judged_by_when_its_records_came() -> None:
    """Ten minutes of bad records where good ones were, read in a few seconds: as if they had been read as they came."""
    frozen = FrozenRange("web/0", 0, 4, 900.0, SourceHead(), SourceHead(5), b"", NEVER, appended=100.0)
    assert frozen.came == 100.0
    assert msgspec.structs.replace(frozen, appended=None).came == 900.0


def test_who_turns_bad_after_a_flood_of_another_is_stopped() -> None:
    one, at = breaker(), 100.0
    for half_second in range(400):
        at += FLUSH_S
        flood = 2_000 if 100 < half_second < 120 else 0
        assert one.take(at, 15 + flood, flood) is None
    began = at
    while one.take(at := at + FLUSH_S, 15, 15) is None:
        assert at < began + 10


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 10, 10_000])
def test_a_third_is_no_reason(rate: float) -> None:
    assert Traffic(rate).send(3_600, 1 / 3) is None


def test_single_bad_records_of_a_trickle_stop_nothing() -> None:
    """One bad record a minute, and nothing else for a day."""
    assert Traffic(1 / 60).send(86_400, 1.0) is None


def test_a_short_burst_stops_nothing_unless_it_is_a_large_one() -> None:
    for burst, trips in ((1_999, False), (2_000, True)):
        one = breaker()
        one.take(100.0, 3_000, 0)
        assert (one.take(101.0, burst, burst) is not None) is trips


@pytest.mark.parametrize("by_broker", [False, True])
def test_who_takes_over_goes_on_counting(by_broker: bool) -> None:
    """Partitions that move every few seconds do not reset it; what is repeated is not counted twice."""
    ranges, tally = [], Tally()
    for number in range(13):
        after = Tally(tally.read + 5, 0, 0, 0, tally.bad + 5)
        head = SourceHead(number * 5, tally=tally), SourceHead(number * 5 + 5, tally=after)
        came = 100.0 + number / 2
        one = FrozenRange("web/0", number * 5, number * 5 + 4, came, *head, b"", 0.0)
        ranges.append(msgspec.structs.replace(one, now=900.0, appended=came) if by_broker else one)
        tally = after
    successor = breaker()
    successor.restore(ranges)
    assert successor.take(106.0, 5, 5) is not None
    assert breaker().take(106.0, 5, 5) is None


def test_times_ahead_of_the_clock_are_not_held_against_the_next_owner() -> None:
    head = SourceHead(0), SourceHead(5_000, tally=Tally(5_000, 0, 0, 0, 5_000))
    ahead = FrozenRange("web/0", 0, 4_999, 100.0, *head, b"", 0.0, None, 5_000)
    last = FrozenRange("web/0", 5_000, 5_000, 101.0, head[1], head[1], b"", 0.0)
    successor = breaker()
    successor.restore([ahead, last])
    assert successor.take(102.0, 10, 1) is None


def test_a_clock_that_is_turned_neither_trips_nor_blinds_it() -> None:
    traffic = Traffic(10)
    traffic.send(60, 0.4)
    for jump in (-7_200.0, 7_200.0):
        traffic.at += jump
        assert traffic.send(60, 0.4) is None
    assert traffic.send(30, 1.0) is not None


@pytest.mark.parametrize("back", [20.0, 200.0, 299.0])
def test_time_does_not_stand_still_until_a_clock_that_went_back_is_where_it_was(back: float) -> None:
    """Another broker leads: by its clock, who turns bad is stopped as soon, and a flood of others stops nobody."""
    traffic = Traffic(10)
    assert traffic.send(600, 0.0) is None
    traffic.at -= back
    assert traffic.send(10, 0.0) is None
    assert traffic.send(6, 1.0) is not None
    others = breaker()
    for half_second in range(1_200):
        at = half_second / 2 - (back if half_second > 240 else 0)
        flood = 10 if half_second > 300 else 0
        assert others.take(at, 5 + flood, flood) is None, half_second


def test_a_ratio_of_one_never_trips() -> None:
    never = Breaker(ratio=1, least=1, at_once=1, window_s=60)
    assert all(never.take(second, 100, 100) is None for second in range(100))


@pytest.mark.slow
def test_beside_a_clock_that_stands_still_bad_records_last_as_well() -> None:
    traffic = Traffic(10)
    assert traffic.send(3_600, 0.0) is None
    tripped = [traffic.breaker.take(traffic.at, 5, 5) for _ in range(2_000)]
    assert any(one is not None for one in tripped)
    assert tripped[0] is None


@pytest.mark.parametrize(
    ("back", "forgets"), [(DEFAULTS.breaker_window_s, False), (DEFAULTS.breaker_window_s + 1, True)]
)
def test_a_clock_that_went_back_further_than_the_window_forgets_all(back: float, *, forgets: bool) -> None:
    """Bad records from before count no more; neither do the good ones that were usual, nor what time was made of it."""
    one = breaker()
    one.take(1_000_000.0, DEFAULTS.breaker_min - 1, DEFAULTS.breaker_min - 1)
    one.take(1_000_000.0 - back, 1, 0)
    stretch = one.take(1_000_010.0 - back, 1, 1)
    assert (stretch is None) is forgets


def test_what_is_forgotten_is_forgotten_whole() -> None:
    used, fresh = Traffic(20), breaker()
    used.send(600, 0.3)
    used.breaker.take(used.at - 100, 3, 2)
    used.breaker.forget()
    assert vars(used.breaker) == vars(fresh)
    start = used.at - 1_000
    for number in range(400):
        took = (start + number * FLUSH_S, 10, 10 if number > 200 else 2)
        assert used.breaker.take(*took) == fresh.take(*took), number
