"""Children of the embedded run: started, watched, restarted a few times, and always stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.local.tied import tied

RESTARTS = 5
_TAIL_BYTES = 4_000


class ChildError(RuntimeError):
    """A child could not be started or kept running; the text holds the end of its log."""


class Child:
    """A `cx` command in its own process, with its output in a log file."""

    def __init__(self, name: str, args: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.args = list(args)
        self.log = log
        self.restarts = 0
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, which ends with the thread that calls this; its output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                tied([sys.executable, "-m", "streams", *self.args]),
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach the children through us, in the order of the flow, not all at once.
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Exit code once it ended."""
        return self._process.poll() if self._process else None

    def tail(self) -> str:
        """Return the end of its log."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def said_last(self) -> str:
        """Return the last line of its log, however long."""
        return self.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]

    def keep_running(self) -> None:
        """
        Restart the process if it died.

        Raises:
            ChildError: it died more than `RESTARTS` times.
        """
        if self.exit_code is None:
            return
        if self.restarts >= RESTARTS:
            raise ChildError(
                f"{self.name} ended {self.restarts + 1} times, last with exit code {self.exit_code}; "
                f"the end of {self.log}:\n{self.tail()}"
            )
        self.restarts += 1
        self.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Ask the process to end (SIGTERM), wait, and kill it when it does not."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float, children: Sequence[Child] = ()) -> None:
    """
    Poll `condition` until it is true.

    Raises:
        ChildError: the time is over, or one of `children` ended meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        for child in children:
            if child.exit_code is not None:
                raise ChildError(
                    f"{child.name} ended with exit code {child.exit_code} while waiting for {what}; "
                    f"the end of {child.log}:\n{child.tail()}"
                )
        if time.monotonic() > deadline:
            raise ChildError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)
