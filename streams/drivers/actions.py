"""
Which action first: what it would go with, of how many customers, what these are worth, and how much work it is.

An action is worth points for each customer it touches × customers a month × money of each a month; its place is that by
days of work. Without money customers count alike. What is not sure has no place, nor what goes with lower scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.drivers.definition import Driver
from streams.drivers.discovery import false_discovery
from streams.drivers.model import Answers
from streams.drivers.plans import ActionPlan
from streams.drivers.ranking import rank, what_if
from streams.drivers.regression import Association

MONTH_S: Final = 30 * 86_400
"""A month, for what is counted a month."""
Standing: TypeAlias = Literal["ranked", "without a plan", "not sure yet"]


@dataclass(frozen=True, slots=True)
class Heard:
    """
    Answers, when they were given, and what who gave them is worth.

    Attributes:
        times: When each was given, Unix seconds.
        drawn: Of how many customers one is in here.
        worths: Money of this span by customer; None: not known for any customer.
    """

    answers: Answers
    times: NDArray[Any]
    drawn: int = 1
    worths: Mapping[int, float] | None = None

    @property
    def months(self) -> float:
        """How many months there are from the first answer to the last; one at least."""
        return max(1.0, float(self.times.max() - self.times.min()) / MONTH_S)


class Proven(NamedTuple):
    """What an experiment says of an action: a KPI of those with it less that of those without, and what that means."""

    kpi: str
    difference: float | None
    lo: float | None
    hi: float | None
    verdict: str

    @property
    def shown(self) -> bool:
        """Whether the action is shown to help."""
        return self.verdict == "better"


@dataclass(frozen=True, slots=True)
class JudgedAction:
    """
    What is known of an action, or of a driver that nobody has a plan for.

    Attributes:
        driver: What is brought down.
        plan: The action; None: there is none.
        standing: Whether it has a place.
        why: Why it has none; empty: it has, or there is no plan.
        now: The median of those above; None: nobody is.
        to: The level they are brought to.
        gain: What the mean of all answers gains.
        each: What those who are touched gain.
        q: Least share of false discoveries at which it is kept.
        touched: Customers a month who are above, of those who answered.
        money: Money of each of them a month; None: not known.
        together: Drivers that it cannot well be taken apart from.
        proven: What an experiment says; None: there was none.
    """

    driver: str
    plan: ActionPlan | None
    standing: Standing = "not sure yet"
    why: str = ""
    now: float | None = None
    to: str = ""
    gain: Association | None = None
    each: Association | None = None
    q: float | None = None
    touched: float = 0.0
    money: float | None = None
    together: tuple[str, ...] = ()
    proven: Proven | None = None

    @property
    def at_stake(self) -> float | None:
        """Money a month of the customers it touches; None: not known."""
        return None if self.money is None else self.touched * self.money

    @property
    def points(self) -> float:
        """Points for each customer × customers a month."""
        return max(0.0, self.each.value) * self.touched if self.each else 0.0

    @property
    def score(self) -> float | None:
        """Points × money of each, or points alone, a day of work; None: there is no plan."""
        return None if self.plan is None else self.points * (1.0 if self.money is None else self.money) / self.plan.days

    @property
    def basis(self) -> str:
        """Say what it rests on."""
        return "experiment" if self.proven and self.proven.shown else "association"


def judge_actions(
    heard: Heard,
    drivers: Sequence[Driver],
    plans: Sequence[ActionPlan],
    proven: Mapping[str, Proven] | None = None,
    alpha: float = 0.05,
) -> list[JudgedAction]:
    """
    Return what is known of each action, and of each driver without one: those with a place first, in its order.

    All that could be tested share alpha as drivers do; two ways to one level are one test. An experiment that shows an
    action to help or to harm stands above the association; `proven` is by id of the action.

    Raises:
        ValueError: There are too few customers, or all answers are alike.
    """
    planned = {one.driver for one in plans}
    found = [one for one in _unplanned(heard, drivers) if one.driver not in planned]
    found += [_of_plan(heard, drivers, plan, (proven or {}).get(plan.id)) for plan in plans]
    tested = false_discovery({_test(one): one.gain.p if one.gain else None for one in found}, alpha)
    judged = [_judged(one, tested.q[_test(one)], alpha) for one in found]
    order: dict[Standing, int] = {"ranked": 0, "without a plan": 1, "not sure yet": 2}
    judged.sort(key=lambda one: (order[one.standing], -(one.score or 0.0), -one.points, one.driver))
    return judged


def _unplanned(heard: Heard, drivers: Sequence[Driver]) -> list[JudgedAction]:
    """Return each driver as if everybody were brought to its lowest level."""
    found = []
    for one in rank(heard.answers, drivers).drivers:
        bare = _touching(heard, JudgedAction(one.driver, None), np.inf if one.limit is None else one.limit)
        each = one.effect.times(-1) if one.effect else None
        found.append(replace(bare, why=one.why, to=one.goal, gain=one.gain, each=each, together=one.together))
    return found


def _of_plan(heard: Heard, drivers: Sequence[Driver], plan: ActionPlan, proven: Proven | None) -> JudgedAction:
    bare = _touching(heard, JudgedAction(plan.driver, plan, proven=proven), plan.to)
    try:
        found = what_if(heard.answers, drivers, plan.driver, plan.to)
    except ValueError as error:
        return replace(bare, why=str(error), to=f"{plan.to:g}")
    why = "" if found.gain else "it always comes with others"
    return replace(bare, why=why, to=found.to, gain=found.gain, each=found.each, together=found.together)


def _touching(heard: Heard, one: JudgedAction, limit: float) -> JudgedAction:
    """Fill in who is above a limit: where they are, how many a month, and what each is worth."""
    answers = heard.answers
    values = answers.lived[one.driver]
    above = values > limit  # who did not meet it is NaN, and not above
    if not above.any():
        return one
    months = ((heard.times.max() - heard.times[above]) // MONTH_S).astype(np.int64)
    pairs = {*zip(answers.customers[above].tolist(), months.tolist(), strict=True)}
    money = None
    if heard.worths is not None:
        people = {customer for customer, _ in pairs}
        money = fsum(heard.worths.get(customer, 0.0) for customer in people) / len(people) / heard.months
    touched = heard.drawn * len(pairs) / heard.months
    return replace(one, now=float(np.median(values[above])), touched=touched, money=money)


def _test(one: JudgedAction) -> str:
    return f"{one.driver} to {one.to}"


def _judged(one: JudgedAction, q: float | None, alpha: float) -> JudgedAction:
    """Give a place to what is sure, and say of all else why it has none."""
    proven = one.proven
    if proven is not None and proven.verdict == "worse":
        return replace(one, q=q, why=f"an experiment shows that it harms {proven.kpi}")
    if one.each is None or q is None:
        return replace(one, q=q, why=one.why or "answers cannot tell")
    sure = q <= alpha or (proven is not None and proven.shown)
    if not sure:
        apart = f"not apart from {', '.join(one.together)}" if one.together else ""
        return replace(one, q=q, why=apart or "not confirmed")
    if one.each.value <= 0:
        return replace(one, q=q, why="less of it goes with lower scores")
    return replace(one, q=q, standing="ranked" if one.plan else "without a plan")
