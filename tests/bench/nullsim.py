"""
How often rules cry wolf, and how soon they see a fall: `python -m tests.bench.nullsim`.

Series of a ratio are simulated: answers come by chance (Poisson), each is good with the same probability, day and
night. In the null simulation nothing ever happens, so every alert is a false one. In the others the probability drops
at once, after three days, and counted are the answers from there until the alert fires. Judged are the detectors as
they are (array by array, see `fleet`), with the gates and through the state machine of the product.

By default these are the pages of `deploy/rules` on ratios. Who learns what is normal is given 85 % good answers, one a
minute; a floor is held where its rule says that all is well, with twice the answers that it asks for.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streams.alerts import rules as shipped_rules
from streams.alerts.facts import Facts, length_of
from streams.alerts.machine import Policy
from streams.alerts.params import BurnRate, Cusum, Floor, Params, ZTest
from streams.alerts.parsing import load_rules
from streams.alerts.vectorised import RulePlan, SeriesBatch
from streams.alerts.vectorised import firings as fleet_firings
from streams.kpis.catalogue import Catalogue

DAY = 1440
SETTLED = 3 * DAY
"""Minutes before anything drops."""

PERCENT = Facts("ratio", "up", "percent")
RULES = Path(__file__).resolve().parents[2] / "deploy" / "rules"
SIMULATED = (Cusum, ZTest, Floor, BurnRate)


class Rule(NamedTuple):
    """What of a rule decides when it fires, and the series it is tried on."""

    name: str
    window: str
    params: Params
    policy: Policy = Policy()
    min_n: int = 1
    min_denominator: int = 0
    facts: Facts = PERCENT
    kpi: str = ""
    good: float = 0.85
    """Share of answers that are as they should be."""
    rate: float = 1.0
    """Answers per minute."""


class Rate(NamedTuple):
    """False episodes per day and series, with the ends of a 95 % interval (series vary on their own)."""

    per_day: float
    lo: float
    hi: float


class Delay(NamedTuple):
    """How many answers it took, in half and in nine of ten cases, and how many series were never seen."""

    median: float
    most: float
    missed: float


def drawn(
    generator: np.random.Generator,
    series: int,
    minutes: int,
    rate: float = 1.0,
    good: float = 0.85,
    dropped: float | None = None,
    facts: Facts = PERCENT,
) -> SeriesBatch:
    """Draw series; from `SETTLED` on with another share of good answers, if given."""
    n = generator.poisson(rate, (minutes, series)).astype(np.int32)
    p = np.full((minutes, 1), good)
    if dropped is not None:
        p[SETTLED:] = dropped
    hits = generator.binomial(n, p if facts.direction == "up" else 1 - p).astype(np.int32)
    return SeriesBatch.of(n, hits)


def firings(rule: Rule, vectorised: SeriesBatch) -> list[list[int]]:
    """Return the minutes in which each series begins to fire."""
    return fleet_firings(
        RulePlan(rule.params, rule.facts, rule.window, rule.policy, rule.min_n, rule.min_denominator), vectorised
    )


def false_rate(counts: Sequence[int], days: float) -> Rate:
    """Return the rate of false episodes from how many each series had."""
    per_series = np.asarray(counts, float) / days
    mean = float(per_series.mean())
    # No episode at all still leaves up to three per all series and days (rule of three).
    half = 1.96 * float(per_series.std(ddof=1)) / len(per_series) ** 0.5
    upper = mean + half if mean else 3 / (len(per_series) * days)
    return Rate(mean, max(0.0, mean - half), upper)


def null_rate(rules: Sequence[Rule], *, series: int, days: int, seed: int = 1, chunk: int = 100) -> dict[str, Rate]:
    """Return how often each rule fires while nothing happens, and all rules of a KPI together under `<kpi> all`."""
    counts: dict[str, list[int]] = {rule.name: [] for rule in rules}
    for number in range(0, series, chunk):
        for rule in rules:
            # Rules of one KPI are tried on the same series.
            generator = np.random.default_rng([seed, number, *rule.kpi.encode()])
            vectorised = drawn(
                generator, min(chunk, series - number), days * DAY, rule.rate, rule.good, None, rule.facts
            )
            counts[rule.name] += [len(fired) for fired in firings(rule, vectorised)]
    for kpi in dict.fromkeys(rule.kpi for rule in rules):
        names = [rule.name for rule in rules if rule.kpi == kpi]
        if len(names) > 1:
            counts[f"{kpi} all"] = [sum(each) for each in zip(*(counts[name] for name in names), strict=True)]
    return {name: false_rate(each, days) for name, each in counts.items()}


def delays(
    rules: Sequence[Rule], dropped: float, *, series: int, seed: int = 2, answers: int = 1_500
) -> dict[str, Delay]:
    """Return how many answers each rule needs to see a drop, and the first of a KPI's under `<kpi> all`."""
    found: dict[str, np.ndarray] = {}
    for rule in rules:
        minutes = SETTLED + max(1, round(answers / rule.rate))
        generator = np.random.default_rng([seed, round(1000 * dropped), *rule.kpi.encode()])
        vectorised = drawn(generator, series, minutes, rule.rate, rule.good, dropped, rule.facts)
        seen = np.full(series, np.inf)
        for at, fired in enumerate(firings(rule, vectorised)):
            after = next((minute for minute in fired if minute >= SETTLED), None)
            if after is not None:
                seen[at] = vectorised.n[after + 1, at] - vectorised.n[SETTLED, at]
        found[rule.name] = seen
    for kpi in dict.fromkeys(rule.kpi for rule in rules):
        names = [rule.name for rule in rules if rule.kpi == kpi]
        if len(names) > 1:
            found[f"{kpi} all"] = np.min([found[name] for name in names], axis=0)
    return {
        name: Delay(float(np.median(seen)), float(np.quantile(seen, 0.9, method="lower")), float(np.isinf(seen).mean()))
        for name, seen in found.items()
    }


