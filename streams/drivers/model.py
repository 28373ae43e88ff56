"""
All drivers in one regression, each by its levels, beside what is held equal.

A driver's effect is what the outcome of its customers is above or below that of the lowest level; its gain is what the
mean of all answers would be higher if everybody were at that level: effect times share of answers. Nothing here says
that a driver is the cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.drivers.definition import Driver
from streams.drivers.levels import DriverLevel, gain_of, level_names, summarise
from streams.drivers.regression import Association, Numbers, Regression, TooFewAnswersError, shares_explained
from streams.drivers.results import Ranked, WhatIf

FEWEST_CUSTOMERS: Final = 100
"""Customers below which nothing is ranked."""
FEWEST_OF_LEVEL: Final = 20
"""Customers below which a level is joined to its neighbour."""
MOST_INFLATION: Final = 5.0
"""Variance inflation from which drivers are not taken apart."""
_MOST_LABELS: Final = 30


class Answers:
    """
    Answers beside what was lived through before them.

    Attributes:
        outcome: What each answer is worth.
        lived: By driver what was lived through; NaN: it was not met, as the wait of who did not call.
        held: By name what is held equal: labels such as channel and segment.
        customers: Who answered, by number.
    """

    def __init__(
        self,
        outcome: ArrayLike,
        lived: Mapping[str, ArrayLike],
        held: Mapping[str, Sequence[str]] | None = None,
        customers: ArrayLike | None = None,
    ) -> None:
        """
        Take answers as columns; None is NaN. By default each is of another customer.

        Raises:
            ValueError: Columns are of different lengths, or an outcome is missing.
        """
        self.outcome: Numbers = np.asarray(outcome, dtype=np.float64)
        n = len(self.outcome)
        self.lived = {name: np.asarray(values, dtype=np.float64) for name, values in lived.items()}
        self.held = {name: np.asarray(labels, dtype=object) for name, labels in (held or {}).items()}
        self.customers = np.arange(n) if customers is None else np.asarray(customers)
        for name, column in {**self.lived, **self.held, "customers": self.customers}.items():
            if column.shape != (n,):
                raise ValueError(f"{name}: expected a value for each of {n} answers, not {column.shape}")
        for name, column in {"outcome": self.outcome, **self.lived}.items():
            if np.isinf(column).any() or (name == "outcome" and np.isnan(column).any()):
                raise ValueError(f"{name}: expected a number for each answer")

    def only(self, chosen: NDArray[Any]) -> Answers:
        """Return some of the answers."""
        return Answers(
            self.outcome[chosen],
            {name: column[chosen] for name, column in self.lived.items()},
            {name: [*column[chosen]] for name, column in self.held.items()},
            self.customers[chosen],
        )

    def people(self, chosen: NDArray[Any] | None = None) -> int:
        """Return how many customers some answers are of; by default all."""
        return len(np.unique(self.customers if chosen is None else self.customers[chosen]))


class Model:
    """One regression with all drivers by levels."""

    def __init__(self, answers: Answers, drivers: Sequence[Driver], limits: Mapping[str, float] | None = None) -> None:
        """
        Fit.

        Args:
            answers: What was said, beside what was lived through.
            drivers: Each must be a column of the answers.
            limits: By driver an end of a level that stays though there are few answers beside it.

        Raises:
            TooFewAnswersError: There are too few customers, of all or of every level, or all answers are alike.
            ValueError: A column is missing.
        """
        if missing := [driver.name for driver in drivers if driver.name not in answers.lived]:
            raise ValueError(f"answers have no column of {', '.join(missing)}: they have {', '.join(answers.lived)}")
        people = answers.people()
        if people < FEWEST_CUSTOMERS:
            raise TooFewAnswersError(
                f"answers of {people} customers are too few: at least {FEWEST_CUSTOMERS} are needed"
            )
        self._answers, self._cuts, self._places = answers, {}, {}
        blocks: dict[str, Numbers] = {}
        for driver in drivers:
            values = answers.lived[driver.name]
            cuts = _cuts_with_enough(values, answers.customers, driver.cuts, (limits or {}).get(driver.name))
            places = np.where(np.isnan(values), -1, np.searchsorted(cuts, values, side="left"))
            self._cuts[driver.name], self._places[driver.name] = cuts, places
            if cuts:
                blocks[driver.name] = _flags(places, range(1, len(cuts) + 1))
        self._known = [*blocks]
        for name in self._known:
            others = [blocks[other] for other in self._known if other != name]
            flag, beyond = (
                (self._places[name] < 0)[:, None].astype(np.float64),
                _beyond(answers.lived[name], self._places[name]),
            )
            blocks |= {f"{name}?": left for left in _unsaid(flag, others)}
            blocks |= {f"{name}+": left for left in _unsaid(beyond, others)}
        for name, labels in answers.held.items():
            if (columns := _flags_of_labels(labels)).shape[1]:
                blocks[f"{name}="] = columns
        if not self._known:
            raise TooFewAnswersError(
                f"no driver has two levels of {FEWEST_OF_LEVEL} customers or more, of {len(answers.outcome)} answers"
            )
        self._blocks = [*blocks]
        self.fit = Regression(answers.outcome, blocks, answers.customers)

    def ranked(self, driver: Driver) -> Ranked:
        """Return what is known of a driver, as yet without a judgement of chance."""
        name, n = driver.name, self.fit.n
        if name not in self._known:
            met = int((self._places[name] >= 0).sum())
            some = f"too few (n < {FEWEST_OF_LEVEL})" if met else "nobody met it"
            return Ranked(name, why=some)
        levels = self._levels(driver)
        above = self._places[name] > 0
        affected = int(above.sum())
        gain = self.fit.change({name: self._down(name)})
        together = self._companions(name)
        why = (
            "" if gain else f"always comes with {', '.join(self._one_with(name)) or 'others, or with one answer alone'}"
        )
        alone = gain_of(levels, levels[0].name, [level.name for level in levels[1:]], n)
        steps = np.eye(len(levels) - 1).tolist()
        by_level = {level.name: self.fit.change({name: step}) for level, step in zip(levels[1:], steps, strict=True)}
        not_met = None
        if f"{name}?" in self._blocks:
            [not_met] = summarise(self._answers.outcome, self._places[name] + 1, ["not met"])
            by_level[not_met.name] = self.fit.change({f"{name}?": [1.0]})
        return Ranked(
            name, levels[0].name, self._cuts[name][0], levels, not_met, affected, self._answers.people(above),
            gain.times(-n / affected) if gain else None, gain, by_level, -alone.value * n / affected,
            together=together, why=why,
        )  # fmt: skip

    def brought(self, driver: Driver, to: float) -> WhatIf:
        """Return what goes with bringing a driver down to a limit. Raises ValueError: too few answers beside it."""
        name, n = driver.name, self.fit.n
        cuts = self._cuts[name]
        if to not in cuts:
            raise ValueError(
                f"{name}: fewer than {FEWEST_OF_LEVEL} customers above {to:g} or in the level that ends there: nothing"
                " is known of such a change"
            )
        place = cuts.index(to)
        levels, above = self._levels(driver), self._places[name] > place
        shares = [level.n / n for level in levels]
        steps = [-share if at > place else 0.0 for at, share in enumerate(shares)]
        steps[place] = sum(shares[place + 1 :])
        gain = self.fit.change({name: steps[1:]})
        touched = int(above.sum())
        return WhatIf(
            name, levels[place].name, levels, touched, self._answers.people(above), gain,
            gain.times(n / touched) if gain else None,
            gain_of(levels, levels[place].name, [level.name for level in levels[place + 1 :]], n),
            self._companions(name),
        )  # fmt: skip

    def together(self) -> dict[tuple[str, ...], Association | None]:
        """Return what moves together, each with the gain of all of it."""
        groups: list[set[str]] = []
        for name in self._known:
            near = {name, *self._companions(name)}
            touching = [group for group in groups if group & near]
            groups = [group for group in groups if group not in touching] + [near.union(*touching)]
        named = [tuple(name for name in self._known if name in group) for group in groups if len(group) > 1]
        return {names: self.fit.change({name: self._down(name) for name in names}) for names in named}

    def _companions(self, name: str) -> tuple[str, ...]:
        down = {name: self._down(name)}
        return tuple(
            other for other in self._known if other != name and self.fit.inflation(down, other) > MOST_INFLATION
        )

    def _one_with(self, name: str) -> list[str]:
        """Return drivers, and what is held equal, with each of which alone a driver is confounded."""
        down = {name: self._down(name)}
        return [
            other.rstrip("=?+") for other in self._blocks if other != name and isinf(self.fit.inflation(down, other))
        ]

    def _down(self, name: str) -> list[float]:
        """Return the step of each level's flag when everybody is brought to the lowest level."""
        places = self._places[name]
        return [-float((places == place).sum()) / self.fit.n for place in range(1, len(self._cuts[name]) + 1)]

    def _levels(self, driver: Driver) -> tuple[DriverLevel, ...]:
        names = level_names(self._cuts[driver.name], driver.unit)
        return tuple(summarise(self._answers.outcome, self._places[driver.name], names))


