"""What one event does to one KPI, and how values are gathered that vary from event to event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import Expression

Facts: TypeAlias = tuple[Any, ...]
"""Fields of an event with few possible values, and the truth of comparisons on the others."""


class Effect(NamedTuple):
    """
    What one event does to one KPI.

    `add` adds the payload to the fields, `bin` counts it in a bin; `gather` takes the value of a channel by number.
    """

    kpi: str
    how: Literal["add", "bin", "gather"]
    payload: tuple[int, ...]


EffectOf: TypeAlias = Callable[[Facts], Effect | None]


@dataclass(frozen=True, eq=False, slots=True)
class Gathering:
    """
    What becomes of values that are measured event by event; one object per use, compared by identity.

    Attributes:
        limit: Largest magnitude of a value in steps; beyond it counts as missing.
        add: Gives what many values together add to the fields.
        bin: Gives the bin of a value, where there are bins instead of fields.
        in_steps: Whether values are whole steps; else they are taken as they are.
        part_within: Of pairs, whether the second value must be from 0 to the first.
    """

    limit: int = 0
    add: Callable[[Sequence[Any]], tuple[int, ...]] | None = None
    bin: Callable[[Any], int] | None = None
    in_steps: bool = True
    part_within: bool = False

    def effect(self, kpi: Kpi, value: Any) -> Effect | None:
        """Return the effect of a value that the facts tell; None where it is missing or beyond the limit."""
        if value is None:
            return None
        if self.in_steps:
            if not -self.limit <= (steps := value * kpi.scale + 0.5) <= self.limit:
                return None
            value = floor(steps)
        if self.bin is not None:
            return Effect(kpi.id, "bin", (self.bin(value),))
        assert self.add is not None
        return Effect(kpi.id, "add", self.add([value]))


class ValueChannel(NamedTuple):
    """A value that varies from event to event, in whole steps or in bins; with a `part`, a pair of two."""

    value: Expression
    scale: int
    gathering: Gathering
    part: Expression | None = None

    def write(self, reference: Callable[[str], str]) -> str:
        """Write Python source for it: None where it is missing or beyond the limit; it may call `bin` by its name."""
        gathering, value = self.gathering, self.value.to_python(reference)
        bin_ = "" if gathering.bin is None else gathering.bin.__name__
        if not gathering.in_steps:
            return f"({bin_}(v) if (v := {value}) is not None else None)"
        steps = f"-{gathering.limit} <= (s := v * {self.scale} + 0.5) <= {gathering.limit}"
        whole = f"{bin_}(floor(s))"
        if self.part is not None:
            other = f"-{gathering.limit} <= (t := w * {self.scale} + 0.5) <= {gathering.limit}"
            steps += f" and (w := {self.part.to_python(reference)}) is not None and {other}"
            whole = "(floor(s), floor(t))"
            if gathering.part_within:
                steps += " and 0 <= floor(t) <= floor(s)"
        return f"({whole if bin_ or self.part else 'floor(s)'} if (v := {value}) is not None and {steps} else None)"


class Compiler(Protocol):
    """What compiles the expressions of a KPI for the events of one type."""

    def from_facts(self, expression: Expression) -> Callable[[Facts], Any]:
        """Compile an expression to be evaluated on facts; comparisons on other fields become facts themselves."""
        ...

    def gather(self, kpi: Kpi, gathering: Gathering, value: Expression, part: Expression | None = None) -> EffectOf:
        """Have a value measured: from the facts if they tell it, otherwise event by event."""
        ...