def shipped(*severities: str, kpi: str | None = None, folder: Path = RULES) -> list[Rule]:
    """Return the shipped rules on ratios of some severities, all if none is named, by the KPI they judge if one is."""
    book = load_rules([folder], Catalogue.load(), defaults=False)
    return [
        simulated(rule)
        for rule in book
        if (not severities or rule.severity in severities)
        and (kpi is None or rule.kpi.id == kpi)
        and rule.kpi.aggregator == "ratio"
        and isinstance(rule.params, SIMULATED)
    ]


def simulated(rule: shipped_rules.Rule) -> Rule:
    """Return what of a rule is simulated, and on which series."""
    facts = Facts.of(rule.kpi)
    policy = Policy(
        for_=rule.for_minutes, keep_firing_for=rule.keep_firing_minutes, recover_for=rule.recover.for_minutes,
        no_data=rule.no_data.action, no_data_for=rule.no_data.for_minutes,
    )  # fmt: skip
    good, rate = 0.85, 1.0
    if isinstance(rule.params, Floor | BurnRate):
        edge = rule.recover.above if facts.direction == "up" else rule.recover.below
        share = (rule.params.target if edge is None else edge) / facts.factor
        good = share if facts.direction == "up" else 1 - share
        rate = max(1.0, 2 * rule.min_n / length_of(rule.window))
    thin = 0 if isinstance(rule.params, Floor) else rule.min_denominator
    return Rule(rule.alert, rule.window, rule.params, policy, rule.min_n, thin, facts, rule.kpi.id, good, rate)


def candidates() -> list[Rule]:
    """Return CUSUM rules with several changes to look for, to choose from."""
    return [
        Rule(f"cusum δ = {delta}, h = {h:g}", "1h", Cusum(baseline="24h", delta=float(delta), h=h), min_denominator=20)
        for delta, h in ((10, 7.0), (10, 7.5), (10, 9.0), (15, 7.2), (15, 7.5), (20, 7.8), (20, 8.2), (20, 9.5))
    ]


def table(
    rules: Sequence[Rule], drops: Sequence[float], series: int, days: int, series_per_drop: int, seed: int
) -> str:
    """Simulate, and write down what came out."""
    rates = null_rate(rules, series=series, days=days, seed=seed)
    learning = [rule for rule in rules if isinstance(rule.params, Cusum | ZTest)]
    seen = {drop: delays(learning, drop, series=series_per_drop, seed=seed + 1) for drop in drops}
    heads = "".join(f" answers to {drop:.0%} (9 of 10, missed) |" for drop in drops)
    lines = [f"| rule | false episodes per day and series (95 %) |{heads}", "|---|---|" + "---|" * len(drops)]
    for name, rate in rates.items():
        cells = [f"{rate.per_day:.4f} ({rate.lo:.4f} to {rate.hi:.4f})"]
        for drop in drops:
            delay = seen[drop].get(name)
            cells.append("" if delay is None else f"{delay.median:.0f} ({delay.most:.0f}, {delay.missed:.1%})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nullsim", description=__doc__)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--drops", type=float, nargs="*", default=[0.80, 0.75, 0.65], help="from 0.85 to these")
    parser.add_argument("--delays", type=int, default=1000, help="series per drop (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kpi", help="only rules of this KPI")
    parser.add_argument("--severity", nargs="*", default=["page"], help="of the shipped rules; none: all (page)")
    parser.add_argument("--choose", action="store_true", help="try CUSUM parameters instead of the shipped pages")
    parser.add_argument("--rate", type=float, default=1.0, help="answers per minute for --choose (%(default)s)")
    chosen = parser.parse_args()
    rules = (
        [rule._replace(rate=chosen.rate) for rule in candidates()]
        if chosen.choose
        else shipped(*chosen.severity, kpi=chosen.kpi)
    )
    began = time.monotonic()
    text = table(rules, chosen.drops, chosen.series, chosen.days, chosen.delays, chosen.seed)
    print(f"{chosen.series} series over {chosen.days} days, {chosen.delays} per drop, seed {chosen.seed}\n\n{text}")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
