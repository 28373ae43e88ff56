"""
False alarms of the seasonal band and of absence on series with a rhythm: `python -m bench.seasons`.

Series have a volume and a level that go with the hour and the day of the week in Tehran, a different mood each day, and
chance. Six weeks are learnt from, then two are judged minute by minute by the detectors themselves. Nothing ever
happens, so every alert is a false one.
"""

import argparse
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from streams.alerts.detectors import Detector
from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.seasonal import Seasonal
from streams.alerts.facts import Facts
from streams.alerts.judging.baseline import Baseline, Week, learn
from streams.alerts.judging.machine import Instance, Policy, advance
from streams.alerts.rules.calendars import Calendar
from tests.harness.nullsim import DAY, false_rate
from tests.harness.reading import Played

TEHRAN = ZoneInfo("Asia/Tehran")
WEEK = Week(Calendar("iran", TEHRAN, "", 5, frozenset({4}), ()))
START = int(datetime(2026, 4, 11, tzinfo=TEHRAN).timestamp()) // 60
LEARNT_WEEKS, JUDGED_DAYS = 6, 14
SHARE = Facts("ratio", "up", "percent")
COUNT = Facts("count", "none", "count")

CASES: list[tuple[str, Detector, Facts, str, Policy]] = [
    ("share, z = 4, 1 h", Seasonal(z=4.0), SHARE, "1h", Policy()),
    ("share, z = 4, 1 h, for 15 min", Seasonal(z=4.0), SHARE, "1h", Policy(for_=15)),
    ("share, z = 4, 15 min", Seasonal(z=4.0), SHARE, "15m", Policy()),
    ("volume, z = 4, 1 h", Seasonal(z=4.0), COUNT, "1h", Policy()),
    ("volume, z = 4, 1 h, for 15 min", Seasonal(z=4.0), COUNT, "1h", Policy(for_=15)),
    ("absence, 15 min of 1 h", Absence(baseline="1h"), COUNT, "15m", Policy()),
    ("absence, 5 min of 1 h", Absence(baseline="1h"), COUNT, "5m", Policy()),
]


def series(rng: np.random.Generator, rate: float, moods: float) -> tuple[np.ndarray, np.ndarray]:
    """Return answers and good ones by minute: busy from nine to nine, quiet at night and on Fridays, worse at night."""
    minutes = np.arange(START, START + (LEARNT_WEEKS * 7 + JUDGED_DAYS) * DAY)
    local = [WEEK.local(int(hour) * 3600 + 1800) for hour in np.unique(minutes // 60)]
    hours = np.searchsorted(np.unique(minutes // 60), minutes // 60)
    of_day = np.array([at.hour + at.minute / 60 for at in local])[hours] + (minutes % 60) / 60 - 0.5
    friday = np.array([at.weekday() == 4 for at in local])[hours]
    busy = 0.1 + np.exp(-(((of_day - 15) / 4.5) ** 4))
    days = (minutes - START) // DAY
    mood = rng.gamma(1 / moods**2, moods**2, days.max() + 1)[days]
    volume = rate * busy * np.where(friday, 0.6, 1.0) * mood
    level = 0.85 - 0.06 * (of_day < 7) + rng.normal(0, 0.01, days.max() + 1)[days]
    n = rng.poisson(volume)
    return n, rng.binomial(n, np.clip(level, 0, 1))


def learnt(facts: Facts, n: np.ndarray, hits: np.ndarray) -> Baseline:
    """Learn from the first weeks."""
    rows = []
    for hour in range(LEARNT_WEEKS * 7 * 24):
        span = slice(hour * 60, hour * 60 + 60)
        answers = int(n[span].sum())
        if answers:
            acc = [answers, int(hits[span].sum())] if facts is SHARE else [answers]
            rows.append(((START + hour * 60) * 60, acc))
    until = (START + LEARNT_WEEKS * 7 * DAY) * 60
    found = learn(facts, rows, WEEK, until=until, weeks=LEARNT_WEEKS)
    assert found is not None
    return found


def episodes(params: Detector, facts: Facts, window: str, policy: Policy, n: np.ndarray, hits: np.ndarray) -> int:
    """Judge the other weeks; return how often it fires."""
    begin = LEARNT_WEEKS * 7 * DAY
    baseline = learnt(facts, n, hits)
    reading, memory, instance, fired = Played([window, "1h", "24h"], START + begin - DAY - 1), None, Instance(), 0
    length = {"5m": 5, "15m": 15, "1h": 60}[window]
    for at in range(begin - DAY, len(n)):
        answers = int(n[at])
        reading.play(None if not answers else [answers, int(hits[at])] if facts is SHARE else [answers])
        if at < begin:
            continue
        reading.usual = baseline.expected(reading.minute, length)
        verdict, memory = params.judge(facts, window, reading, memory)
        step = advance(instance, policy, at, verdict)
        fired += step is not None and step.new == "firing"
    return fired


def main() -> None:
    """Simulate and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.seasons", description=__doc__)
    parser.add_argument("--series", type=int, default=30)
    parser.add_argument("--rate", type=float, default=4.0, help="answers per minute at noon (%(default)s)")
    parser.add_argument("--moods", type=float, default=0.1, help="how much days differ in volume (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    made = [
        series(np.random.default_rng([chosen.seed, number]), chosen.rate, chosen.moods)
        for number in range(chosen.series)
    ]
    print(f"{chosen.series} series, {chosen.rate:g} answers a minute at noon, days differ by {chosen.moods:.0%}\n")
    print("| judged | false episodes per day and series (95 %) |")
    print("|---|---|")
    for name, params, facts, window, policy in CASES:
        rate = false_rate([episodes(params, facts, window, policy, *one) for one in made], JUDGED_DAYS)
        print(f"| {name} | {rate.per_day:.4f} ({rate.lo:.4f} to {rate.hi:.4f}) |", flush=True)


if __name__ == "__main__":
    main()
