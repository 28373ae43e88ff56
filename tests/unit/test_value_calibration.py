"""Predicted churn held against what came: by golden vectors, and by simulation."""

import random
from math import log

import pytest

from streams.value.calibration import Calibration, RiskBin, calibration, calibration_of_bins
from streams.value.purchases import Purchase
from streams.value.risk import ChurnScore, checked_models
from tests.harness.golden import golden


def judged(bins: list[RiskBin]) -> Calibration:
    found = calibration_of_bins(bins)
    assert found is not None
    return found


def test_10_churn_calibration() -> None:
    case = golden("10-churn-calibration.yaml")
    found = {
        model: judged([RiskBin(one["n"], one["churned"], one[f"predicted_{model}"]) for one in case["input"]["bins"]])
        for model in "AB"
    }
    for model, one in found.items():
        wanted = case["expect"][model]
        assert one.mean_predicted == pytest.approx(wanted["mean_predicted"], abs=5e-5)
        assert one.observed.value == pytest.approx(100 * wanted["observed"])
        assert one.error == pytest.approx(wanted["expected_calibration_error"], abs=5e-5)
        assert one.brier == pytest.approx(wanted["brier"], abs=5e-5)
        assert one.per_thousand == pytest.approx(wanted["predicted_churners_of_1000"], abs=0.05)
        assert one.usable is wanted["usable"]
        assert one.brier_of_rate == pytest.approx(case["expect"]["brier_of_constant_base_rate"], abs=5e-5)
    assert found["A"].auc == pytest.approx(found["B"].auc), "the ranking is the same"
    assert found["B"].verdict == "not calibrated, not used"
    assert found["A"].expected == pytest.approx(90)
    assert found["A"].churned == 90


