"""Gaps in numbers that are known: channels within strata, beliefs, Kano, the pyramid, and who was told."""

import random
from itertools import product
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.gaps.consistency import SaidOnChannel, channel_gap
from streams.gaps.informed import ImplementedFor, informed_rates
from streams.gaps.kano import KanoPair, kano_class, kano_features
from streams.gaps.listening import HeardTouchpoint, listening
from streams.gaps.perception import OwnEstimate, SaidAtPlace, perception_gaps
from streams.gaps.pyramid import PyramidSaying, pyramids
from streams.gaps.samples import SayingPair, difference, sample_of
from streams.kpis.arithmetic.intervals import Measure, wilson
from tests.harness.golden import golden

DAY = 86_400


def said(channel: str, topic: str, hits: int, n: int, prefix: str = "") -> list[SaidOnChannel]:
    return [
        SaidOnChannel(channel, (topic,), f"{prefix}{channel}-{topic}-{one}", 100.0 * (one < hits), 1)
        for one in range(n)
    ]


# -- channels ----------------------------------------------------------------------------------------------------


def test_06_driver_simpson_of_channels() -> None:
    """Golden 06: pooled the app is 30 points worse, within topics it is 7.5 better, which is not confirmed."""
    case = golden("06-driver-simpson.yaml")
    answers = [
        one
        for row in case["input"]["rows"]
        for way in ("app", "phone")
        for one in said(way, row["topic"], row[f"{way}_sat"], row[f"{way}_n"])
    ]
    found = channel_gap(answers, 0.0, 100.0)
    [pair] = found.pairs
    expect, sign = case["expect"], 1 if pair.first == "app" else -1
    assert sign * pair.pooled == pytest.approx(expect["pooled_diff_pp"])
    assert pair.within is not None
    assert pair.lo is not None
    assert pair.hi is not None
    assert sign * pair.within == pytest.approx(expect["mantel_haenszel_diff_pp"])
    ends = sorted((sign * pair.lo, sign * pair.hi))
    # The variance of a single customer has n - 1 below it here.
    assert ends == pytest.approx(expect["ci95_pp"], abs=0.1)
    assert (pair.verdict, pair.in_common) == ("no difference shown; pooled: mix, wrong sign", 100)
    assert found.pooled == pytest.approx(30)


def test_answers_of_one_customer_go_together() -> None:
    """Ten answers of each of forty customers are forty, not four hundred."""
    chance = random.Random(3)
    customers = [(f"{way}{number}", way, chance.random() < 0.6) for way in "ab" for number in range(40)]
    once = channel_gap([SaidOnChannel(way, ("t",), who, 100.0 * good, 1) for who, way, good in customers], 0, 100)
    often = channel_gap([SaidOnChannel(way, ("t",), who, 1_000.0 * good, 10) for who, way, good in customers], 0, 100)
    assert often.pairs == once.pairs
    assert often.channels["a"].measure.value == once.channels["a"].measure.value
    assert often.channels["a"].measure[2:] == pytest.approx(once.channels["a"].measure[2:])


def test_gaps_equal_a_plain_recomputation() -> None:
    """Several answers a customer, three channels, uneven strata: values, weights and errors written out."""
    chance = random.Random(5)
    rows: dict[tuple[str, str, str], list[int]] = {}
    for number in range(700):
        way, topic = chance.choice("abc"), chance.choice("xyz")
        for _ in range(chance.randint(1, 3)):
            good = chance.random() < {"a": 0.8, "b": 0.7, "c": 0.6}[way] - 0.2 * (topic == "x")
            rows.setdefault((way, topic, f"c{number}"), []).append(100 * good)
    found = channel_gap(
        [SaidOnChannel(way, (topic,), who, sum(values), len(values)) for (way, topic, who), values in rows.items()],
        0, 100,
    )  # fmt: skip
    assert {(pair.first, pair.second) for pair in found.pairs} == {("a", "b"), ("a", "c"), ("b", "c")}
    for pair in found.pairs:
        total = weight_sum = variance = 0.0
        for topic in "xyz":
            means, errors, sizes = [], [], []
            for way in (pair.first, pair.second):
                cell = [values for (at, about, _), values in rows.items() if (at, about) == (way, topic)]
                n, answers = len(cell), sum(map(len, cell))
                mean = sum(map(sum, cell)) / answers
                spread = sum((sum(values) - mean * len(values)) ** 2 for values in cell)
                means.append(mean)
                errors.append(n / (n - 1) * spread / answers**2)
                sizes.append(n)
            weight = sizes[0] * sizes[1] / sum(sizes)
            total += weight * (means[0] - means[1])
            variance += weight**2 * sum(errors)
            weight_sum += weight
        assert pair.within == pytest.approx(total / weight_sum)
        assert pair.z == pytest.approx(total / sqrt(variance))
        assert pair.hi is not None
        assert pair.within is not None
        # Of three pairs at once: the normal quantile of 0.05 / 6.
        assert (pair.hi - pair.within) * weight_sum / sqrt(variance) == pytest.approx(2.3940, abs=1e-4)


