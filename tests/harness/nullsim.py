"""
Series of a ratio by chance, on which the detectors are tried as they are (array by array, see `vectorised`), with the gates
and through the state machine of the product: in which nothing happens, and with a drop.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streams.alerts.detectors import Detector
from streams.alerts.detectors.burn_rate import BurnRate
from streams.alerts.detectors.floor import Floor
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.machine import Policy
from streams.alerts.judging.watch import policy_of
from streams.alerts.offline.vectorised import SIMULATED, RulePlan, SeriesBatch
from streams.alerts.offline.vectorised import firings as vectorised_firings
from streams.alerts.rules import rules as shipped_rules
from streams.alerts.rules.parsing import load_rules
from streams.kpis.catalogue.catalogue import Catalogue

DAY = 1440
SETTLED = 3 * DAY
"""Minutes before anything drops."""

PERCENT = Facts("ratio", "up", "percent")
RULES = Path(__file__).resolve().parents[2] / "deploy" / "rules"


class Rule(NamedTuple):
    """What of a rule decides when it fires, and the series it is tried on."""

    name: str
    window: str
    params: Detector
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
    return vectorised_firings(
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
    policy = policy_of(rule)
    good, rate = 0.85, 1.0
    if isinstance(rule.params, Floor | BurnRate):
        edge = rule.recover.above if facts.direction == "up" else rule.recover.below
        share = (rule.params.target if edge is None else edge) / facts.factor
        good = share if facts.direction == "up" else 1 - share
        rate = max(1.0, 2 * rule.min_n / length_of(rule.window))
    thin = 0 if isinstance(rule.params, Floor) else rule.min_denominator
    return Rule(rule.alert, rule.window, rule.params, policy, rule.min_n, thin, facts, rule.kpi.id, good, rate)
