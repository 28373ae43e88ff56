"""
Several drivers in one regression: what each goes with while the others are held equal.

Answers of one customer resemble each other, so customers are the independent units. Standard errors hold where answers
vary more in some groups than in others, and allow for what each customer does to the fit: HC3 (MacKinnon and White, J.
Econometrics 1985), for customers with several answers in the form of Bell and McCaffrey (Survey Methodology 2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.kpis.arithmetic.distributions import f_tail, student_quantile, student_tail

Numbers = NDArray[np.float64]

_SAME: Final = 1e-9
"""Relative size below which a difference comes of rounding."""
_MOST: Final = 1e100
"""What can be squared and added up."""


class TooFewAnswersError(ValueError):
    """Answers are too few, or too much alike, for anything to be said."""


class Association(NamedTuple):
    """
    What goes with a change of drivers, in the unit of the outcome.

    Attributes:
        value: The change of the outcome.
        se: Its standard error.
        lo: Lower end of the 95 % interval.
        hi: Upper end.
        p: Probability of one at least as large by chance.
        inflation: How many times the others in the model make its variance larger (VIF, with a constant).
    """

    value: float
    se: float
    lo: float
    hi: float
    p: float
    inflation: float

    def times(self, factor: float) -> Association:
        """Return it for a change so many times as large; a negative factor turns it round."""
        ends = sorted((self.lo * factor, self.hi * factor))
        return self._replace(value=self.value * factor, se=self.se * abs(factor), lo=ends[0], hi=ends[1])


class Regression:
    """
    Least squares with a constant; each block of columns is a driver, or something to be held equal.

    Attributes:
        n: Answers.
        r2: Share of the outcome's variance that goes with the blocks.
        p: Probability of such a share if no block mattered, by the F test; 1 without anything to test.
    """

    def __init__(
        self,
        outcome: ArrayLike,
        blocks: Mapping[str, ArrayLike],
        customers: ArrayLike | None = None,
        *,
        robust: bool = True,
    ) -> None:
        """
        Fit.

        Args:
            outcome: One number an answer.
            blocks: By name one or several columns, a row an answer.
            customers: Who gave the answer, by number; by default each answer is of another customer.
            robust: False: standard errors as if answers varied alike everywhere, and none were of one customer.

        Raises:
            TooFewAnswersError: Answers are all alike, or too few for so many columns.
            ValueError: Numbers are missing or of another length.
        """
        y = _finite(outcome, "outcome", None)[:, 0]
        self.n = n = len(y)
        columns = {name: _finite(block, name, n) for name, block in blocks.items()}
        if not columns:
            raise ValueError("expected at least one block of columns")
        if np.ptp(y) <= _SAME * np.max(np.abs(y), initial=0.0):
            raise TooFewAnswersError(f"all {n} answers are alike: nothing goes with anything")
        self._columns, width = {}, 0
        for name, block in columns.items():
            self._columns[name] = slice(width, width + block.shape[1])
            width += block.shape[1]
        raw = np.hstack(list(columns.values()))
        largest = np.max(np.abs(raw), axis=0, initial=0.0)
        x = raw / np.where(largest > 0, largest, 1.0)
        x -= x.mean(axis=0)
        norms = np.sqrt((x * x).sum(axis=0))
        varies = norms > _SAME * sqrt(n)
        self._scale: Numbers = np.where(varies, norms, 1.0) * np.where(largest > 0, largest, 1.0)
        self._x = np.where(varies, x / np.where(varies, norms, 1.0), 0.0)
        self._y = y - y.mean()
        self._gram = self._x.T @ self._x
        root, self._known = _root(self._gram)
        rank = root.shape[1]
        self._weights = self._x @ root @ root.T
        groups = np.arange(n) if customers is None else np.unique(np.asarray(customers), return_inverse=True)[1]
        if len(groups) != n:
            raise ValueError(f"customers: {len(groups)} for {n} answers")
        self._groups, whole = groups, int(groups.max()) + 1
        self._degrees = (whole if robust else n) - rank - 1
        if self._degrees < 1:
            raise TooFewAnswersError(
                f"{whole} customers are too few for {rank} columns that differ: at least {rank + 2}"
            )
        residuals = self._y - self._x @ (self._weights.T @ self._y)
        left, total = float(residuals @ residuals), float(self._y @ self._y)
        self.r2 = max(0.0, 1 - left / total)
        under = n - rank - 1
        self.p = f_tail(self.r2 / rank / max(1 - self.r2, 1e-300) * under, rank, under) if rank else 1.0
        self._sigma = None if robust else sqrt(left / under)
        self._residuals = residuals
        self._deciding: list[tuple[NDArray[np.intp], Numbers]] = []
        if robust:
            self._enlarge(np.hstack([np.full((n, 1), 1 / sqrt(n)), self._x @ root]))

    def change(self, steps: Mapping[str, Sequence[float]]) -> Association | None:
        """
        Return what goes with a step of each column of the named blocks, in the columns' units.

        None: the answers cannot tell, because these columns always move with others, do not vary, or a single customer
        would decide.

        Raises:
            ValueError: There is no such block, or it has another number of columns.
        """
        wanted = self._wanted(steps)
        size = sqrt(float(wanted @ wanted))
        if size == 0 or np.max(np.abs(wanted - self._known @ wanted)) > 1e-6 * size:
            return None
        weights = self._weights @ wanted
        length = float(weights @ weights)
        if any(np.max(np.abs(weights[rows] @ basis)) > 1e-6 * sqrt(length) for rows, basis in self._deciding):
            return None
        value = float(weights @ self._y)
        if self._sigma is None:
            sums = np.bincount(self._groups, weights * self._residuals)
            se = sqrt(float(sums @ sums))
        else:
            se = self._sigma * sqrt(length)
        half = student_quantile(0.025, self._degrees) * se
        p = 2 * student_tail(abs(value) / se, self._degrees) if se > 0 else float(value == 0)
        return Association(value, se, value - half, value + half, p, length / self._length(wanted, [*steps]))

    def inflation(self, steps: Mapping[str, Sequence[float]], other: str) -> float:
        """Return how many times a single other block makes the variance of a step larger; infinite: they are one."""
        wanted = self._wanted(steps)
        alone, both = (self._length(wanted, names) for names in ([*steps], [*steps, other]))
        return both / alone if alone > 0 else inf

    def _enlarge(self, basis: Numbers) -> None:
        """
        Enlarge each customer's residuals to what they would be without that customer: (I - H)⁻¹ e, H = Z Zᵀ.

        Where a customer alone has a column, the fit follows whatever they say: that direction of their answers says
        nothing of the other columns, and must not decide of a change.
        """
        order = np.argsort(self._groups, kind="stable")
        sizes = np.bincount(self._groups)
        starts = np.cumsum(sizes) - sizes
        for size in np.unique(sizes):
            rows = order[starts[sizes == size][:, None] + np.arange(size)]
            part, left = basis[rows], self._residuals[rows]
            # The smaller of Z Zᵀ and Zᵀ Z, which have the same values above zero.
            if size <= basis.shape[1]:
                values, vectors = np.linalg.eigh(part @ part.transpose(0, 2, 1))
            else:
                values, inner = np.linalg.eigh(part.transpose(0, 2, 1) @ part)
                vectors = part @ inner / np.sqrt(np.maximum(values, _SAME))[:, None, :]
            decides = values > 1 - 1e-7
            factor = np.where(decides, -1.0, values / np.where(decides, 1.0, 1 - values))
            along = (vectors.transpose(0, 2, 1) @ left[:, :, None])[:, :, 0]
            self._residuals[rows] = left + (vectors @ (factor * along)[:, :, None])[:, :, 0]
            for place in np.flatnonzero(decides.any(axis=1)):
                self._deciding.append((rows[place], vectors[place][:, decides[place]]))

    def _wanted(self, steps: Mapping[str, Sequence[float]]) -> Numbers:
        wanted: Numbers = np.zeros(len(self._scale))
        for name, step in steps.items():
            columns = self._columns.get(name, slice(0, 0))
            if len(step) != columns.stop - columns.start or len(step) == 0:
                raise ValueError(f"{name}: no block of {len(step)} columns; there are {', '.join(self._columns)}")
            wanted[columns] = step
        # Columns have been divided by their scale, so what belongs to them is so much the larger.
        return wanted / self._scale

    def _length(self, wanted: Numbers, names: Sequence[str]) -> float:
        """Return the variance of a step, in units of the residuals', in a model of some blocks only."""
        places = np.concatenate([np.arange(len(wanted))[self._columns[name]] for name in names])
        root, known = _root(self._gram[np.ix_(places, places)])
        step = wanted[places]
        if np.max(np.abs(step - known @ step)) > 1e-6 * sqrt(float(step @ step)):
            return inf
        half = step @ root
        return float(half @ half)


