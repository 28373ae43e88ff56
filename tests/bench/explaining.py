"""
How often the first-named cause of an alert is right: `python -m tests.bench.explaining [FROM_SEED] [TO_SEED]`.

Incidents with a known cause through the simulator and the judge, see tests/harness/explaining.py: every kind that the
simulator knows, by the shipped rules with hardly any history and by rules that are there for it, at two severities each,
and spoilt parts of four KPIs, six of each, per seed. Printed are the wrong ones and the shares, and how soon the shipped
rules saw what; what no alert caught has no explanation and does not count. A seed takes about four minutes.
"""

import sys
from random import Random

from tests.harness.explaining import KNOWN, SHIPPED_SEE, SPOILT, Calm, Case, first_alarm, known_incident

PER_KPI = 6


def main() -> None:
    """Measure, and print."""
    first, last = int([*sys.argv, "1"][1]), int([*sys.argv, "", "2"][2] or 2)
    shipped = [
        first_alarm(name, seed, severity=severity)
        for seed in range(first, last)
        for name in SHIPPED_SEE
        for severity in ((1.0,) if ":" in name else (1.0, 0.5))
    ]
    for case in shipped:
        print(f"  {case.name}")
    told("incidents to shipped rules", shipped)
    told("incidents of the simulator", [
        known_incident(name, seed, rate=40.0, minutes=40, severity=severity)
        for seed in range(first, last)
        for name in KNOWN
        for severity in ((1.0,) if ":" in name else (1.0, 0.4))
    ])  # fmt: skip
    spoilt = []
    for seed in range(first, last):
        calm = Calm(seed)
        for kpi in SPOILT:
            cases = (calm.spoil(kpi, Random(f"{seed} {kpi} {number}")) for number in range(PER_KPI))
            spoilt += [case for case in cases if case is not None]
    told("spoilt parts", spoilt)


def told(what: str, cases: list[Case]) -> None:
    """Print how many were right, and which were not."""
    caught = [case for case in cases if case.caught is not None]
    right = sum(case.right for case in caught)
    for case in caught:
        if not case.right:
            print(f"  wrong: {case.name}, named {case.named}")
    print(f"{what}: {len(cases)}, caught {len(caught)}, first-named cause right in {right} ({right / len(caught):.1%})")


if __name__ == "__main__":
    main()
