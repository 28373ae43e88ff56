"""A bad network between workers and their servers, and writes that arrive long after they were sent."""

import time

from tests.fault.aims import AIMS
from tests.fault.rig import SESSION_S, Rig
from tests.harness.proxy import ports_of


def bad_network(rig: Rig, count: int) -> None:
    """Cut, hold, delay or throttle the connections of one worker or of all, to Kafka or to ClickHouse."""
    assert rig.proxies is not None
    rig.begin(2)
    for _ in range(count):
        where = rig.chance.choice(("kafka", "kafka", "clickhouse"))
        proxy = rig.proxies[where]
        victim = rig.victim()
        only = rig.chance.choice((None, ports_of(victim.process.pid)))
        kind = rig.chance.choice(("cut", "refuse", "stall", "delay", "throttle"))
        length = rig.chance.choice((1.0, SESSION_S - 1.0, SESSION_S + 2.0, 2.0 * SESSION_S))
        rig.tell(f"{where}: {kind} for {length:.0f} s, {'all' if only is None else victim.name}")
        rig.outcome.faults += 1
        match kind:
            case "cut":
                proxy.cut(only=only)
            case "refuse":
                proxy.cut(refuse=True)
            case "stall":
                proxy.stall(only=only)
            case "delay":
                proxy.delay_s = rig.chance.choice((0.1, 0.5, 2.0))
            case "throttle":
                proxy.bytes_per_s = 20_000.0
        rig.sleep(length)
        proxy.heal()
        rig.tell("well again")
        rig.recover(f"{where}: {kind}", time.monotonic())


def held(rig: Rig, count: int) -> None:
    """
    Hold what one worker writes until its session is over and others have taken over, then let it arrive.

    Its writer waits, is stopped, or is dead by then: the bytes arrive all the same.
    """
    assert rig.proxies is not None
    rig.begin(2)
    for _ in range(count):
        victim = rig.victim()
        where = rig.chance.choice(("kafka", "clickhouse", "clickhouse"))
        fate = rig.chance.choice(("alive", "stopped", "killed"))
        proxy = rig.proxies[where]
        if where == "clickhouse":
            proxy.hold_next(b"INSERT")
            rig.wait(proxy.held.is_set, "an insert to hold")
            victim = next(worker for worker in rig.workers if proxy.held_port in ports_of(worker.process.pid))
        else:
            AIMS[rig.chance.choice(("random", "after a freeze", "after a flush"))](rig, victim)
            proxy.stall(only=ports_of(victim.process.pid))
        rig.tell(f"what {victim.name} writes to {where} is held; it is {fate}")
        time.sleep(rig.chance.choice((0.0, 0.3, 0.8)))
        rig.outcome.faults += 1
        length = rig.chance.choice((SESSION_S - 1, SESSION_S + 3, 2 * SESSION_S))
        if fate == "stopped":
            with rig.paused(victim.name, victim.process.pid):
                rig.sleep(length)
                proxy.heal()
                rig.sleep(rig.chance.choice((0.0, 1.0)))
        else:
            if fate == "killed":
                rig.kill(victim)
                rig.again(victim)
            rig.sleep(length)
            proxy.heal()
        rig.tell("let go")
        rig.recover(f"{where}: write held, writer {fate}", time.monotonic())
