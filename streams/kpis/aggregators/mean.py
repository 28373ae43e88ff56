"""Means of measured values."""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

from streams.kpis.aggregators.base import (
    MEASURES,
    Aggregator,
    Recomputation,
    Rows,
    ViewColumns,
    above_zero_sql,
    fields_sql,
    measured_sql,
)
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import FEWEST, NOTHING, Measure, Range, mean_interval
from streams.kpis.language.definition import Kpi
from streams.kpis.language.effects import Compiler, EffectOf, Gathering

_LIMIT = 1 << 31  # squares fit 64 bits, which is what is quick to work with


def _add(values: Sequence[int]) -> tuple[int, ...]:
    return len(values), sum(values), sum(map(mul, values, values))


_GATHERED = Gathering(_LIMIT, _add)


class Mean(Aggregator):
    """The mean with an interval inside the range of single answers; of too few there is none."""

    name = "mean"
    words = "the average of a value"
    fields = ("n", "sum", "squares")
    units = (*MEASURES, "percent", "points")
    in_steps = True
    limit = _LIMIT
    view = ViewColumns(
        "mean",
        "mean_ends.1",
        "mean_ends.2",
        {
            "mean": "field(2) / (total * scale)",
            "mean_low": "toInt256(round(assumeNotNull(coalesce(low, 0)) * scale))",
            "mean_high": "toInt256(round(assumeNotNull(coalesce(high, 0)) * scale))",
            # With one answer more at each end of the range, unless the sums belie it.
            "mean_scaled": "isNotNull(low) AND isNotNull(high) AND total > 1"
            " AND (mean_low + mean_high) * whole(2) - whole(3) - n * mean_low * mean_high >= 0",
            "mean_n": "if(mean_scaled, n + 2, n)",
            "mean_sum": "if(mean_scaled, whole(2) + mean_low + mean_high, whole(2))",
            "mean_squares": "if(mean_scaled, whole(3) + mean_low * mean_low + mean_high * mean_high, whole(3))",
            "mean_middle": "toFloat64(mean_sum) / (mean_n * scale)",
            "mean_positive": "ifNull(low = 0, false) AND whole(2) >= 0 AND whole(3) <= whole(2) * whole(2)",
            # In whole numbers: the difference of two large sums would lose its digits in doubles.
            "mean_spread": "mean_n * mean_squares - mean_sum * mean_sum",
            "mean_half": "student(mean_n - 1)"
            " * sqrt(toFloat64(mean_spread) / (toFloat64(mean_n) * (mean_n - 1)) / mean_n) / scale",
            "mean_ends": "multiIf(mean_scaled, (greatest(assumeNotNull(low), least(mean, mean_middle - mean_half)),"
            " least(assumeNotNull(high), greatest(mean, mean_middle + mean_half))),"
            f" total < {FEWEST}, (NULL, NULL), mean_positive, {above_zero_sql('mean', 'mean_half')},"
            " (mean - mean_half, mean + mean_half))",
        },
    )

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Add the value and its square."""
        assert kpi.of.value is not None
        return compiler.gather(kpi, _GATHERED, kpi.of.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the mean in the KPI's unit."""
        n, total, squares = acc[0], acc[1], acc[2]
        if not n:
            return NOTHING
        return Measure(float(total) / (n * scale), n, *mean_interval((n, total, squares), scale, within, z))

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Add up values by how many they are."""
        return f"fields[2] / {scale}", "fields[1]"

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Add up steps and their squares."""
        whole = measured_sql(of, kpi.of, self.limit)
        sums = fields_sql("count()", f"sum(toInt128({whole}))", f"sum(toInt128({whole}) * {whole})")
        return Recomputation(sums, ("first",))
