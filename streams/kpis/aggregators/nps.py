"""Net Promoter Score: answers from 0 to 10, promoters less detractors."""

from __future__ import annotations

from typing import Final

from streams.kpis.aggregators.base import Aggregator, Recomputation, Rows, ViewColumns, fields_sql
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure, Range, nps_interval
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.effects import Compiler, Effect, EffectOf, Facts
from streams.kpis.language.tree import names_in

PROMOTER: Final = 9
DETRACTOR: Final = 6
BEST: Final = 10


class Nps(Aggregator):
    """The plain NPS with the adjusted interval, of which it is not quite the centre."""

    name = "nps"
    words = "the share of ratings from 9 to 10 less that of ratings from 0 to 6, in points from -100 to 100"
    fields = ("n", "promoters", "detractors")
    units = ("points",)
    view = ViewColumns(
        "100 * (field(2) - field(3)) / total",
        "100 * greatest(-1, happy - unhappy - nps_half)",
        "100 * least(1, happy - unhappy + nps_half)",
        {
            # Adjusted Wald: 3/4 promoter, 3/4 detractor and 3 answers more.
            "happy": "(field(2) + 0.75) / (total + 3)",
            "unhappy": "(field(3) + 0.75) / (total + 3)",
            "nps_half": "z * sqrt(greatest(happy + unhappy - pow(happy - unhappy, 2), 0) / (total + 3))",
        },
    )

    def check(self, block: YamlBlock, of: Selector, hits: Selector | None, *, nested: bool) -> None:  # noqa: ARG002
        """Demand ratings: whole numbers within bounds."""
        given = block.block("of")
        rated = [field.bounded and field.whole for field in names_in(of.value.tree)] if of.value else [True]
        if given is not None and not (rated and all(rated)):
            given.problem("value", "an NPS is made of ratings")

    def of_effect(self, kpi: Kpi, compiler: Compiler) -> EffectOf:
        """Count the answer by its rating; one beyond 0 to 10 is none."""
        assert kpi.of.value is not None
        rating_of = compiler.from_facts(kpi.of.value)

        def effect(facts: Facts) -> Effect | None:
            rating = rating_of(facts)
            if rating is None or not 0 <= rating <= BEST:
                return None
            return Effect(kpi.id, "add", (1, int(rating >= PROMOTER), int(rating <= DETRACTOR)))

        return effect

    def measure(self, acc: Acc, scale: int, unit: str, q: float, z: float, within: Range) -> Measure:  # noqa: ARG002
        """Return the score in points."""
        n, promoters, detractors = acc[0], acc[1], acc[2]
        if not n:
            return NOTHING
        return Measure(float(100 * (promoters - detractors)) / n, n, *nps_interval(promoters, detractors, n, z))

    def of_customer(self, scale: int, factor: int) -> tuple[str, str]:  # noqa: ARG002
        """Add up scores by answers."""
        return "100 * (fields[2] - fields[3])", "fields[1]"

    def recompute(self, kpi: Kpi, of: Rows, hits: Rows | None) -> Recomputation:  # noqa: ARG002
        """Count ratings."""
        assert kpi.of.value is not None
        of.columns["first"] = of.sql(kpi.of.value)
        of.conditions.append(f"ifNull(first BETWEEN 0 AND {BEST}, false)")
        sums = fields_sql("count()", f"countIf(first >= {PROMOTER})", f"countIf(first <= {DETRACTOR})")
        return Recomputation(sums, ("first",))