def shares_explained(columns: Numbers, others: Numbers) -> Numbers:
    """Return which share of each column's variance goes with other columns; each must vary."""
    x, y = others - others.mean(axis=0), columns - columns.mean(axis=0)
    x = x / np.maximum(np.sqrt((x * x).sum(axis=0)), _SAME)
    root, _ = _root(x.T @ x)
    along: Numbers = (x @ root).T @ y
    return np.asarray((along * along).sum(axis=0) / (y * y).sum(axis=0))


def _finite(given: ArrayLike, name: str, n: int | None) -> Numbers:
    """Return columns of numbers. Raises ValueError naming the first that is missing."""
    numbers = np.asarray(given, dtype=np.float64)
    columns = numbers[:, None] if numbers.ndim == 1 else numbers
    if columns.ndim != 2 or not len(columns) or (n is not None and len(columns) != n):
        raise ValueError(f"{name}: expected {n or 'some'} rows of numbers, not the shape {numbers.shape}")
    missing = np.flatnonzero(~(np.abs(columns) <= _MOST).all(axis=1))
    if len(missing):
        more = f", and so do {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(f"{name}: row {missing[0]} holds no number up to {_MOST:g}{more}")
    return columns


def _root(gram: Numbers) -> tuple[Numbers, Numbers]:
    """Return what times its transpose is the generalised inverse, and the projection on what can be known at all."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > _SAME * max(1.0, float(values[-1]))
    vectors = vectors[:, kept]
    return vectors / np.sqrt(values[kept]), vectors @ vectors.T
