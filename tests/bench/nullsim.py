"""
How often rules cry wolf, and how soon they see a fall: `python -m tests.bench.nullsim`.

Series of a ratio are simulated: answers come by chance (Poisson), each is good with the same probability, day and
night. In the null simulation nothing ever happens, so every alert is a false one. In the others the probability drops
at once, after three days, and counted are the answers from there until the alert fires. Judged are the detectors as
they are (array by array, see `fleet`), with the gates and through the state machine of the product.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from streams.alerts.facts import Facts
from streams.alerts.machine import Instance, Policy, advance
from streams.alerts.params import Cusum, Params
from streams.alerts.types import Verdict
from tests.bench.fleet import Fleet, Verdicts, judged

DAY = 1440
SETTLED = 3 * DAY
"""Minutes before anything drops."""

PERCENT = Facts("ratio", "up", "percent")


class Rule(NamedTuple):
    """What of a rule decides when it fires."""

    name: str
    window: str
    params: Params
    policy: Policy = Policy()
    min_n: int = 1
    min_denominator: int = 0


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
    generator: np.random.Generator, series: int, minutes: int, rate: float, p0: float, dropped: float | None = None
) -> Fleet:
    """Draw series; from `SETTLED` on with another probability, if given."""
    n = generator.poisson(rate, (minutes, series)).astype(np.int32)
    p = np.full((minutes, 1), p0)
    if dropped is not None:
        p[SETTLED:] = dropped
    hits = generator.binomial(n, p).astype(np.int32)
    return Fleet.of(n, hits)


def firings(rule: Rule, fleet: Fleet, facts: Facts = PERCENT) -> list[list[int]]:
    """Return the minutes in which each series begins to fire."""
    instances = [Instance() for _ in range(fleet.series)]
    active = np.zeros(fleet.series, bool)
    found: list[list[int]] = [[] for _ in range(fleet.series)]
    for minute, verdicts in enumerate(_gated(rule, judged(rule.params, facts, rule.window, fleet))):
        # One that is inactive stays so until trouble comes: nothing else need be told to it.
        for at in np.flatnonzero(verdicts.breach | active):
            known = bool(verdicts.known[at])
            verdict = Verdict(
                bool(verdicts.breach[at]) if known else None,
                bool(verdicts.recovered[at]) if known else None,
                n=int(verdicts.n[at]),
            )
            step = advance(instances[at], rule.policy, minute, verdict)
            if step is not None and step.new == "firing":
                found[at].append(minute)
            active[at] = instances[at].state != "inactive"
    return found


def _gated(rule: Rule, verdicts: Iterator[Verdicts]) -> Iterator[Verdicts]:
    for verdict in verdicts:
        known = verdict.known & (verdict.n >= rule.min_n) & (verdict.baseline_n >= rule.min_denominator)
        yield verdict._replace(known=known, breach=verdict.breach & known)


def false_rate(counts: Sequence[int], days: float) -> Rate:
    """Return the rate of false episodes from how many each series had."""
    per_series = np.asarray(counts, float) / days
    mean = float(per_series.mean())
    # No episode at all still leaves up to three per all series and days (rule of three).
    half = 1.96 * float(per_series.std(ddof=1)) / len(per_series) ** 0.5
    upper = mean + half if mean else 3 / (len(per_series) * days)
    return Rate(mean, max(0.0, mean - half), upper)


def null_rate(
    rules: Sequence[Rule],
    *,
    series: int,
    days: int,
    rate: float = 1.0,
    p0: float = 0.85,
    seed: int = 1,
    chunk: int = 100,
) -> dict[str, Rate]:
    """Return how often each rule fires while nothing happens, and all of them together under `all`."""
    counts: dict[str, list[int]] = {rule.name: [] for rule in rules}
    for number in range(0, series, chunk):
        fleet = drawn(np.random.default_rng([seed, number]), min(chunk, series - number), days * DAY, rate, p0)
        for rule in rules:
            counts[rule.name] += [len(fired) for fired in firings(rule, fleet)]
    together = [sum(each) for each in zip(*counts.values(), strict=True)]
    return {name: false_rate(each, days) for name, each in [*counts.items(), ("all", together)]}


def delays(
    rules: Sequence[Rule],
    dropped: float,
    *,
    series: int,
    rate: float = 1.0,
    p0: float = 0.85,
    seed: int = 2,
    answers: int = 1_500,
) -> dict[str, Delay]:
    """Return how many answers each rule needs to see a drop, and under `first` the first of them."""
    minutes = SETTLED + max(1, round(answers / rate))
    fleet = drawn(np.random.default_rng([seed, round(1000 * dropped)]), series, minutes, rate, p0, dropped)
    found: dict[str, np.ndarray] = {}
    for rule in rules:
        seen = np.full(series, np.inf)
        for at, fired in enumerate(firings(rule, fleet)):
            after = next((minute for minute in fired if minute >= SETTLED), None)
            if after is not None:
                seen[at] = fleet.n[after + 1, at] - fleet.n[SETTLED, at]
        found[rule.name] = seen
    found["first"] = np.min(list(found.values()), axis=0)
    return {
        name: Delay(float(np.median(seen)), float(np.quantile(seen, 0.9, method="lower")), float(np.isinf(seen).mean()))
        for name, seen in found.items()
    }


def candidates() -> list[Rule]:
    """Return CUSUM rules with several changes to look for."""
    return [
        Rule(f"cusum -{delta} h {h:g}", "1h", Cusum(baseline="24h", delta=float(delta), h=h))
        for delta, h in ((10, 7.0), (10, 7.5), (12, 7.5), (15, 7.5), (15, 7.8), (20, 8.0))
    ]


def main() -> None:
    """Simulate and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nullsim", description=__doc__)
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rate", type=float, default=1.0, help="answers per minute (%(default)s)")
    parser.add_argument("--p0", type=float, default=0.85, help="probability of a good answer (%(default)s)")
    parser.add_argument("--drops", type=float, nargs="*", default=[0.80, 0.75, 0.65])
    parser.add_argument("--delays", type=int, default=1000, help="series per drop (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rules = candidates()
    began = time.monotonic()
    rates = null_rate(rules, series=chosen.series, days=chosen.days, rate=chosen.rate, p0=chosen.p0, seed=chosen.seed)
    seen = {
        drop: delays(rules, drop, series=chosen.delays, rate=chosen.rate, p0=chosen.p0, seed=chosen.seed + 1)
        for drop in chosen.drops
    }
    print(f"{chosen.series} series of {chosen.rate:g} answers a minute, {chosen.p0:.0%} good, {chosen.days} days\n")
    heads = [f"answers to {drop:.0%} (9 of 10, missed)" for drop in chosen.drops]
    print("| rule | false episodes per day and series | " + " | ".join(heads) + " |")
    print("|---|---|" + "---|" * len(heads))
    for name in (*(rule.name for rule in rules), "all"):
        cells = [f"{rates[name].per_day:.4f} ({rates[name].lo:.4f} to {rates[name].hi:.4f})"]
        for drop in chosen.drops:
            delay = seen[drop]["first" if name == "all" else name]
            cells.append(f"{delay.median:.0f} ({delay.most:.0f}, {delay.missed:.1%})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
