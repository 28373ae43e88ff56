"""`cx up` that is killed: what it had started ends with it, and the next one goes on in the same folder."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.local.observe import worker_state
from streams.local.supervisor import wait_until
from tests.harness.topics import PATIENCE_S


@contextmanager
def running(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `cx up` until its worker answers."""
    (data / "environment").unlink(missing_ok=True)
    command = [sys.executable, "-m", "streams", "up", "--no-simulate", "--data", str(data)]
    with (data.parent / "up.log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as up:
        try:
            wait_until(lambda: answers(data) or up.poll() is not None, "a worker that answers", PATIENCE_S)
            assert up.poll() is None, (data.parent / "up.log").read_text()[-2000:]
            yield up
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(PATIENCE_S)


def answers(data: Path) -> bool:
    """Tell whether the run in a folder has a worker that answers."""
    if not (data / "environment").exists():
        return False
    lines = (data / "environment").read_text().splitlines()
    [port] = [line.partition("=")[2] for line in lines if line.startswith("export CX_METRICS_PORT=")]
    return worker_state(int(port)) is not None


def is_running(pid: int) -> bool:
    """Tell whether a process has not ended; nobody may have taken note of the end yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_nothing_is_left_of_a_run_that_is_killed(tmp_path: Path) -> None:
    """Broker, ClickHouse, worker and page; nobody but them knew of their ports, and memory would be lost for good."""
    data = tmp_path / "data"
    with running(data) as up:
        # The page is started last, and the worker may answer before.
        wait_until(lambda: len(children(up.pid)) == 4, "all four parts", PATIENCE_S)
        parts = children(up.pid)
        up.kill()
        up.wait()
        # The store of the run that was killed may still be ending: the next one waits for it.
        with running(data) as again:
            assert not set(children(again.pid)) & set(parts)
            wait_until(lambda: not any(map(is_running, parts)), "the end of all parts", PATIENCE_S)
