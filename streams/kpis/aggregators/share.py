"""Sums of parts by sums of wholes, as occupancy is busy time by staffed time."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from operator import mul

from streams.kpis.aggregators.base import (
    MEASURES,
    WHOLE,
    Aggregator,
    Recomputation,
    Rows,
    ViewColumns,
    above_zero_sql,
    fields_sql,
    measured_sql,
    within_sql,
)
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import (
    FEWEST,
    NOTHING,
    PERCENT_UNITS,
    SHARE_UNITS,
    Measure,
    Range,
    above_zero,
    student_factor,
)
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.effects import Compiler, EffectOf, Gathering
from streams.kpis.language.expressions import TRUE

_LIMIT = 1 << 40  # squares may be as long as they like, up to the 128 bits of storage for the sum of many


def _squares(values: Sequence[int]) -> int:
    return sum(map(mul, values, values))


def _add_whole(values: Sequence[int]) -> tuple[int, ...]:
    return len(values), sum(values), 0, _squares(values), 0, 0


def _add_both(values: Sequence[int]) -> tuple[int, ...]:
    total, squares = sum(values), _squares(values)
    return len(values), total, total, squares, squares, squares


def _add_part(values: Sequence[int]) -> tuple[int, ...]:
    return 0, 0, sum(values), 0, 0, _squares(values)


def _add_pair(values: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    wholes, parts = zip(*values, strict=True)
    return len(values), sum(wholes), sum(parts), _squares(wholes), sum(map(mul, wholes, parts)), _squares(parts)


_WHOLE, _BOTH, _PART, _PAIR = (Gathering(_LIMIT, add) for add in (_add_whole, _add_both, _add_part, _add_pair))


class Share(Aggregator):
    """
    The sum of parts by the sum of wholes.

    The interval is that of the delta method for a ratio of sums (Cochran, Sampling Techniques, 3rd ed., ch. 2.11):
    variance Σ(part − value · whole)² / (Σ whole)² · n / (n − 1), which also is that of two sums of random length. Where
    every part is nothing or the whole it sees no spread; then it is Wilson's of as many answers as the wholes are worth
    when their sizes differ, (Σ whole)² / Σ whole² (Kish, Survey Sampling, 1965, ch. 8.2).
    """

    name = "share"
    words = "a ratio of sums: a part of a whole, both measured"
    fields = ("n", "whole", "part", "whole_squares", "products", "part_squares")
    units = (*MEASURES, "percent")
    second = "hits"
    sides = ("Whole", "Part")
    in_steps = True
    limit = _LIMIT
    view = ViewColumns(
        "if(whole <= 0, NULL, toFloat64(factor * part) / toFloat64(whole))",
        "share_ends.1",
        "share_ends.2",
        {
            "whole": "whole(2)",
            "part": "whole(3)",
            "part_share": "toFloat64(factor * part) / toFloat64(whole)",
            "scatter": "whole(6) * whole * whole - 2 * part * whole * whole(5) + part * part * whole(4)",
            "share_bare": "whole <= 0 OR total < 2 OR (scatter = 0 AND NOT of_one)",
            # A share without any spread is worth as many answers as its wholes are of even size.
            "slack": "pow(z, 2) / (toFloat64(whole * whole) / toFloat64(whole(4)) + pow(z, 2))",
            "share_half": "factor * student(total - 1)"
            " * sqrt(toFloat64(scatter) / toFloat64(whole * whole * whole * whole) * total / (total - 1))",
            "share_ends": "multiIf(share_bare, (NULL, NULL),"
            " scatter = 0, (if(part = 0, 0, factor * (1 - slack)), if(part = 0, factor * slack, factor)),"
            f" total < {FEWEST}, (NULL, NULL),"
            " of_one, (greatest(0, part_share - share_half), least(factor, part_share + share_half)),"
            f" part > 0, {above_zero_sql('part_share', 'share_half')},"
            " (part_share - share_half, part_share + share_half))",
        },
    )

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:  # noqa: ARG002
        """Refuse a part that is the whole, or a percentage that is none."""
        if hits is None:
            return
        unit = block.text("unit")
        if not nested and hits.value is None:
            block.problem("hits", "'value' is missing: events of their own measure the part themselves")
        if nested and hits.value is None and hits.where is TRUE:
            block.problem("hits", "the part is the whole: 'hits' needs 'where', or a 'value' of its own")
        if unit in SHARE_UNITS and hits.value is not None:
            block.problem("unit", f"unit {unit!r} is impossible for a share of two values: it is the share of one")

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Add the whole, and where the event is one of the part, that too."""
        assert kpi.of.value is not None
        of_whole = compiler.gather(kpi, _WHOLE, kpi.of.value)
        if not (kpi.nested and kpi.hits):
            return of_whole
        hit = compiler.from_facts(kpi.hits.where)
        if kpi.hits.value is None:
            of_part = compiler.gather(kpi, _BOTH, kpi.of.value)
        else:
            of_part = compiler.gather(kpi, _PAIR, kpi.of.value, kpi.hits.value)
        return lambda facts: of_part(facts) if hit(facts) else of_whole(facts)

    def hits_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Add the part."""
        assert kpi.hits is not None
        assert kpi.hits.value is not None
        return compiler.gather(kpi, _PART, kpi.hits.value)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return parts by wholes."""
        assert type(acc) is list
        n, whole, part, wholes, products, parts = acc
        if not n:
            return NOTHING
        if whole <= 0:
            return Measure(None, n, None, None)
        factor = 100 if unit in PERCENT_UNITS else 1
        of_one = unit in SHARE_UNITS
        value = float(factor * part) / whole
        # In whole numbers: the difference of large sums would lose all digits in doubles.
        spread = parts * whole * whole - 2 * part * whole * products + part * part * wholes
        if n < 2 or (not spread and not of_one):
            return Measure(value, n, None, None)
        if not spread:
            worth = float(whole * whole) / wholes
            slack = z * z / (worth + z * z)
            return Measure(
                value, n, 0.0 if not part else factor * (1 - slack), factor * slack if not part else float(factor)
            )
        if n < FEWEST:
            return Measure(value, n, None, None)
        error = sqrt(float(spread) / float(whole**4) * n / (n - 1))
        half = factor * student_factor(n - 1, z) * error
        if of_one:
            return Measure(value, n, max(0.0, value - half), min(float(factor), value + half))
        if part > 0:
            return Measure(value, n, *above_zero(value, half))
        return Measure(value, n, value - half, value + half)

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Add up parts by wholes."""
        return f"{factor} * fields[3]", "fields[2]"

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:
        """Add up wholes, parts, their squares and products."""
        assert kpi.hits is not None
        wide = f"toInt128({WHOLE})"
        measured_sql(of, kpi.of, self.limit)
        of.columns |= {"trial": "1", "whole": wide.format("first")}
        if hits is not None:
            of.columns["part"] = "toInt128(0)"
            hits.columns |= {"trial": "0", "whole": "toInt128(0)"}
            measured_sql(hits, kpi.hits, self.limit, "second")
            hits.columns["part"] = wide.format("second")
        else:
            of.columns["hit"] = of.sql(kpi.hits.where)
            if kpi.hits.value is None:
                of.columns["part"] = "if(hit, whole, 0)"
            else:
                of.columns["second"] = of.steps(kpi.hits.value)
                of.conditions.append(f"(NOT hit OR {within_sql('second', self.limit)})")
                of.columns["part"] = f"if(hit, {wide.format('second')}, 0)"
        crossed = "sum(whole * whole)", "sum(whole * part)", "sum(part * part)"
        # A part of nothing, without a whole, is no sum: an order of no amount where no visit began.
        return Recomputation(
            fields_sql("sum(trial)", "sum(whole)", "sum(part)", *crossed), ("trial", "whole", "part"),
            "sum(trial) > 0 OR sum(part * part) > 0",
        )  # fmt: skip
