"""
A program that does not outlive whoever started it: `python tied.py PARENT PROGRAM ARGUMENT…`.

Whoever is killed cannot stop its children. Linux ends this process when its parent has ended, whatever it has become by
then: it becomes the program at once, under the same process id. Elsewhere the program runs untied.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

_END_WITH_PARENT: Final = 1
"""`PR_SET_PDEATHSIG` of `prctl`; it holds over `exec`."""


def tied(command: Sequence[str]) -> list[str]:
    """
    Return a command whose process is killed as soon as the thread that started it has ended.

    So it has to be started by a thread that lasts, best by the main one.
    """
    return [sys.executable, "-S", "-E", __file__, str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Tie this process to its parent and become the program; ends at once if the parent has ended already."""
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command of whoever started us, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
