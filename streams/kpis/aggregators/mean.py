"""Means of measured values."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from operator import mul

from streams.kpis.accumulators import Acc
from streams.kpis.aggregators.base import MEASURES, Aggregator, Recomputation, Rows, View, fields_sql, measured_sql
from streams.kpis.definition import Kpi
from streams.kpis.effects import Compiler, EffectOf, Gathering
from streams.kpis.intervals import NOTHING, Measure, student_factor

_LIMIT = 1 << 31  # squares fit 64 bits, which is what is quick to work with


def _add(values: Sequence[int]) -> tuple[int, ...]:
    return len(values), sum(values), sum(map(mul, values, values))


_GATHERED = Gathering(_LIMIT, _add)


class Mean(Aggregator):
    """The mean with Student's interval; one answer has no spread and hence no interval."""

    name = "mean"
    words = "the average of a value"
    fields = ("n", "sum", "squares")
    units = (*MEASURES, "percent", "points")
    in_steps = True
    limit = _LIMIT
    view = View(
        "field(2) / (total * scale)",
        "if(total > 1, mean - mean_half, NULL)",
        "if(total > 1, mean + mean_half, NULL)",
        {
            "mean": "field(2) / (total * scale)",
            # In whole numbers: the difference of two large sums would lose its digits in doubles.
            "mean_spread": "n * whole(3) - whole(2) * whole(2)",
            "mean_half": "student(total - 1) * sqrt(toFloat64(mean_spread) / (total * (total - 1)) / total) / scale",
        },
    )

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Add the value and its square."""
        assert kpi.of.value is not None
        return compiler.gather(kpi, _GATHERED, kpi.of.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float) -> Measure:  # noqa: ARG002
        """Return the mean in the KPI's unit."""
        n, total, squares = acc[0], acc[1], acc[2]
        if not n:
            return NOTHING
        value = float(total) / (n * scale)
        if n < 2:
            return Measure(value, n, None, None)
        # In whole numbers: the textbook difference of two large sums would lose all digits in doubles.
        variance = (n * squares - total * total) / (n * (n - 1)) / (scale * scale)
        half = student_factor(n - 1, z) * sqrt(variance / n)
        return Measure(value, n, value - half, value + half)

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Add up steps and their squares."""
        whole = measured_sql(of, kpi.of, self.limit)
        sums = fields_sql("count()", f"sum(toInt128({whole}))", f"sum(toInt128({whole}) * {whole})")
        return Recomputation(sums, ("first",))
