"""
How often rules cry wolf in the noise of real companies, and how soon they see a fall: `python -m bench.noise`.

Levels differ by hour (and, in `week`, by day of the week), wander and drift, customers share causes, volumes burst (tests/harness/noise.py). In the null
simulation nothing happens, so every episode is a false one; what happens while a series becomes
known counts too. `--peers` holds a CUSUM against what others do, each with the threshold that keeps to the same
budget on the same series; levels fall at a chance minute after 14 days, and it counts until when that is seen.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain, product

import numpy as np

from bench.noise_peers import DAY, PEERS, adwin, episodes, threshold_within
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.offline.vectorised import SeriesBatch
from tests.harness.noise import FULL, HALF, NONE, WEEK, Drop, Noise, drawn
from tests.harness.nullsim import Rule, false_rate, firings, shipped

NOISES = {"independent": NONE, "half": HALF, "full": FULL, "week": WEEK}
WATCHED_DAYS = 3
"""For how long a fall may go unseen."""
WARM = 14 * DAY

KPIS = {"csat": 85.0, "payment_failure": 95.0, "abandonment": 90.0, "request_failure": 99.0}
"""What is tried, and percent of good answers where nothing happens."""

DELTAS = (10.0, 20.0)
H_RANGE = (3.0, 10.0)
H_TRIES = 6
"""Changes that a CUSUM is tried with, and how its threshold is looked for."""

RULES = (
    "CsatCollapseByChannel", "CsatErosion", "CsatCollapse", "CsatLow", "PaymentsFail", "PaymentsDown",
    "AbandonmentHigh", "AbandonmentRises", "RequestsFail",
)  # fmt: skip
"""Shipped rules on a series of the whole, or of a channel."""


def series_of(
    noise: Noise, rule: Rule, rate: float, series: int, days: int, seed: int, drop: Drop | None = None
) -> SeriesBatch:
    """Draw series for the rules of a KPI."""
    generator = np.random.default_rng([seed, round(10 * rate), *rule.kpi.encode()])
    return drawn(
        generator, noise, series=series, minutes=days * DAY, rate=rate, good=KPIS[rule.kpi], facts=rule.facts, drop=drop
    )


def null_table(
    rules: Sequence[Rule], noises: Sequence[str], rates: Sequence[float], series: int, days: int, seed: int
) -> Iterator[str]:
    """Simulate, and write down false episodes per day and series, line by line."""
    yield "| noise | answers per minute | rule | false episodes per day and series (95 %) |"
    yield "|---|---:|---|---|"
    for name in noises:
        for rate in rates:
            for kpi in dict.fromkeys(rule.kpi for rule in rules):
                own = [rule for rule in rules if rule.kpi == kpi]
                batch = series_of(NOISES[name], own[0], rate, series, days, seed)
                counts = {rule.name: [len(fired) for fired in firings(rule, batch)] for rule in own}
                if len(own) > 1:
                    counts[f"{kpi} all"] = [sum(each) for each in zip(*counts.values(), strict=True)]
                for rule_name, each in counts.items():
                    found = false_rate(each, days)
                    yield f"| {name} | {rate:g} | {rule_name} | {found.per_day:.4f} ({found.lo:.4f} to {found.hi:.4f}) |"


def peers_table(
    noise: Noise, rate: float, drops: Sequence[float], series: int, days: int, budget: float, seed: int, *, river: bool
) -> Iterator[str]:
    """Simulate, and write down how soon each sees a fall at the same budget."""
    plain = Rule("", "1h", Cusum(baseline="24h", delta=15.0), kpi="csat", min_denominator=20)
    calm = series_of(noise, plain, rate, series, WARM // DAY + days, seed)
    generator = np.random.default_rng([seed, 7])
    minute = WARM + generator.integers(0, DAY, series)
    bad = [
        series_of(noise, plain, rate, series, WARM // DAY + 1 + WATCHED_DAYS, seed + 1, Drop(drop, minute))
        for drop in drops
    ]
    heads = "".join(f" 85 → {85 - drop:g} %: median (9 of 10, missed) |" for drop in drops)
    yield f"| method | false per day and series |{heads}"
    yield "|---|---|" + "---|" * len(drops)
    total = days * series

    def line(name: str, false: float, seen: Sequence[Sequence[Sequence[int]]]) -> str:
        return f"| {name} | {false:.3f} | " + " | ".join(_waits(each, minute) for each in seen) + " |"

    for name, statistic_of in PEERS.items():
        statistic = statistic_of(calm)
        threshold = threshold_within(statistic, budget, WARM)
        false = sum(map(len, episodes(statistic, threshold, WARM))) / total
        yield line(f"{name}: {threshold:.3g}", false, [episodes(statistic_of(one), threshold, WARM) for one in bad])
    if river:
        for delta in (1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 1e-12):
            false = sum(minute >= WARM for fired in adwin(calm, delta) for minute in fired) / total
            if false <= budget:
                yield line(f"river ADWIN: δ = {delta:g}", false, [adwin(one, delta) for one in bad])
                break
    for delta in DELTAS:
        low, high = H_RANGE
        fits: tuple[Rule, float] | None = None
        for _ in range(H_TRIES):
            rule = plain._replace(params=Cusum(baseline="24h", delta=delta, h=(low + high) / 2))
            false = sum(minute >= WARM for fired in firings(rule, calm) for minute in fired) / total
            if false <= budget:
                fits, high = (rule, false), (low + high) / 2
            else:
                low = (low + high) / 2
        if fits is not None:
            name = f"cusum δ = {delta:g}, h = {high:.3g}"
            yield line(name, fits[1], [firings(fits[0], one) for one in bad])
    own = [rule for rule in shipped(kpi=plain.kpi) if rule.name in RULES]
    false = sum(minute >= WARM for rule in own for fired in firings(rule, calm) for minute in fired) / total
    seen = [[sorted(chain(*each)) for each in zip(*(firings(rule, one) for rule in own), strict=True)] for one in bad]
    yield line("shipped rules together", false, seen)


def _waits(fired: Sequence[Sequence[int]], since: np.ndarray) -> str:
    """Write down the hours until each series was seen to have fallen."""
    first = [next((at for at in each if at >= start), None) for each, start in zip(fired, since, strict=True)]
    waits = np.array(
        [
            np.inf if at is None or at - start > WATCHED_DAYS * DAY else (at + 1 - start) / 60
            for at, start in zip(first, since, strict=True)
        ]
    )
    median, most = (float(np.quantile(waits, part, method="lower")) for part in (0.5, 0.9))
    return f"{median:.1f} h ({most:.1f} h, {float(np.isinf(waits).mean()):.0%})"


def main() -> None:
    """Simulate and print tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.noise", description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rates", type=float, nargs="*", default=[1.0, 5.0, 50.0], help="answers per minute")
    parser.add_argument("--kpi", nargs="*", default=list(KPIS), choices=list(KPIS), help="whose rules are tried")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="hold ours against others, at one budget")
    parser.add_argument("--noise", nargs="*", choices=list(NOISES), default=list(NOISES), help="how much of it")
    parser.add_argument("--budget", type=float, default=0.05, help="for --peers: false a day (%(default)s)")
    parser.add_argument("--drops", type=float, nargs="*", default=[10.0, 20.0], help="for --peers: points from 85")
    parser.add_argument("--adwin", action="store_true", help="for --peers: river's ADWIN too")
    chosen = parser.parse_args()
    began = time.monotonic()
    print(f"{chosen.series} series over {chosen.days} days, seed {chosen.seed}")
    if chosen.peers:
        for noise, rate in product(chosen.noise, chosen.rates):
            print(f"\n{rate:g} answers a minute, noise: {noise}\n")
            lines = peers_table(
                NOISES[noise], rate, chosen.drops, chosen.series, chosen.days, chosen.budget, chosen.seed,
                river=chosen.adwin,
            )  # fmt: skip
            for line in lines:
                print(line, flush=True)
    else:
        rules = [rule for kpi in chosen.kpi for rule in shipped(kpi=kpi) if rule.name in RULES]
        for line in null_table(rules, chosen.noise, chosen.rates, chosen.series, chosen.days, chosen.seed):
            print(line, flush=True)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
