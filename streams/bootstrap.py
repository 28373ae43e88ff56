"""
From a bare Python to a running command: makes the project's environment once, then hands over to it.

Only the standard library is used, since this runs before anything is installed.
The environment is `.venv` in the clone; a stamp in it says which locks it holds, so a warm start costs milliseconds:

    environment         stamp                    what happens
    missing, broken     any                      create, install
    works               installing               create, install     (cut off: half an install is never trusted)
    works               other Python or place    create, install
    works               none (made by hand)      install
    works               other lock               install
    works               this lock, or the development one, which contains it    nothing
"""

import contextlib
import enum
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL_LOCK = "requirements-local.lock"
"""What every command needs, the embedded broker and store included."""
DEV_LOCK = "requirements-dev.lock"
"""The same versions, and what tests and checks need on top."""
MIN_PIP = (22, 3)
"""First pip that installs into another environment (`--python`)."""
BIG_MB = 5.0
"""Downloads of this size or more are worth a line of their own."""
_USED = "streams.commands.worker, streams.commands.up, holidays.countries"
COMPILE = f"import importlib.util; importlib.util.find_spec('streams') and exec('import {_USED}')"
"""Where byte code may not be written later, each start of a worker would compile a thousand modules anew."""
QUIET_S = 15.0
"""After so long without a line, one says that it goes on."""
TEST_HELP = """\
Usage: cx test [ARGUMENTS OF PYTEST]

  Run the tests of this clone; what they need is installed before, except for this help.

  Without arguments: all that this machine can run, about 40 minutes on two cores. Tests against Apache Kafka need java
  and mvn; CX_REQUIRE_KAFKA=1 and CX_REQUIRE_CHROMIUM=1 make their lack an error.

  Examples:
    cx test
    cx test tests/unit -x
    cx test --co -q tests/integration
"""
_STARTED = time.monotonic()


class BootstrapError(Exception):
    """The environment could not be made; the text says which step failed and what the user can do."""


class State(enum.Enum):
    """What has to be done before a command can run in the environment."""

    CREATE = "create"
    INSTALL = "install"
    READY = "ready"


@dataclass(frozen=True)
class Stamp:
    """What was put into an environment; `installing` names a lock whose installation has begun but not ended."""

    python: str = ""
    path: str = ""
    locks: Mapping[str, str] = field(default_factory=dict)
    installing: str = ""


def decide(python: str, path: str, stamp: Stamp | None, wanted: Mapping[str, str]) -> State:
    """
    Apply the table at the top.

    `python` is the version that the environment in `path` runs, empty if it does not run.
    `wanted` are the locks of which one must be held, with their digests.
    """
    if not python or (stamp and (stamp.installing or stamp.python != python or stamp.path != path)):
        return State.CREATE
    if stamp and any(stamp.locks.get(name) == digest for name, digest in wanted.items()):
        return State.READY
    return State.INSTALL


