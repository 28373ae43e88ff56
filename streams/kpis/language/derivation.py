"""How a KPI is made of other KPIs: the record that its definition becomes; what is computed from it, `derive` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

How: TypeAlias = Literal["gap", "coverage", "difference", "quotient", "srm", "index"]

UNITS_OF: Final[dict[How, tuple[str, ...]]] = {
    "gap": ("points", "seconds", "score", "fraction"),
    "coverage": ("percent",),
    "difference": ("points", "seconds", "score", "fraction"),
    "quotient": ("fraction", "percent"),
    "srm": ("fraction",),
    "index": ("points",),
}

DERIVED_UNITS: Final = ("points", "percent", "fraction", "score", "seconds")
"""The units that a derived KPI can be in."""


@dataclass(frozen=True, slots=True)
class Part:
    """
    One input.

    Attributes:
        kpi: Its id.
        over: Labels that its series have beside those of the derived one.
        weight, worst, best: Of an index: its share, and the values that count as 0 and 100.
        definition: What its numbers mean; a change of it changes the meaning of what is derived.
    """

    kpi: str
    over: tuple[str, ...] = ()
    weight: float = 1.0
    worst: float = 0.0
    best: float = 100.0
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Derivation:
    """
    How a KPI is made of others.

    Attributes:
        parts: The inputs: of a coverage what covers and what is to be covered, of a difference and a quotient the
            first and the second.
        min_n: Answers that an input needs to take part.
        covering: Of an index: the share of the weights that must take part, or there is no value.
    """

    how: How
    parts: tuple[Part, ...]
    min_n: int = 1
    covering: float = 0.7

    def content(self) -> list[object]:
        """Return what determines its numbers, for a hash."""
        parts = [[p.kpi, list(p.over), p.weight, p.worst, p.best, p.definition] for p in self.parts]
        return [self.how, parts, self.min_n, self.covering]
