"""KPIs made of others: what comes out, what is refused, and where they live."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.coupons import coupon_of
from streams.kpis.arithmetic.intervals import NOTHING, Measure, wilson
from streams.kpis.catalogue.catalogue import Catalogue, CatalogueError
from streams.kpis.folding.partials import Partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.publish import Publisher

CATALOGUE = Catalogue.load()
DERIVATIONS = Derivations(CATALOGUE)
DERIVED = [kpi for kpi in CATALOGUE if kpi.derive is not None]


def made(kpi_id: str, *inputs: tuple[str, Acc]) -> dict[str, Measure]:
    shuffled = random.Random(1).sample(inputs, len(inputs))
    found = DERIVATIONS.measures(CATALOGUE[kpi_id], shuffled)
    assert found == DERIVATIONS.measures(CATALOGUE[kpi_id], inputs), "the order of the inputs never shows"
    return dict(found)


def of(kpi: str, acc: Acc, **labels: str) -> tuple[str, Acc]:
    return series_key(kpi, tuple(labels.items())), acc


def test_gap_between_channels() -> None:
    """85 % on the web, 78 % in the app: 7 points; a channel of 29 answers takes no part, nor does `other`."""
    got = made(
        "csat_channel_gap",
        of("csat", [1000, 850], channel="web"), of("csat", [200, 156], channel="app"),
        of("csat", [29, 1], channel="store"), of("csat", [500, 0], channel="(other)"),
    )  # fmt: skip
    (lo, _), (_, hi) = wilson(850, 1000), wilson(156, 200)
    below = ((85 - 100 * lo) ** 2 + (100 * hi - 78) ** 2) ** 0.5
    assert got[""] == (7.0, 200, pytest.approx(7 - below), got[""].hi)
    assert got["z"].value == pytest.approx(2.455, rel=0.02), "near the pooled statistic of the golden vector"
    assert got["z"].value == pytest.approx(7 / (below / 1.959964))


def test_no_gap_without_two_channels() -> None:
    """Never 0."""
    assert made("csat_channel_gap", of("csat", [1000, 850], channel="web")) == {"": NOTHING, "z": NOTHING}


def test_listening_coverage() -> None:
    """Four touchpoints in use, one with answers enough: 25 %; one that is heard but not in use does not count."""
    places = [("web", "search"), ("web", "checkout"), ("app", "search"), ("store", "till")]
    inputs = [of("volume", [9], channel=channel, touchpoint=place) for channel, place in places]
    inputs += [
        of("feedback_received", [n], channel=c, touchpoint=t) for (c, t), n in zip(places, [30, 29, 1], strict=False)
    ]
    inputs.append(of("feedback_received", [99], channel="app", touchpoint="gone"))
    assert made("listening_coverage", *inputs)[""] == (25.0, 4, None, None)


def test_perception_gap() -> None:
    """80 % believed, 8 % found: 72 points."""
    got = made("perception_gap", of("self_score", [2, 1600, 1_280_000]), of("csat", [100, 8]))[""]
    assert got.value == pytest.approx(72.0)
    assert got.n == 2


def test_srm() -> None:
    """5150 to 4850: chi-square 9.0, p 0.0027, no alarm at 0.001."""
    got = made(
        "assignment_mismatch",
        of("experiment_sessions", [5150], experiment="x", variant="a"),
        of("experiment_sessions", [4850], experiment="x", variant="b"),
    )  # fmt: skip
    assert got["chi2"].value == pytest.approx(9.0)
    assert got[""].value == pytest.approx(0.0027, abs=5e-5)
    assert got[""].n == 10_000


def test_self_service_score() -> None:
    """Four readers of help for each who needs us; both counted once however often they come."""
    readers = {coupon_of(f"c{n}"): 3 for n in range(4)}
    got = made("self_service_score", of("help_readers", readers), of("contacting_customers", {coupon_of("c9"): 7}))[""]
    assert got.value == 4.0
    assert got.lo is not None
    assert got.hi is not None
    assert got.lo <= 4.0 <= got.hi


def test_the_index_is_hidden_when_too_little_is_known() -> None:
    """Weights 3, 2, 2, 1, 1: without effort and recommendation five ninths are known."""
    csat, level, late = (
        of("csat", [100, 80]),
        of("service_level_all_offered", [100, 60]),
        of("delivery_lateness", [100, 10]),
    )
    got = made("cx_index", csat, level, late)
    assert got[""] == NOTHING
    assert got["coverage"].value == pytest.approx(100 * 5 / 9)
    nps = of("nps", [100, 50, 20])
    got = made("cx_index", csat, level, late, nps)
    assert got[""].value == pytest.approx((3 * 80 + 60 + 90 + 2 * 65) / 7)
    assert got["coverage"].value == pytest.approx(100 * 7 / 9)
    assert got[""].n == 100
    assert got[""].lo is not None
    assert got[""].value is not None
    alone = measure("ratio", [100, 80], unit="percent")
    assert alone.value is not None
    assert alone.lo is not None
    assert got[""].value - got[""].lo < alone.value - alone.lo, "several inputs are surer than one"


def test_a_series_knows_what_it_is_an_input_of() -> None:
    """By channel for the gap and the index of that channel, as a whole for the index and the perception gap."""
    assert set(DERIVATIONS.of(series_key("csat", (("channel", "web"),)))) == {
        series_key("csat_channel_gap"), series_key("cx_index", (("channel", "web"),)),
    }  # fmt: skip
    assert set(DERIVATIONS.of("csat")) == {"cx_index", "perception_gap"}
    assert DERIVATIONS.of(series_key("csat", (("region", "r"),))) == []
    assert DERIVATIONS.of("asa") == []


@pytest.mark.parametrize("partitions", [1, 3, 4, 7, 64])
def test_connected_kpis_share_a_partition(partitions: int) -> None:
    """Each with all of its inputs; what is not connected lives where it did."""
    for kpi in DERIVED:
        assert kpi.derive
        homes = {CATALOGUE.partition_of(part.kpi, partitions) for part in kpi.derive.parts}
        assert homes == {CATALOGUE.partition_of(kpi.id, partitions)}
    connected = [kpi.id for kpi in CATALOGUE if CATALOGUE.colocation.get(kpi.id) == CATALOGUE.colocation["csat"]]
    assert min(connected) == CATALOGUE.colocation["csat"]
    assert "asa" not in CATALOGUE.colocation


def test_the_definition_changes_with_that_of_an_input() -> None:
    """What is derived means something else."""
    text = """
