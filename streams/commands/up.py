"""`cx up`: everything on this machine, one command."""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from streams.commands.arguments import IncidentType, NumberRange
from streams.commands.printing import echo
from streams.commands.traffic import speed_option
from streams.kpis.language.blocks import CatalogueError
from streams.local.broker import BrokerError
from streams.local.clickhouse import ClickHouseProcessError
from streams.local.run import EmbeddedRun, Load
from streams.local.supervisor import ChildError
from streams.local.until_done import result_of, wait_until_done
from streams.local.values import cells
from streams.local.view import LiveView
from streams.producers.readers import DATA_SETS
from streams.settings import load, window_names
from streams.storage.connection import StorageError

EVERY_S = 1.0
EVERY_LINE_S = 10.0
"""Where there is no terminal a line is enough so often."""
_PRINTED = ("", "delivery", "score")


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; no `except Exception` of a library, in the middle of which it may come, is to swallow it."""


@click.command()
@click.option("--replay", "data_set", type=click.Choice([*DATA_SETS, "jsonl"]), help="Replay a data set, no simulator.")
@click.option("--path", type=click.Path(exists=True, path_type=Path), help="Where the data set is.")
@click.option("--speed", default="max", callback=speed_option, show_default=True, help="Of the replay: 1, 60, max, …")
@click.option("--shuffle", "shuffle_s", type=NumberRange(0), default=0.0, help="Disorder of the replay, in seconds.")
@click.option("--repeat", default=1, show_default=True, help="Replay so many times; all but the first are duplicates.")
@click.option("--no-simulate", is_flag=True, help="Produce nothing: wait for your own producers.")
@click.option("--rate", type=NumberRange(), default=100.0, show_default=True, help="Events per second, simulated.")
@click.option("--rhythm", is_flag=True, help="Simulate days and weeks as they are, not a steady flow.")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulator.")
@click.option(
    "--incident", multiple=True, type=IncidentType(), help="Incident of the simulator, e.g. payment-outage@+5m+10m."
)
@click.option(
    "--data",
    "data_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep, or go on with, the store in this folder. Without it: .cx, made anew each time.",
)
@click.option("--board/--no-board", default=True, help="Serve the live page, on a free port if CX_BOARD_PORT is taken.")
@click.option("--window", default="5m", show_default=True, help="Window of the KPIs on the screen.")
@click.option("--by-channel", is_flag=True, help="On a narrow screen too, show the channels of each KPI.")
@click.option("--until-done", is_flag=True, help="With --replay: stop when all is stored and verified.")
@click.option("--json", "as_json", is_flag=True, help="With --until-done: print one JSON object, nothing else.")
def up(
    data_set: str | None,
    path: Path | None,
    speed: Any,
    shuffle_s: float,
    repeat: int,
    no_simulate: bool,
    rate: float,
    rhythm: bool,
    seed: int,
    incident: tuple[str, ...],
    data_dir: Path | None,
    board: bool,
    window: str,
    by_channel: bool,
    until_done: bool,
    as_json: bool,
) -> None:
    """Run broker, ClickHouse, a worker and traffic here, and watch the KPIs.

    Nothing needs to be installed by hand, everything is on loopback, Ctrl-C stops all of it.
    The embedded broker forgets at the end; the store in --data stays.

    \b
    Exit codes of --until-done: 0 stored and verified, 1 differences or a failure.
    """
    if bool(data_set) != bool(path):
        raise click.UsageError("--replay and --path go together")
    if until_done and not data_set:
        raise click.UsageError("--until-done needs --replay: a simulation has no end")
    if as_json and not until_done:
        raise click.UsageError("--json needs --until-done")
    load_ = Load()
    if data_set:
        arguments = [
            "replay",
            data_set,
            "--path",
            str(path),
            "--speed",
            str(speed),
            "--shuffle",
            str(shuffle_s),
            "--repeat",
            str(repeat),
            "--json",
        ]
        load_ = Load(tuple(arguments), ends=True)
    elif not no_simulate:
        incidents = [part for text in incident for part in ("--incident", text)]
        steady = [] if rhythm else ["--flat"]
        load_ = Load(("simulate", "--rate", str(rate), "--seed", str(seed), *steady, *incidents))
    settings = load(data_dir=str(data_dir) if data_dir else None)
    if window not in (kept := window_names(settings)):
        raise click.UsageError(f"--window {window!r} is not kept; kept: {', '.join(kept)}")

    def say(text: str) -> None:
        if not as_json:
            echo(f"  {text}")

    code = 0
    try:
        with (
            _signals(),
            EmbeddedRun(
                # A run that ends by itself has nobody to look at it.
                settings,
                load_,
                say,
                keep=data_dir is not None,
                board=board and not until_done,
            ) as run,
        ):
            if until_done:
                report = wait_until_done(run, say)
                result = result_of(run, data_set or "", report)
                if as_json:
                    echo(json.dumps(result, ensure_ascii=False))
                else:
                    _print_result(result)
                code = 0 if result["ok"] else 1
            else:
                _watch(Console(), run, window, by_channel=by_channel)
    except _Stopped:
        say("stopped")
    except (ChildError, BrokerError, ClickHouseProcessError, StorageError, CatalogueError) as exc:
        if as_json:
            echo(json.dumps({"ok": False, "error": str(exc)}, ensure_ascii=False))
        echo(f"cx up: {exc}", err=True)
        code = 1
    sys.exit(code)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    def stop(*_: object) -> None:
        # Once is enough: a second Ctrl-C must not interrupt the stopping.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    yield


def _watch(console: Console, run: EmbeddedRun, window: str, *, by_channel: bool) -> None:
    view = LiveView(run.catalogue, run.places(), window, by_channel=by_channel)
    if console.is_dumb_terminal or not console.is_terminal:
        for name, place in run.places():
            echo(f"  {name}: {place}")
        while True:
            _look(view, run, window)
            echo(f"  {view.line()}")
            run.watch_for(EVERY_LINE_S)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            _look(view, run, window)
            live.update(view.render(console.width, console.height), refresh=True)
            run.watch_for(EVERY_S)


def _look(view: LiveView, run: EmbeddedRun, window: str) -> None:
    view.restarts = run.worker.restarts if run.worker else 0
    view.tell(run.state(), cells(run.address("reader"), window, live=not run.load.ends), time.monotonic())


def _print_result(result: dict[str, Any]) -> None:
    records = result["records"]
    echo("  " + "  ".join(f"{name} {count:,}" for name, count in records.items()))
    for row in result["kpis"]:
        if row["by"] not in _PRINTED:
            continue
        labels = ",".join(f"{key}={value}" for key, value in row["labels"].items()) or "all"
        stat = f" {row['stat']}" if row["stat"] else ""
        value = "no data" if row["value"] is None else f"{row['value']:,.2f}".rstrip("0").rstrip(".")
        echo(f"  {row['kpi']}{stat} {labels}: {value} (n={row['n']:,})")
    for one in result["replay"]["left_out"]:
        rows = ", ".join(map(str, one["rows"][:5])) + (", …" if one["records"] > 5 else "")
        echo(f"  left out: {one['records']:,} x {one['reason']} (rows {rows})")
    if records["read"] and records["bad"] == records["read"]:
        echo("  every record was refused: see `cx dlq list`")
    for fate, times in result["labels"].items():
        echo(f"  labels: {times:,} {fate}")
    differences = result["verify"]["differences"]
    checked = ", ".join(f"{count:,} {what}" for what, count in result["verify"]["checked"].items())
    echo(f"  verify: {checked} recomputed, {len(differences)} differences")
    for line in (*differences[:20], *result["verify"]["notes"]):
        echo(f"    {line}")
