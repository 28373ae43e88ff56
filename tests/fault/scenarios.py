"""The scenarios: what is done to an installation, seeded."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fault.aims import AIMS
from tests.fault.rig import SESSION_S, Rig


@dataclass(frozen=True)
class Scenario:
    """One kind of fault. `play` does so many of them; `speed` 0: event time as fast as the clock or eight times so."""

    name: str
    play: Callable[[Rig, int], None]
    faults: int = 10
    nodes: int = 1
    speed: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)


def undisturbed(rig: Rig, count: int) -> None:
    """No fault at all: what the oracle finds here is its own fault."""
    rig.begin(2)
    rig.sleep(6.0 * count)


def pauses(rig: Rig, count: int) -> None:
    """Stop one of two or three workers for a while, around the length of a session, at random or sharp moments."""
    rig.begin(rig.chance.choice((2, 2, 3)))
    for _ in range(count):
        victim = rig.victim()
        length = pause_length(rig)
        aim = rig.chance.choice(list(AIMS))
        rig.tell(f"aim {aim} at {victim.name} for {length:.1f} s")
        AIMS[aim](rig, victim)
        began = time.monotonic()
        with rig.paused(victim.name, victim.process.pid):
            rig.outcome.faults += 1
            rig.sleep(length, watch=("paused and replaced", began))
        rig.recover("pause beyond the session" if length > SESSION_S else "short pause", began)
        rig.sleep(rig.chance.uniform(0.5, 2.5))


def pause_length(rig: Rig) -> float:
    """Return seconds: shorter than a session, about as long, longer, or much longer."""
    chance = rig.chance
    return chance.choice(
        (
            chance.uniform(0.3, SESSION_S - 1),
            chance.uniform(SESSION_S - 1, SESSION_S + 2),
            chance.uniform(SESSION_S - 1, SESSION_S + 2),
            chance.uniform(SESSION_S + 2, 2 * SESSION_S),
            chance.uniform(2 * SESSION_S, 3 * SESSION_S),
        )
    )


SCENARIOS = {scenario.name: scenario for scenario in (Scenario("undisturbed", undisturbed), Scenario("pauses", pauses))}
