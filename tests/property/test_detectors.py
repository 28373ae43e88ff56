"""Detectors whatever comes: exact sums, sides that mirror, order inside a minute, and many series like one."""

from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.alerts.detectors import Detector
from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.burn_rate import BurnRate
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.ewma import Ewma
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.explaining.decompose import decompose
from streams.alerts.facts import Facts, moments
from streams.alerts.judging.machine import Instance, Policy, advance, ended_unjudged
from streams.alerts.offline.vectorised import SeriesBatch, judged
from streams.kpis.aggregators import empty, measure
from streams.kpis.arithmetic.accumulators import Acc, copy_acc, merge_acc
from tests.harness.nullsim import Rule, firings
from tests.harness.reading import Played

SHARE = Facts("ratio", "up", "percent")
FACTS = {
    "ratio": SHARE,
    "nps": Facts("nps", "up", "points"),
    "mean": Facts("mean", "up", "score", 1000),
    "share": Facts("share", "up", "percent", 1),
    "count": Facts("count", "none", "count"),
    "sum": Facts("sum", "up", "currency", 1000),
    "quantile": Facts("quantile", "down", "seconds", 1000, 0.9),
}
LABELS = st.sampled_from(["web", "app", "phone", "store", "other"])


def ratios() -> st.SearchStrategy[Acc]:
    return st.integers(0, 500).flatmap(lambda n: st.integers(0, n).map(lambda k: [n, k]))


def scores() -> st.SearchStrategy[Acc]:
    def made(counts: tuple[int, int, int]) -> Acc:
        return [sum(counts), counts[0], counts[2]]

    return st.tuples(*[st.integers(0, 200)] * 3).map(made)


def means() -> st.SearchStrategy[Acc]:
    values = st.lists(st.integers(0, 10_000), max_size=20)
    return values.map(lambda xs: [len(xs), sum(xs), sum(x * x for x in xs)])


def shares() -> st.SearchStrategy[Acc]:
    pairs = st.lists(st.integers(1, 900).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w))), max_size=12)
    return pairs.map(
        lambda rows: [len(rows), sum(w for w, _ in rows), sum(p for _, p in rows), sum(w * w for w, _ in rows),
                      sum(w * p for w, p in rows), sum(p * p for _, p in rows)]
    )  # fmt: skip


KINDS = {
    "ratio": ratios(),
    "nps": scores(),
    "mean": means(),
    "share": shares(),
    "count": st.integers(0, 500).map(lambda n: [n]),
    "sum": st.just([0, 0]) | st.tuples(st.integers(1, 9), st.integers(0, 10**6)).map(list),
    "quantile": st.dictionaries(st.integers(0, 400), st.integers(1, 30), max_size=8),
}


@cache
def parts(kind: str) -> st.SearchStrategy[dict[str, Acc]]:
    return st.dictionaries(LABELS, KINDS[kind], max_size=5)


def whole(kind: str, sides: dict[str, Acc]) -> Acc:
    total = empty(kind)
    for acc in sides.values():
        merge_acc(total, copy_acc(acc))
    return total