class Environment:
    """The project's virtual environment: `.venv` in `root`, made from the lock files beside it."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.path = root / ".venv"
        self.python = self.path / "bin" / "python"
        self.log = root / ".cx" / "bootstrap.log"
        self._stamp = self.path / "cx-stamp.json"
        self._held: tuple[int, ...] = ()

    def active(self) -> bool:
        """Return whether this process runs inside the environment."""
        return sys.prefix != sys.base_prefix and self.path.is_dir() and self.path.samefile(sys.prefix)

    def state(self, lock: str) -> State:
        """Compare the environment with the lock file of that name."""
        python = _version(sys.version_info[:2]) if self.active() else _version_of(self.python)
        wanted = {name: self._digest(name) for name in (lock, DEV_LOCK)}
        return decide(python, str(self.path), self._read_stamp(), wanted)

    def prepare(self, lock: str) -> None:
        """
        Bring the environment to the lock; one process at a time does, others wait and find it done.

        Raises:
            BootstrapError: creating or installing failed. The next call starts afresh.
        """
        with self._alone():
            state = self.state(lock)
            if state is State.READY:
                return
            if state is State.CREATE:
                self._create()
            self._install(lock)
        if self.state(lock) is not State.READY:
            raise BootstrapError(f"{self.path} does not hold {lock} although pip reported success: see {self.log}")
        say("environment ready")

    def _create(self) -> None:
        say(f"making the environment {self.path}")
        if self.path.is_symlink():
            raise BootstrapError(f"{self.path} links to a broken or half-made environment: remove the link")
        if self.path.exists():
            shutil.rmtree(self.path)
        # Without pip: Debian ships venv without ensurepip, and the host's pip can do the installing.
        self._run([_base_python(), "-m", "venv", "--without-pip", str(self.path)], "making the environment")

    def _install(self, lock: str) -> None:
        pip = self._pip()
        before = self._read_stamp() or Stamp()
        self._write_stamp(Stamp(installing=lock))
        say(f"installing {lock} (up to 370 MB, once); details in {self.log}")
        options = "--no-input --disable-pip-version-check --progress-bar off --require-hashes --only-binary :all:"
        # The lock is complete, so pip needs not resolve; only what is used is compiled, below: most never is.
        command = [
            *pip,
            "install",
            *options.split(),
            "--no-deps",
            "--no-compile",
            "-r",
            str(self.root / lock),
        ]
        self._run(command, f"installing {lock}", show=pip_step)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(self._run([str(self.python), "-c", where], "looking into the environment").strip())
        (site / "cx_streams.pth").write_text(f"{self.root}\n", encoding="utf-8")
        script = self.path / "bin" / "cx"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(self.python))} -m streams "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        self._run([str(self.python), "-c", COMPILE], "compiling")
        locks = {**before.locks, lock: self._digest(lock)}
        self._write_stamp(Stamp(python=_version_of(self.python), path=str(self.path), locks=locks))

    def _pip(self) -> list[str]:
        """
        Return the start of a command line of a pip that installs into the environment.

        Raises:
            BootstrapError: neither the environment nor the host has one that can.
        """
        inside = [str(self.python), "-m", "pip"]
        if _pip_version(inside) >= MIN_PIP:
            return inside
        for host in dict.fromkeys([sys.executable, _base_python()]):
            if _pip_version([host, "-m", "pip"]) >= MIN_PIP:
                return [host, "-m", "pip", "--python", str(self.python)]
        try:
            self._run([str(self.python), "-m", "ensurepip"], "bringing pip")
        except BootstrapError as exc:
            raise BootstrapError(
                f"{sys.executable} has neither pip {_version(MIN_PIP)} or newer nor ensurepip: install one of them "
                "(Debian, Ubuntu: apt install python3-pip)"
            ) from exc
        return inside

    def _run(self, command: Sequence[str], doing: str, show: Callable[[str], str] | None = None) -> str:
        """Run a child, keep its output in the log, and return it; `show` makes lines for the user of its lines."""
        # A user's settings for other places must not send packages past the environment.
        others = {"PIP_TARGET", "PIP_PREFIX", "PYTHONDONTWRITEBYTECODE"}
        environ = {name: value for name, value in os.environ.items() if name not in others}
        environ.update(PIP_USER="0", PYTHONUNBUFFERED="1")
        lines = []
        self.log.parent.mkdir(exist_ok=True)
        with (
            self.log.open("a", encoding="utf-8") as log,
            _reassure(doing),
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environ,
                pass_fds=self._held,
                cwd=self.root,
            ) as child,
        ):
            log.write(f"$ {shlex.join(command)}\n")
            assert child.stdout
            for line in child.stdout:
                log.write(line)
                lines.append(line)
                if show and (step := show(line)):
                    say(step)
        if child.returncode:
            tail = "".join(lines[-12:])
            raise BootstrapError(
                f"{doing} failed with exit code {child.returncode}; all of it is in {self.log}:\n{tail}"
            )
        return "".join(lines)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self.root / ".cx" / "bootstrap.lock"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process prepares the environment: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            # Children hold the lock as well: a pip that outlives us must end before anybody starts afresh.
            self._held = (file.fileno(),)
            yield

    def _digest(self, lock: str) -> str:
        return hashlib.sha256((self.root / lock).read_bytes()).hexdigest()

    def _read_stamp(self) -> Stamp | None:
        try:
            return Stamp(**json.loads(self._stamp.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Stamp(installing="something that left an unreadable stamp")

    def _write_stamp(self, stamp: Stamp) -> None:
        new = self._stamp.with_suffix(".new")
        new.write_text(json.dumps(asdict(stamp), indent=1), encoding="utf-8")
        new.replace(self._stamp)


def main(argv: list[str]) -> int:
    """Run a command of `cx` in the project's environment, which is made or brought up to date first."""
    if not (ROOT / LOCAL_LOCK).is_file():
        return run(argv)  # an installed package: whoever installed it chose the packages
    if argv in (["test", "--help"], ["test", "-h"]):
        sys.stdout.write(TEST_HELP)
        return 0
    environment = Environment()
    lock = DEV_LOCK if argv[:1] == ["test"] else LOCAL_LOCK
    try:
        if environment.state(lock) is not State.READY:
            environment.prepare(lock)
        elif environment.active():
            return run(argv)
    except BootstrapError as exc:
        say(str(exc))
        return 1
    except KeyboardInterrupt:
        say("interrupted: the same command starts again")
        return 130
    python = str(environment.python)
    return os.execv(python, [python, "-m", "streams", *argv])  # noqa: S606 - never returns