def test_intervals_hold_the_true_gap_as_often_as_they_say() -> None:
    """Of 300 companies in which the app is 6 points better in each topic, some 95 % have that in their interval."""
    chance, held = random.Random(11), 0
    rates = {("app", "easy"): 0.86, ("phone", "easy"): 0.80, ("app", "hard"): 0.46, ("phone", "hard"): 0.40}
    for _ in range(300):
        answers = []
        for (way, topic), rate in rates.items():
            n = 150 if (way == "app") == (topic == "hard") else 50
            answers += said(way, topic, sum(chance.random() < rate for _ in range(n)), n)
        [pair] = channel_gap(answers, 0, 100).pairs
        assert pair.lo is not None
        assert pair.hi is not None
        held += pair.lo <= (6 if pair.first == "app" else -6) <= pair.hi
    assert 0.92 * 300 <= held <= 0.98 * 300


def test_equal_channels_are_rarely_said_to_differ() -> None:
    """The widest of six pairs is looked at: all of them together err in one company of twenty at most."""
    chance, wrong = random.Random(13), 0
    for _ in range(200):
        answers = [one for way in "abcd" for one in said(way, "t", sum(chance.random() < 0.7 for _ in range(80)), 80)]
        wrong += any(pair.verdict.startswith("differ") for pair in channel_gap(answers, 0, 100).pairs)
    assert wrong <= 0.08 * 200


def test_channels_without_common_strata_or_with_too_few_are_not_compared() -> None:
    apart = channel_gap([*said("a", "x", 30, 40), *said("b", "y", 10, 40)], 0, 100)
    assert [(pair.within, pair.in_common, pair.verdict) for pair in apart.pairs] == [(None, 0, "too few in common")]
    assert apart.widest is None
    few = channel_gap([*said("a", "x", 30, 40), *said("b", "x", 10, 29)], 0, 100)
    assert (few.pairs, few.too_few, few.pooled) == ((), ("b",), None)
    assert channel_gap([], 0, 100).channels == {}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 30), st.booleans()),
        min_size=1, max_size=120,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_gap_does_not_depend_on_order_and_turns_round(rows: list[tuple[str, str, int, bool]]) -> None:
    cells: dict[tuple[str, str, int], list[bool]] = {}
    for way, topic, who, good in rows:
        cells.setdefault((way, topic, who), []).append(good)
    answers = [
        SaidOnChannel(way, (topic,), str(who), 100.0 * sum(values), len(values))
        for (way, topic, who), values in cells.items()
    ]
    found = channel_gap(answers, 0, 100, fewest=2)
    again = channel_gap(answers[::-1], 0, 100, fewest=2)
    turned = channel_gap([one._replace(total=100.0 * one.answers - one.total) for one in answers], 0, 100, fewest=2)
    for one, same, other in zip(found.pairs, again.pairs, turned.pairs, strict=True):
        assert (one.first, one.second, one.verdict) == (same.first, same.second, same.verdict)
        assert one.within == pytest.approx(same.within)
        assert -100 <= one.pooled <= 100
        if one.within is not None:
            assert other.within is not None
            assert abs(one.within) == pytest.approx(abs(other.within), abs=1e-9)
    for sample in found.channels.values():
        assert sample.measure.lo is not None
        assert sample.measure.value is not None
        assert 0 <= sample.measure.lo <= sample.measure.value + 1e-9
        assert sample.variance > 0


def test_nps_of_a_channel_stays_on_its_scale() -> None:
    sample = sample_of([SayingPair(100, 1)] * 40, -100, 100)
    assert sample.measure.value == 100
    assert sample.measure.hi == 100
    assert sample.measure.lo is not None
    assert 80 < sample.measure.lo < 100, "forty customers who are all alike are not certain"
    assert sample_of([], -100, 100).measure == Measure(None, 0, None, None)


