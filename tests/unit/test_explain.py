"""Which label values explain a change: one part, all alike, the mix, a new part, the most specific set, no noise."""

from random import Random

import pytest

from streams.alerts.explaining.explain import AT_MOST, baseline_of, change_of, explain
from streams.alerts.explaining.likelihood import BeforeAfter, likelihood_z
from streams.alerts.facts import Facts
from streams.alerts.judging.evidence import SURER
from streams.kpis.language.series import series_key

RATIO = Facts("ratio", "up", "percent")
KPI = "k"


def key(**labels: str) -> str:
    return series_key(KPI, tuple(labels.items()))


def explained(parts, facts=RATIO, *, within=None, extra=None, minutes=(1425, 15), surer=0.0):
    """Explain the change of a whole from the parts of one or more groupings: label values to (before, after)."""
    series = {}
    for labels, (earlier, later) in parts.items():
        series[key(**dict(labels))] = BeforeAfter(earlier, later)
    first = {tuple(name for name, _ in labels) for labels in parts}
    names = next(iter(sorted(first)))
    sides = []
    for side in (0, 1):
        held = [pair[side] for labels, pair in parts.items() if tuple(n for n, _ in labels) == names and pair[side]]
        if extra and extra[side]:
            held.append(extra[side])
        if facts.aggregator == "quantile":
            whole: dict[int, int] = {}
            for acc in held:
                for index, count in acc.items():
                    whole[index] = whole.get(index, 0) + count
            sides.append(whole)
        else:
            sides.append([sum(column) for column in zip(*held, strict=True)])
    top = key(**dict(within or ()))
    series[top] = BeforeAfter(*sides)
    return explain(facts, top, list(series), series.__getitem__, minutes=minutes, surer=surer)


@pytest.mark.parametrize("sides", [([0, 3], [0, 30]), ([0, 3], [40, 90]), ([40, 90], [0, 3])])
def test_hits_without_trials_are_no_evidence(sides) -> None:
    """Crashes of a version of which no session began in that time: nothing can be said of their rate."""
    assert likelihood_z(RATIO, BeforeAfter(*sides), (60, 15)) == 0.0


