"""The built wheel, in an empty environment outside the clone: a producer by itself, and the whole job."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from streams.shipped import CLONE
from tests.harness.clickhouse import event

EVENTS = 40


def _run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CX_", "PYTHON", "STREAMS_"))}
    if run := os.environ.get("STREAMS_RUN"):
        kept["STREAMS_RUN"] = run
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    built = _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=CLONE)
    assert built.returncode == 0, built.stderr
    [found] = folder.glob("*.whl")
    return found


class Installed:
    """An environment that holds the wheel with one of its extras, and nothing else."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=False)
        # The versions of the lock, so that a new release elsewhere does not decide whether this passes.
        locked = re.findall(r"^(\S+==[^\\\n]+)", (CLONE / "requirements-local.lock").read_text(), re.MULTILINE)
        (folder / "constraints.txt").write_text("\n".join(locked))
        done = _run(
            self._pip(), "-m", "pip", "--python", self.bin / "python", "install", "--quiet", "--no-compile", "--no-input",
            "--disable-pip-version-check", "--only-binary", ":all:", "-c", folder / "constraints.txt", f"{wheel}{extra}", cwd=folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    @staticmethod
    def _pip() -> str:
        return str(getattr(sys, "_base_executable", sys.executable))

    def run(self, program: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return _run(self.bin / program, *arguments, cwd=self.folder, **environment)


def test_a_producer_alone(wheel: Path, tmp_path: Path) -> None:
    """Without an extra: the client of the channel teams, from a handful of packages; the rest says what it needs."""
    installed = Installed(tmp_path, wheel, "")
    assert installed.run("python", "-c", "from streams.producers import TouchpointProducer").returncode == 0
    found = installed.run("python", "-c", "from importlib.metadata import distributions as d; print(len({*d()}))")
    assert int(found.stdout) == len(["cx-streams", "click", "crc32c", "kafka-python", "msgspec"])
    refused = installed.run("cx", "up")
    assert refused.returncode == 2
    assert "pip install 'cx-streams[local]'" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_the_whole_job(wheel: Path, tmp_path: Path) -> None:
    """With everything: it migrates, counts, verifies and judges rules with what the wheel brings."""
    installed = Installed(tmp_path, wheel, "[local]")
    (tmp_path / "events.jsonl").write_bytes(b"".join(event(number) + b"\n" for number in range(EVENTS)))
    done = installed.run("cx", "up", "--replay", "jsonl", "--path", "events.jsonl", "--until-done", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["records"]["counted"] == EVENTS, report
    for command in (["rules", "list"], ["schemas", "check"], ["dashboards", "check"], ["kpis", "list"]):
        told = installed.run("cx", *command)
        assert told.returncode == 0, (command, told.stderr)
    refused = installed.run("cx", "schemas", "generate")
    assert (refused.returncode, "run it in a clone" in refused.stderr) == (1, True)
    doctor = installed.run("cx", "doctor")
    assert "Traceback" not in doctor.stderr
