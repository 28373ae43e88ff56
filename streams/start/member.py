"""
The membership of the worker that ran here before, which it could not give back itself when it was killed.

The broker counts a killed worker as a member until its session is over, and deals its partitions out only then. So a
worker writes its membership into a file that it keeps locked. The system takes locks from the dead: who starts with
the same file and can lock it gives the membership back that stands there. Were its owner alive all the same, it would
be a worker that lost its membership, and write nothing.
"""

import fcntl
import logging
import time
from pathlib import Path
from typing import IO, Final

from streams.engine.topics import TopicsError
from streams.settings import Settings
from streams.start.broker import StartBroker
from streams.start.check import StartRefusedError

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""So long a worker that is ending may take."""

_LOOK_EVERY_S: Final = 0.02


class MemberFile:
    """The membership of whoever runs in a folder; a second worker there has none of its own.

    Attributes:
        before: Membership of a worker that ran here and has ended; empty if there is none.
    """

    def __init__(self, path: Path) -> None:
        self.before = ""
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
        else:
            self._file.seek(0)
            self.before = self._file.read()

    def note(self, member: str) -> None:
        """Write down what the next one gives back."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.write(member)
            self._file.flush()

    def close(self) -> None:
        """Let others have it, as the end of the process does."""
        self._file.close()


def run_alone(path: Path, patience_s: float = PATIENCE_S) -> IO[str]:
    """
    Lock the file of an installation's only worker until this process ends; the file must be kept open.

    Raises:
        StartRefusedError: another worker holds it, and has not ended within `patience_s`.
    """
    file = path.open("w", encoding="utf-8")
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise StartRefusedError(
                    f"another worker runs with {path.parent}, and CX_SOLE_WORKER says that there is only one:"
                    " stop it, or set CX_SOLE_WORKER=false for all workers, which then share the partitions"
                ) from None
            time.sleep(_LOOK_EVERY_S)
        else:
            return file


def give_back(before: str, settings: Settings) -> None:
    """Give a membership in the workers' group back; where that cannot be, its session ends by itself."""
    try:
        with StartBroker(settings) as broker:
            if broker.leave(before):
                log.info("start: the worker that ran here before has ended, and is no member of the group any more")
    except TopicsError as error:
        log.warning("start: the membership of the worker that ran here before ends with its session: %s", error)
