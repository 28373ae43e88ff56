"""`cx simulate` and `cx replay`: events into the topics."""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, NoReturn

import click

from streams.commands.arguments import IncidentType, MomentType, NumberRange, When
from streams.commands.printing import echo
from streams.producers.client import BufferFullError, NotDeliveredError, TouchpointProducer
from streams.producers.planting import Planter, PlantingSender
from streams.producers.readers import DATA_SETS, DataSetError, ReadReport, read
from streams.producers.replay import ReplayProgress, ReplaySender
from streams.producers.replay import replay as run_replay
from streams.producers.simulator import Flaws, Plan
from streams.producers.simulator import RunProgress as SimulationProgress
from streams.producers.simulator import run as run_simulation
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings, load


def producer_of(settings: Settings) -> TouchpointProducer:
    """Return a producer for the configured Kafka."""
    return TouchpointProducer(
        settings.kafka, topic_prefix=settings.topic_prefix, security=kafka_client_options(settings)
    )


def stop_on_signals() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set, so that what was sent is still flushed and reported."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def planting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that have made-up identifiers of people planted into what is sent."""
    for option in (
        click.option(
            "--planted",
            type=click.Path(dir_okay=False, path_type=Path),
            default=Path("planted.txt"),
            show_default=True,
            help="Where to write what was planted, for `cx doctor --personal-data --planted`.",
        ),
        click.option(
            "--plant-identifiers",
            "planting_seed",
            type=int,
            metavar="SEED",
            help="Plant identifiers of made-up people.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def planted_into(producer: TouchpointProducer, seed: int | None, file: Path) -> Iterator[ReplaySender]:
    """Return what sends records; with a seed it plants identifiers into them, which are written down in the end."""
    if seed is None:
        yield producer
        return
    planter = Planter(seed)
    _write(file, ())
    try:
        yield PlantingSender(producer, planter)
    finally:
        _write(file, planter.planted)


def _write(file: Path, lines: Iterable[str]) -> None:
    try:
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as exc:
        raise click.UsageError(f"{file} cannot be written: {exc.strerror}") from exc


def speed_option(_ctx: click.Context, _param: click.Parameter, value: str) -> float | str:
    """Read a speed: event seconds per second, or `max`."""
    if value == "max":
        return value
    try:
        speed = float(value.rstrip("x"))
    except ValueError:
        raise click.BadParameter("a number such as 1 or 60, or max") from None
    if not 0 < speed < inf:
        raise click.BadParameter("must be above 0, and finite: max is as fast as it goes")
    return speed


@click.command()
@click.argument("name", type=click.Choice([*DATA_SETS, "jsonl"]))
@click.option(
    "--path",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="The data set's file or folder, or a folder that holds it; for jsonl the file.",
)
@click.option(
    "--speed", default="1", callback=speed_option, show_default=True, help="Event seconds per second, or max."
)
@click.option(
    "--shuffle", "shuffle_s", type=NumberRange(0), default=0.0, show_default=True, help="Disorder, in seconds."
)
@click.option("--seed", default=0, show_default=True, help="Decides the disorder.")
@click.option("--repeat", default=1, show_default=True, help="Send everything so many times.")
@click.option("--rebase", is_flag=True, help="Move times so that the last event is now.")
@planting_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def replay(
    name: str,
    path: Path,
    speed: Any,
    shuffle_s: float,
    seed: int,
    repeat: int,
    planting_seed: int | None,
    planted: Path,
    *,
    rebase: bool,
    as_json: bool,
) -> None:
    """Produce the events of a data set, in event-time order.

    NAME is a data set (see docs/DATASETS.md), or jsonl for a file with one event per line.
    """
    report = ReadReport(name)
    try:
        events = list(read(name, path, report))
    except DataSetError as exc:
        _end(str(exc), report, as_json=as_json)
    if report.nothing:
        _end(report.nothing, report, as_json=as_json)
    stop = stop_on_signals()

    def show(progress: ReplayProgress) -> None:
        reached = progress.reached.strftime("%Y-%m-%d %H:%M") if progress.reached else "-"
        echo(f"{progress.sent:>9,} of {progress.total:,} sent, event time {reached}", err=True)

    try:
        with producer_of(load()) as producer, planted_into(producer, planting_seed, planted) as sender:
            result = run_replay(
                events,
                sender,
                speed,
                shuffle_within_s=shuffle_s,
                seed=seed,
                repeat=repeat,
                rebase=datetime.now(UTC) if rebase else None,
                progress=None if as_json else show,
                stop=stop,
            )
    except (BufferFullError, NotDeliveredError) as exc:
        _end("; ".join([str(exc), *getattr(exc, "__notes__", [])]), report, as_json=as_json)
    summary = {
        "data_set": name,
        "sent": result.sent,
        "delivered": result.delivered,
        "undelivered": result.undelivered,
        "pending": result.pending,
        "by_channel": result.by_channel,
        "errors": result.errors,
        "rows_left_out": {reason: len(rows) for reason, rows in report.dropped.items()},
        "left_out": report.left_out(),
        "seconds": round(result.duration_s, 3),
    }
    if as_json:
        echo(json.dumps(summary, ensure_ascii=False))
    else:
        echo(f"{result.delivered:,} of {result.total:,} events delivered in {result.duration_s:.1f} s")
        for line in report.lines():
            echo(f"  {line}")
    if not (result.complete or result.stopped):
        for error, count in result.errors.items():
            echo(f"  {count:,} not delivered: {error}", err=True)
        sys.exit(1)


def _end(error: str, report: ReadReport, *, as_json: bool) -> NoReturn:
    """Say why nothing, or not all, was sent, with what was read by then."""
    if as_json:
        echo(json.dumps({"error": error, "left_out": report.left_out()}, ensure_ascii=False))
    else:
        for line in report.lines():
            echo(f"  {line}")
    echo(error, err=True)
    sys.exit(1)


@click.command()
@click.option(
    "--rate", type=NumberRange(), default=100.0, show_default=True, help="Mean events per second of event time."
)
@click.option("--seed", default=1, show_default=True, help="The same seed and start give the same events.")
@click.option("--start", type=MomentType(), help="Start of event time: 2026-03-01T09:00+03:30, -7d, …  [default: now]")
@click.option(
    "--speed", default="1", callback=speed_option, show_default=True, help="Event seconds per second, or max."
)
@click.option("--count", type=click.IntRange(1), help="Stop after so many records.")
@click.option("--duration", "duration_s", type=NumberRange(0), help="Stop after so many seconds of event time.")
@click.option("--customers", default=0, help="Population; default: as many as fit the rate.")
@click.option(
    "--incident",
    "incidents",
    multiple=True,
    type=IncidentType(),
    help="kind[:channel]@when+length, e.g. payment-outage@12:00+20m; may be given several times.",
)
@click.option("--bad-rate", type=NumberRange(0, 1), default=0.0, help="Share of records that break the contract.")
@click.option("--duplicate-rate", type=NumberRange(0, 1), default=0.0, help="Share of records sent twice.")
@click.option("--late-rate", type=NumberRange(0, 1), default=0.0, help="Share of records that come late.")
@click.option("--flat", is_flag=True, help="Without daily and weekly rhythm.")
@planting_options
@click.option("--json", "as_json", is_flag=True, help="Print the final report as one JSON object.")
def simulate(
    rate: float,
    seed: int,
    start: When | None,
    speed: Any,
    count: int | None,
    duration_s: float | None,
    customers: int,
    incidents: tuple[str, ...],
    bad_rate: float,
    duplicate_rate: float,
    late_rate: float,
    planting_seed: int | None,
    planted: Path,
    *,
    flat: bool,
    as_json: bool,
) -> None:
    """Produce realistic, seeded traffic of all four channels.

    A population of customers goes through the seven stages; scores follow from waits, errors and delays;
    days and weeks have the rhythm of Iran. Incidents shift the causes, and therefore the KPIs.
    """
    stop = stop_on_signals()

    def show(progress: SimulationProgress) -> None:
        reached = datetime.fromtimestamp(progress.event_time, UTC).strftime("%Y-%m-%d %H:%M:%S")
        echo(f"{progress.sent:>9,} sent, event time {reached}, {progress.per_second:,.0f}/s", err=True)

    try:
        plan = Plan(
            start=start.moment() if start else datetime.now(UTC),
            seed=seed,
            rate=rate,
            population=customers,
            incidents=incidents,
            flat=flat,
        )
        flaws = Flaws(bad=bad_rate, duplicate=duplicate_rate, late=late_rate)
        with producer_of(load()) as producer, planted_into(producer, planting_seed, planted) as sender:
            done = run_simulation(
                plan,
                sender,
                flaws=flaws,
                speed=None if speed == "max" else speed,
                count=count,
                duration_s=duration_s,
                stop=stop,
                on_progress=None if as_json else show,
            )
            report = producer.flush(60.0)
    except ValueError as exc:
        echo(str(exc), err=True)
        sys.exit(2)
    if as_json:
        echo(
            json.dumps(
                {
                    "sent": done.sent,
                    "by_channel": done.by_channel,
                    "undelivered": len(report.undelivered),
                    "seconds": round(done.elapsed_s, 3),
                }
            )
        )
    else:
        echo(f"{done.sent:,} records sent, {len(report.undelivered):,} not delivered")
    sys.exit(1 if report.undelivered else 0)