- {id: a, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s, owner: o,
   groupings: [[], [channel]], of: {events: cx.session.started}}
- {id: b, name: n, question: q, unit: points, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[]], derive: {how: gap, of: a, over: channel}}
"""
    before = Catalogue.parse(text)
    after = Catalogue.parse(text.replace("session.started}", "session.ended}"))
    assert before["b"].definition_id != after["b"].definition_id
    assert before["b"].definition_id == Catalogue.parse(text.replace("name: n", "name: m"))["b"].definition_id


GAP = """
- {id: b, name: n, question: q, unit: points, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[]], derive: {how: gap, of: csat, over: channel}}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("of: csat,", "of: csta,", "there is no KPI 'csta'; did you mean 'csat'?"),
        ("of: csat,", "of: cx_index,", "cx_index is made of others itself"),
        ("over: channel", "over: device", "csat is not kept by device, as is needed"),
        ("how: gap", "how: gasp", "'how' cannot be 'gasp'"),
        ("unit: points", "unit: percent", "unit 'percent' is impossible for gap"),
        (", over: channel", "", "'over' is missing"),
        ("over: channel", "over: []", "'over' names no label"),
        ("how: gap, of: csat, over: channel", "how: index, parts: []", "'parts' names no KPI"),
        ("how: gap, of: csat, over: channel", "how: index, parts: [{kpi: csat, weight: .inf, worst: 0, best: 1}]",
         "must be a name and three numbers"),
        ("how: gap, of: csat, over: channel", "how: index, covering: true, parts: [{kpi: csat}]", "not True"),
        ("derive:", "of:", "'derive' is missing"),
        ("[[]]", "[[region]]", "csat is not kept by channel, region, as is needed"),
    ],
)  # fmt: skip
def test_derivations_that_cannot_be_are_refused(old: str, new: str, says: str, tmp_path) -> None:
    """With file, line and what would be right."""
    file = tmp_path / "mine.yaml"
    file.write_text(GAP.replace(old, new), encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.load([file])
    assert any(says in problem and f"{file}:" in problem for problem in caught.value.problems)


def test_only_what_is_counted_can_be_assigned() -> None:
    """A share of customers is nothing that variants get."""
    text = GAP.replace("how: gap", "how: srm").replace("unit: points", "unit: fraction").replace("id: b", "id: mine")
    with pytest.raises(CatalogueError, match="answers is a ratio: what is assigned must be counted"):
        Catalogue.parse(
            text.replace("of: csat", "of: answers")
            + """
- {id: answers, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[channel]], of: {events: cx.survey.answered}, hits: {where: score > 3}}
"""
        )


def test_it_is_published_with_whatever_it_is_made_of() -> None:
    """In every window, until the inputs fall out; then once more, without a value."""
    state = MergeState(windows=("1m", "5m"), idle_s=30, grace_s=0, derivations=DERIVATIONS)
    publisher = Publisher(CATALOGUE)
    channels = [series_key("csat", (("channel", name),)) for name in ("web", "app")]
    deltas: dict[int, dict[str, Acc]] = {100: {channels[0]: [100, 90], channels[1]: [100, 70]}, 101: {"asa": [1, 1, 1]}}
    state.apply(Partial(source="web/0", first=0, last=1, watermark=6060.0, caught_up=True, deltas=deltas), 0)
    seen: dict[tuple[str, int, str], float | None] = {}
    for minute in range(101, 109):
        state.apply(Partial(source="web/0", first=1, last=0, watermark=minute * 60.0, caught_up=True), minute)
        for row in state.drain_outputs(minute * 60.0).values:
            for value in publisher.values(row):
                if value.kpi == "csat_channel_gap" and not value.stat and value.maturity == "closed":
                    seen[value.window, value.at // 60, value.stat] = value.value
    assert [seen.get(("1m", at, "")) for at in (101, 102)] == [pytest.approx(20.0), None]
    assert ("1m", 102, "") in seen
    assert ("1m", 103, "") not in seen
    assert [seen["5m", at, ""] for at in range(101, 106)] == [pytest.approx(20.0)] * 5
    assert seen["5m", 106, ""] is None
    assert all(b - a == 1 for a, b in pairwise(sorted(at for name, at, _ in seen if name == "5m")))
