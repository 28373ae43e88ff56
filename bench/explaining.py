"""
How often the first-named cause of an alert is right: `python -m bench.explaining [FROM_SEED] [TO_SEED] [PART ...]`.

Incidents with a known cause through the simulator and the judge, see tests/harness/explaining.py: every kind that the
simulator knows, by all shipped rules with hardly any history (and what they page besides that is about something else)
and by rules that are there for it, at several severities each; and spoilt parts of four KPIs, six of each, per seed, by
the rules that are there for it and by the shipped ones. What no alert caught has no explanation and does not count as
wrong. Parts are `shipped`, `rules`, `spoilt` and `spoilt-shipped`; all of them take about ten minutes a seed.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import product
from random import Random

from tests.harness.explaining import KNOWN, SHIPPED, SHIPPED_SEE, SPOILT, Calm, Case, first_alarm, known_incident

PER_KPI = 6
RATE = 40.0
"""Events a second of the incidents of the simulator."""


def main() -> None:
    """Measure, and print."""
    first, last = int([*sys.argv, "1"][1]), int([*sys.argv, "", "2"][2] or 2)
    parts = {"shipped": shipped, "rules": by_rules, "spoilt": spoilt, "spoilt-shipped": spoilt_shipped}
    for name in sys.argv[3:] or parts:
        told(name, parts[name](range(first, last)))


def shipped(seeds: range) -> Iterator[Case]:
    """Give incidents of the simulator to all shipped rules."""
    for seed, name in product(seeds, SHIPPED_SEE):
        for severity in (1.0,) if name.startswith("collector-dead") else (1.0, 0.6, 0.3):
            yield first_alarm(name, seed, severity=severity, rate=RATE, all_rules=True)


def by_rules(seeds: range) -> Iterator[Case]:
    """Give them to rules that are there for them."""
    for seed, name in product(seeds, KNOWN):
        for severity in (1.0,) if ":" in name else (1.0, 0.4):
            yield known_incident(name, seed, rate=RATE, minutes=40, severity=severity)


def spoilt(seeds: range, *, to_shipped: bool = False) -> Iterator[Case]:
    """Give parts that are spoilt to the rules that are there for them, or to the shipped ones."""
    for seed in seeds:
        calm = Calm(seed)
        for kpi in SPOILT:
            if to_shipped and not SHIPPED.of_kpi(kpi):
                continue
            for number in range(PER_KPI):
                case = calm.spoil(kpi, Random(f"{seed} {kpi} {number}"), shipped=to_shipped)
                if case is not None:
                    yield case


def spoilt_shipped(seeds: range) -> Iterator[Case]:
    """Give them to the shipped rules."""
    return spoilt(seeds, to_shipped=True)


def told(what: str, cases: Iterable[Case]) -> None:
    """Print what came out, one after the other, and how many were right."""
    tried = caught = right = 0
    for case in cases:
        tried += 1
        caught += case.caught is not None
        right += case.right
        verdict = "missed" if case.caught is None else "right" if case.right else f"wrong, named {case.named}"
        print(
            f"  {case.name}: {verdict}", *(f"    misleading: {page}" for page in case.misleading), sep="\n", flush=True
        )
    print(
        f"{what}: {tried}, caught {caught}, first-named cause right in {right} ({right / max(1, caught):.1%})",
        flush=True,
    )


if __name__ == "__main__":
    main()
