"""Hits by trials: single events, or events that each stand for many trials."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt

from streams.kpis.aggregators.base import (
    WHOLE,
    Aggregator,
    Recomputation,
    Rows,
    ViewColumns,
    added,
    fields_sql,
    measured_sql,
    within_sql,
)
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import FEWEST, NOTHING, PERCENT_UNITS, Measure, Range, wilson
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.effects import Compiler, Effect, EffectOf, Gathering

_LIMIT = 1 << 31


def _add(values: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    trials, hits = zip(*values, strict=True)
    return sum(trials), sum(hits)


_TRIALS = Gathering(_LIMIT, _add, part_within=True)


class Ratio(Aggregator):
    """
    Hits per trial with the Wilson interval.

    Hits and trials may be different events, as orders per session, and hits can exceed trials. Then it is no share of
    trials but a ratio of two independent Poisson counts: log-normal interval, variance of the log 1/hits + 1/trials
    (Rothman, Greenland & Lash, Modern Epidemiology, 3rd ed., ch. 14, rate ratio).
    """

    name = "ratio"
    words = "how many of the trials hit; an event may stand for several trials"
    fields = ("n", "hits")
    units = ("percent", "fraction")
    value = "optional"
    second = "hits"
    sides = ("Trials", "Hits")
    limit = _LIMIT
    view = ViewColumns(
        "factor * field(2) / total",
        f"multiIf(field(2) > total, if(total < {FEWEST}, NULL, factor * rate / exp(rate_half)),"
        " field(2) = 0, 0, factor * (rate_centre - rate_half))",
        f"multiIf(field(2) > total, if(total < {FEWEST}, NULL, factor * rate * exp(rate_half)),"
        " field(2) = total, factor, factor * (rate_centre + rate_half))",
        {
            "rate": "field(2) / total",
            "rate_spread": "pow(z, 2) / total",
            "rate_centre": "(rate + rate_spread / 2) / (1 + rate_spread)",
            "rate_half": "if(field(2) <= total,"
            " z * sqrt(rate * (1 - rate) / total + rate_spread / (4 * total)) / (1 + rate_spread),"
            " z * sqrt(1 / field(2) + 1 / total))",
        },
    )

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:  # noqa: ARG002
        """Refuse weighted trials whose hits do not say how many of an event's trials they are."""
        given = block.block("hits")
        if given is None:
            return
        if of.value is None and "value" in given:
            given.problem(
                "value", "'value' is how many of the trials hit: 'of' needs the 'value' that says how many there are"
            )
        elif of.value is not None and list(given) != ["value"]:
            given.problem(
                "hits", "where 'of' has a 'value', the number of trials, 'hits' have one alone: how many of them hit"
            )

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Count the trial, and among the events of trials, its hit; or the trials that the event stands for."""
        if kpi.of.value is not None:
            assert kpi.hits is not None
            return compiler.gather(kpi, _TRIALS, kpi.of.value, kpi.hits.value)
        if not (kpi.nested and kpi.hits):
            return added(kpi, 1, 0)
        hit = compiler.from_facts(kpi.hits.where)
        return lambda facts: Effect(kpi.id, "add", (1, 1 if hit(facts) else 0))

    def hits_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:  # noqa: ARG002 - reads nothing of the event
        """Count the hit."""
        return added(kpi, 0, 1)

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return hits by trials."""
        n, hits = acc[0], acc[1]
        if not n:
            return NOTHING
        factor = 100 if unit in PERCENT_UNITS else 1
        value = float(factor * hits) / n
        if hits <= n:
            lo, hi = wilson(hits, n, z)
            return Measure(value, n, factor * lo, factor * hi)
        if n < FEWEST:
            return Measure(value, n, None, None)
        width = exp(z * sqrt(1 / hits + 1 / n))
        return Measure(value, n, value / width, value * width)

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:
        """Count trials and hits, or add up those that events stand for."""
        assert kpi.hits is not None
        if kpi.of.value is not None:
            assert kpi.hits.value is not None
            measured_sql(of, kpi.of, self.limit)
            of.columns["second"] = of.steps(kpi.hits.value)
            of.conditions += [
                within_sql("second", self.limit), "ifNull(floor(second) BETWEEN 0 AND floor(first), false)",
            ]  # fmt: skip
            of.columns |= {"trial": WHOLE.format("first"), "hit": WHOLE.format("second")}
            sums = fields_sql("sum(toInt128(trial))", "sum(toInt128(hit))")
            return Recomputation(sums, ("trial", "hit"), "sum(trial) > 0")
        if hits is None:
            of.columns["second"] = of.sql(kpi.hits.where)
            return Recomputation(fields_sql("count()", "countIf(second)"), ("second",))
        of.columns["first"], hits.columns["first"] = "true", "false"
        return Recomputation(fields_sql("countIf(first)", "countIf(NOT first)"), ("first",))
