"""How many different values a text had, such as customers."""

from __future__ import annotations

from streams.kpis.aggregators.base import Aggregator, Recomputation, Rows, ViewColumns, bins_sql
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.coupons import coupon_of, coupon_sql, estimate
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range
from streams.kpis.language.definition import Kpi
from streams.kpis.language.effects import Compiler, EffectOf, Gathering

_GATHERED = Gathering(bin=coupon_of, in_steps=False)


class Distinct(Aggregator):
    """
    The estimate, within what is certain: there are no fewer values than coupons and no more than events.

    Hence the interval of few values is exact. n is the number of events that brought the values.
    """

    name = "distinct"
    words = "how many different values a text has, such as customers, within 2 %"
    units = ("count",)
    value = "text"
    view = ViewColumns(
        "different",
        "greatest(toFloat64(coupons), different - z * different_error)",
        "least(total, different + z * different_error)",
        {
            # As many coupons fewer per register are half as many values.
            "coupons": "toUInt64(length(bins))",
            "doubled": "if(coupons >= 16384, intDiv(coupons - 16384, 2048) + 1, 0)",
            "estimated": "coupon_estimates[coupons - 2048 * doubled + 1]",
            "different": "least(toFloat64(estimated.1 * bitShiftLeft(toUInt64(1), doubled)), total)",
            "different_error": "estimated.2 * exp2(doubled)",
        },
    )

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Count the coupon of the value."""
        assert kpi.of.value is not None
        return compiler.gather(kpi, _GATHERED, kpi.of.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return how many different values there were."""
        assert type(acc) is dict
        n = sum(acc.values())
        if not n:
            return NOTHING
        found, error = estimate(acc)
        value = float(min(found, n))
        return Measure(value, n, max(float(len(acc)), value - z * error), min(float(n), value + z * error))

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Count coupons."""
        assert kpi.of.value is not None
        of.columns["first"] = of.sql(kpi.of.value)
        of.conditions.append("isNotNull(first)")
        return Recomputation(bins_sql(coupon_sql("assumeNotNull(first)")), ("first",))
