"""The run of `cx up` in this folder: a command beside it finds it by itself."""

import fcntl
import os
import shlex
from pathlib import Path

from streams.settings import PREFIX, ConfigError


def settings_of_run(folder: Path) -> dict[str, str]:
    """
    Return the `CX_*` variables of the run that uses a folder now; empty if none of this user does.

    Raises:
        ConfigError: What the run wrote down was changed to something that cannot be read.
    """
    if not in_use(folder):
        return {}
    file = folder / "environment"
    try:
        if file.stat().st_uid != os.getuid():
            return {}
        words = [shlex.split(line) for line in file.read_text(encoding="utf-8").replace("\0", "").splitlines()]
    except OSError:
        return {}  # a run that is still starting
    except ValueError as error:
        raise ConfigError(
            f"{file} of the running `cx up` cannot be read: {error}."
            " Start the run anew, or set CX_KAFKA and CX_CLICKHOUSE"
        ) from None
    pairs = (word[1].partition("=") for word in words if len(word) > 1)
    return {name: value for name, _, value in pairs if name.startswith(PREFIX) and value}


def in_use(folder: Path) -> bool:
    """Return whether a run uses a folder now."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # nothing ran here, or it is not for this user to look
    return False
