"""Quantiles of measured values, from a sketch of bins."""

from __future__ import annotations

from streams.kpis.aggregators.base import MEASURES, Aggregator, Recomputation, Rows, ViewColumns, bins_sql, measured_sql
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range, rank_bounds
from streams.kpis.arithmetic.sketch import PROBABILITY_STEPS, bin_of, index_sql, probability_steps, rank_of, value_at
from streams.kpis.language.definition import Kpi
from streams.kpis.language.effects import Compiler, EffectOf, Gathering

_LIMIT = 1 << 53
_GATHERED = Gathering(_LIMIT, bin=bin_of)


class Quantile(Aggregator):
    """The sketched value at the quantile's rank, between those at the ranks that bound it."""

    name = "quantile"
    words = "the values that given shares of all values do not exceed, each within 1 %"
    units = MEASURES
    in_steps = True
    limit = _LIMIT
    has_quantiles = True
    view = ViewColumns(
        "ranked[1]",
        "ranked[2]",
        "ranked[3]",
        {
            "seen": "arrayCumSum(mapValues(bins))",
            "keys": "mapKeys(bins)",
            # A quantile and the ends of its interval are the values at these ranks.
            "rank_spread": "z * sqrt(total * q * (1 - q))",
            "ranks": "[greatest(1, ceil(round(q * 10000) * total / 10000)), floor(total * q - rank_spread),"
            " ceil(total * q + rank_spread) + 1]",
            "ranked": "arrayMap(rank -> if(rank < 1 OR rank > total, NULL,"
            " estimates[keys[arrayFirstIndex(up_to -> up_to >= rank, seen)] + 2] / (1000 * scale)), ranks)",
        },
    )

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Count the bin of the value."""
        assert kpi.of.value is not None
        return compiler.gather(kpi, _GATHERED, kpi.of.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the quantile `q` in the KPI's unit."""
        assert type(acc) is dict
        n = sum(acc.values())
        if not n:
            return NOTHING
        lower, upper = rank_bounds(n, probability_steps(q) / PROBABILITY_STEPS, z)
        return Measure(
            value_at(acc, rank_of(q, n), scale),
            n,
            None if lower is None else value_at(acc, lower, scale),
            None if upper is None else value_at(acc, upper, scale),
        )

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Count bins."""
        return Recomputation(bins_sql(index_sql(measured_sql(of, kpi.of, self.limit))), ("first",))
