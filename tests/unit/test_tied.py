"""A program that is tied to whoever started it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_PARENT = """
import subprocess, sys, time
from streams.local.tied import tied
child = subprocess.Popen(tied([sys.executable, "-c", "import time; time.sleep(600)"]), start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_it_ends_with_a_parent_that_is_killed() -> None:
    """Also in a session of its own, where no signal of a terminal reaches it."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        deadline = time.monotonic() + 60
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_running(child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_it_does_not_begin_when_its_parent_has_ended_already() -> None:
    shim = Path(__file__).parents[2] / "streams" / "local" / "tied.py"
    done = subprocess.run(
        [sys.executable, "-S", "-E", shim, "1", "/bin/echo", "begun"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
