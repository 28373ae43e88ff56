"""
What a verdict costs: `python -m bench.detecting`, CPU microseconds per method and kind of KPI.

A series is judged again and again as of one minute, with windows as full as those of a busy channel. The reading here
costs next to nothing; what the judge adds (views, gates, state machine) is in `bench.judging`.
"""

import random
import sys
import time

from streams.alerts.detectors import Detector
from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.burn_rate import BurnRate
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.ewma import Ewma
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.mix_shift import MixShift
from streams.alerts.detectors.seasonal import Seasonal
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Expected, Facts
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from tests.harness.reading import Played, add_value, standing

SHARE = Facts("ratio", "up", "percent")
SCORE = Facts("mean", "up", "score")
NPS = Facts("nps", "up", "points")
COUNT = Facts("count", "none", "count")
WAIT = Facts("quantile", "down", "seconds", 1000, 0.95)


def waits(n: int, seed: int) -> dict[int, int]:
    """Seconds of lognormal waits, in bins."""
    rng, bins = random.Random(seed), {}
    for _ in range(n):
        add_value(bins, int(rng.lognormvariate(4, 1) * 1000))
    return bins


def answers(n: int, mean: float, sd: float) -> list[int]:
    """An accumulator of a mean."""
    return [n, round(1000 * n * mean), round(1e6 * n * (mean * mean + sd * sd))]


def cases() -> list[tuple[str, Detector, Facts, str, Played]]:
    """Every method, on the kinds of KPI that it judges."""
    share = standing(
        usual=Expected(85.0, 2.0, 60, 0.1, 5, "hour of the week"),
        w5m=[50, 42], w15m=[150, 126], w1h=[600, 505], w24h=[14_400, 12_240],
    )  # fmt: skip
    share.set_window("1m", [10, 8])
    share.play([10, 8])
    share.by_label = {
        ("channel", "1h"): {name: [150, 126] for name in ("web", "app", "store", "phone")},
        ("channel", "24h"): {name: [3600, 3060] for name in ("web", "app", "store", "phone")},
    }
    score = standing(w15m=answers(150, 4.1, 0.9), w1h=answers(600, 4.1, 0.9), w24h=answers(14_400, 4.2, 0.9))
    nps = standing(w1h=[600, 300, 120], w24h=[14_400, 7200, 2900])
    count = standing(w15m=[140], w1h=[600], usual=Expected(150.0, 20.0, 150.0, 0.02, 5, "hour of the week"))
    hour: Acc = waits(600, 1)
    day = waits(13_800, 2)
    merge_acc(day, hour)
    wait = standing(w1h=hour, w24h=day)
    return [
        ("floor", Floor(target=70.0), SHARE, "1h", share),
        ("floor", Floor(target=3.0), SCORE, "1h", score),
        ("floor", Floor(target=10.0), NPS, "1h", nps),
        ("floor", Floor(target=400.0), WAIT, "1h", wait),
        ("ztest", ZTest(baseline="24h"), SHARE, "1h", share),
        ("ztest", ZTest(baseline="24h"), SCORE, "1h", score),
        ("ztest", ZTest(baseline="24h"), NPS, "1h", nps),
        ("cusum", Cusum(p0=85.0, p1=75.0), SHARE, "1h", share),
        ("cusum", Cusum(baseline="24h", delta=10.0), SHARE, "1h", share),
        ("ewma", Ewma(baseline="24h"), SHARE, "15m", share),
        ("ewma", Ewma(baseline="24h"), SCORE, "15m", score),
        ("burn_rate", BurnRate(target=80.0, factor=3.0, long="1h", short="5m"), SHARE, "1h", share),
        ("seasonal", Seasonal(), SHARE, "1h", share),
        ("seasonal", Seasonal(), COUNT, "15m", count),
        ("absence", Absence(baseline="1h"), COUNT, "15m", count),
        ("mix_shift", MixShift(label="channel", baseline="24h", min_effect=5.0), SHARE, "1h", share),
    ]


def main() -> None:
    """Measure and print."""
    rounds = int([*sys.argv, "2000"][1])
    print("| method | KPI | CPU µs per verdict | a second holds |")
    print("|---|---|---:|---:|")
    for name, params, facts, window, reading in cases():
        _, memory = params.judge(facts, window, reading, None)
        began = time.process_time()
        for _ in range(rounds):
            _, kept = params.judge(facts, window, reading, memory)
        took = (time.process_time() - began) / rounds
        assert type(kept) is type(memory)
        print(f"| {name} | {facts.aggregator} | {1e6 * took:.1f} | {1 / took:,.0f} |")


if __name__ == "__main__":
    main()
