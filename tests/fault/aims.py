"""The moments at which a fault is aimed."""

import time

from kafka import TopicPartition

from tests.fault.rig import PARTITIONS, Rig
from tests.harness.wholejob import Worker

LOOK_S = 6.0
"""A moment that does not come by then is let go: the fault happens anyway."""


def at_random(rig: Rig, victim: Worker) -> None:
    """Whenever."""
    time.sleep(rig.chance.uniform(0, 2))


def at_minute_end(rig: Rig, victim: Worker) -> None:
    """When a minute of event time closes, a bit before or after."""
    wait_s = rig.traffic.until_minute_ends() + rig.chance.uniform(-0.3, 0.8)
    if wait_s < 2 * LOOK_S:
        time.sleep(max(0.0, wait_s))


def after_freeze(rig: Rig, victim: Worker) -> None:
    """Just after the victim has frozen a range: before it is sent on, if we are quick."""
    _after_write(rig, victim, "ingest")


def after_flush(rig: Rig, victim: Worker) -> None:
    """Just after the victim has written pages of the merge: before the outputs are sent."""
    _after_write(rig, victim, "merge")


def _after_write(rig: Rig, victim: Worker, table: str) -> None:
    [topic] = [topic for topic in rig.changelogs if f"-{table}-" in topic]
    owned = {partition for _, partition in rig.owned(victim)} or set(range(PARTITIONS))
    partitions = [TopicPartition(topic, partition) for partition in sorted(owned)]
    before = rig.end_offsets(partitions)
    deadline = time.monotonic() + LOOK_S
    while rig.end_offsets(partitions) == before and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(rig.chance.choice((0.0, 0.0, 0.005, 0.02)))


def during_insert(rig: Rig, victim: Worker) -> None:
    """While ClickHouse works on an insert."""
    name = rig.pipeline.database.name
    sql = f"SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = '{name}'"
    deadline = time.monotonic() + LOOK_S
    while not rig.pipeline.database.value(sql) and time.monotonic() < deadline:
        time.sleep(0.001)


def during_rebalance(rig: Rig, victim: Worker) -> None:
    """While another worker joins, or has just been killed and is replaced."""
    others = [worker for worker in rig.workers if worker is not victim]
    if rig.chance.random() < 0.5 and others:
        other = rig.chance.choice(others)
        rig.kill(other)
        rig.again(other)
    else:
        rig.join()
        if others:
            rig.kill(rig.chance.choice(others))
    time.sleep(rig.chance.uniform(0, 5))


AIMS = {
    "random": at_random,
    "minute end": at_minute_end,
    "after a freeze": after_freeze,
    "after a flush": after_flush,
    "during an insert": during_insert,
    "during a rebalance": during_rebalance,
}
