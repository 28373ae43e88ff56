"""Partitions that move again and again, and clocks that jump."""

import time

from tests.fault.rig import Rig


def storm(rig: Rig, count: int) -> None:
    """Workers that join, leave, or are killed every second or so, for twenty seconds."""
    rig.begin(2)
    for _ in range(count):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            worker = rig.chance.choice(rig.workers)
            lot = rig.chance.random()
            if lot < 0.5 and len(rig.workers) < 4:
                rig.join()
            elif lot < 0.8 or len(rig.workers) == 1:
                rig.kill(worker)
                rig.join()
            else:
                rig.leave(worker)
            rig.outcome.faults += 1
            rig.sleep(rig.chance.uniform(0.3, 2.5))
        while len(rig.workers) > 3:
            rig.kill(rig.chance.choice(rig.workers))
        began = time.monotonic()
        rig.recover("storm of rebalances", began)


def clocks(rig: Rig, count: int) -> None:
    """One worker's clock is wrong by seconds up to hours, in both directions, and right again."""
    file = rig.pipeline.folder / "clock"
    file.write_text("0")
    rig.begin(1)
    rig.join(clock=file)
    rig.wait(lambda: all(rig.owned(worker) for worker in rig.workers), "both workers to have partitions")
    for _ in range(count):
        off = rig.chance.choice((5.0, 45.0, 120.0, 1200.0, 7200.0)) * rig.chance.choice((-1, 1))
        rig.tell(f"the clock of one worker jumps by {off:+.0f} s")
        file.write_text(str(off))
        rig.outcome.faults += 1
        rig.sleep(rig.chance.uniform(5, 15))
        file.write_text("0")
        rig.tell("and back")
        rig.recover("wrong clock", time.monotonic())