def test_strata_that_read_alike_stay_apart_and_their_order_makes_no_difference() -> None:
    """Topic `a b` of segment `c` is not topic `a` of segment `b c`."""
    rates = {("a b", "c"): (30, 10), ("a", "b c"): (10, 30)}
    answers = [
        SaidOnChannel(way, stratum, f"{way}{stratum}{one}", 100.0 * (one < hits), 1)
        for stratum, pair in rates.items()
        for way, hits in zip(("app", "web"), pair, strict=True)
        for one in range(40)
    ]
    [pair] = channel_gap(answers, 0, 100).pairs
    assert (pair.within, pair.in_common) == (pytest.approx(0), 100)
    assert channel_gap(answers[::-1], 0, 100).pairs == (pair,)


# -- perception --------------------------------------------------------------------------------------------------


def test_the_gap_of_bain_is_72_points() -> None:
    own = [OwnEstimate("shop", f"m{number}", 80) for number in range(20)]
    answers = [SaidAtPlace("shop", f"c{number}", number < 8, 1) for number in range(100)]
    found = perception_gaps(own, answers)
    [shop] = found.places
    assert shop.gap is not None
    assert found.matched is not None
    assert (shop.gap.value, found.matched.value) == (72, 72)
    assert (shop.own.n, shop.customers.n, shop.people, shop.verdict) == (20, 100, 100, "we believe too much")
    assert shop.customers[2:] == pytest.approx([100 * end for end in wilson(8, 100)], rel=0.02)


def test_beliefs_of_other_places_do_not_make_a_gap() -> None:
    """Each place is seen as it is, but more of us estimate where it is good: pooled that looks like pride."""
    own = [OwnEstimate(place, f"{place}{number}", mean + number % 3 - 1) for place, mean, n in
           (("good", 90, 30), ("bad", 30, 6)) for number in range(n)]  # fmt: skip
    answers = [SaidAtPlace(place, f"{place}{number}", number < hits, 1) for place, hits, n in
               (("good", 90, 100), ("bad", 120, 400)) for number in range(n)]  # fmt: skip
    found = perception_gaps(own, answers)
    assert [one.verdict for one in found.places] == ["no gap shown"] * 2
    assert found.matched is not None
    assert found.pooled.gap is not None
    assert abs(found.matched.value) < 0.5
    assert found.pooled.gap.value > 35
    assert found.pooled.verdict == "we believe too much"


def test_places_with_too_few_have_no_gap() -> None:
    own = [OwnEstimate("a", "one", 90), *(OwnEstimate("b", f"m{number}", 90) for number in range(6))]
    answers = [*(SaidAtPlace("a", f"c{number}", 1, 1) for number in range(50)), SaidAtPlace("b", "c", 0, 1),
               SaidAtPlace("c", "c", 1, 1)]  # fmt: skip
    found = {one.place: one for one in perception_gaps([*own, OwnEstimate("d", "m", 5)], answers).places}
    assert {place: one.verdict for place, one in found.items()} == {
        "a": "too few of us (n < 5)", "b": "too few customers (n < 30)", "c": "no data: nobody of us estimates",
        "d": "no data: no customer answers",
    }  # fmt: skip
    assert [one.gap for one in found.values()] == [None] * 4
    assert found["d"].customers.value is None
    assert perception_gaps([], []).matched is None


def test_ends_of_a_difference_are_those_of_newcombe() -> None:
    """Newcombe 1998, example (a): 56/70 less 48/80 is 0.2, from 0.0524 to 0.3339 (method 10)."""
    first, second = (
        Measure(100 * hits / n, n, *(100 * end for end in wilson(hits, n))) for hits, n in ((56, 70), (48, 80))
    )
    found = difference(first, second)
    assert found is not None
    assert found.value == pytest.approx(20)
    assert (found.lo, found.hi) == (pytest.approx(5.24, abs=0.01), pytest.approx(33.39, abs=0.01))
    assert found.sign == 1
    assert difference(Measure(None, 0, None, None), second) is None


# -- Kano --------------------------------------------------------------------------------------------------------

TABLE = """
          like expect neutral tolerate dislike
like      Q    A      A       A        O
expect    R    I      I       I        M
neutral   R    I      I       I        M
tolerate  R    I      I       I        M
dislike   R    R      R       R        Q
"""