def run(argv: list[str]) -> int:
    """Run a command in this process, which has all it needs."""
    if argv[:1] == ["test"] and (ROOT / DEV_LOCK).is_file():
        return run_tests(argv[1:])
    from streams.cli import main as command  # noqa: PLC0415 - importable only now

    command(args=argv, prog_name="cx")
    return 0


def run_tests(argv: list[str]) -> int:
    """
    Run the tests with pytest's own arguments; without any, all that this machine can run.

    Returns:
        pytest's exit code.
    """
    import pytest  # noqa: PLC0415 - importable only now

    lacks = [program for program in ("java", "mvn") if not shutil.which(program)]
    if lacks:
        say(f"no {' and no '.join(lacks)} here: tests against Apache Kafka itself will be skipped")
    os.chdir(ROOT)
    # Most of the time of the whole suite is waiting for servers; each process starts its own.
    spread = ["-n", str(min(4, (os.cpu_count() or 1) + 1)), "--dist", "loadfile", "--no-loadscope-reorder"]
    return int(pytest.main(argv or spread))


def pip_step(line: str) -> str:
    """Turn a line of pip's output into one for the user; empty when it is not worth one."""
    if found := re.match(r"\s*Downloading (\S+?)-\d\S* \(([\d.]+) MB\)", line):
        return f"fetching {found[1]}, {found[2]} MB" if float(found[2]) >= BIG_MB else ""
    if line.startswith("Installing collected packages:"):
        return f"unpacking {line.count(',') + 1} packages"
    return ""


def say(text: str) -> None:
    """Print a line for the user, with the seconds since the start."""
    sys.stderr.write(f"[{time.monotonic() - _STARTED:5.1f} s] {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _reassure(doing: str) -> Iterator[None]:
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(QUIET_S):
            say(f"still {doing}")

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _base_python() -> str:
    # Inside an environment, its own interpreter is about to be removed: the one it was made from stays.
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _version(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


def _version_of(python: Path) -> str:
    """Return `major.minor` of an interpreter, empty if it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return _output([str(python), "-I", "-S", "-c", code]).strip()


def _pip_version(command: Sequence[str]) -> tuple[int, int]:
    found = re.match(r"pip (\d+)\.(\d+)", _output([*command, "--version"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _output(command: Sequence[str]) -> str:
    """Return what a command prints, empty if it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
