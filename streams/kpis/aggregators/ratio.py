"""Hits by trials: single events, or events that each stand for many trials."""

from __future__ import annotations

from collections.abc import Sequence

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
from streams.kpis.arithmetic.intervals import (
    HUNDRED_UNITS,
    NOTHING,
    PER_100,
    SHARE_UNITS,
    Measure,
    Range,
    rate_interval,
    wilson,
)
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
    Hits per trial: a share where hits are counted among the trials, a rate where they are events of their own.

    A share has the Wilson interval and lies between none and all. A rate, as crashes per 100 sessions, has the interval
    of the ratio of two Poisson counts, and no upper end.
    """

    name = "ratio"
    words = "how many of the trials hit; an event may stand for several trials"
    fields = ("n", "hits")
    units = ("percent", "fraction", PER_100)
    value = "optional"
    second = "hits"
    sides = ("Trials", "Hits")
    limit = _LIMIT
    view = ViewColumns(
        "if(hits_beyond, NULL, factor * field(2) / total)",
        "multiIf(hits_beyond, NULL, field(2) = 0, 0, factor * if(per_other, rate_low / (1 - rate_low), rate_low))",
        "multiIf(hits_beyond, NULL, field(2) = total AND NOT per_other, factor,"
        " factor * if(per_other, rate_high / (1 - rate_high), rate_high))",
        {
            "per_other": f"unit = '{PER_100}'",
            "hits_beyond": "NOT per_other AND field(2) > total",
            "rate_trials": "total + if(per_other, field(2), 0)",
            "rate": "field(2) / rate_trials",
            "rate_spread": "pow(z, 2) / rate_trials",
            "rate_centre": "(rate + rate_spread / 2) / (1 + rate_spread)",
            "rate_half": "z * sqrt(rate * (1 - rate) / rate_trials + rate_spread / (4 * rate_trials))"
            " / (1 + rate_spread)",
            "rate_low": "rate_centre - rate_half",
            "rate_high": "rate_centre + rate_half",
        },
    )

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:
        """Refuse weighted trials whose hits are not among them, and a share of what is not counted among its trials."""
        given = block.block("hits")
        if given is None or hits is None:
            return
        _check_kind(block, given, of, hits, nested=nested)
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
        factor = 100 if unit in HUNDRED_UNITS else 1
        if unit == PER_100:
            lo, hi = rate_interval(hits, n, z)
        elif hits <= n:
            lo, hi = wilson(hits, n, z)
        else:  # no events can have made such sums
            return Measure(None, n, None, None)
        return Measure(float(factor * hits) / n, n, factor * lo, factor * hi)

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Count hits by trials."""
        return f"{factor} * fields[2]", "fields[1]"

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


def _check_kind(block: YamlBlock, given: YamlBlock, of: Selector, hits: Selector, *, nested: bool) -> None:
    """Hold the unit against how hits are counted: among the trials they are a share, else a rate."""
    unit = block.plain("unit")
    if unit == PER_100 and nested:
        block.problem(
            "unit", "unit 'per_100' is a rate of other events: hits that are counted among 'of' are a share, in percent"
        )
    if unit not in SHARE_UNITS or nested or not hits.events or not of.events:
        return
    wanted, either = ", ".join(hits.written), ", ".join(dict.fromkeys([*hits.written, *of.written]))
    if set(hits.events) <= set(of.events):
        how = f"leave 'events' out and say which of them hit, e.g. where: {_of_type(hits.events)}"
    else:
        how = (
            f"either list every outcome in 'of', as events: [{either}] where these exclude each other, and say"
            f" which of them hit, as hits: {{where: {_of_type(hits.events)}}}; or call it a rate, unit: {PER_100},"
            " with a name that says per 100 of what"
        )
    given.problem("events", f"a share cannot count {wanted} beside 'of', it would leave 0 to 100 %: {how}")


def _of_type(events: Sequence[str]) -> str:
    """Write the condition that an event is one of these."""
    return f"type == '{events[0]}'" if len(events) == 1 else f"type in {list(events)}"