def test_the_table_of_kano_is_as_published() -> None:
    head, *rows = [row.split() for row in TABLE.strip().splitlines()]
    seen = {(row[0], column): kind for row in rows for column, kind in zip(head, row[1:], strict=True)}
    assert len(seen) == 25
    assert {pair: kano_class(*pair) for pair in seen} == seen
    with pytest.raises(ValueError, match="'meh' is no answer: expected one of like, expect"):
        kano_class("like", "meh")


def kano_of(**counts: int) -> list[KanoPair]:
    pairs = {"A": ("like", "neutral"), "O": ("like", "dislike"), "M": ("expect", "dislike"),
             "I": ("neutral", "neutral"), "R": ("dislike", "neutral"), "Q": ("like", "like")}  # fmt: skip
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    return [KanoPair("f", f"c{number}", *pairs[kind]) for number, kind in enumerate(kinds)]


def test_better_and_worse_leave_out_reverse_and_questionable() -> None:
    [found] = kano_features(kano_of(A=10, O=20, M=40, I=30, R=15, Q=5))
    assert (found.better.value, found.worse.value, found.better.n, found.n) == (30, 60, 100, 120)
    assert found.better[2:] == pytest.approx([100 * end for end in wilson(30, 100)])
    assert found.shares["M"].value == pytest.approx(100 * 40 / 120)
    # 40 and 30 of 120: 10 against 1.65 √(70 · 170 / 240) = 11.62.
    assert (found.kind, found.verdict) == ("M/I", "must-be or indifferent")
    [clear] = kano_features(kano_of(M=45, I=30, A=45))
    assert clear.kind == "M/A", "of equal numbers the class that asks for more comes first"
    [alone] = kano_features(kano_of(M=60, I=30, A=30))
    assert (alone.kind, alone.verdict) == ("M", "must-be")
    assert alone.p is not None
    assert alone.p < 0.01


def test_the_last_word_of_a_customer_counts_and_few_make_no_class() -> None:
    pairs = [KanoPair("f", "c", "like", "like"), *(one._replace(customer="c") for one in kano_of(M=3))]
    [found] = kano_features(pairs)
    assert (found.n, found.shares["M"].value, found.kind, found.verdict) == (1, 100, "", "too few (n < 20)")
    [reverse] = kano_features(kano_of(R=25))
    assert (reverse.better.value, reverse.verdict) == (None, "reverse")
    assert kano_features([]) == []


# -- pyramid -----------------------------------------------------------------------------------------------------


def test_a_level_counts_only_if_those_below_hold() -> None:
    rows = [PyramidSaying("a", str(one), one < 55, one < 90, one < 90) for one in range(100)]
    rows += [PyramidSaying("b", str(one), one < 95, one < 90, one < 40) for one in range(100)]
    rows += [PyramidSaying("c", str(one), one < 95, None, one < 95) for one in range(100)]
    found = {one.place: one for one in pyramids(rows)}
    states = {place: [(level.state, level.counts) for level in one.levels] for place, one in found.items()}
    assert states["a"] == [("does not hold", False), ("holds", False), ("holds", False)]
    assert states["b"] == [("holds", True), ("holds", True), ("does not hold", False)]
    assert states["c"] == [("holds", True), ("not known", False), ("holds", False)]
    assert {place: (one.height, one.verdict) for place, one in found.items()} == {
        "a": (0, "needs met: does not hold"), "b": (2, "enjoyable: does not hold"),
        "c": (1, "no data: nobody says whether it was easy"),
    }  # fmt: skip
    assert [level.reached.value for level in found["a"].levels] == [55, 55, 55]
    assert [level.reached.value for level in found["b"].levels] == [95, 90, 40]
    assert [level.reached.n for level in found["c"].levels] == [100, 0, 0]


def test_a_level_near_its_target_is_not_known() -> None:
    [found] = pyramids([PyramidSaying("", str(one), one < 82, None, None) for one in range(100)])
    assert (found.levels[0].share.value, found.levels[0].state, found.height) == (82, "not known", 0)
    [sure] = pyramids([PyramidSaying("", str(one), one < 100, one < 95, one < 95) for one in range(100)])
    assert (sure.height, sure.verdict) == (3, "all levels count")
    with pytest.raises(ValueError, match="expected three percentages"):
        pyramids([], (80.0, 70.0))