def split(rng: Random, n: int, share: float, values: int, label: str, bad: str | None = None, drop: float = 0.0):
    """Deal answers to label values: before all alike, after with a drop of one of them."""
    parts = {}
    for number in range(values):
        value = f"{label}{number}"
        sizes = [n * 20 // values, n // values]
        rates = [share, share - drop if value == bad else share]
        accs = [[size, sum(rng.random() < rate for _ in range(size))] for size, rate in zip(sizes, rates, strict=True)]
        parts[((label, value),)] = tuple(accs)
    return parts


def test_one_part_that_fell_is_named():
    """It explains nearly all, and the others next to nothing."""
    first, *others = explained(split(Random(1), 5000, 0.85, 5, "queue", "queue2", 0.4))
    assert first.labels == {"queue": "queue2"}
    assert 0.85 < first.explained < 1.2
    assert first.rate_effect < 0
    assert abs(first.share_effect) < 1
    assert first.statistic is not None
    assert first.statistic < -9
    assert all(part.explained < 0.2 for part in others)


def test_where_little_is_known_a_part_must_win_by_more():
    """Of an open minute: the largest of three parts that all fell looks worst for a moment, one that fell alone stays."""
    pages = {"home": ([3000, 60], [24, 9]), "cart": ([1500, 30], [12, 1]), "search": ([1500, 30], [12, 0])}
    fell = {(("page", name),): sides for name, sides in pages.items()}
    falling = Facts("ratio", "down", "percent")
    assert explained(fell, falling)[0].labels == {"page": "home"}
    assert explained(fell, falling, surer=SURER)[0].labels == {}
    alone = split(Random(1), 500, 0.85, 5, "queue", "queue2", 0.6)
    assert explained(alone, surer=SURER)[0].labels == {"queue": "queue2"}


def test_all_alike_name_none():
    """The whole comes first, without labels; its largest parts may follow."""
    rng = Random(2)
    parts = {
        (("queue", f"q{number}"),): ([2000, 1700], [100, sum(rng.random() < 0.5 for _ in range(100))])
        for number in range(6)
    }
    first, *others = explained(parts)
    assert (first.labels, first.explained) == ({}, 1.0)
    assert first.value == pytest.approx(50, abs=5)
    assert all(0.1 < other.explained < 0.3 for other in others)


@pytest.mark.parametrize("seed", range(5))
def test_alike_is_hardly_ever_mistaken(seed):
    """With twenty parts in two groupings and little evidence, chance looks like a cause now and then; not here."""
    rng = Random(seed)
    parts = {}
    for label, values in (("region", 15), ("segment", 5)):
        for number in range(values):
            n = 600 // values
            parts[((label, f"{label}{number}"),)] = (
                [n * 20, round(n * 20 * 0.85)],
                [n, sum(rng.random() < 0.78 for _ in range(n))],
            )
    assert explained(parts)[0].labels == {}


def test_few_answers_of_a_small_part_are_no_cause():
    """Five of five being bad looks terrible, and explains nothing."""
    parts = split(Random(3), 1000, 0.85, 4, "queue", "queue1", 0.4)
    parts[(("queue", "tiny"),)] = ([60, 60], [5, 0])
    found = explained(parts)
    assert found[0].labels == {"queue": "queue1"}
    assert not any(part.labels == {"queue": "tiny"} for part in found)


def test_the_mix_is_told_from_quality():
    """No part fell; there is more of the one that always was worse."""
    parts = {
        (("channel", "web"),): ([9000, 8550], [200, 190]),
        (("channel", "call_center"),): ([1000, 600], [600, 360]),
    }
    first = explained(parts)[0]
    assert first.labels == {"channel": "call_center"}
    assert abs(first.share_effect) > 20 * abs(first.rate_effect)


@pytest.mark.parametrize(
    ("before", "old", "new", "crashes"),
    [(None, 900, 2000, 200), (None, 2800, 200, 12), (None, 50, 4000, 80), ([24, 0], 210, 550, 46)],
    ids=["half-way", "soon", "late", "hardly there"],
)
def test_a_part_that_was_not_there_before_is_named(before, old, new, crashes):
    """A new release has no past to compare with: it is held against the whole. The old one only made way for it."""
    down = Facts("ratio", "down", "percent")
    n, all_ = 20000 + (before or [0, 0])[0], [old + new, crashes + old // 900]
    android = [count * 2 // 3 for count in all_]
    parts = {
        (("version", "5.2.1"),): ([20000, 20], [old, old // 900]),
        (("version", "5.3.0"),): (before, [new, crashes]),
        (("platform", "android"),): ([13000, 13], android),
        (("platform", "ios"),): ([n - 13000, 7], [all_[0] - android[0], all_[1] - android[1]]),
    }
    found = explained(parts, down)
    assert found[0].labels == {"version": "5.3.0"}
    assert found[0].explained == pytest.approx(1, abs=0.2)
    assert {"version": "5.2.1"} not in [part.labels for part in found]


def test_a_part_that_grew_while_it_fell_is_named():
    """A release half rolled out before anybody looks: it crashes more than it did, and there is more of it."""
    down = Facts("ratio", "down", "percent")
    parts = {
        (("version", "5.2.1"),): ([4600, 8], [240, 0]),
        (("version", "5.3.0"),): ([170, 5], [540, 43]),
    }
    found = explained(parts, down)
    assert [part.labels for part in found] == [{"version": "5.3.0"}]
    assert found[0].explained == pytest.approx(0.67, abs=0.05)


def test_a_part_that_fell_deepest_with_all_others_is_not_named():
    """Every queue gives up more, one much more: that is no trouble of one queue."""
    down = Facts("ratio", "down", "percent")
    parts = {(("queue", name),): ([500, 25], [40, 9]) for name in ("billing", "sales", "technical")}
    parts[("queue", "orders"),] = ([1200, 40], [90, 45])
    first, second, *_ = explained(parts, down)
    assert first.labels == {}
    assert second.labels == {"queue": "orders"}
    assert second.explained > 0.6
    parts |= {(("queue", name),): ([500, 25], [40, 3]) for name in ("billing", "sales", "technical")}
    assert explained(parts, down)[0].labels == {"queue": "orders"}, "alone"


def test_of_a_part_and_a_part_around_it_the_surer_is_named():
    """One topic of a queue fell; the queue explains more, by the luck of its other topics."""
    down = Facts("ratio", "down", "percent")
    parts = {
        (("queue", "technical"),): ([600, 39], [105, 39]),
        (("queue", "orders"),): ([2400, 151], [425, 28]),
        (("topic", "app_problem"),): ([345, 22], [54, 30]),
        (("topic", "login"),): ([255, 17], [51, 9]),
        (("topic", "order_status"),): ([2400, 151], [425, 28]),
    }
    assert explained(parts, down)[0].labels == {"topic": "app_problem"}


def test_a_part_that_fell_with_what_is_around_it_is_not_named():
    """All topics of a queue fell, the largest deepest, and surer than the queue as a whole: it is the queue."""
    down = Facts("ratio", "down", "percent")
    parts = {
        (("queue", "billing"),): ([688, 45], [121, 57]),
        (("queue", "orders"),): ([2400, 151], [425, 28]),
        (("topic", "payment"),): ([489, 20], [86, 44]),
        (("topic", "invoice"),): ([199, 25], [35, 13]),
        (("topic", "order_status"),): ([2400, 151], [425, 28]),
    }
    found = explained(parts, down)
    assert found[0].labels == {"queue": "billing"}
    payment = next(part for part in found if part.labels == {"topic": "payment"})
    assert payment.statistic > found[0].statistic
    parts[("topic", "payment"),], parts[("topic", "invoice"),] = ([489, 20], [86, 52]), ([199, 25], [35, 5])
    assert explained(parts, down)[0].labels == {"topic": "payment"}, "alone"


def test_of_old_and_new_parts_the_new_one_needs_less_to_be_named():
    """A release crashes; that the old one had two crashes, too, does not make it everybody."""
    down = Facts("ratio", "down", "percent")
    parts = {
        (("version", "5.2.1"),): ([6656, 8], [361, 3]),
        (("version", "5.3.0"),): (None, [400, 10]),
        (("platform", "android"),): ([5260, 6], [610, 10]),
        (("platform", "ios"),): ([1396, 2], [151, 3]),
    }
    found = explained(parts, down)
    assert found[0].labels == {"version": "5.3.0"}
    whole = likelihood_z(down, BeforeAfter([6656, 8], [761, 13]), (1425, 15))
    assert found[0].statistic ** 2 < whole**2 + 1, "one that always was would need more, being one of four"


def test_the_most_specific_set_is_named():
    """Where one touchpoint of a channel fell, the channel is not the answer."""
    parts = {
        (("channel", "web"),): ([10000, 8500], [500, 330]),
        (("channel", "app"),): ([10000, 8500], [500, 425]),
        (("channel", "web"), ("touchpoint", "checkout")): ([4000, 3400], [200, 75]),
        (("channel", "web"), ("touchpoint", "search")): ([6000, 5100], [300, 255]),
        (("channel", "app"), ("touchpoint", "search")): ([10000, 8500], [500, 425]),
    }
    found = explained(parts)
    assert found[0].labels == {"channel": "web", "touchpoint": "checkout"}
    assert {"channel": "web"} not in [part.labels for part in found], "what says the same again is left out"


def test_a_part_of_a_part():
    """The series has labels itself: only what lies within it is looked at, and they are not repeated."""
    parts = {
        (("channel", "web"), ("touchpoint", "checkout")): ([4000, 3400], [200, 75]),
        (("channel", "web"), ("touchpoint", "search")): ([6000, 5100], [300, 255]),
    }
    series = {key(**dict(labels)): BeforeAfter(*pair) for labels, pair in parts.items()}
    series[key(channel="web")] = BeforeAfter([10000, 8500], [500, 330])
    series[key(channel="app")] = BeforeAfter([10000, 8500], [500, 100])
    series[key(channel="app", touchpoint="search")] = BeforeAfter([10000, 8500], [500, 100])
    series[key(segment="vip")] = BeforeAfter([1000, 850], [50, 5])
    found = explain(RATIO, key(channel="web"), list(series), series.__getitem__, minutes=(1425, 15))
    assert [part.labels for part in found] == [{"touchpoint": "checkout"}]


def test_what_has_no_label_is_a_part_without_a_name():
    """Half of the answers name no region: they fell, so no region is to blame."""
    parts = {
        (("region", "tehran"),): ([5000, 4250], [250, 212]),
        (("region", "gilan"),): ([5000, 4250], [250, 213]),
    }
    first = explained(parts, extra=([10000, 8500], [500, 250]))[0]
    assert first.labels == {}


def test_a_part_that_is_nearly_all_is_no_cause():
    """That all calls come from the call centre explains nothing."""
    assert [part.labels for part in explained({(("channel", "call_center"),): ([20000, 17000], [1000, 600])})] == [{}]


@pytest.mark.parametrize(
    ("facts", "alike", "fallen"),
    [
        (Facts("nps", "up", "points"), ([4000, 2000, 800], [200, 100, 40]), ([4000, 2000, 800], [200, 40, 100])),
        (
            Facts("mean", "down", "seconds", 10),
            ([400, 400_000, 410_000_000], [100, 100_000, 102_500_000]),
            ([400, 400_000, 410_000_000], [100, 160_000, 262_500_000]),
        ),
        (Facts("count", "up", "count"), ([9500], [100]), ([9500], [10])),
        (Facts("sum", "up", "currency"), ([9500, 95_000_000], [100, 1_000_000]), ([9500, 95_000_000], [10, 100_000])),
        (
            Facts("quantile", "down", "seconds", 1000, 0.9),
            ({400: 3300, 500: 200}, {400: 189, 500: 11}),
            ({400: 3300, 500: 200}, {400: 60, 500: 140}),
        ),
    ],
    ids=["nps", "mean", "count", "sum", "quantile"],
)
def test_every_kind_of_kpi_is_explained(facts, alike, fallen):
    """Each by its own mathematics; the cause is the same."""
    parts = {(("queue", name),): alike for name in ("a", "b", "c")}
    parts[("queue", "d"),] = fallen
    first = explained(parts, facts)[0]
    assert first.labels == {"queue": "d"}
    assert first.explained == pytest.approx(1, abs=0.35)


def test_silence_is_explained_too():
    """Nothing at all came: a number of events like any other, and everywhere alike."""
    count = Facts("count", "none", "count")
    series = {
        key(): BeforeAfter([9000], None),
        key(type="a"): BeforeAfter([5000], None),
        key(type="b"): BeforeAfter([4000], None),
    }
    found = explain(count, key(), list(series), series.__getitem__, minutes=(55, 5))
    assert found[0].labels == {}
    assert (found[0].n, found[0].baseline_n) == (0, 9000)


def test_no_past_no_explanation():
    """There is nothing to compare with, or nothing came."""
    for change in (BeforeAfter(None, [100, 50]), BeforeAfter([100, 50], None), BeforeAfter(None, None)):
        series = {key(): change, key(queue="a"): change}
        assert explain(RATIO, key(), list(series), series.__getitem__, minutes=(1, 1)) == []


def test_a_list_is_short():
    """Nobody reads the sixth cause; where many parts fell, no single one is it."""
    parts = {(("unit", f"u{n:02}"),): ([400, 340], [200, 60 if n < 8 else 170]) for n in range(40)}
    first, *others = explained(parts)
    assert first.labels == {}
    assert [part.labels["unit"] < "u08" for part in others] == [True] * (AT_MOST - 1)


@pytest.mark.parametrize(
    ("window", "aggregator", "expected"),
    [("15m", "ratio", "24h"), ("15m", "count", "1h"), ("24h", "ratio", "7d"), ("7d", "ratio", None)],
)
def test_finds_what_to_compare_with(window, aggregator, expected):
    """The day for levels; for volumes, which follow the hours, what came just before."""
    assert baseline_of(window, ("1m", "5m", "15m", "1h", "24h", "7d"), aggregator=aggregator) == expected


def test_a_change_leaves_the_window_out_of_the_reference():
    """The longer window holds both."""
    assert change_of([100, 80], [10, 2]) == BeforeAfter([90, 78], [10, 2])
    assert change_of([10, 2], [10, 2]) == BeforeAfter(None, [10, 2])
