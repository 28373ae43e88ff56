"""
How often rules cry wolf, and how soon they see a fall: `python -m bench.nullsim`.

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

from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.ztest import ZTest
from tests.harness.nullsim import Rule, delays, null_rate, shipped


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
    parser = argparse.ArgumentParser(prog="python -m bench.nullsim", description=__doc__)
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
