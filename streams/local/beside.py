"""The run of `cx up` in this folder: a command beside it finds it by itself."""

import fcntl
import os
import shlex
from pathlib import Path

from streams.settings import PREFIX


def settings_of_run(folder: Path) -> dict[str, str]:
    """Return the `CX_*` variables of the run that uses a folder now; empty if none of this user does."""
    if not _in_use(folder):
        return {}
    file = folder / "environment"
    try:
        if file.stat().st_uid != os.getuid():
            return {}
        words = [shlex.split(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}  # a run that is still starting
    pairs = (word[1].partition("=") for word in words)
    return {name: value for name, _, value in pairs if name.startswith(PREFIX) and value}


def _in_use(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # nothing ran here, or it is not for this user to look
    return False
