"""What an aggregator is: everything the system must know of one way to make a number of many events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, NamedTuple, Protocol, TypeAlias

from streams.kpis.arithmetic.accumulators import Acc, is_empty
from streams.kpis.arithmetic.intervals import WIDEST, Measure, Range
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.effects import Compiler, Effect, EffectOf
from streams.kpis.language.expressions import Expression

MEASURES: Final = ("seconds", "milliseconds", "hours", "days", "currency", "score", "count", "fraction")
"""The units of measured values."""

WHOLE: Final = "toInt64(floor(assumeNotNull({})))"
"""SQL for the whole steps of a value that is within its limit."""

Value: TypeAlias = Literal["none", "optional", "number", "text"]
"""What the first selector measures on each event."""


class Rows(Protocol):
    """The events of one selector in SQL, one row each; aggregators add the columns and conditions they need."""

    columns: dict[str, str]
    conditions: list[str]

    def sql(self, expression: Expression) -> str:
        """Return the Nullable expression for a value or condition."""
        ...

    def steps(self, expression: Expression) -> str:
        """Return the Nullable(Float64) expression for a value in steps and a half, to be rounded down."""
        ...


class Recomputation(NamedTuple):
    """How events are added up in SQL."""

    sums: str
    """The columns `fields` and `bins`."""
    columns: tuple[str, ...]
    """Columns of the rows that the sums and the condition are made of."""
    having: str = ""
    """Condition for a minute of a series to hold anything; none is needed where each event counts."""


class ViewColumns(NamedTuple):
    """
    How the view `kpi_steps` computes an aggregator: SQL over what a window holds of one series.

    There are `fields` (Array(Int128)), `bins` (sorted Map), `n`, `total` (n as a double), `scale`, `low` and `high`
    (the range of single values; NULL: no end), `unit`, `factor` (100 for percentages, else 1), `of_one` (unit of a
    share), `q` (probability of the quantile), and the functions `field(i)` (the i-th field as a double, from 1),
    `whole(i)` (as an Int256), `student(degrees)`; `z`, `estimates` and `coupon_estimates` are constants.
    """

    value: str
    lo: str = "NULL"
    hi: str = "NULL"
    names: Mapping[str, str] = {}
    """Expressions the others use; names must differ from those of all other aggregators."""


class Aggregator(ABC):
    """
    One aggregator; a module of this package with one subclass adds one.

    Attributes:
        name: As definitions write it.
        words: What it makes of events, for the documentation.
        fields: Of its accumulator, the first being the number of answers or trials; none: it is kept in bins.
        lasting: Whether only n leaves windows: the other fields count all events since the beginning. Needs `fields`.
        units: What its value can be in.
        value: What its first selector measures.
        second: Key of its second selector in definitions; empty: it has none.
        second_words: What it does with it.
        sides: What the events of both selectors are called in the documentation.
        in_steps: Whether values are kept in whole steps of a unit, so that a `scale` makes sense.
        limit: Largest magnitude of one value in steps; beyond it counts as missing.
        has_quantiles: Whether it has a value for each of the `quantiles` of its definition.
        additive: Whether its value grows with the length of the window, and nothing coming is a value too.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    lasting: ClassVar[bool] = False
    units: ClassVar[tuple[str, ...]]
    value: ClassVar[Value] = "number"
    second: ClassVar[str] = ""
    second_words: ClassVar[str] = "counts them among 'of'"
    sides: ClassVar[tuple[str, str]] = ("Events", "")
    in_steps: ClassVar[bool] = False
    limit: ClassVar[int] = 0
    has_quantiles: ClassVar[bool] = False
    additive: ClassVar[bool] = False
    view: ClassVar[ViewColumns]

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:  # noqa: B027 - most need none
        """Note what in a definition of this kind cannot be right beyond what its attributes say."""

    @abstractmethod
    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Return what tells from the facts of a selected event what it does to a KPI."""

    def hits_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """
        Return the same for the second selector, where that selects events of its own.

        Raises:
            TypeError: The aggregator has no such selector.
        """
        raise TypeError(f"{self.name} has no second selector: {kpi.id}, {compiler}")

    @abstractmethod
    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:
        """Return the value of an accumulator of this kind; the arguments are those of `aggregators.measure`."""

    @abstractmethod
    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:
        """Write the SQL that adds up events; `hits` are those of the second selector if it has events of its own."""

    def of_customer(self, scale: int, factor: int) -> tuple[str, str] | None:  # noqa: ARG002 - most need them
        """
        Write what one customer adds to a KPI that is a ratio of sums over customers: SQL for both sums.

        The SQL reads `fields`, what the customer's events add up to. Without the second, it is one for each customer,
        also for those without events. `scale` is the KPI's, `factor` 100 for percentages, else 1. None: no such ratio.
        """
        return None

    @property
    def binned(self) -> bool:
        """Whether it is kept in bins."""
        return not self.fields

    def empty(self) -> Acc:
        """Return the identity: merging it changes nothing."""
        return [0] * len(self.fields) if self.fields else {}

    def stored(self, fields: Sequence[int], bins: Mapping[int, int]) -> Acc | None:
        """Return the accumulator of a stored row, None if the row holds nothing or is of another kind; see `fits`."""
        if not self.fits(fields):
            return None
        acc: Acc = list(fields) if self.fields else {index: count for index, count in bins.items() if count}
        return None if is_empty(acc) else acc

    def fits(self, fields: Sequence[int]) -> bool:
        """Return whether a stored row with these fields is of this kind."""
        return len(fields) == len(self.fields)


def added(kpi: Kpi, *fields: int) -> EffectOf:
    """Return what adds the same to the fields for every event."""
    effect = Effect(kpi.id, "add", fields)
    return lambda _: effect


def fields_sql(*sums: str) -> str:
    """Write the columns of a recomputation from sums of whole numbers."""
    return f"CAST([{', '.join(sums)}], 'Array(Int128)') AS fields, CAST(map(), 'Map(Int32, UInt64)') AS bins"


def bins_sql(bin_: str) -> str:
    """Write the columns of a recomputation from the bin of each row."""
    return f"CAST([], 'Array(Int128)') AS fields, mapSort(sumMap(map({bin_}, toUInt64(1)))) AS bins"


def above_zero_sql(value: str, half: str) -> str:
    """Write what `intervals.above_zero` gives: the pair of ends, given names of the value and half of Student's."""
    reach = f"({half} / {value})"
    above = f"({reach} * (1 + {reach} / z))"
    return (
        f"multiIf({value} <= 0, (0, NULL), {above} > log({WIDEST:g}), (NULL, NULL),"
        f" ({value} * exp(-{reach}), {value} * exp({above})))"
    )


def within_sql(column: str, limit: int, lowest: int | None = None) -> str:
    """Write the condition that a Nullable number is there and within its limit."""
    return f"ifNull({column} BETWEEN {-limit if lowest is None else lowest} AND {limit}, false)"


def measured_sql(rows: Rows, selector: Selector, limit: int, column: str = "first") -> str:
    """Add the value of a selector as a column, in steps within the limit; return the SQL for its whole steps."""
    assert selector.value is not None
    rows.columns[column] = rows.steps(selector.value)
    rows.conditions.append(within_sql(column, limit))
    return WHOLE.format(column)
