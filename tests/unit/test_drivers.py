"""Drivers by golden vectors and against SciPy: strata, regression, levels, many tests at once."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from scipy import stats

from streams.drivers.definition import Driver, worth
from streams.drivers.discovery import false_discovery
from streams.drivers.levels import DriverLevel, gain_of, level_names
from streams.drivers.regression import Association, Regression, shares_explained
from streams.drivers.strata import Side, stratified
from streams.kpis.arithmetic.distributions import f_tail, student_tail
from tests.harness.golden import golden

# -- strata --------------------------------------------------------------------------------------------------------


def test_06_driver_simpson() -> None:
    case = golden("06-driver-simpson.yaml")
    wanted = case["expect"]
    strata = {
        row["topic"]: (Side.of_share(row["app_sat"], row["app_n"]), Side.of_share(row["phone_sat"], row["phone_n"]))
        for row in case["input"]["rows"]
    }
    found = stratified(strata)
    assert found.pooled == pytest.approx(wanted["pooled_diff_pp"])
    assert [*found.by_stratum.values()] == pytest.approx(wanted["diff_by_stratum_pp"])
    assert found.value == pytest.approx(wanted["mantel_haenszel_diff_pp"])
    assert found.se == pytest.approx(wanted["se_pp"])
    assert found.ends == pytest.approx(wanted["ci95_pp"], abs=5e-5)
    assert found.verdict == (
        "not confirmed within strata; the pooled difference is of the mix of strata and has the wrong sign"
    )


def test_strata_with_one_side_or_none_are_left_out_and_said() -> None:
    both = (Side.of_share(45, 50), Side.of_share(255, 300))
    found = stratified({
        "both": both, "only app": (Side.of_share(30, 30), Side.of_share(0, 0)), "empty": (Side(0, 0, 0), Side(0, 0, 0)),
    })  # fmt: skip
    assert found.left_out == {"only app": 30, "empty": 0}
    assert (found.value, found.by_stratum) == (pytest.approx(5.0), {"both": pytest.approx(5.0)})
    assert found.pooled == pytest.approx(100 * (75 / 80 - 255 / 300))
    for strata in (
        {"one": (Side.of_share(5, 9), Side(0, 0, 0))},
        {},
        {"two": (Side.of_share(1, 2), Side.of_share(0, 3))},
    ):
        few = stratified(strata)
        assert (few.value, few.ends) == (None, None)
        assert few.verdict.startswith("too few to compare")


def test_sides_that_are_all_alike_are_not_certain() -> None:
    """Five of five is not 100 % for ever: the interval has a width."""
    found = stratified({"all": (Side.of_share(12, 12), Side.of_share(12, 12))})
    assert found.value == 0.0
    assert found.ends is not None
    assert found.ends[1] > 5.0
    assert found.verdict == "not confirmed within strata"
    same = stratified({"all": (Side.of_values([4.0] * 12), Side.of_values([3.0] * 12))})
    assert same.verdict == "not known: all answers of a side and stratum are alike"
    with pytest.raises(ValueError, match="13 hits among 12 answers"):
        Side.of_share(13, 12)
    with pytest.raises(ValueError, match="answer 1 of a side is no number"):
        Side.of_values([1.0, nan])


def test_intervals_within_strata_hold_what_they_promise() -> None:
    rng, held, runs = np.random.default_rng(8), 0, 600
    for _ in range(runs):
        strata = {}
        for name, base, share in (("easy", 0.85, 0.2), ("hard", 0.35, 0.8)):
            app, phone = int(200 * share), int(200 * (1 - share))
            strata[name] = (
                Side.of_share(int(rng.binomial(app, base + 0.06)), app), Side.of_share(int(rng.binomial(phone, base)), phone)
            )  # fmt: skip
        ends = stratified(strata).ends
        assert ends is not None
        held += ends[0] <= 6 <= ends[1]
    assert 0.925 <= held / runs <= 0.975


# -- regression ----------------------------------------------------------------------------------------------------


def known(found: Association | None) -> Association:
    assert found is not None
    return found


def test_07_driver_collinear() -> None:
    case = golden("07-driver-collinear.yaml")
    rows, wanted = case["input"]["rows"], case["expect"]
    y = [row["csat"] for row in rows]
    blocks = {name: [row[name] for row in rows] for name in ("wait_min", "queue_steps")}
    joint = Regression(y, blocks, robust=False)
    assert joint.n == wanted["n"]
    assert joint.r2 == pytest.approx(wanted["r2"], abs=5e-5)
    assert joint.p == pytest.approx(float(wanted["joint_F_p"]), rel=0.05)
    for name, single in wanted["single"].items():
        found = known(Regression(y, {name: blocks[name]}, robust=False).change({name: [1.0]}))
        assert found.value == pytest.approx(single["slope"], abs=5e-5)
        assert found.p == pytest.approx(float(single["p"]), rel=0.05)
        assert found.inflation == pytest.approx(1.0)
        found = known(joint.change({name: [1.0]}))
        assert found.value == pytest.approx(wanted["joint_model"][name]["slope"], abs=5e-5)
        assert [found.lo, found.hi] == pytest.approx(wanted["joint_model"][name]["ci95"], abs=5e-5)
        assert found.p == pytest.approx(wanted["joint_model"][name]["p"], abs=5e-5)
        assert found.inflation == pytest.approx(wanted["vif_with_constant"], abs=5e-4)
    assert joint.inflation({"wait_min": [1.0]}, "queue_steps") == pytest.approx(wanted["vif_with_constant"], abs=5e-4)


def test_robust_errors_are_those_of_hc3() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(size=60), rng.exponential(size=60)])
    y = x @ [1.0, -2.0] + rng.normal(size=60) * (0.2 + x[:, 1])
    design = np.column_stack([np.ones(60), x])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    residuals = (y - design @ beta) / (1 - np.einsum("ij,jk,ik->i", design, inverse, design))
    covariance = inverse @ (design * residuals[:, None] ** 2).T @ design @ inverse
    found = Regression(y, {"both": x})
    for place in (0, 1):
        one = known(found.change({"both": np.eye(2)[place]}))
        assert (one.value, one.se) == pytest.approx((beta[place + 1], np.sqrt(covariance[place + 1, place + 1])))
        assert one.p == pytest.approx(2 * stats.t.sf(abs(one.value / one.se), 57))
    assert known(found.change({"both": [1.0, 1.0]})).value == pytest.approx(beta[1] + beta[2])


def test_answers_of_one_customer_go_together() -> None:
    """The same answers said three times over are no more certain."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=80), rng.normal(size=80)
    once = known(Regression(y, {"x": x}).change({"x": [1.0]}))
    thrice = Regression(np.repeat(y, 3), {"x": np.repeat(x, 3)}, np.repeat(np.arange(80), 3))
    assert known(thrice.change({"x": [1.0]})).se == pytest.approx(once.se, rel=0.06)


