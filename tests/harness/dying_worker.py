"""A `cx worker` that is killed before a step of one of its stages: `dying_worker STAGE STEP`, counted from its start.

Steps that have nothing to do are not counted: between them nothing changes.
"""

import itertools
import os
import signal
import sys
from typing import Any

from streams.cli import main
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Emit, Stage, Step


def die_before(stage: str, number: int) -> None:
    """Have this process killed before so many steps of `stage` were taken."""
    perform, steps = Stage.perform, itertools.count(1)

    async def counted(self: Stage, generation: int, step: Step) -> None:
        if self.name == stage:
            content: Any = step[0]
            if isinstance(step, Emit):
                outgoing: list[Outgoing] = list(step.records)
                step, content = step._replace(records=outgoing), outgoing
            if content and next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        await perform(self, generation, step)

    patched: Any = Stage
    patched.perform = counted


if __name__ == "__main__":
    _, stage_name, step_number = sys.argv
    die_before(stage_name, int(step_number))
    sys.argv = ["cx", "worker"]
    main()