@given(st.lists(st.tuples(*[st.sampled_from([True, False, None])] * 3), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_what_is_reached_never_grows_upwards(rows: list[tuple[bool | None, bool | None, bool | None]]) -> None:
    [found] = pyramids([PyramidSaying("", str(number), *row) for number, row in enumerate(rows)], (10.0, 10.0, 10.0))
    counts = [level.counts for level in found.levels]
    assert counts == sorted(counts, reverse=True)
    hits = [round((level.reached.value or 0) * level.reached.n / 100) for level in found.levels]
    assert hits == sorted(hits, reverse=True)


# -- you said, we did --------------------------------------------------------------------------------------------


def test_only_those_whose_time_is_over_are_in_the_rate() -> None:
    rows = [
        ImplementedFor("old", "in time", 0, 30 * DAY, -5 * DAY),
        ImplementedFor("old", "late", 0, 30 * DAY + 1),
        ImplementedFor("old", "never", 0, None),
        ImplementedFor("new", "told at once", 70 * DAY, 71 * DAY),
        ImplementedFor("new", "not yet", 70 * DAY, None),
        ImplementedFor("old", "in time", 10 * DAY, 90 * DAY),
    ]
    whole, old, new = informed_rates(rows, 90 * DAY)
    assert (whole.change, whole.customers, whole.pending, whole.late) == ("", 5, 2, 1)
    assert (old.change, old.rate.value, old.rate.n, old.days_to_tell) == (
        "old",
        pytest.approx(100 / 3),
        3,
        pytest.approx(30),
    )
    assert old.days_to_change == 5
    assert (new.rate.value, new.rate.n, new.pending, new.days_to_tell) == (None, 0, 2, 1)
    assert informed_rates([], 0) == []


def test_customers_of_one_change_are_told_together() -> None:
    """Ten changes of a hundred customers, told wholly or not at all: that is known of ten, not of a thousand."""
    rows = [
        ImplementedFor(f"c{change}", str(one), 0, DAY if change < 6 else None)
        for change in range(10) for one in range(100)
    ]  # fmt: skip
    whole = informed_rates(rows, 60 * DAY)[0].rate
    assert whole.value == pytest.approx(60)
    assert whole.lo is not None
    assert whole.hi is not None
    assert whole.hi - whole.lo > 60
    few = informed_rates([one for one in rows if one.change < "c4"], 60 * DAY)[0].rate
    assert (few.value, few.lo, few.hi) == (100, None, None)


# -- listening ---------------------------------------------------------------------------------------------------


def test_coverage_counts_touchpoints_and_visits_and_says_what_to_do() -> None:
    found = listening(
        [
            HeardTouchpoint("a", "web", 1_000, 200, 25, 5), HeardTouchpoint("b", "web", 500, 0, 0, 3),
            HeardTouchpoint("c", "shop", 900, 100, 10, 0), HeardTouchpoint("d", "", 100, 0, 0, 0),
            HeardTouchpoint("e", "app", 40, 40, 0, 0), HeardTouchpoint("f", "app", 12, 0, 0, 0),
            HeardTouchpoint("g", "app", 60, 50, 10, 0), HeardTouchpoint("h", "app", 80, 0, 9, 0),
        ],
        ["a", "b", "x"],
    )  # fmt: skip
    assert {one.touchpoint: one.advice() for one in found.touchpoints} == {
        "a": "", "b": "nobody is asked: add a survey", "c": "20 missing: ask 200 more, at a response of 10 %",
        "d": "not in the dictionary: add it, or correct the name", "e": "none of 40 answers: look at the way of asking",
        "f": "12 customers: look over a longer time", "g": "20 missing: raise the response of 20 %",
        "h": "say whom you ask: cx.survey.sent",
    }  # fmt: skip
    assert [one.touchpoint for one in found.touchpoints] == ["c", "b", "d", "h", "g", "e", "f", "a"]
    assert (found.heard, found.percent, found.unused) == (1, 12.5, ("x",))
    assert found.percent_of_visits == pytest.approx(100 * 1_000 / 2_692)
    assert found.unasked_percent == pytest.approx(100 * 8 / 62)
    nothing = listening([], ["x"])
    assert (nothing.percent, nothing.percent_of_visits, nothing.unasked_percent) == (None, None, None)


def test_names_of_classes_are_those_of_the_table() -> None:
    answers = ("like", "expect", "neutral", "tolerate", "dislike")
    assert {kano_class(*pair) for pair in product(answers, answers)} == set("AOMIRQ")
