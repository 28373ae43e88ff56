"""What is not being stored, since when, and why: for everybody who has to know."""

import threading
import time
from typing import NamedTuple


class Trouble(NamedTuple):
    """
    One thing that is not being stored.

    Attributes:
        what: A table, or a source as `topic/partition`.
        since: Unix seconds.
        why: In the server's words.
        held: Whether it is left alone until people look at it, and tried again now and then. Else it is being repeated.
    """

    what: str
    since: float
    why: str
    held: bool


class Troubles:
    """The troubles of one writer; may be written and read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[str, Trouble] = {}

    def tell(self, what: str, why: str, *, held: bool = False) -> None:
        """Take note that something is not being stored."""
        with self._lock:
            known = self._current.get(what)
            since = time.time() if known is None else known.since
            self._current[what] = Trouble(what, since, why, held)

    def over(self, what: str) -> None:
        """Take note that it is stored again."""
        with self._lock:
            self._current.pop(what, None)

    def clear(self) -> None:
        """Forget all: it may be another worker's now."""
        with self._lock:
            self._current.clear()

    def current(self) -> list[Trouble]:
        """Return all there are, the oldest first."""
        with self._lock:
            return sorted(self._current.values(), key=lambda trouble: trouble.since)
