"""`cx synthetic`: scripted paths that are gone to see whether all ways are open."""

import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from streams.commands.output import FOUND, as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.commands.synthetic_doors import EventDoor, HttpDoor, KafkaDoor, publish
from streams.commands.synthetic_run import PathRunner
from streams.commands.traffic import stop_on_signals
from streams.definitions import live_relations_of, synthetic_paths_of
from streams.settings import Settings, load
from streams.synthetic.definition import SyntheticPath
from streams.synthetic.journey import RunReport, results_of

_PUBLISHED_S = 10.0
"""How long the results of a run are tried."""
_SHORTEST_S = 10.0


@click.group()
def synthetic() -> None:
    """Go scripted paths through the doors, and see whether all that was sent arrives.

    The paths are those of CX_SYNTHETIC_PATH, or those shipped; docs/SYNTHETIC.md tells of every key. What is sent has
    `synthetic: true` and is in no KPI.

    \b
    Examples:
      cx synthetic check my-paths.yaml
      cx synthetic run --once
      cx synthetic run web-order --every 1m --json
    """


@synthetic.command("list")
@as_json_option
@plain_errors
def synthetic_list(as_json: bool) -> None:
    """List the paths."""
    found = synthetic_paths_of(load())
    if as_json:
        print_json([msgspec.to_builtins(one) for one in found.values()])
        return
    echo(_table(found.values()))


@synthetic.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@plain_errors
def synthetic_check(paths: tuple[Path, ...]) -> None:
    """Check paths, with lines: every event is held against its contract.

    Those in PATHS, else those of CX_SYNTHETIC_PATH, else those shipped. Exit codes: 0 all sound, 1 problems.
    """
    found = synthetic_paths_of(load(), paths)
    echo(_table(found.values()))
    echo(f"{len(found)} paths with {sum(len(one.steps) for one in found.values())} steps, all sound")


@synthetic.command("run")
@click.argument("names", nargs=-1, metavar="[PATH]...")
@click.option("--once", is_flag=True, help="Go each path once; so it is without --every.")
@click.option(
    "--every", "every_s", callback=lambda *given: _seconds(given[2]), help="Go them again and again, e.g. 1m."
)
@click.option(
    "--file", "files", multiple=True, type=click.Path(exists=True, path_type=Path), help="Paths of this file."
)
@as_json_option
@plain_errors
def synthetic_run(
    names: tuple[str, ...], once: bool, every_s: float | None, files: tuple[Path, ...], as_json: bool
) -> None:
    """Go all paths, or those named, at the same time; tell of each what came of it.

    What came of it is sent as `cx.synthetic.checked` and `cx.synthetic.finished`, which KPIs and alerts are made of.

    \b
    Exit codes: 0 all that was expected came (with --every: ended by Ctrl-C or SIGTERM), 1 what came of it is not
    published, 2 wrong usage, 3 something did not come.
    """
    if once and every_s is not None:
        raise click.UsageError("--once and --every exclude each other")
    settings = load()
    found = synthetic_paths_of(settings, files)
    unknown = sorted(set(names) - found.keys())
    if unknown:
        raise click.UsageError(f"no path {unknown[0]!r}: there are {', '.join(found)}")
    chosen = [found[name] for name in dict.fromkeys(names)] or [*found.values()]
    stop = stop_on_signals()
    runners = _Runners(settings, chosen, stop, as_json=as_json)
    try:
        runners.go(every_s)
    finally:
        runners.close()
    sys.exit(runners.exit_code if every_s is None else 0)


class _Runners:
    """All paths, each in a thread of its own."""

    def __init__(
        self, settings: Settings, paths: Sequence[SyntheticPath], stop: threading.Event, *, as_json: bool
    ) -> None:
        relations = live_relations_of(settings)
        self._running = frozenset(one.emits for one in relations.values()) if relations is not None else frozenset()
        self._settings, self._paths, self._stop, self._as_json = settings, paths, stop, as_json
        self._kafka = KafkaDoor(settings)
        self._doors: Mapping[str, EventDoor] = {"kafka": self._kafka, "http": HttpDoor(settings)}
        self._telling = threading.Lock()
        self._all_came = self._all_published = True

    def go(self, every_s: float | None) -> None:
        """Go all paths, once or until it is stopped."""
        threads = [
            threading.Thread(target=self._keep, args=(path, every_s), name=f"synthetic {path.id}", daemon=True)
            for path in self._paths
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)

    @property
    def exit_code(self) -> int:
        """What the runs by now come to: something did not come, or is not published."""
        return FOUND if not self._all_came else 1 if not self._all_published else 0

    def close(self) -> None:
        self._kafka.close()

    def _keep(self, path: SyntheticPath, every_s: float | None) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            report = PathRunner(self._settings, path, self._doors[path.door], self._running).go(self._stop)
            if report is not None:
                events = results_of(report, datetime.now(UTC).isoformat())
                self._tell(path, report, publish(self._kafka, events, _PUBLISHED_S))
            if every_s is None:
                return
            # A run that took longer than its turn is not made up for.
            self._stop.wait(max(0.0, began + every_s - time.monotonic()))

    def _tell(self, path: SyntheticPath, report: RunReport, unpublished: str) -> None:
        with self._telling:
            self._all_came &= report.ok
            self._all_published &= not unpublished
            if self._as_json:
                print_json({**msgspec.to_builtins(report), "published": not unpublished})
            else:
                print_run(path, report)
            if unpublished:
                line(f"{report.path}: what came of it is not published: {unpublished}", err=True)


def print_run(path: SyntheticPath, report: RunReport) -> None:
    """Print what came of a run: a line for it and one for each check, whatever names and answers hold."""
    verdict = "ok" if report.ok else f"FAILED at {report.failed}"
    line(f"{report.path}: {verdict}, {report.duration_s:.1f} s, {len(report.checks)} checks ({path.name['en']})")
    for one in report.checks:
        where = f"step {one.step} {one.event}" if one.step is not None else one.event
        took = "" if one.latency_s is None else f" after {one.latency_s:.2f} s"
        line(f"  {'ok ' if one.ok else '-- '} {where}: {one.leg}{took}{'' if one.ok else f': {one.text}'}")


def _table(paths: Iterable[SyntheticPath]) -> str:
    rows = [
        (
            one.id,
            one.channel,
            one.door,
            len(one.steps),
            f"{one.within_s:g} s",
            ", ".join(d.type for d in one.derives),
            one.name["en"],
        )
        for one in paths
    ]
    return table(("PATH", "CHANNEL", "DOOR", "STEPS", "WITHIN", "DERIVES", "NAME"), rows, least=("NAME", "DERIVES"))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3_600.0}
    if text[-1:] not in units or not text[:-1].isdigit() or int(text[:-1]) * units[text[-1]] < _SHORTEST_S:
        raise click.BadParameter(
            f"{text!r}: expected a length of time of {_SHORTEST_S:g}s at least, such as 30s, 1m or 1h"
        )
    return int(text[:-1]) * units[text[-1]]
