"""
Several processes of the door on one port.

They share the listening socket: what waits in its queue when one is killed goes to the others. They share nothing else.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

SHORTEST_S: Final = 5.0
"""A process that ended sooner after its start than this is started anew a little later."""
PAUSE_S: Final = 1.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def supervise(processes: int, run: Callable[[int], None], close: Callable[[], None]) -> None:
    """
    Run `run(place)` in so many processes until SIGINT or SIGTERM, and anew in place of one that ends before.

    Then `close` is called, so that nothing comes any more that nobody takes.

    Returns once all have ended. To be called from the main thread while there is no other.
    """
    ending = False
    running: dict[int, tuple[int, float]] = {}

    def end(number: int, _: object) -> None:
        nonlocal ending
        ending = True
        close()
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(place: int) -> None:
        # Held back, so that a signal finds a process either not begun or known.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        if not ending:
            pid = os.fork()
            if pid == 0:
                _run(place, run)
            running[pid] = place, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    before = [(number, signal.signal(number, end)) for number in _SIGNALS]
    try:
        for place in range(processes):
            start(place)
        while running:
            pid, status = os.wait()
            place, began = running.pop(pid)
            if ending:
                continue
            log.error("process %d of the door ended with code %d; another takes its place",
                      place, os.waitstatus_to_exitcode(status))  # fmt: skip
            if time.monotonic() - began < SHORTEST_S:
                time.sleep(PAUSE_S)
            start(place)
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _run(place: int, run: Callable[[int], None]) -> None:
    """Run in the new process, which never returns from here into what its parent was doing."""
    code = 1
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        run(place)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        log.exception("process %d of the door failed", place)
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
