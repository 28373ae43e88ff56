"""
Runs the command line with a clock of its own: `python tests/fault/shifted.py FILE worker`.

The file holds the seconds by which `time.time` is off; it is read again four times a second, so that the clock can jump
while the program runs. `time.monotonic` stays as it is, as with a real clock that is set.
"""

import sys
import threading
import time
from pathlib import Path

_true_time, _true_time_ns = time.time, time.time_ns
_off = [0.0]


def _follow(file: Path) -> None:
    while True:
        _off[0] = float(file.read_text() or 0)
        time.sleep(0.25)


def main() -> None:
    """Shift the clock, then be `cx`."""
    file = Path(sys.argv.pop(1))
    _off[0] = float(file.read_text())
    time.time = lambda: _true_time() + _off[0]
    time.time_ns = lambda: _true_time_ns() + round(_off[0] * 1e9)
    threading.Thread(target=_follow, args=(file,), daemon=True).start()
    # Not our own folder: its modules are none of the program's.
    sys.path[0] = str(Path.cwd())
    from streams.cli import main as cx

    cx()


if __name__ == "__main__":
    main()
