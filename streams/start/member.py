"""
The membership of the worker that ran here before, which it could not give back itself when it was killed.

The broker counts a killed worker as a member until its session is over, and deals its partitions out only then. So a
worker writes its membership into a file that it keeps locked. The system takes locks from the dead: who starts with
the same file and can lock it gives the membership back that stands there. Were its owner alive all the same, it would
be a worker that lost its membership, and write nothing.
"""

import fcntl
import logging
from pathlib import Path

from streams.engine.topics import TopicsError
from streams.settings import Settings
from streams.start.broker import StartBroker

log = logging.getLogger(__name__)


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


def give_back(before: str, settings: Settings) -> None:
    """Give a membership in the workers' group back; where that cannot be, its session ends by itself."""
    try:
        with StartBroker(settings) as broker:
            if broker.leave(before):
                log.info("start: the worker that ran here before has ended, and is no member of the group any more")
    except TopicsError as error:
        log.warning("start: the membership of the worker that ran here before ends with its session: %s", error)