def test_what_is_one_cannot_be_taken_apart_but_is_known_together() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=50)
    fit = Regression(-2 * x + rng.normal(size=50), {"wait": x, "steps": 3 * x + 1, "same": np.ones(50)})
    assert fit.change({"wait": [1.0]}) is None
    assert fit.change({"steps": [1.0]}) is None
    assert fit.change({"same": [1.0]}) is None
    assert fit.inflation({"wait": [1.0]}, "steps") == inf
    together = known(fit.change({"wait": [1.0], "steps": [3.0]}))
    assert together.lo < -2 < together.hi
    assert together.inflation == pytest.approx(1.0)


def test_a_single_answer_decides_nothing() -> None:
    rng = np.random.default_rng(6)
    alone, x = np.zeros(40), rng.normal(size=40)
    alone[7] = 1
    fit = Regression(rng.normal(size=40), {"alone": alone, "x": x})
    assert fit.change({"alone": [1.0]}) is None
    without = Regression(np.delete(fit._y, 7), {"x": np.delete(x, 7)})
    assert known(fit.change({"x": [1.0]})).value == pytest.approx(known(without.change({"x": [1.0]})).value)


def test_errors_by_customer_are_those_of_leaving_each_out() -> None:
    """Solved customer by customer, some with many answers."""
    rng = np.random.default_rng(12)
    sizes = [1, 2, 3, 1, 9, 4, 2, 2, 1, 5, 3, 1, 12, 2, 1, 3]
    customers = np.repeat(np.arange(len(sizes)), sizes)
    n = len(customers)
    x = np.column_stack([rng.normal(size=len(sizes))[customers], rng.normal(size=n), rng.random(n) < 0.4]).astype(float)
    y = x[:, 0] + rng.normal(size=len(sizes))[customers] + rng.normal(size=n)
    design = np.column_stack([np.ones(n), x])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    scores = []
    for customer in range(len(sizes)):
        mine = customers == customer
        hat = design[mine] @ inverse @ design[mine].T
        scores.append(design[mine].T @ np.linalg.solve(np.eye(mine.sum()) - hat, (y - design @ beta)[mine]))
    meat = np.array(scores).T @ np.array(scores)
    errors = np.sqrt(np.diag(inverse @ meat @ inverse))[1:]
    shuffled = rng.permutation(n)
    found = Regression(y[shuffled], {"x": x[shuffled]}, customers[shuffled])
    assert [known(found.change({"x": step})).se for step in np.eye(3).tolist()] == pytest.approx(errors)


