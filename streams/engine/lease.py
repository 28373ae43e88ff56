"""The right to write: a membership in the group that the broker has confirmed within the session.

The broker gives a partition to somebody else once a member was silent for a session. So a worker may write as
long as less than a session has passed since it *sent* the last request that the broker has confirmed. A process
that is stopped and continued, or a machine that is moved, finds its lease over before it writes anything.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

from streams.steady import steady

#: Seconds before the session ends in which nothing new is sent: what is sent must also arrive.
MARGIN_S: Final = 1.0

#: Seconds between two looks of somebody who waits for a confirmation.
_LOOK_AGAIN_S: Final = 0.02

# Error codes of the group protocol.
_NONE: Final = 0
_REBALANCE_IN_PROGRESS: Final = 27
_NO_MEMBER: Final = frozenset({22, 25, 82, 110})
"""Illegal generation, unknown member, fenced instance, fenced member epoch."""


class Lease:
    """Whether this process is a member of its group, and until when that is certain.

    Confirmations come from the consumer's thread, questions from the worker's event loop.

    Attributes:
        session_s: Seconds of silence after which the broker gives the partitions to others.
        term: Counts the memberships; what was begun under an earlier one must not be written.
        generation: Generation of the group that was confirmed last; 0 before the first.
    """

    def __init__(
        self,
        session_s: float,
        *,
        clock: Callable[[], float] = steady,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.session_s = session_s
        self.term = 0
        self.generation = 0
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._confirmed: tuple[float, float] | None = None

    def now(self) -> tuple[float, float]:
        """Return the moment on both clocks, to be taken before a request is sent.

        A virtual machine that is moved may find its own clock where it was, and only the wall clock set forward:
        whichever of the two says that more time has passed is believed.
        """
        return self._clock(), self._wall()

    def answered(self, sent: tuple[float, float], error_code: int, generation: int) -> None:
        """Take note of the coordinator's answer to a request that proves membership.

        Args:
            sent: `now()` before the request was sent.
            error_code: Kafka's error code in the answer.
            generation: Generation the request was made in.
        """
        if error_code in _NO_MEMBER:
            self.lose()
        elif error_code in (_NONE, _REBALANCE_IN_PROGRESS):
            with self._lock:
                if self._confirmed is None or sent > self._confirmed:
                    self._confirmed = sent
                self.generation = generation

    def lose(self) -> None:
        """End the membership: the broker does not know us, or we have left."""
        with self._lock:
            self._confirmed = None
            self.term += 1

    def left_s(self) -> float:
        """Return for how many seconds writing is allowed; not positive when it is not."""
        with self._lock:
            confirmed = self._confirmed
        if confirmed is None:
            return float("-inf")
        clock, wall = self.now()
        return self.session_s - MARGIN_S - max(clock - confirmed[0], wall - confirmed[1])

    @property
    def is_held(self) -> bool:
        """Return whether something may be written now."""
        return self.left_s() > 0

    async def renewed(self, term: int) -> bool:
        """Wait until the membership of `term` is confirmed again; False when it is over."""
        while self.term == term:
            if self.is_held:
                return True
            await asyncio.sleep(_LOOK_AGAIN_S)
        return False