@pytest.mark.parametrize("kind", list(KINDS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_effects_add_up_to_the_change_and_nothing_is_left_over(kind: str, data) -> None:
    """In the KPI's unit, whatever is missing on a side."""
    facts = FACTS[kind]
    before, after = data.draw(parts(kind)), data.draw(parts(kind))
    minutes = (60, 15)
    found = decompose(facts, "channel", before, after, minutes=minutes)
    values = [
        measure(kind, whole(kind, sides), facts.scale, unit=facts.unit, q=facts.q).value for sides in (before, after)
    ]
    if kind in ("count", "sum"):
        values = [(value or 0.0) / length for value, length in zip(values, minutes, strict=True)]
    if found is None:
        assert None in values or not (before or after)
        return
    assert found.rate + found.share == pytest.approx(found.total, abs=1e-9)
    assert sum(part.rate_effect + part.share_effect for part in found.parts) == pytest.approx(found.total, abs=1e-9)
    if kind == "quantile" and not found.total:
        return  # values inside one bin: the quantile may move where the share at it does not
    assert found.total == pytest.approx(values[1] - values[0], abs=1e-6)
    if abs(found.total) > 1e-9:
        assert sum(part.explained for part in found.parts) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["ratio", "nps", "mean", "share"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_looking_from_the_other_side_turns_the_sign_only(kind: str, data) -> None:
    before, after = data.draw(parts(kind)), data.draw(parts(kind))
    there, back = (decompose(FACTS[kind], "channel", *sides) for sides in ((before, after), (after, before)))
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (back.rate, back.share) == (pytest.approx(-there.rate, abs=1e-9), pytest.approx(-there.share, abs=1e-9))


@given(parts("ratio"), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_the_same_mix_with_more_answers_is_no_share_effect(before: dict[str, Acc], times: int) -> None:
    after = {value: [times * acc[0], acc[0]] for value, acc in before.items()}
    found = decompose(SHARE, "channel", before, after)
    if found is not None:
        assert found.share == pytest.approx(0, abs=1e-9)
        assert all(part.share_effect == pytest.approx(0, abs=1e-9) for part in found.parts)


@pytest.mark.parametrize("kind", ["ratio", "nps", "mean", "share"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_moments_are_those_of_the_interval(kind: str, data) -> None:
    acc = data.draw(KINDS[kind])
    found, shown = moments(FACTS[kind], acc), measure(kind, acc, FACTS[kind].scale, unit=FACTS[kind].unit)
    assert (found is None) == (shown.value is None)
    if found is not None:
        assert (found.n, found.mean) == (shown.n, pytest.approx(shown.value))
        assert found.variance >= 0


# -- many minutes ------------------------------------------------------------------------------------------------

METHODS: list[tuple[Detector, str]] = [
    (Cusum(baseline="1h", delta=20.0, h=4.0), "5m"),
    (Cusum(p0=85.0, p1=75.0, h=3.0, min_failures=2, head_start=0.5), "5m"),
    (Ewma(baseline="1h", lambda_=0.3, limit=2.0), "5m"),
    (ZTest(baseline="1h", z=2.0), "5m"),
]
MINUTES = st.lists(st.none() | ratios(), min_size=1, max_size=200)


@pytest.mark.parametrize(("params", "window"), METHODS)
@given(minutes=MINUTES, at=st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_a_memory_that_went_through_bytes_judges_on_alike(params: Detector, window: str, minutes, at: int) -> None:
    """Saved and restored at any minute, verdicts are the same to the last digit."""
    one, two = Played([window, "1h"]), Played([window, "1h"])
    kept = went = None
    for number, acc in enumerate(minutes):
        for reading in (one, two):
            reading.play(acc)
        if number == at:
            went = params.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(went)))
        (verdict, kept), (other, went) = (
            params.judge(SHARE, window, reading, memory) for reading, memory in ((one, kept), (two, went))
        )
        assert verdict == other
        assert kept == went


@pytest.mark.parametrize("params", [ZTest(baseline="1h", z=2.0, min_expected=1.0), Ewma(baseline="1h", limit=2.0)])
@pytest.mark.parametrize("size", [10**4, 10**12])
def test_a_memory_of_amounts_beyond_64_bits_is_saved(params: Detector, size: int) -> None:
    """Squares of prices in thousandths of a rial; a memory that cannot be written stops its worker."""
    reading, kept, saved = Played(["5m", "1h"]), None, 0
    for minute in range(90):
        x = (size if minute < 70 else size // 3) + size // 50 * (minute % 3)
        reading.play([1, x, x * x])
        _, kept = params.judge(FACTS["mean"], "5m", reading, kept)
        went = params.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(kept)))
        assert went == kept
        assert params.judge(FACTS["mean"], "5m", reading, went) == params.judge(FACTS["mean"], "5m", reading, kept)
        saved += bool(getattr(kept, "before", None) or getattr(kept, "waiting", None))
    assert saved


@given(MINUTES)
@settings(max_examples=40, deadline=None)
def test_what_is_good_for_one_side_is_bad_for_the_other(minutes) -> None:
    """Misses of a KPI that should be high are hits of one that should be low: same verdicts, same evidence."""
    low = Facts("ratio", "down", "percent")
    for params, mirrored in (
        (Cusum(p0=85.0, p1=70.0, h=3.0), Cusum(p0=15.0, p1=30.0, h=3.0)),
        (ZTest(baseline="1h", z=2.0), ZTest(baseline="1h", z=2.0)),
        (Floor(target=80.0, z=2.0), Floor(target=20.0, z=2.0)),
        (
            BurnRate(target=80.0, factor=2.0, long="1h", short="5m"),
            BurnRate(target=20.0, factor=2.0, long="1h", short="5m"),
        ),
    ):
        one, two = Played(["5m", "1h"]), Played(["5m", "1h"])
        memory = other = None
        for acc in minutes:
            one.play(acc)
            two.play(None if acc is None else [acc[0], acc[0] - acc[1]])
            seen, memory = params.judge(SHARE, "5m", one, memory)
            mirror, other = mirrored.judge(low, "5m", two, other)
            assert (seen.breach, seen.recovered, seen.n) == (mirror.breach, mirror.recovered, mirror.n)


@given(st.lists(st.none() | st.integers(0, 40), min_size=1, max_size=150))
@settings(max_examples=40, deadline=None)
def test_absence_never_speaks_where_enough_came(counts) -> None:
    reading, memory = Played(["5m", "1h"]), None
    params = Absence(baseline="1h", min_expected=10.0, p_value=0.01)
    for count in counts:
        reading.play(None if count is None else [count])
        verdict, memory = params.judge(FACTS["count"], "5m", reading, memory)
        if verdict.breach:
            assert verdict.n <= 0.2 * verdict.baseline
            assert verdict.statistic < 0.01
            assert verdict.baseline >= 10


# -- the arrays of the simulation --------------------------------------------------------------------------------

SIMULATED: list[tuple[Detector, str]] = [
    (Cusum(baseline="24h", delta=20.0, h=4.0), "5m"),
    (Cusum(baseline="24h", p1=70.0, h=5.0, min_failures=4, head_start=0.3), "15m"),
    (Cusum(p0=85.0, p1=75.0, h=4.0), "5m"),
    (ZTest(baseline="24h", z=2.5, min_change=3.0), "1h"),
    (Floor(target=80.0, z=2.0), "15m"),
    (BurnRate(target=80.0, factor=2.0, long="1h", short="5m"), "1h"),
]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(("params", "window"), SIMULATED)
@pytest.mark.parametrize("rate", [0.3, 4.0])
def test_arrays_judge_as_the_detector_does(params: Detector, window: str, rate: float, direction) -> None:
    """Minute by minute, through a fall and back, of five series."""
    if direction == "down":
        params = _mirrored(params)
    rng = np.random.default_rng([round(10 * rate), len(window)])
    n = rng.poisson(rate, (2000, 5))
    p = np.where((np.arange(2000) > 1500) & (np.arange(2000) < 1700), 0.5, 0.85)[:, None]
    hits = rng.binomial(n, p if direction == "up" else 1 - p)
    _agree(params, window, Facts("ratio", direction, "percent"), n, hits)


def _agree(params: Detector, window: str, facts: Facts, n: np.ndarray, hits: np.ndarray) -> None:
    seen = list(judged(params, facts, window, SeriesBatch.of(n, hits)))
    breaches = 0
    for series in range(5):
        reading, memory = Played(["5m", "15m", "1h", "24h"]), None
        for minute in range(2000):
            answers = int(n[minute, series])
            reading.play([answers, int(hits[minute, series])] if answers else None)
            verdict, memory = params.judge(facts, window, reading, memory)
            array = seen[minute]
            assert bool(array.known[series]) == (verdict.breach is not None), (minute, series, verdict)
            if verdict.breach is not None:
                assert bool(array.breach[series]) == verdict.breach, (minute, series, verdict)
                assert bool(array.recovered[series]) == verdict.recovered, (minute, series, verdict)
                assert array.n[series] == verdict.n
                breaches += verdict.breach
    assert breaches > 0


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize(
    "params", [Cusum(baseline="24h", delta=40.0, h=4.0), ZTest(baseline="24h", z=2.5), Floor(target=120.0, z=2.0)]
)
def test_arrays_judge_rates_as_the_detector_does(params: Detector, direction) -> None:
    """More hits than trials, too: both are Poisson counts."""
    rng = np.random.default_rng(8)
    n = rng.poisson(2.0, (2000, 5))
    bad = 0.5 if direction == "up" else 2.0
    hits = rng.poisson(n * np.where((np.arange(2000) > 1500) & (np.arange(2000) < 1700), bad, 1.2)[:, None])
    _agree(params, "15m", Facts("ratio", direction, "per_100"), n, hits)


def _mirrored(params: Detector) -> Detector:
    changed = {
        name: 100 - value for name in ("p0", "p1", "target") if (value := getattr(params, name, None)) is not None
    }
    return msgspec.structs.replace(params, **changed)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("z", "15m", ZTest(baseline="1h", z=2.0), Policy(for_=3, keep_firing_for=5), min_n=10, min_denominator=20),
        Rule(
            "c", "15m", Cusum(p0=85.0, p1=75.0, h=4.0, min_failures=4), Policy(no_data="ok", no_data_for=10), min_n=10
        ),
    ],
)
def test_firings_of_arrays_are_those_of_the_state_machine(rule: Rule) -> None:
    """`for`, recovery, keep-firing and nights without an answer included."""
    rng = np.random.default_rng(9)
    minutes = np.arange(3000)
    n = np.where((minutes % 700 > 660)[:, None], 0, rng.poisson(2, (3000, 4)))
    hits = rng.binomial(n, np.where(minutes % 700 > 600, 0.6, 0.85)[:, None])
    found = firings(rule, SeriesBatch.of(n, hits))
    ends = 0
    for series in range(4):
        reading, memory, instance, fired = Played(["15m", "1h"]), None, Instance(), []
        for minute in range(3000):
            reading.play([int(n[minute, series]), int(hits[minute, series])] if n[minute, series] else None)
            verdict, memory = rule.params.judge(SHARE, "15m", reading, memory)
            thin = verdict.n < rule.min_n or verdict.baseline_n < rule.min_denominator
            if verdict.breach is not None and thin:
                verdict = msgspec.structs.replace(verdict, breach=None, recovered=None)
            step = advance(instance, rule.policy, minute, verdict)
            if step is not None and step.new == "firing":
                fired.append(minute)
            if step is not None and ended_unjudged(step, verdict):
                memory, ends = rule.params.without_evidence(memory), ends + 1
        assert fired == found[series]
    assert sum(map(len, found)) > 4
    assert ends > 4
