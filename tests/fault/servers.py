"""Kafka and ClickHouse themselves: stopped, killed, lost, full."""

import shutil
import time

from tests.fault.aims import AIMS
from tests.fault.rig import SESSION_S, Rig
from tests.fault.stopping import pause_length
from tests.harness.kafka import KafkaBroker, KafkaCluster


def broker_pauses(rig: Rig, count: int) -> None:
    """Stop the only broker for a while: all sessions run out at once, nobody takes over."""
    assert isinstance(rig.broker, KafkaBroker)
    rig.begin(2)
    for _ in range(count):
        length = pause_length(rig)
        AIMS[rig.chance.choice(("random", "minute end", "after a freeze"))](rig, rig.victim())
        with rig.paused(f"broker for {length:.1f} s", rig.broker.pid):
            rig.outcome.faults += 1
            rig.sleep(length)
        rig.recover("broker stopped", time.monotonic())
        rig.sleep(rig.chance.uniform(0.5, 3))


def broker_kills(rig: Rig, count: int) -> None:
    """SIGKILL the only broker, and start it again on its data."""
    assert isinstance(rig.broker, KafkaBroker)
    rig.begin(2)
    for _ in range(count):
        AIMS[rig.chance.choice(("random", "after a freeze", "after a flush"))](rig, rig.victim())
        rig.tell("broker killed")
        rig.broker.kill()
        rig.outcome.faults += 1
        rig.sleep(rig.chance.choice((0.0, 2.0, SESSION_S + 2.0)))
        rig.broker.start()
        rig.tell("broker answers")
        rig.recover("broker killed", time.monotonic())
        rig.sleep(rig.chance.uniform(0.5, 3))


def broker_loss(rig: Rig, count: int) -> None:
    """Three brokers: one is killed, stopped, or comes back with an empty disk."""
    assert isinstance(rig.broker, KafkaCluster)
    rig.begin(2)
    for _ in range(count):
        node = rig.chance.choice(rig.broker.nodes)
        kind = rig.chance.choice(("killed", "stopped", "disk replaced"))
        began = time.monotonic()
        rig.outcome.faults += 1
        if kind == "stopped":
            with rig.paused("one of three brokers", node.pid):
                rig.sleep(rig.chance.uniform(3, 15), watch=("one of three brokers stopped", began))
        else:
            rig.tell(f"one of three brokers {kind}")
            node.kill()
            rig.sleep(rig.chance.uniform(1, 10))
            if kind == "disk replaced":
                shutil.rmtree(node.folder / "data")
            node.start()
            rig.tell("it answers")
        rig.recover(f"one of three brokers {kind}, and back", time.monotonic())
        # The next one only when all copies are in step again.
        rig.wait(rig.in_step, "all copies in step")


def store_pauses(rig: Rig, count: int) -> None:
    """Stop ClickHouse for a while, often in the middle of an insert."""
    rig.begin(2)
    for _ in range(count):
        length = pause_length(rig)
        AIMS[rig.chance.choice(("random", "during an insert", "during an insert"))](rig, rig.victim())
        pid = rig.server.pid
        assert pid is not None
        with rig.paused(f"ClickHouse for {length:.1f} s", pid):
            rig.outcome.faults += 1
            rig.sleep(length)
        rig.recover("ClickHouse stopped", time.monotonic())


def store_kills(rig: Rig, count: int) -> None:
    """SIGKILL ClickHouse in the middle of an insert; at times a worker is killed or stopped meanwhile."""
    rig.begin(2)
    for _ in range(count):
        victim = rig.victim()
        AIMS["during an insert"](rig, victim)
        rig.server.kill()
        rig.tell("ClickHouse killed")
        rig.outcome.faults += 1
        if rig.chance.random() < 0.3:
            rig.kill(victim)
            rig.again(victim)
        elif rig.chance.random() < 0.4:
            with rig.paused(victim.name, victim.process.pid):
                rig.sleep(SESSION_S + 2)
        rig.recover("ClickHouse killed", time.monotonic())


def disk_full(rig: Rig, count: int) -> None:
    """
    Fill the disk of ClickHouse, wait, make room again, and restart it.

    What it merged on its last bytes may be unreadable; what it was merged from is there for minutes, and is taken up again
    by a restart.
    """
    rig.begin(2)
    ballast = rig.server.data_dir / "ballast"
    for _ in range(count):
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * (1 << 16))
            except OSError:
                rig.tell("the disk of ClickHouse is full")
        rig.outcome.faults += 1
        rig.sleep(rig.chance.uniform(8, 20))
        ballast.unlink()
        rig.server.kill()
        rig.tell("it has room again, and starts anew")
        rig.recover("disk full", time.monotonic())