def simulated(seed: int, n: int, said: float = 1.0) -> list[tuple[float, bool]]:
    """Customers whose odds to leave are said `said` times too high."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        true = rng.betavariate(1.2, 8)
        odds = said * true / (1 - true)
        found.append((odds / (1 + odds), rng.random() < true))
    return found


@pytest.mark.slow
def test_a_right_model_is_used_and_a_wrong_one_is_not() -> None:
    """Of a hundred right ones few are refused by chance; wrong ones are all refused, while their ranking is as good."""
    right = [calibration(simulated(seed, 1_000)) for seed in range(100)]
    wrong = [calibration(simulated(seed, 1_000, 3.0)) for seed in range(20)]
    low = [calibration(simulated(seed, 1_000, 0.4)) for seed in range(20)]
    assert sum(one is not None and one.usable for one in right) >= 95
    assert {one.verdict for one in [*wrong, *low] if one is not None} == {"not calibrated, not used"}
    for one, other in zip(right, wrong, strict=False):
        assert one is not None
        assert other is not None
        assert one.auc == pytest.approx(other.auc)


def test_the_mean_alone_does_not_calibrate() -> None:
    """Too high where few leave and too low where many do: right on average, and refused."""
    found = judged([RiskBin(500, 5, 0.08), RiskBin(500, 95, 0.12)])
    assert found.mean_predicted == pytest.approx(found.churned / 1_000)
    assert found.verdict == "not calibrated, not used"


def test_what_cannot_rank_is_not_used() -> None:
    found = judged([RiskBin(1_000, 90, 0.09)])
    assert (found.verdict, found.auc) == ("no better than the churn rate itself, not used", 0.5)


@pytest.mark.parametrize("churned", [0, 5, 96, 100])
def test_few_who_left_or_stayed_are_not_judged(churned: int) -> None:
    found = judged([RiskBin(50, churned // 2, 0.1), RiskBin(50, churned - churned // 2, 0.2)])
    assert found.verdict == "too few customers to judge, not used"
    assert not found.usable
    assert (found.auc is None) is (churned in {0, 100})


def test_small_errors_of_very_many_do_not_matter() -> None:
    """With millions of customers every error is certain; below a tenth of the rate it is let pass."""
    found = judged([RiskBin(2_000_000, 60_000, 0.031), RiskBin(2_000_000, 300_000, 0.152)])
    assert found.p < 1e-6
    assert found.usable


def test_nobody_and_impossible_risks() -> None:
    assert calibration([]) is None
    assert calibration_of_bins([RiskBin(0, 0, 0.5)]) is None
    for wrong in (RiskBin(5, 6, 0.5), RiskBin(5, 1, 1.5), RiskBin(5, -1, 0.5)):
        with pytest.raises(ValueError, match="expected 0 to 5 who left"):
            calibration_of_bins([wrong])
    for risk in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="risks from 0 to 1"):
            calibration([(risk, True)])


def test_log_loss_and_certainty() -> None:
    """Who was certain and wrong loses much, and not everything there is."""
    found = calibration([(0.8, True), (0.4, False)])
    assert found is not None
    assert found.log_loss == pytest.approx((-log(0.8) - log(0.6)) / 2)
    assert found.brier == pytest.approx((0.04 + 0.16) / 2)
    certain = calibration([(0.0, True)] * 20 + [(1.0, False)] * 20)
    assert certain is not None
    assert (certain.brier, certain.p, certain.auc) == (1, 0, 0)
    assert 34 < certain.log_loss < 35
    almost = calibration([(0.001, True)] * 20 + [(0.999, False)] * 20)
    assert almost is not None
    assert almost.p < 1e-9, "neighbours that hide each other's errors"
    perfect = calibration([(1.0, True)] * 20 + [(0.0, False)] * 20)
    assert perfect is not None
    assert (perfect.usable, perfect.auc, perfect.error) == (True, 1, 0)


def test_equal_risks_stay_together() -> None:
    found = calibration([(0.1, number < 12) for number in range(100)] + [(0.9, number < 3) for number in range(5)])
    assert found is not None
    assert [(one.n, one.churned) for one in found.bins] == [(100, 12), (5, 3)]
    assert sum(one.n for one in found.bins) == 105


DAY = 86_400


def test_who_left_is_who_bought_nothing_within_the_horizon() -> None:
    """Of each customer the newest score counts whose horizon is over; the end of the horizon belongs to it."""
    scores = [
        ChurnScore("m", "a", 0, 0.9, 30), ChurnScore("m", "a", 10 * DAY, 0.4, 30), ChurnScore("m", "a", 80 * DAY, 0.7, 30),
        ChurnScore("m", "b", 0, 0.2, 30), ChurnScore("m", "c", 0, 0.1), ChurnScore("m", "d", 50 * DAY, 0.5), ChurnScore("m", "e", 0, 0.3, 30),
        ChurnScore("other", "a", 90 * DAY, 0.5, 30),
    ]  # fmt: skip
    bought = [
        Purchase("1", "a", 10 * DAY, "EUR", 5.0), Purchase("2", "b", 30 * DAY, "EUR", None),
        Purchase("3", "c", 91 * DAY, "EUR", 5.0), Purchase("4", "e", 9 * DAY, "EUR", 0.0),
    ]  # fmt: skip
    mine, other = checked_models(scores, bought, 100 * DAY)
    assert (mine.model, mine.pending, other.model, other.pending, other.found) == ("m", 1, "other", 1, None)
    assert mine.found is not None
    assert [(one.predicted, one.n, one.churned) for one in mine.found.bins] == [
        (0.1, 1, 1), (0.2, 1, 0), (0.3, 1, 1), (0.4, 1, 1)
    ]  # fmt: skip
    assert checked_models([], bought, 100 * DAY) == []
    [whole] = checked_models(scores[:1], bought, 30 * DAY)
    assert whole.found is not None, "the horizon is over at its end"
    [early] = checked_models(scores[:1], bought, 30 * DAY - 1)
    assert early.found is None


def test_who_is_scored_daily_counts_once() -> None:
    scores = [
        ChurnScore("m", f"c{number}", day * DAY, 0.1 + number / 1_000, 7) for number in range(30) for day in range(60)
    ]
    [one] = checked_models(scores, [], 100 * DAY)
    assert one.found is not None
    assert one.found.observed.n == 30
