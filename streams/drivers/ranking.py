"""Which drivers matter most, what less of one would go with, and where effects differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streams.drivers.definition import Driver
from streams.drivers.discovery import false_discovery
from streams.drivers.model import Answers, Model
from streams.drivers.regression import TooFewAnswersError
from streams.drivers.results import Ranking, WhatIf
from streams.drivers.strata import Side, StratifiedDifference, stratified
from streams.kpis.arithmetic.distributions import chi_square_tail


def rank(answers: Answers, drivers: Sequence[Driver], alpha: float = 0.05) -> Ranking:
    """
    Rank drivers by what the mean of all answers would gain, those that are no more than chance last.

    Raises:
        ValueError: There are too few customers, or all answers are alike.
    """
    model = Model(answers, drivers)
    found = [model.ranked(driver) for driver in drivers]
    tested = false_discovery({one.driver: one.gain.p if one.gain else None for one in found}, alpha)
    judged = [replace(one, q=tested.q[one.driver], kept=one.driver in tested.kept) for one in found]
    judged.sort(key=lambda one: (not one.kept, one.gain is None, -abs(one.gain.value) if one.gain else 0.0))
    return Ranking(
        len(answers.outcome),
        answers.people(),
        float(answers.outcome.mean()),
        model.fit.r2,
        tuple(judged),
        model.together(),
    )


def what_if(answers: Answers, drivers: Sequence[Driver], name: str, to: float) -> WhatIf:
    """
    Return what goes with bringing everybody who is above `to` to the level that ends there.

    Raises:
        ValueError: There are too few customers, too few above or just below the limit, or there is no such driver.
    """
    known = {driver.name: driver for driver in drivers}
    if name not in known:
        raise ValueError(f"there is no driver {name!r}: expected one of {', '.join(known)}")
    driver = known[name]
    if not driver.unit and not float(to).is_integer():
        raise ValueError(f"{name} is a count: expected a whole number, not {to:g}")
    limited = Driver(name, tuple(sorted({*driver.cuts, to})), driver.unit)
    return Model(answers, [limited if one.name == name else one for one in drivers], {name: to}).brought(limited, to)


def by_label(
    answers: Answers, drivers: Sequence[Driver], labels: Sequence[str], alpha: float = 0.05
) -> tuple[dict[str, Ranking], dict[str, float | None]]:
    """
    Rank drivers within each label, and tell at which share of false discoveries effects differ between labels.

    Labels of which nothing can be ranked are left out: too few customers, or all alike in what they say or lived
    through. None: a driver is known in fewer than two.
    """
    column, rankings = np.asarray(labels, dtype=object), {}
    for label in sorted(set(labels)):
        with suppress(TooFewAnswersError):
            rankings[label] = rank(answers.only(column == label), drivers, alpha)
    return rankings, dict(false_discovery({driver.name: _differs(driver.name, rankings) for driver in drivers}).q)


def within(answers: Answers, name: str, limit: float, labels: Sequence[str]) -> StratifiedDifference[str]:
    """
    Compare answers of those who were above a limit with those below, pooled and within each label.

    Only the first answer of a customer counts: strata take answers for independent. Who did not meet the driver is on
    no side.
    """
    first = np.unique(answers.customers, return_index=True)[1]
    values, outcome, column = (
        answers.lived[name][first],
        answers.outcome[first],
        np.asarray(labels, dtype=object)[first],
    )
    share = set(np.unique(outcome)) <= {0.0, 100.0}

    def side(chosen: NDArray[np.bool_]) -> Side:
        some = outcome[chosen]
        return Side.of_share(int((some > 0).sum()), len(some)) if share else Side.of_values(some)

    return stratified({
        label: (side((column == label) & (values > limit)), side((column == label) & (values <= limit)))
        for label in sorted(set(column))
    })  # fmt: skip


def _differs(name: str, rankings: Mapping[str, Ranking]) -> float | None:
    """Return the probability of effects so different by chance (Cochran's Q)."""
    found = [
        one.effect for ranking in rankings.values() for one in ranking.drivers if one.driver == name and one.effect
    ]
    known = [(effect.value, 1 / effect.se**2) for effect in found if effect.se > 0]
    if len(known) < 2:
        return None
    mean = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return chi_square_tail(sum(weight * (value - mean) ** 2 for value, weight in known), len(known) - 1)
