"""
What the shipped rules fire in hours in which nothing happens: `python -m bench.quiet [FROM_SEED] [TO_SEED] [HOURS]`.

Each seed is a company of the simulator without incidents at 40 events a second, judged from its first minute on, and
open minutes every ten seconds; odd seeds have the rhythm of a day. Written down is what nothing held back, and in the
end how often that is a day and series of a rule. 200 hours take about an hour.
"""

import sys
from collections import Counter
from itertools import chain

from streams.alerts.judging.judge import Judge
from streams.alerts.rules.rules import Rule
from streams.alerts.types import Transition
from streams.kpis.language.series import parse_series
from streams.producers.simulator import Plan
from tests.harness.closed import Ahead, Closed, look
from tests.harness.explaining import LOOK_S, SHIPPED, SHIPPED_KPIS, START
from tests.harness.nullsim import false_rate
from tests.harness.simulated import closed_minutes

RATE = 40.0


def fired(seed: int, hours: int) -> tuple[list[Transition], int]:
    """Return what fires in some hours of a company, and how many series its rules have by then."""
    plan = Plan(start=START, seed=seed, rate=RATE, flat=seed % 2 == 0)
    judge, found, watched = Judge(SHIPPED), list[Transition](), 0
    for view in closed_minutes(plan, SHIPPED_KPIS, 60 * hours, look_s=LOOK_S):
        found += [t for t in look(judge, view) if t.new == "firing" and t.inhibited_by is None]
        if isinstance(view, Closed):
            watched = sum(_series_of(rule, view) for rule in SHIPPED)
    return found, watched


def _series_of(rule: Rule, view: Closed | Ahead) -> int:
    labels = [dict(parse_series(key)[1]) for key in view.series(rule.kpi.id)]
    return sum(tuple(sorted(one)) == tuple(sorted(rule.by)) and rule.judges(one) for one in labels)


def main() -> None:
    """Simulate, and print."""
    first, last, hours = (int(text) for text in (*sys.argv[1:4], *("911", "935", "8")[len(sys.argv) - 1 :]))
    every: list[list[Transition]] = []
    series = 0
    for seed in range(first, last + 1):
        found, watched = fired(seed, hours)
        every.append(found)
        series += watched
        for one in found:
            after = one.minute - int(START.timestamp() // 60) + 1
            print(f"seed {seed}, minute {after}: {one.rule} ({one.severity}) {dict(one.labels)}: {one.why}", flush=True)
    told = Counter((one.severity, one.rule) for one in chain(*every))
    print(f"\n{len(every)} companies, {hours} hours each, {series / len(every):.0f} series of rules in a company\n")
    print("| severity | alert | fired |\n|---|---|---:|")
    for (severity, rule), count in sorted(told.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"| {severity} | {rule} | {count} |")
    days = hours / 24 * series / len(every)
    for severity in ("page", "ticket"):
        rate = false_rate([sum(one.severity == severity for one in found) for found in every], days)
        print(f"\n{severity}s a day and series: {rate.per_day:.4f} ({rate.lo:.4f} to {rate.hi:.4f})")


if __name__ == "__main__":
    main()