def _cuts_with_enough(
    values: Numbers, customers: NDArray[Any], cuts: Sequence[float], limit: float | None
) -> list[float]:
    """Return the cuts that leave enough customers in each level; a limit goes last."""
    met, left = ~np.isnan(values), [*cuts]
    while left:
        places = np.searchsorted(left, values[met], side="left")
        counts = [len(np.unique(customers[met][places == place])) for place in range(len(left) + 1)]
        sparse = [place for place, count in enumerate(counts) if count < FEWEST_OF_LEVEL]
        if not sparse:
            break
        # From the top on to the level below, and the lowest to the one above it.
        place = sparse[-1]
        beside = [cut for cut in (left[max(0, place - 1)], left[min(place, len(left) - 1)]) if cut != limit]
        left.remove(beside[0] if beside else left[max(0, place - 1)])
    return left


def _beyond(values: Numbers, places: NDArray[Any]) -> Numbers:
    """
    Return how far answers are above or below the mean of their level, a column a level, its outermost hundredths cut.

    Levels are wide. Left out, what a driver does within them would be ascribed to others that come with much of it.
    """
    columns = []
    for place in range(places.max() + 1):
        here = places == place
        inner = np.clip(values, *np.quantile(values[here], (0.01, 0.99)))
        columns.append(np.where(here, inner - inner[here].mean(), 0.0))
    return np.stack(columns, axis=1)


def _unsaid(columns: Numbers, others: Sequence[Numbers]) -> list[Numbers]:
    """
    Return, in one block, the columns that vary and that no other drivers say; none if there are none.

    Who did not call has no wait, and is no match for who waited a moment only. But where the number of contacts is in
    the model, that says it, and a second column of it would take away what contacts go with.
    """
    found = [column for column in columns.T if np.ptp(column) > 0]
    if found and others:
        said = shares_explained(np.stack(found, axis=1), np.hstack(others)) > 1 - 1 / MOST_INFLATION
        found = [column for column, known in zip(found, said, strict=True) if not known]
    return [np.stack(found, axis=1)] if found else []


def _flags(places: NDArray[Any], wanted: Sequence[int]) -> Numbers:
    return np.stack([places == place for place in wanted], axis=1).astype(np.float64)


def _flags_of_labels(labels: NDArray[Any]) -> Numbers:
    """Return a flag for each label but the commonest; rare ones go with that."""
    names, places, counts = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    order = [int(place) for place in np.argsort(-counts, kind="stable") if counts[place] >= FEWEST_OF_LEVEL]
    return _flags(places, order[1:_MOST_LABELS]) if len(order) > 1 and len(names) > 1 else np.zeros((len(places), 0))
