"""What one event does to one KPI, and how values are gathered that vary from event to event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from operator import mul
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from streams.kpis.definition import Kpi
from streams.kpis.distinct import coupon_of
from streams.kpis.expressions import Expression
from streams.kpis.sketch import bin_of

PROMOTER: Final = 9
DETRACTOR: Final = 6
BEST: Final = 10


class Effect(NamedTuple):
    """
    What one event does to one KPI.

    `add` adds the payload to the fields, `bin` counts it in a bin; `gather` takes the value of a channel by number.
    """

    kpi: str
    how: Literal["add", "bin", "gather"]
    payload: tuple[int, ...]


Gathered: TypeAlias = Literal["sum", "mean", "quantile", "distinct", "whole", "both", "part", "pair", "trials"]
"""
What becomes of a gathered value. Of a share: it is of the whole only, of whole and part, of the part only, or there is
one value for each. Of a ratio: there is one for the trials and one for the hits.
"""


class Channel(NamedTuple):
    """A value that varies from event to event, in whole steps or in bins; of a pair, two."""

    value: Expression
    scale: int
    limit: int
    kind: Gathered
    part: Expression | None = None

    def write(self, reference: Callable[[str], str]) -> str:
        """Write Python source for it: None where it is missing or beyond the limit."""
        value = self.value.to_python(reference)
        if self.kind == "distinct":
            return f"(coupon_of(v) if (v := {value}) is not None else None)"
        steps = f"-{self.limit} <= (s := v * {self.scale} + 0.5) <= {self.limit}"
        whole = "bin_of(floor(s))" if self.kind == "quantile" else "floor(s)"
        if self.part is not None:
            other = f"-{self.limit} <= (t := w * {self.scale} + 0.5) <= {self.limit}"
            steps += f" and (w := {self.part.to_python(reference)}) is not None and {other}"
            whole = "(floor(s), floor(t))"
            if self.kind == "trials":
                steps += " and 0 <= floor(t) <= floor(s)"
        return f"({whole} if (v := {value}) is not None and {steps} else None)"


def nps_effect(kpi: str, rating: int | None) -> Effect | None:
    """Give the effect of a rating from 0 to 10."""
    if rating is None or not 0 <= rating <= BEST:
        return None
    return Effect(kpi, "add", (1, int(rating >= PROMOTER), int(rating <= DETRACTOR)))


def measured_effect(kpi: Kpi, kind: Gathered, value: Any) -> Effect | None:
    """Give the effect of a value that the facts tell."""
    if value is None:
        return None
    if kind == "distinct":
        return Effect(kpi.id, "bin", (coupon_of(value),))
    if not -kpi.limit <= (steps := value * kpi.scale + 0.5) <= kpi.limit:
        return None
    whole = floor(steps)
    if kind == "quantile":
        return Effect(kpi.id, "bin", (bin_of(whole),))
    return Effect(kpi.id, "add", added(kind, [whole]))


def added(kind: Gathered, values: Sequence[Any]) -> tuple[int, ...]:
    """Give what gathered values add to the fields of an accumulator."""
    if kind == "pair":
        wholes, parts = zip(*values, strict=True)
        crossed = sum(map(mul, wholes, parts)), sum(map(mul, parts, parts))
        return len(values), sum(wholes), sum(parts), sum(map(mul, wholes, wholes)), *crossed
    if kind == "trials":
        trials, hits = zip(*values, strict=True)
        return sum(trials), sum(hits)
    n, total = len(values), sum(values)
    if kind == "sum":
        return n, total
    squares = sum(map(mul, values, values))
    match kind:
        case "whole":
            return n, total, 0, squares, 0, 0
        case "both":
            return n, total, total, squares, squares, squares
        case "part":
            return 0, 0, total, 0, 0, squares
        case _:
            return n, total, squares
