"""How many events there were."""

from __future__ import annotations

from streams.kpis.aggregators.base import Aggregator, Recomputation, Rows, ViewColumns, added, fields_sql
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range
from streams.kpis.language.definition import Kpi
from streams.kpis.language.effects import Compiler, EffectOf


class Count(Aggregator):
    """Everything was counted, nothing was sampled, so there is no interval."""

    name = "count"
    words = "how many events there were"
    fields = ("n",)
    units = ("count",)
    value = "none"
    additive = True
    view = ViewColumns("total")

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:  # noqa: ARG002 - reads nothing of the event
        """Count the event."""
        return added(kpi, 1)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the count."""
        n = acc[0]
        return Measure(float(n), n, None, None) if n else NOTHING

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Count events of each customer."""
        return "fields[1]", ""

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Count rows."""
        return Recomputation(fields_sql("count()"), ())
