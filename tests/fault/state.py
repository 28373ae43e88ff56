"""What workers remember: compacted while they are away, lost, or read by another version."""

import subprocess
import time
from pathlib import Path
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType

from tests.fault.rig import SESSION_S, Rig
from tests.fault.stopping import pause
from tests.harness.wholejob import ROOT

OLD = "6e21118"
"""The release that is upgraded from, and gone back to."""


def compaction(rig: Rig, count: int) -> None:
    """Have the broker compact changelogs all the time, delete marks included, while workers are stopped and killed."""
    settings = {
        "cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.001",
        "delete.retention.ms": "100", "max.compaction.lag.ms": "1000", "max.message.bytes": str(16 << 20),
    }  # fmt: skip
    with rig.admin() as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings) for topic in rig.changelogs])
    rig.begin(2)
    for _ in range(count):
        if rig.chance.random() < 0.7:
            pause(rig, rig.chance.choice(("random", "after a freeze", "after a flush")))
        else:
            victim = rig.victim()
            rig.kill(victim)
            rig.outcome.faults += 1
            rig.join()
            rig.recover("killed, changelogs compacted", time.monotonic())


def upgrade(rig: Rig, count: int) -> None:
    """Workers of an older commit with state are replaced one by one, and, where that is allowed, taken back again."""
    old = checkout(rig)

    def of_old() -> dict[str, Any]:
        return {"root": old, "command": ("-c", "from streams.cli import main; main()", "worker")}

    rig.start_options = of_old
    rig.begin(2)
    for number in range(count):
        rig.sleep(rig.chance.uniform(8, 15))
        upgraded = number % 2 == 0
        rig.start_options = dict if upgraded else of_old
        began = time.monotonic()
        for worker in rig.workers:
            if rig.chance.random() < 0.5:
                rig.kill(worker)
            else:
                rig.leave(worker)
            rig.join()
            rig.sleep(rig.chance.uniform(0, SESSION_S))
        rig.outcome.faults += 1
        rig.recover("upgrade" if upgraded else "rollback", began)


def checkout(rig: Rig) -> Path:
    """Return a folder with the older commit."""
    folder = rig.pipeline.folder / "old"
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", OLD, "streams", "sql", "deploy", "schemas"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder
