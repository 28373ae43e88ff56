"""Which action comes first, with numbers worked out by hand, and what a file of actions may say."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.commands.drivers_actions import proven_by
from streams.drivers.actions import MONTH_S, Heard, JudgedAction, Proven, judge_actions
from streams.drivers.definition import DRIVERS, Driver
from streams.drivers.model import Answers
from streams.drivers.plans import ActionPlan, load_actions
from streams.drivers.ranking import what_if
from streams.experiments.judging import PastSums, Sums
from streams.kpis.language.blocks import CatalogueError
from streams.settings import Settings
from streams.shipped import ACTIONS
from streams.storage.experiments import Assigned

SOME_DAY = datetime(2026, 5, 1, tzinfo=UTC)
KNOWN = (Driver("damaged", (0,)), Driver("errors", (0, 1)), Driver("wait_s", (60, 120), "s"), Driver("returns", (0,)))


def plan(name: str, driver: str, to: float = 0, days: float = 10, **more: str) -> ActionPlan:
    return ActionPlan(name, driver, to, "somehow", "somebody", f"{days:g} d", days, **more)


def heard(*, worths: bool = True, months: float = 2.0, drawn: int = 1) -> Heard:
    """Return 1,200 answers: 300 damaged cost 1 point, 600 with errors 0.25, waits over 120 s 0.5; returns nothing."""
    rng = np.random.default_rng(3)
    n = 1_200
    number = np.arange(n)
    damaged, errors = (number % 4 == 0).astype(float), (number % 4 < 2).astype(float)
    errors[number % 8 >= 4] = (number[number % 8 >= 4] % 4 > 1).astype(float)
    wait = np.where(number % 3 == 0, 200.0, np.where(number % 3 == 1, 100.0, 20.0))
    returns = rng.permutation(number % 2).astype(float)
    outcome = 4 - damaged - 0.25 * errors - 0.5 * (wait > 120) + rng.normal(0, 0.3, n)
    lived = {"damaged": damaged, "errors": errors, "wait_s": wait, "returns": returns}
    money = {int(one): 40.0 if one % 4 else 100.0 for one in number} if worths else None
    times = (number * months * MONTH_S / (n - 1)).astype(np.int64)
    return Heard(Answers(outcome, lived), times, drawn, money)


def test_a_place_is_points_times_customers_times_money_by_days() -> None:
    [boxes, *rest] = judge_actions(heard(), KNOWN, [plan("boxes", "damaged", days=5)])
    assert boxes.plan is not None
    # 300 of 1,200 customers in two months; each of them brought 100 in that time.
    assert (boxes.touched, boxes.money, boxes.at_stake) == (150.0, 50.0, 7_500.0)
    assert boxes.now == 1.0
    assert boxes.to == "0"
    assert boxes.each is not None
    assert boxes.gain is not None
    assert boxes.each.value == pytest.approx(1.0, abs=0.08)
    assert boxes.gain.value == pytest.approx(boxes.each.value / 4)
    assert boxes.score == pytest.approx(boxes.each.value * 150 * 50 / 5)
    assert [one.driver for one in rest if one.standing == "without a plan"] == ["wait_s", "errors"]
    assert [(one.driver, one.why) for one in rest if one.standing == "not sure yet"] == [("returns", "not confirmed")]


def test_gain_and_each_are_those_of_what_if() -> None:
    some = heard()
    found = what_if(some.answers, KNOWN, "wait_s", 120)
    [one, *_] = judge_actions(some, KNOWN, [plan("calls", "wait_s", 120)])
    assert (one.gain, one.each, one.to) == (found.gain, found.each, "60 to 120 s")
    assert one.now == 200.0


def test_less_work_comes_first_and_money_counts() -> None:
    plans = [plan("boxes", "damaged", days=40), plan("calls", "wait_s", 120, days=5)]
    ranked = [one for one in judge_actions(heard(), KNOWN, plans) if one.standing == "ranked"]
    assert [one.plan.id for one in ranked if one.plan] == ["calls", "boxes"]
    [first, second] = ranked
    assert (first.score or 0) > (second.score or 0)
    # Without money customers count alike.
    bare = judge_actions(heard(worths=False), KNOWN, plans)[0]
    assert bare.plan is not None
    assert bare.plan.id == "calls"
    assert (bare.money, bare.at_stake) == (None, None)
    assert bare.score == pytest.approx(bare.points / 5)


def test_a_customer_counts_once_a_month() -> None:
    some = heard()
    customers = np.arange(1_200) // 8
    twice = replace(some, answers=Answers(some.answers.outcome, some.answers.lived, None, customers))
    [one, *_] = judge_actions(twice, KNOWN, [plan("boxes", "damaged")])
    # Of 150 customers each is damaged twice within minutes: they are 150 in two months; one may straddle two of these.
    assert 75 <= one.touched <= 75.5
    drawn = judge_actions(replace(twice, drawn=3), KNOWN, [plan("boxes", "damaged")])[0]
    assert drawn.touched == 3 * one.touched


def test_what_is_not_sure_has_no_place() -> None:
    plans = [plan("none", "returns"), plan("boxes", "damaged"), plan("few", "wait_s", 1_000)]
    judged = {one.plan.id: one for one in judge_actions(heard(), KNOWN, plans) if one.plan}
    assert judged["boxes"].standing == "ranked"
    assert (judged["none"].standing, judged["none"].why) == ("not sure yet", "not confirmed")
    assert judged["few"].standing == "not sure yet"
    assert "fewer than 20 customers above 1000" in judged["few"].why
    assert judged["few"].touched == 0


def test_what_goes_with_lower_scores_has_no_place() -> None:
    some = heard()
    turned = replace(some, answers=Answers(-some.answers.outcome, some.answers.lived))
    [one] = [found for found in judge_actions(turned, KNOWN, [plan("boxes", "damaged")]) if found.plan]
    assert (one.standing, one.why) == ("not sure yet", "less of it goes with lower scores")


def test_an_experiment_stands_above_the_association() -> None:
    plans = [plan("boxes", "damaged"), plan("none", "returns")]

    def judged(verdict: str) -> dict[str, JudgedAction]:
        proven = {one.id: Proven("csat", 1.0, 0.5, 1.5, verdict) for one in plans}
        return {one.plan.id: one for one in judge_actions(heard(), KNOWN, plans, proven) if one.plan}

    assert judged("not known yet")["boxes"].basis == "association"
    assert judged("not known yet")["none"].standing == "not sure yet"
    better = judged("better")
    assert {one.basis for one in better.values()} == {"experiment"}
    returns = better["none"]
    assert returns.each is not None
    assert (returns.standing == "ranked") == (returns.each.value > 0)
    worse = judged("worse")["boxes"]
    assert (worse.standing, worse.why) == ("not sure yet", "an experiment shows that it harms csat")


class Arms:
    """What a store says of one experiment: customers by arm, and how many of a thousand of each are satisfied."""

    def __init__(self, satisfied: int, assigned: tuple[int, int] = (1_000, 1_000)) -> None:
        self._sums = {"control": self._of(600), "one-page": self._of(satisfied)}
        self._assigned = dict(zip(self._sums, assigned, strict=True))

    def assigned(self) -> dict[str, Assigned]:
        return {"checkout-layout": Assigned(self._assigned, 0, SOME_DAY, SOME_DAY)}

    def compared(self, *_: object) -> dict[str, tuple[Sums, PastSums]]:
        return self._sums

    @staticmethod
    def _of(hits: int) -> tuple[Sums, PastSums]:
        sums = Sums(1_000, 1_000, 100 * hits, 1_000, 100 * hits, 10_000 * hits)
        return sums, PastSums(0, 0, 0, 0, 0, 0, sums)


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (Arms(720), (12.0, "better")),
        (Arms(480), (-12.0, "worse")),
        (Arms(601), (pytest.approx(0.1), "not known yet")),
        (Arms(720, (5_300, 4_700)), (None, "customers are not shared out as planned")),
    ],
)
def test_what_an_experiment_says_of_an_action(arms: Any, said: tuple[object, str]) -> None:
    plans = [plan("none", "errors"), plan("pay", "errors", experiment="checkout-layout", arm="one-page")]
    found = proven_by(arms, Settings(), plans, "csat")
    assert found.keys() == {"pay"}
    assert (found["pay"].difference, found["pay"].verdict) == said
    assert found["pay"].shown == (said[1] == "better")


def test_two_ways_to_one_level_are_one_test() -> None:
    one = judge_actions(heard(), KNOWN, [plan("a", "returns")])
    two = judge_actions(heard(), KNOWN, [plan("a", "returns"), plan("b", "returns", days=3)])
    assert {found.q for found in one if found.driver == "returns"} == {
        found.q for found in two if found.driver == "returns"
    }


def test_the_shipped_actions_are_sound() -> None:
    found = load_actions([ACTIONS], DRIVERS, {})
    assert {one.driver for one in found} < {one.name for one in DRIVERS}
    assert {one.days for one in found} == {5.0, 8.0, 20.0, 60.0}


GOOD = "- {id: a, driver: wait_s, to: 120, how: somehow, owner: care, effort: small}\n"
WRONG = (
    ("wait_s, to", "wayt_s, to", "1: action a: no driver 'wayt_s'; did you mean 'wait_s'?"),
    ("wait_s, to: 120", "errors, to: 0.5", "1: action a: errors is a count: 'to' must be a whole number, not 0.5"),
    ("to: 120", "to: -1", "1: action a: 'to' must not be below 0, not -1"),
    ("small", "smal", "'effort' cannot be 'smal': it is small, medium, large or a number of days; did you mean 'small'?"),
    ("small", "0", "'effort' in days must be above 0 and 10000 at most, not 0"),
    ("small", "true", "'effort' cannot be True"),
    ("small", "[1]", "1: action a: 'effort' cannot be [1]: it is small, medium, large or a number of days"),
    ("owner: care", "ower: care", "unknown key 'ower'; did you mean 'owner'?"),
    (", owner: care", "", "'owner' is missing"),
    ("small}", "small, experiment: {id: layouts, arm: new}}", "no experiment 'layouts'; did you mean 'layout'?"),
    ("small}", "small, experiment: {id: layout, arm: old}}", "'old' is the control; it is one of new"),
    ("small}", "small, experiment: {id: layout, arm: x}}", "'x' is none of its variants; it is one of new"),
    ("small}", "small}\n- {id: a, driver: errors, to: 0, how: x, owner: y, effort: 3}", "2: action a: there is another action 'a'"),
)  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_what_cannot_be_right_is_said_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "actions.yaml"
    experiments = {"layout": ["old", "new"]}
    file.write_text(GOOD, encoding="utf-8")
    [sound] = load_actions([file], DRIVERS, experiments)
    assert (sound.effort, sound.days) == ("small", 5.0)
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(CatalogueError) as error:
        load_actions([file], DRIVERS, experiments)
    assert f"{file}:" in str(error.value)
    assert said in str(error.value)
