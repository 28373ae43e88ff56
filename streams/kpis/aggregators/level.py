"""Running totals that survive windows: occupancy, backlog, open cases."""

from __future__ import annotations

from collections.abc import Sequence

from streams.kpis.aggregators.base import (
    MEASURES,
    WHOLE,
    Aggregator,
    Recomputation,
    Rows,
    ViewColumns,
    added,
    fields_sql,
    measured_sql,
)
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.effects import Compiler, EffectOf, Gathering

_LIMIT = 1 << 53


def _add(values: Sequence[int]) -> tuple[int, ...]:
    return len(values), sum(values), len(values)


def _take_away(values: Sequence[int]) -> tuple[int, ...]:
    return len(values), -sum(values), len(values)


_MORE, _LESS = Gathering(_LIMIT, _add), Gathering(_LIMIT, _take_away)


class Level(Aggregator):
    """
    What has come less what has gone, from the beginning to the end of the window; n counts the changes inside it.

    Nothing was sampled, so there is no interval. A level of which no change was ever seen has no value, one that is
    back at nothing is 0: that is what `changes` tells apart, which like the level itself does not leave windows.
    """

    name = "level"
    words = "what has come less what has gone since the beginning, at the window's end; n counts changes in the window"
    fields = ("n", "level", "changes")
    lasting = True
    units = MEASURES
    value = "optional"
    second = "minus"
    second_words = "says what takes away"
    sides = ("Comes", "Goes")
    in_steps = True
    limit = _LIMIT
    view = ViewColumns("if(field(3) = 0, NULL, field(2) / scale)")

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:  # noqa: ARG002
        """Demand events of their own that take away, and no waiting."""
        if hits is not None and nested:
            block.problem("minus", "'events' is missing: what takes away are events of their own")
        if "wait" in block:
            block.problem("wait", "'wait' means nothing for level: it is known at once")

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Raise the level by the value, or by one."""
        if kpi.of.value is None:
            return added(kpi, 1, kpi.scale, 1)
        return compiler.gather(kpi, _MORE, kpi.of.value)

    def hits_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Lower the level by the value, or by one."""
        assert kpi.hits is not None
        if kpi.hits.value is None:
            return added(kpi, 1, -kpi.scale, 1)
        return compiler.gather(kpi, _LESS, kpi.hits.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the level at the end of the window, in the KPI's unit."""
        n, level, changes = acc[0], acc[1], acc[2]
        return Measure(float(level) / scale, n, None, None) if changes else NOTHING

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:
        """Add up what comes and what goes."""
        assert kpi.hits is not None
        for rows, selector, sign in ((of, kpi.of, ""), (hits, kpi.hits, "-")):
            assert rows is not None
            whole = str(kpi.scale)
            if selector.value is not None:
                measured_sql(rows, selector, self.limit)
                whole = WHOLE.format("first")
            rows.columns["change"] = f"{sign}toInt128({whole})"
        return Recomputation(fields_sql("count()", "sum(change)", "count()"), ("change",))
