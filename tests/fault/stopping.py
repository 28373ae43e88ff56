"""Workers that are stopped for a while, or killed."""

import time

from tests.fault.aims import AIMS
from tests.fault.rig import SESSION_S, Rig


def undisturbed(rig: Rig, count: int) -> None:
    """No fault at all: what the oracle finds here is its own fault."""
    rig.begin(2)
    rig.sleep(6.0 * count)


def pauses(rig: Rig, count: int) -> None:
    """Stop one of two or three workers for a while, around the length of a session, at random or sharp moments."""
    rig.begin(rig.chance.choice((2, 2, 3)))
    for _ in range(count):
        pause(rig, rig.chance.choice(list(AIMS)))
        rig.sleep(rig.chance.uniform(0.5, 2.5))


def pause(rig: Rig, aim: str) -> None:
    """Stop a worker when the moment has come, continue it, and wait until all goes on."""
    victim, length = rig.victim(), pause_length(rig)
    rig.tell(f"aim {aim} at {victim.name} for {length:.1f} s")
    AIMS[aim](rig, victim)
    began = time.monotonic()
    with rig.paused(victim.name, victim.process.pid):
        rig.outcome.faults += 1
        rig.sleep(length, watch=("paused and replaced", began))
    if length > SESSION_S:
        rig.recover("continued after its session", time.monotonic())
    else:
        rig.recover("short pause", began)


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


def kills(rig: Rig, count: int) -> None:
    """
    SIGKILL in bursts, with others that join and leave meanwhile.

    Half of the batches give workers a name that outlives them, as a pod has: started anew under it, one goes on at once.
    """
    named = rig.chance.random() < 0.5
    rig.begin(2, names=("a", "b") if named else ())
    for _ in range(count):
        burst = rig.chance.choice((1, 1, 2, 3))
        began = time.monotonic()
        for number in range(burst):
            if number:
                rig.sleep(rig.chance.uniform(0.1, 1.0))
            victim = rig.victim() if number == 0 else rig.chance.choice(rig.workers)
            if number == 0:
                AIMS[
                    rig.chance.choice(("random", "minute end", "after a freeze", "after a flush", "during an insert"))
                ](rig, victim)
                began = time.monotonic()
            rig.kill(victim)
            rig.outcome.faults += 1
            rig.again(victim)
        if not named and rig.chance.random() < 0.3:
            rig.leave(rig.chance.choice(rig.workers))
            rig.join()
        kind = "killed once" if burst == 1 else "killed in a burst"
        rig.recover(f"{kind}, {'same name' if named else 'no name'}", began)
        rig.sleep(rig.chance.uniform(0.5, 3))


def comings(rig: Rig, count: int) -> None:
    """SIGKILL one of two workers at random moments; between them a third one comes, or one leaves."""
    rig.begin(2)
    for number in range(count):
        rig.sleep(rig.chance.uniform(0.5, 6))
        began, victim = time.monotonic(), rig.victim()
        rig.kill(victim)
        rig.outcome.faults += 1
        rig.again(victim)
        if number % 4 == 1:
            rig.join()
        elif number % 4 == 3:
            rig.leave(rig.chance.choice(rig.workers))
        if number % 5 == 4:
            rig.recover("killed while it derives", began)


def kills_alone(rig: Rig, count: int) -> None:
    """SIGKILL the only worker at random moments; another one goes on. (The embedded broker is for one.)"""
    rig.begin(1)
    for _ in range(count):
        rig.sleep(rig.chance.uniform(0.2, 4))
        began, victim = time.monotonic(), rig.victim()
        rig.kill(victim)
        rig.outcome.faults += 1
        rig.again(victim)
        rig.recover("killed while it derives, alone", began)
