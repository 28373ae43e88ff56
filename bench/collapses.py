"""
What looking for collapses before a minute has closed costs and brings: `python -m bench.collapses`.

False: series of noise (tests/harness/noise.py), looked at every ten seconds, with normal value and noise of five minutes
as they are over all of the series. Seen: series whose level falls at a
chance moment, through the detector itself, until what has come since the newest closed minute is enough; a minute closes
`--lag` seconds after its end.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np

from bench.noise import KPIS, NOISES
from streams.alerts.detectors.cusum import Cusum
from tests.harness.collapses import false_a_day, seconds_to_see
from tests.harness.nullsim import Rule, shipped


def false_table(rules: Sequence[Rule], rates: Sequence[float], series: int, days: int) -> Iterator[str]:
    """Yield a table of false alarms."""
    yield "| rule | answers per minute | " + " | ".join(NOISES) + " |"
    yield "|---|---:|" + "---|" * len(NOISES)
    for rule in rules:
        assert isinstance(rule.params, Cusum)
        for rate in rates:
            found = (
                f"{false_a_day(rule.params, rule.facts, KPIS[rule.kpi], NOISES[noise], rate, series, days):.4f}"
                for noise in NOISES
            )
            yield f"| {rule.name} | {rate:g} | " + " | ".join(found) + " |"


def seen_table(rules: Sequence[Rule], rates: Sequence[float], tries: int, lag: float) -> Iterator[str]:
    """Yield a table of how soon falls are seen."""
    yield "| rule | level | answers per minute | seconds: median (9 of 10) |"
    yield "|---|---|---:|---|"
    generator = np.random.default_rng(11)
    for rule in rules:
        assert isinstance(rule.params, Cusum)
        assert rule.params.collapse is not None
        good = KPIS[rule.kpi]
        for fall in (4 * rule.params.collapse / 3, 8 * rule.params.collapse / 3):
            for rate in rates:
                waits = [
                    seconds_to_see(rule.params, rule.facts, good, good - fall, rate, lag, generator)
                    for _ in range(tries)
                ]
                median, most = (float(np.quantile(waits, part, method="higher")) for part in (0.5, 0.9))
                yield f"| {rule.name} | {good:g} → {good - fall:.0f} % good | {rate:g} | {median:.0f} ({most:.0f}) |"


def main() -> None:
    """Simulate and print tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.collapses", description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--rates", type=float, nargs="*", default=[1.0, 5.0, 20.0, 100.0], help="answers per minute")
    parser.add_argument("--tries", type=int, default=200, help="falls of each kind")
    parser.add_argument("--lag", type=float, default=65.0, help="seconds until a minute closes")
    chosen = parser.parse_args()
    rules = [
        rule for kpi in KPIS for rule in shipped(kpi=kpi)
        if isinstance(rule.params, Cusum) and rule.params.glances
    ]  # fmt: skip
    for line in false_table(rules, chosen.rates, chosen.series, chosen.days):
        print(line, flush=True)
    print()
    for line in seen_table(rules, chosen.rates[1:], chosen.tries, chosen.lag):
        print(line, flush=True)


if __name__ == "__main__":
    main()
