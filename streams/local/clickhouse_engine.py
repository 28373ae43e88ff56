"""
The process that is ClickHouse: the engine of the chdb-core wheel with its HTTP and native listeners open.

The wheel carries the whole server; its `clickhouse-local` application can open the listeners,
reads `config.xml` from the current directory, and ends cleanly when its last query ends.
That query reads a FIFO nobody writes to; closing the FIFO is the order to stop.

`clickhouse-local` is meant for the files of whoever runs it, and its function `file()` asks for no right. So before the
engine is loaded, this process gives up all files but its own (`confinement`). It gets no secret: no passwords, and
nothing of the environment of the process that started it.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any, NoReturn

from streams.local.confinement import ConfinementError, available, confine

ENGINE_PACKAGE = "chdb-core"
ENGINE_OLDEST = (26, 7)
"""The first engine release in which clickhouse-local can open its own listeners."""

EXIT_ENGINE_UNFIT, EXIT_ENGINE_ENDED, EXIT_NOT_CONFINED = 75, 76, 77

# Of the machine it needs its libraries, the processors and the memory it may use, and where its own stack is.
_OF_THE_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/sys/devices/system/cpu",
    "/sys/fs/cgroup", "/proc/self/maps", "/proc/self/statm", "/proc/self/auxv",
)  # fmt: skip
# The engine can exchange tables with these, in its own process; here nobody calls it from Python.
_NOT_WANTED = ("numpy", "pandas", "polars", "pyarrow")


def main() -> None:
    """Run the engine until SIGTERM, SIGINT or the end of the parent; leaves with a code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--listen", type=int, nargs=2, required=True)
    parser.add_argument("--connect", type=int, nargs="*", default=[])
    options = parser.parse_args()
    parent = os.getppid()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    server_dir, store_dir = options.data / "server", options.data / "store"
    # Open on both sides from now on, it ends only when it is closed here.
    order = os.open(server_dir / "stop.fifo", os.O_RDWR | os.O_CLOEXEC)
    package = _package()
    if available():
        _confine(options, package)
    query = _engine()
    os.chdir(server_dir)  # where the engine looks for its config.xml
    outcome: list[str] = []
    engine = threading.Thread(
        target=lambda: outcome.append(_listen(query, server_dir / "stop.fifo", store_dir)),
        name="clickhouse",
        daemon=True,
    )
    engine.start()
    while engine.is_alive() and not stop.wait(0.2) and os.getppid() == parent:
        pass
    if engine.is_alive():
        os.close(order)
        engine.join(30)
        return
    reason = outcome[0] if outcome else "no reason given"
    unfit = "START LISTEN" in reason and "not supported" in reason
    _leave(EXIT_ENGINE_UNFIT if unfit else EXIT_ENGINE_ENDED, f"the engine ended by itself: {reason}")


def _package() -> Path:
    """Find the engine's folder; leaves with an explanation when the wheel is missing or too old."""
    try:
        version = importlib.metadata.version(ENGINE_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        _leave(EXIT_ENGINE_UNFIT, f"{ENGINE_PACKAGE} is not installed ({error}); install cx-streams[local]")
    if tuple(int(part) for part in version.split(".")[:2]) < ENGINE_OLDEST:
        oldest = ".".join(map(str, ENGINE_OLDEST))
        _leave(EXIT_ENGINE_UNFIT, f"{ENGINE_PACKAGE} {version} cannot listen on a port; {oldest} or newer is needed")
    found = importlib.util.find_spec("chdb")
    if found is None or found.origin is None:
        _leave(EXIT_ENGINE_UNFIT, f"{ENGINE_PACKAGE} {version} has no module chdb")
    return Path(found.origin).parent


def _confine(options: argparse.Namespace, package: Path) -> None:
    """Give up all files and ports but the server's own, and see that it is so."""
    data: Path = options.data
    python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    libraries = [package, package.parent / f"{ENGINE_PACKAGE.replace('-', '_')}.libs"]
    try:
        confine(
            read=[data / "server", *libraries, *python, *map(Path, _OF_THE_SYSTEM)],
            write=[data / "store", data / "log"],
            listen=options.listen,
            connect=options.connect,
        )
        (data / "credentials.json").read_bytes()
    except PermissionError:
        return
    except ConfinementError as error:
        _leave(EXIT_NOT_CONFINED, str(error))
    _leave(EXIT_NOT_CONFINED, "the passwords can still be read: is the data directory among Python's own files?")


def _engine() -> Any:
    """Load the engine: 0.7 s and a very large library."""
    # With None in their places, importing them fails as if they were not installed.
    sys.modules.update(dict.fromkeys(_NOT_WANTED))  # type: ignore[arg-type]
    try:
        return importlib.import_module("chdb._chdb").query
    except ImportError as error:
        _leave(EXIT_ENGINE_UNFIT, f"{ENGINE_PACKAGE} cannot be loaded: {error}")


def _listen(query: Any, fifo: Path, store_dir: Path) -> str:
    """Open both listeners and block until the FIFO is closed; returns why it ended."""
    # TabSeparated: the format named here becomes the default format of every HTTP answer.
    blocking = f"SELECT count() FROM file('{fifo}', LineAsString, 'line String')"  # noqa: S608 - our own path
    sql = f"""
        SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP;
        {blocking} SETTINGS max_execution_time = 0, max_threads = 1
    """
    try:
        result = query(sql, "TabSeparated", path=str(store_dir))
        return str(result.error_message()) if result.has_error() else "its listeners closed"
    except Exception as error:  # noqa: BLE001 - the engine raises plain RuntimeError and worse; the text is what matters
        return str(error)


def _leave(code: int, why: str) -> NoReturn:
    sys.stderr.write(f"clickhouse: {why}\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
