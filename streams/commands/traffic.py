"""`cx simulate` and `cx replay`: events into the topics."""

import json
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from streams.producers.client import TouchpointProducer
from streams.producers.readers import DATA_SETS, DataSetError, Report, read
from streams.producers.replay import Progress
from streams.producers.replay import replay as run_replay
from streams.settings import Settings, kafka_client_options, load


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


def _speed(_ctx: click.Context, _param: click.Parameter, value: str) -> float | str:
    if value == "max":
        return value
    try:
        speed = float(value.rstrip("x"))
    except ValueError:
        raise click.BadParameter("a number such as 1 or 60, or max") from None
    if speed <= 0:
        raise click.BadParameter("must be above 0")
    return speed


@click.command()
@click.argument("name", type=click.Choice([*DATA_SETS, "jsonl"]))
@click.option(
    "--path",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="The data set's file or folder, or a folder that holds it; for jsonl the file.",
)
@click.option("--speed", default="1", callback=_speed, show_default=True, help="Event seconds per second, or max.")
@click.option("--shuffle", "shuffle_s", default=0.0, show_default=True, help="Disorder within so many seconds.")
@click.option("--seed", default=0, show_default=True, help="Decides the disorder.")
@click.option("--repeat", default=1, show_default=True, help="Send everything so many times.")
@click.option("--rebase", is_flag=True, help="Move times so that the last event is now.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def replay(
    name: str, path: Path, speed: Any, shuffle_s: float, seed: int, repeat: int, *, rebase: bool, as_json: bool
) -> None:
    """Produce the events of a data set, in event-time order.

    NAME is a data set (see docs/DATASETS.md), or jsonl for a file with one event per line.
    """
    report = Report(name)
    try:
        events = list(read(name, path, report))
    except DataSetError as exc:
        click.echo(str(exc), err=True)
        sys.exit(1)
    stop = stop_on_signals()

    def show(progress: Progress) -> None:
        reached = progress.reached.strftime("%Y-%m-%d %H:%M") if progress.reached else "-"
        click.echo(f"{progress.sent:>9,} of {progress.total:,} sent, event time {reached}", err=True)

    with producer_of(load()) as producer:
        result = run_replay(
            events,
            producer,
            speed,
            shuffle_within_s=shuffle_s,
            seed=seed,
            repeat=repeat,
            rebase=datetime.now(UTC) if rebase else None,
            progress=None if as_json else show,
            stop=stop,
        )
    left_out = {reason: len(rows) for reason, rows in report.dropped.items()}
    summary = {
        "data_set": name,
        "sent": result.sent,
        "delivered": result.delivered,
        "undelivered": result.undelivered,
        "pending": result.pending,
        "by_channel": result.by_channel,
        "errors": result.errors,
        "rows_left_out": left_out,
        "seconds": round(result.duration_s, 3),
    }
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
    else:
        click.echo(f"{result.delivered:,} of {result.total:,} events delivered in {result.duration_s:.1f} s")
        for line in report.lines():
            click.echo(f"  {line}")
    if not (result.complete or result.stopped):
        for error, count in result.errors.items():
            click.echo(f"  {count:,} not delivered: {error}", err=True)
        sys.exit(1)