@pytest.mark.parametrize("answers", [2, 70])
def test_a_single_customer_decides_nothing_however_often_they_answer(answers: int) -> None:
    rng = np.random.default_rng(13)
    customers = np.concatenate([np.arange(60), np.full(answers, 60)])
    only = (customers == 60).astype(float)
    x = rng.normal(size=len(customers))
    fit = Regression(rng.normal(size=len(customers)) + 3 * only, {"only": only, "x": x}, customers)
    assert fit.change({"only": [1.0]}) is None
    assert known(fit.change({"x": [1.0]})).se > 0.05


@pytest.mark.parametrize(
    ("outcome", "blocks", "said"),
    [
        ([4, 4, 4, 4], {"x": [1, 2, 3, 4]}, "all 4 answers are alike"),
        ([1, 2, nan, 4], {"x": [1, 2, 3, 4]}, "outcome: row 2 holds no number up to 1e[+]100$"),
        ([1e300, 2, 3, 4], {"x": [1, 2, 3, 4]}, "outcome: row 0 holds no number up to"),
        ([1, 2, 3, 4], {"x": [1, inf, 3, nan]}, "x: row 1 holds no number up to 1e[+]100, and so do 1 others"),
        ([1, 2, 3, 4], {"x": [1, 2, 3]}, "x: expected 4 rows"),
        ([1, 2, 3, 4], {}, "at least one block"),
        ([], {"x": []}, "outcome: expected some rows"),
        ([1, 2], {"x": [1, 2]}, "2 customers are too few for 1 columns that differ: at least 3"),
    ],
)
def test_what_is_missing_is_said(outcome: list[float], blocks: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Regression(outcome, blocks)


@pytest.mark.parametrize(("name", "step"), [("z", [1.0]), ("x", [1.0, 2.0]), ("x", [])])
def test_a_step_of_what_is_not_in_the_model_is_refused(name: str, step: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{name}: no block of {len(step)} columns; there are x"):
        Regression([1, 2, 3.5, 2], {"x": [1, 2, 1, 2]}).change({name: step})


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(9)
    x, z = rng.normal(size=(2, 60))
    y = x + z + rng.normal(size=60)
    plain = known(Regression(y, {"x": x, "z": z}).change({"x": [1.0]}))
    for factor, offset in ((1e-9, 0.0), (1e12, 5.0), (1.0, 1e6)):
        other = known(Regression(y, {"x": x * factor + offset, "z": z}).change({"x": [factor]}))
        assert [*other] == pytest.approx([*plain], rel=1e-5)


def test_shares_explained_are_r2() -> None:
    rng = np.random.default_rng(14)
    others = rng.normal(size=(50, 3))
    columns = np.column_stack(
        [others @ [1.0, 2.0, 0.0] + rng.normal(size=50), others[:, 2] * 5 + 1, rng.normal(size=50)]
    )
    wanted = [Regression(column, {"others": others}).r2 for column in columns.T]
    assert shares_explained(columns, others) == pytest.approx(wanted)


# -- levels ----------------------------------------------------------------------------------------------------------


def test_08_driver_nonlinear_wait() -> None:
    case = golden("08-driver-nonlinear-wait.yaml")
    wanted = case["expect"]
    levels = [DriverLevel(one["wait"], one["n"], one["mean"], 0.9) for one in case["input"]["buckets"]]
    found = gain_of(levels, "60-120 s", ["120-300 s", "300+ s"])
    assert found.value == pytest.approx(wanted["gain_by_buckets"], abs=5e-5)
    assert found.se == pytest.approx(wanted["gain_se"], abs=5e-5)
    assert [found.lo, found.hi] == pytest.approx(wanted["gain_ci95"], abs=5e-5)
    assert found.touched == wanted["customers_touched"]
    assert sum(found.by_level.values()) == pytest.approx(found.value)
    slope, _ = np.polyfit([one["mid_s"] for one in case["input"]["buckets"]], [one.mean for one in levels], 1,
                          w=np.sqrt([one.n for one in levels]))  # fmt: skip
    assert 60 * slope == pytest.approx(wanted["linear_slope_per_min"], abs=5e-5)
    sooner = gain_of(levels, "0-30 s", ["30-60 s"])
    assert sooner.value * sum(one.n for one in levels) / sooner.touched <= 0.02 + 1e-9


@pytest.mark.parametrize(
    ("target", "moved", "said"),
    [
        ("low", ["none"], "expected other levels"), ("low", ["low"], "expected other levels"), ("low", [], "expected other"),
        ("low", ["one"], "'one' has 1 answers"), ("empty", ["low"], "'empty' has 0 answers"),
    ],
)  # fmt: skip
def test_levels_of_which_nothing_is_known_are_refused(target: str, moved: list[str], said: str) -> None:
    levels = [DriverLevel("low", 30, 4, 1), DriverLevel("one", 1, 3, 0), DriverLevel("empty", 0, 0, 0)]
    with pytest.raises(ValueError, match=said):
        gain_of(levels, target, moved)


def test_levels_are_named_by_their_ends() -> None:
    assert level_names((30, 60), "s") == ["up to 30 s", "30 to 60 s", "over 60 s"]
    assert level_names((0, 1), "") == ["0", "1", "2 or more"]
    assert level_names((0, 3), "") == ["0", "1 to 3", "4 or more"]
    assert level_names((0.5,), "h") == ["up to 0.5 h", "over 0.5 h"]
    with pytest.raises(ValueError, match="wait: the ends of levels"):
        Driver("wait", (60, 30))


def test_what_answers_are_worth() -> None:
    assert worth("nps", [0, 6, 7, 8, 9, 10], [None] * 6)[0].tolist() == [-100, -100, 0, 0, 100, 100]
    assert worth("satisfied", [2, 3], [3, 3])[0].tolist() == [0, 100]
    values, scale = worth("satisfied", [4, 3, 5, 9], [5, 5, None, 10])
    assert (values[:3].tolist(), scale) == ([100, 0, 100], 5)
    assert np.isnan(values[3])
    with pytest.raises(ValueError, match="no answer of ces"):
        worth("ces", [], [])


# -- many tests ------------------------------------------------------------------------------------------------------


def test_09_driver_false_discovery() -> None:
    case = golden("09-driver-false-discovery.yaml")
    wanted = case["expect"]
    found = false_discovery(case["input"]["p_values"], case["input"]["alpha_fdr"])
    assert found.m == wanted["m"]
    assert {name: found.q[name] for name in wanted["q_values"]} == pytest.approx(wanted["q_values"], abs=5e-5)
    assert [*found.kept] == wanted["kept"]
    assert (found.not_assessable, found.q["region_single"]) == (("region_single",), None)


def test_false_discoveries_are_controlled_as_scipy_does() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = np.round(rng.uniform(size=int(rng.integers(1, 30))) ** 3, 2)  # with ties
        found = false_discovery({str(place): float(one) for place, one in enumerate(p)})
        assert [*found.q.values()] == pytest.approx(stats.false_discovery_control(p))


def test_what_cannot_be_tested_neither_poisons_nor_counts() -> None:
    assert false_discovery({"a": 0.01, "b": nan, "c": None}).q == {"a": 0.01, "b": None, "c": None}
    nothing = false_discovery({"b": None})
    assert (nothing.m, nothing.kept) == (0, ())
    with pytest.raises(ValueError, match=r"wait: the p value 1\.2"):
        false_discovery({"wait": 1.2})
    with pytest.raises(ValueError, match="alpha"):
        false_discovery({"wait": 0.2}, 1.0)


def test_tails_of_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        value, over, under = 10 ** rng.uniform(-2, 2), int(rng.integers(1, 40)), int(rng.integers(1, 5_000))
        assert f_tail(value, over, under) == pytest.approx(stats.f.sf(value, over, under), rel=1e-8, abs=1e-200)
        assert student_tail(value, under) == pytest.approx(stats.t.sf(value, under), rel=1e-8, abs=1e-200)
    assert f_tail(0.0, 2, 3) == 1.0
