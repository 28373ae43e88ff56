"""Sums of measured values."""

from __future__ import annotations

from streams.kpis.aggregators.base import (
    MEASURES,
    Aggregator,
    Recomputation,
    Rows,
    ViewColumns,
    fields_sql,
    measured_sql,
)
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range
from streams.kpis.language.definition import Kpi
from streams.kpis.language.effects import Compiler, EffectOf, Gathering

_LIMIT = 1 << 53
_GATHERED = Gathering(_LIMIT, lambda values: (len(values), sum(values)))


class Sum(Aggregator):
    """As a count it has no interval."""

    name = "sum"
    words = "the total of a value"
    fields = ("n", "sum")
    units = MEASURES
    in_steps = True
    limit = _LIMIT
    additive = True
    view = ViewColumns("field(2) / scale")

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Add the value."""
        assert kpi.of.value is not None
        return compiler.gather(kpi, _GATHERED, kpi.of.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the total in the KPI's unit."""
        n = acc[0]
        return Measure(float(acc[1]) / scale, n, None, None) if n else NOTHING

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Add up values of each customer."""
        return f"fields[2] / {scale}", ""

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Add up steps."""
        whole = measured_sql(of, kpi.of, self.limit)
        return Recomputation(fields_sql("count()", f"sum(toInt128({whole}))"), ("first",))
